#!/usr/bin/env bash
# Two databases with an owner each: Airflow's metadata, and the pipeline's operational state. Runs on an empty volume only.
set -euo pipefail

psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 \
  --set airflow_password="$AIRFLOW_DB_PASSWORD" --set enrichment_password="$ENRICHMENT_DB_PASSWORD" <<'SQL'
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE enrichment LOGIN PASSWORD :'enrichment_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE enrichment OWNER enrichment;
REVOKE CONNECT ON DATABASE airflow, enrichment FROM PUBLIC;
SQL
