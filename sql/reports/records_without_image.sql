-- Records by provider: how many name no image, and how many name one that could not be used.
-- Run it with DuckDB, naming the lake and the run (docs/platform.md says more):
--   duckdb -cmd "SET VARIABLE lake = 'var/lake'; SET VARIABLE run = 'default-2026-01-01T0000';" < sql/reports/records_without_image.sql
-- Only manifests decide what is visible. Globbing `run=<id>` of a finished run is safe all the same: publishing a stage
-- removes every part that the manifest does not list.

WITH records AS (
    SELECT record_id, provider, any_value(image_url) AS image_url
    FROM read_parquet(
        getvariable('lake') || '/records/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
    )
    GROUP BY record_id, provider
),
usable AS (
    SELECT DISTINCT record_id
    FROM read_parquet(
        getvariable('lake') || '/images/source=*/scope=*/run=' || getvariable('run') || '/part-*.parquet'
    )
    WHERE outcome = 'ok'
)
SELECT
    records.provider,
    count(*) AS harvested,
    count(*) FILTER (records.image_url IS NULL) AS without_image,
    count(*) FILTER (records.image_url IS NOT NULL AND usable.record_id IS NULL) AS with_unusable_image,
    count(usable.record_id) AS enriched,
    round(100.0 * count(usable.record_id) / count(*), 1) AS enriched_percent
FROM records
LEFT JOIN usable ON usable.record_id = records.record_id
GROUP BY records.provider
ORDER BY without_image + with_unusable_image DESC, records.provider;
