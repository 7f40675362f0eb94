"""# Recheck links

Image addresses are visited again, less and less often: an unchanged picture costs a conditional request. The state of
each address (ok, moved, forbidden, gone, placeholder, unusable, unreachable) is kept in the database; each run writes the
dataset `link_checks` and a report with states by host. What is due and how much of it one run visits (`RECHECKS_PER_RUN`)
is planned from the data, so a missed night is made up for.
"""

from airflow.sdk import CronTriggerTimetable, dag, task

from orchestration import assets, defaults, pools, stages


@dag(
    dag_id="recheck_links",
    schedule=CronTriggerTimetable("30 4 * * *", timezone="UTC"),
    start_date=defaults.START_DATE,
    catchup=False,
    max_active_runs=1,
    default_args=defaults.ARGS,
    tags=["enrichment", "maintenance"],
    doc_md=__doc__,
)
def recheck_links() -> None:
    @task
    def start(dag_run=None) -> str:  # noqa: ANN001
        moment = dag_run.logical_date or dag_run.run_after
        return stages.call("pipeline.images.recheck.start_recheck", run_id=f"recheck-{moment:%Y-%m-%dT%H%M%S}", now=moment)

    stages.stage(
        "recheck",
        ("plan_recheck", "recheck_batch", "publish_recheck"),
        start(),
        pool=pools.DOWNLOADS,
        outlet=assets.LINKS,
        module="pipeline.images.recheck",
    )


recheck_links()
