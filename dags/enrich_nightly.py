"""# Enrich nightly

One DAG per source in `vocab/sources/`: harvest the records that changed in the data interval, fetch their images,
label them, suggest related images, publish annotations. Safe to run again: windows that are done are not harvested
twice, and the ledger sends nothing twice. `airflow backfill` works, because every run has a data interval. Old windows
that are due once more, or that a limit left unfinished, are harvested along with the new one.
"""

from airflow.sdk import CronDataIntervalTimetable, dag, task

from orchestration import defaults, params, stages
from pipeline.harvest.sources import Source, load_good_sources
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


def make_broken_dag(name: str, problem: str) -> None:
    """A source that cannot be read: a DAG that says why, so that it is seen and takes no other source down with it."""

    @dag(
        dag_id=f"enrich_nightly_{name}",
        schedule=None,
        start_date=defaults.START_DATE,
        default_args=defaults.ARGS,
        tags=["enrichment", "broken"],
        doc_md=f"# This source cannot be used\n\n{problem}",
    )
    def broken() -> None:
        @task
        def start() -> None:
            from pipeline.errors import CriticalError

            raise CriticalError(problem)

        start()

    broken()


_sources, _problems = load_good_sources(Settings().sources_dir)
for _source in _sources.values():
    make_dag(_source)
for _name, _problem in _problems.items():
    make_broken_dag(_name, _problem)
