"""What all DAGs have in common: owner, start, retries by kind of error."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)

# The four errors of the pipeline: only passing trouble is worth another try; a wrong result or setting is not.
_NO_RETRY = ("pipeline.errors.PermanentError", "pipeline.errors.PoisonedResultError", "pipeline.errors.CriticalError")
RETRY_POLICY = ExceptionRetryPolicy(rules=[RetryRule(exception=name, action=RetryAction.FAIL) for name in _NO_RETRY])

ARGS = {
    "owner": "enrichment",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(hours=6),
}
