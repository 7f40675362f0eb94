"""Run one stage of a run without Airflow: plan, every batch in turn, publish."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pipeline.errors import CriticalError
from pipeline.harvest import steps as harvest
from pipeline.images import steps as images
from pipeline.labels import steps as labels
from pipeline.publish import steps as publish
from pipeline.reporting.report import write_report
from pipeline.settings import Settings
from pipeline.suggestions import steps as suggestions


def run_stage(name: str, run_key: str, settings: Settings, *, approved: bool = False) -> str:
    """Do one stage and return the key of its report; CriticalError for a name that is no stage.

    `approved` is for publication: a person has agreed to it.
    """
    now = datetime.now(UTC)
    steps: dict[str, tuple[Callable[..., Any], ...]] = {
        "harvest": (harvest.plan_harvest, harvest.harvest_window, harvest.publish_records),
        "images": (images.plan_downloads, images.download_batch, images.publish_images),
        "labels": (labels.plan_labels, labels.infer_batch, labels.publish_labels),
        "suggestions": (suggestions.plan_suggestions, suggestions.suggest_batch, suggestions.publish_suggestions),
        "publish": (
            partial(publish.plan_publication, now=now, approved=approved),
            publish.publish_batch,
            publish.publish_annotations,
        ),
    }
    if name == "report":
        return write_report(run_key, settings=settings)
    if name not in steps:
        raise CriticalError(f"no stage {name!r}; there are: {', '.join(steps)}, report")
    plan, batch, finish = steps[name]
    results = [batch(key, settings=settings) for key in plan(run_key, settings=settings)]
    report: str = finish(run_key, results, settings=settings)
    return report
