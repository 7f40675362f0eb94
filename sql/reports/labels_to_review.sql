-- The labels a curator's look is worth most for: for review, and nearest to the concept's threshold.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/labels_to_review.sql
-- Only manifests decide what is visible. Globbing `run=<id>` of a finished run is safe all the same: publishing a stage
-- removes every part that the manifest does not list.

SELECT
    record_id,
    label,
    round(score, 3) AS score,
    round(threshold, 3) AS threshold, -- empty: the concept abstains, it has no threshold of the wanted precision
    round(abs(score - coalesce(threshold, 0.5)), 3) AS distance,
    why,
    provider,
    image_url,
    concept_uri
FROM read_parquet(
    getvariable('lake') || '/labels/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
)
WHERE decision = 'review'
ORDER BY abs(score - coalesce(threshold, 0.5)), record_id, concept_uri
LIMIT 200;
