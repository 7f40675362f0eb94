-- Labels of records by concept and decision: what would be published, reviewed, kept to ourselves, dropped.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/labels_by_concept.sql
-- Only manifests decide what is visible. Globbing `run=<id>` of a finished run is safe all the same: publishing a stage
-- removes every part that the manifest does not list.

SELECT
    label,
    concept_uri,
    count(*) FILTER (decision = 'publish') AS publish,
    count(*) FILTER (decision = 'review') AS review,
    count(*) FILTER (decision = 'hidden') AS hidden,
    count(*) FILTER (decision = 'drop') AS dropped,
    round(avg(max_score) FILTER (decision = 'publish'), 3) AS mean_published_score,
    bool_or(why = 'abstains') AS abstains,
    any_value(model_name || ' ' || model_version) AS model
FROM read_parquet(
    getvariable('lake') || '/record_labels/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
)
GROUP BY label, concept_uri
ORDER BY publish DESC, review DESC, label;
