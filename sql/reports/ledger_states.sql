-- The publication ledger: what was planned, what became of it, and the last error of each kind.
-- For the operational database, PostgreSQL or SQLite alike, not for the lake:
--   docker compose exec -T postgres psql --username postgres --dbname enrichment < sql/reports/ledger_states.sql
--   sqlite3 -box var/enrichment.db < sql/reports/ledger_states.sql

SELECT
    target,
    state,
    count(*) AS statements,
    count(DISTINCT record_id) AS records,
    count(DISTINCT concept_uri) AS concepts,
    max(attempts) AS most_attempts,
    min(updated_at) AS oldest,
    max(updated_at) AS newest,
    max(last_error) AS an_error
FROM publication_ledger
GROUP BY target, state
ORDER BY target, state;
