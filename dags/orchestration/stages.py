"""The stages as task groups: plan → mapped batches → publish. Tasks hand each other keys, never data."""

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from airflow.sdk import Asset, TriggerRule, task, task_group

from orchestration import assets, pools


def call(function: str, **arguments: Any) -> Any:
    """Call a step of the pipeline by its dotted name; imported here, so that parsing a DAG loads nothing heavy."""
    from pipeline.settings import Settings

    module, _, name = function.rpartition(".")
    return getattr(import_module(module), name)(settings=Settings(), **arguments)


def stage(
    name: str,
    steps: tuple[str, str, str],
    run_key: Any,
    *,
    pool: str,
    outlet: Asset,
    queue: str = "default",
    timed: bool = False,
    module: str = "",
) -> Any:
    """One stage: `steps` names its plan, batch and publish functions; the plan of `timed` ones is told the time."""
    plan_step, batch_step, publish_step = (f"{module or f'pipeline.{name}.steps'}.{step}" for step in steps)

    @task_group(group_id=name)
    def group() -> None:
        @task
        def plan(run_key: str) -> list[str]:
            now = {"now": datetime.now(UTC)} if timed else {}
            return call(plan_step, run_key=run_key, **now)

        @task(pool=pool, queue=queue)
        def batch(batch_key: str) -> str:
            return call(batch_step, batch_key=batch_key)

        # An empty plan skips the mapped task; the stage still has to publish its empty dataset.
        @task(outlets=[outlet], trigger_rule=TriggerRule.NONE_FAILED)
        def publish(run_key: str, results: Any) -> str:
            return call(publish_step, run_key=run_key, result_keys=list(results or []))

        publish(run_key, batch.expand(batch_key=plan(run_key)))

    return group()


def enrich(run_key: Any) -> None:
    """All stages in order, and the report at the end."""
    records = stage(
        "harvest",
        ("plan_harvest", "harvest_window", "publish_records"),
        run_key,
        pool=pools.DEFAULT,
        outlet=assets.RECORDS,
    )
    images = stage(
        "images",
        ("plan_downloads", "download_batch", "publish_images"),
        run_key,
        pool=pools.DOWNLOADS,
        outlet=assets.IMAGES,
    )
    labels = stage(
        "labels",
        ("plan_labels", "infer_batch", "publish_labels"),
        run_key,
        pool=pools.INFERENCE,
        outlet=assets.LABELS,
        queue="gpu",
    )
    suggestions = stage(
        "suggestions",
        ("plan_suggestions", "suggest_batch", "publish_suggestions"),
        run_key,
        pool=pools.DEFAULT,
        outlet=assets.SUGGESTIONS,
    )
    annotations = stage(
        "publish",
        ("plan_publication", "publish_batch", "publish_annotations"),
        run_key,
        pool=pools.PUBLISH,
        outlet=assets.ANNOTATIONS,
        timed=True,
    )

    @task
    def report(run_key: str) -> str:
        return call("pipeline.reporting.report.write_report", run_key=run_key)

    records >> images >> labels >> [suggestions, annotations] >> report(run_key)
