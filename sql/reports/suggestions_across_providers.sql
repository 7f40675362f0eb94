-- Related records of different providers, by pair of providers: where a portal would link collections.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/suggestions_across_providers.sql
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
    here.provider,
    there.provider AS related_provider,
    count(*) AS suggestions,
    count(*) FILTER (suggestions.rank = 1) AS first_suggestions,
    round(avg(suggestions.score), 3) AS mean_score,
    round(avg(suggestions.visual_similarity), 3) AS mean_visual_similarity,
    round(avg(len(suggestions.shared_concepts)), 2) AS mean_shared_concepts
FROM read_parquet(
    getvariable('lake') || '/suggestions/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
) AS suggestions
JOIN providers AS here ON here.record_id = suggestions.record_id
JOIN providers AS there ON there.record_id = suggestions.related_record_id
WHERE here.provider <> there.provider
GROUP BY here.provider, there.provider
ORDER BY suggestions DESC, here.provider, there.provider;
