"""# Import feedback

By hand or through the API: name an export of WITH / CrowdHeritage, Zooniverse or Label Studio. What people said of tags
becomes verdicts in the lake (the same export twice changes nothing), and the labels of the model in force are held against
them: a proposal of new thresholds is written below `VAR_DIR/feedback`. Nothing is applied by itself: look at the proposal,
then `enrich feedback apply`, then `enrich model release`. Try `dry_run` first: it only counts.
"""

from airflow.sdk import dag, task

from orchestration import defaults, params, stages


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=1,
    params=params.FEEDBACK,
    default_args=defaults.ARGS,
    tags=["feedback", "by-hand"],
    doc_md=__doc__,
)
def import_feedback() -> None:
    @task
    def read(params=None, dag_run=None) -> dict:  # noqa: ANN001
        return stages.call("pipeline.feedback.by_form.import_from_form", form=params, now=dag_run.run_after)

    @task.short_circuit
    def wanted(imported: dict, params=None) -> bool:  # noqa: ANN001
        return bool(imported["run_key"]) and params["propose_thresholds"]

    @task
    def propose(dag_run=None) -> str:  # noqa: ANN001
        return stages.call("pipeline.feedback.by_form.propose_thresholds", run_id=dag_run.run_id)

    wanted(read()) >> propose()


import_feedback()
