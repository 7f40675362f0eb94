"""# Approve a publication

By hand or through the API: name a run whose new statements were more than `PUBLISH_APPROVAL_ABOVE`, so that they wait. A
person is shown what would be sent, counted by platform, concept and institution, with samples drawn from all of it, and
is asked. Approved statements are sent, and the run's report is written anew; the others stay held.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task

from orchestration import assets, defaults, params, pools, stages


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=1,
    params=params.APPROVAL,
    default_args=defaults.ARGS,
    tags=["publication", "by-hand"],
    doc_md=__doc__,
)
def approve_publication() -> None:
    @task
    def look(params=None, dag_run=None) -> dict:  # noqa: ANN001
        return stages.call("pipeline.publish.preview.ask_for_approval", form=params, now=dag_run.run_after)

    @task.short_circuit
    def found_any(found: dict) -> bool:
        return bool(found["documents"])

    approve = ApprovalOperator(
        task_id="approve",
        subject="Send {{ ti.xcom_pull(task_ids='look')['documents'] }} statements of {{ params.run }}?",
        body="{{ ti.xcom_pull(task_ids='look')['text'] }}",
        defaults=ApprovalOperator.REJECT,
        response_timeout=timedelta(days=14),
        ignore_downstream_trigger_rules=True,  # the last step of a stage would run behind skipped ones
    )

    @task
    def agreed(params=None) -> str:  # noqa: ANN001
        return stages.call("pipeline.publish.preview.key_of", form=params)

    @task
    def report(run_key: str) -> str:
        return stages.call("pipeline.reporting.report.write_report", run_key=run_key)

    key = agreed()
    found_any(look()) >> approve >> key
    sent = stages.stage(
        "publish",
        ("plan_approved", "publish_batch", "publish_annotations"),
        key,
        pool=pools.PUBLISH,
        outlet=assets.ANNOTATIONS,
        timed=True,
    )
    sent >> report(key)


approve_publication()
