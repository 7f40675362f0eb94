#!/usr/bin/env bash
# Whether a service of the image is well: healthcheck.sh api-server | scheduler | dag-processor | triggerer | worker | URL
set -euo pipefail

answers() {
  python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1"
}

case "$1" in
  api-server) answers http://127.0.0.1:8080/api/v2/monitor/health ;;
  scheduler) answers http://127.0.0.1:8974/health ;;
  dag-processor) exec airflow jobs check --local --job-type DagProcessorJob ;;
  triggerer) exec airflow jobs check --local --job-type TriggererJob ;;
  worker) exec celery --app airflow.providers.celery.executors.celery_executor.app inspect ping --destination "celery@$(hostname)" ;;
  *) answers "$1" ;;
esac
