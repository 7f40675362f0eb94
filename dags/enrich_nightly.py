"""# Enrich nightly

One DAG per source in `vocab/sources/`: harvest the records that changed in the data interval, fetch their images,
label them, suggest related images, publish annotations. Safe to run again: windows that are done are not harvested
twice, and the ledger sends nothing twice. `airflow backfill` works, because every run has a data interval. Old windows
that are due once more, or that a limit left unfinished, are harvested along with the new one.
"""

from airflow.sdk import CronDataIntervalTimetable, dag, task

from orchestration import defaults, params, stages
from pipeline.harvest.sources import Source, load_sources
from pipeline.settings import Settings


def make_dag(source: Source) -> None:
    """The nightly DAG of one source."""

    @dag(
        dag_id=source.dag_id,
        schedule=CronDataIntervalTimetable(source.schedule, timezone="UTC") if source.schedule else None,
        start_date=defaults.START_DATE,
        catchup=False,
        max_active_runs=1,
        params=params.COMMON,
        default_args=defaults.ARGS,
        tags=["enrichment", f"source:{source.name}"],
        doc_md=__doc__,
    )
    def enrich_nightly() -> None:
        @task
        def start(params=None, data_interval_start=None, data_interval_end=None) -> str:  # noqa: ANN001
            from pipeline.errors import CriticalError

            if data_interval_start is None:
                raise CriticalError(f"a run of {source.dag_id} needs a logical date; by hand use enrich_collection")
            return stages.call(
                "pipeline.harvest.by_form.start_from_form",
                form={**params, "source": source.name, "since": data_interval_start, "until": data_interval_end},
                run_id=f"{source.name}-{data_interval_start:%Y-%m-%dT%H%M}",
                created_at=data_interval_end,
            )

        stages.enrich(start())

    enrich_nightly()


for _source in load_sources(Settings().sources_dir).values():
    make_dag(_source)
