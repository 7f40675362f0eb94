"""# Enrich a collection

By hand or through the API: name a source, a dataset, a query, concepts, a collection of WITH, a folder or a list of
record ids, and everything in it is harvested and enriched; with `since` and `until` only what changed between them.
Try it with `estimate_only` (what would it take?) or with `dry_run` first: nothing leaves the house then.
"""

from airflow.sdk import dag, task

from orchestration import defaults, params, stages
from pipeline.harvest.sources import load_good_sources
from pipeline.settings import Settings


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=2,
    params=params.collection(load_good_sources(Settings().sources_dir)[0]),
    default_args=defaults.ARGS,
    tags=["enrichment", "by-hand"],
    doc_md=__doc__,
)
def enrich_collection() -> None:
    @task
    def start(params=None, dag_run=None) -> str:  # noqa: ANN001
        from airflow.sdk.exceptions import AirflowSkipException

        key = stages.call(
            "pipeline.harvest.by_form.start_from_form",
            form=params,
            run_id=f"collection-{dag_run.run_id}",
            created_at=dag_run.run_after,
        )
        if params["estimate_only"]:
            stages.call("pipeline.harvest.by_form.log_estimate", run_key=key)
            raise AirflowSkipException("only the estimate was asked for; it stands in this log")
        return key

    stages.enrich(start())


enrich_collection()
