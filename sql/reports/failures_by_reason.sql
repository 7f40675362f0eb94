-- Inputs that did not pass, by stage, reason and provider, with an example of each.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/failures_by_reason.sql
-- Only manifests decide what is visible. Globbing `run=<id>` of a finished run is safe all the same: publishing a stage
-- removes every part that the manifest does not list.

WITH providers AS (
    SELECT record_id, any_value(provider) AS provider
    FROM read_parquet(
        getvariable('lake') || '/records/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
    )
    GROUP BY record_id
)
SELECT
    outcomes.stage,
    outcomes.outcome,
    outcomes.reason,
    coalesce(providers.provider, '(not harvested)') AS provider,
    count(*) AS inputs,
    max(outcomes.attempt) AS most_attempts,
    min(outcomes.input_id) AS example,
    any_value(outcomes.detail) AS detail
FROM read_parquet(
    getvariable('lake') || '/outcomes/stage=*/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
) AS outcomes
LEFT JOIN providers ON providers.record_id = outcomes.record_id
GROUP BY ALL
ORDER BY inputs DESC, outcomes.stage, outcomes.reason, provider;
