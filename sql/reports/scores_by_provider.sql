-- How a model's scores are spread, by concept and provider: where a collection looks other than the rest.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/scores_by_provider.sql
-- Only manifests decide what is visible. Globbing `run=<id>` of a finished run is safe all the same: publishing a stage
-- removes every part that the manifest does not list.

SELECT
    label,
    provider,
    sum(images) AS images,
    round(min(lowest), 3) AS lowest_score,
    round(max(highest), 3) AS highest_score,
    round(100.0 * coalesce(sum(images) FILTER (score_from >= 0.59), 0) / sum(images), 1) AS percent_from_0_6,
    round(100.0 * coalesce(sum(images) FILTER (score_from < 0.04), 0) / sum(images), 1) AS percent_below_0_05
FROM read_parquet(
    getvariable('lake') || '/score_histograms/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
)
GROUP BY label, provider
ORDER BY label, images DESC, provider;
