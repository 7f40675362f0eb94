#!/usr/bin/env bash
# What must be there before the components start; does nothing that is done already.
set -euo pipefail
here="$(dirname "$0")"

airflow db migrate
airflow pools import "$here/pools.json"
python "$here/prepare.py"
enrich model list # brings the operational database up to date, and says which models there are
echo "ready: log in at ${AIRFLOW__API__BASE_URL} as admin with AIRFLOW_ADMIN_PASSWORD"
