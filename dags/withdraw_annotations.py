"""# Withdraw annotations

By hand or through the API: say which statements (all for which everything holds that is said: model, version, concept,
provider, record, run). They are counted, a person is asked with the counts in front of them, then they are deleted on the
platforms, and a search for each proves that nothing of ours is left. Later runs do not send them again; `enrich withdraw
--undo` lets them. Statements of others that say the same are never touched. A run that is cut off may be cleared and goes on.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task

from orchestration import defaults, params, pools, stages


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=1,
    params=params.WITHDRAWAL,
    default_args=defaults.ARGS,
    tags=["publication", "by-hand"],
    doc_md=__doc__,
)
def withdraw_annotations() -> None:
    @task
    def count(params=None) -> dict:  # noqa: ANN001
        return stages.call("pipeline.publish.withdraw.tally_of_form", form=params)

    @task.short_circuit
    def found_any(counted: dict) -> bool:
        return bool(counted["there"] or counted["waiting"])

    approve = ApprovalOperator(
        task_id="approve",
        subject="Withdraw {{ ti.xcom_pull(task_ids='count')['there'] }} statements from the platforms?",
        body="{{ ti.xcom_pull(task_ids='count')['text'] }}",
        defaults=ApprovalOperator.REJECT,
        response_timeout=timedelta(days=14),
    )

    @task(pool=pools.PUBLISH)
    def withdraw(params=None, dag_run=None) -> dict:  # noqa: ANN001
        return stages.call("pipeline.publish.withdraw.withdraw_by_form", form=params, now=dag_run.run_after)

    found_any(count()) >> approve >> withdraw()


withdraw_annotations()
