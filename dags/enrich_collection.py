"""# Enrich a collection

By hand or through the API: name a dataset, a query, a concept or a list of record ids, and everything in it is
harvested and enriched, whenever it changed. Try it with `dry_run` first: nothing leaves the house then.
"""

from airflow.sdk import dag, task

from orchestration import defaults, params, stages


@dag(
    schedule=None,
    start_date=defaults.START_DATE,
    max_active_runs=2,
    params=params.COLLECTION,
    default_args=defaults.ARGS,
    tags=["enrichment", "by-hand"],
    doc_md=__doc__,
)
def enrich_collection() -> None:
    @task
    def start(params=None, dag_run=None) -> str:  # noqa: ANN001
        from pipeline.domain.scope import Scope, Selection

        ids = tuple(params["ids"])
        return stages.call(
            "pipeline.harvest.steps.start_run",
            run_id=f"collection-{dag_run.run_id}",
            source="collection",
            selection=Selection(kind=params["kind"], value=params["value"] or "*:*") if ids else _named(params),
            scope=Scope("ids", ids=ids) if ids else Scope("full"),
            created_at=dag_run.run_after,
            limit=params["limit"],
            dry_run=params["dry_run"],
        )

    stages.enrich(start())


def _named(params):  # noqa: ANN001, ANN202
    from pipeline.domain.scope import Selection

    return Selection(kind=params["kind"], value=params["value"])


enrich_collection()
