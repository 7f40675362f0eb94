"""`enrich relabel`: labels of the model in force for pictures that lie in the lake."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.cli import options
from pipeline.settings import Settings


def relabel(
    budget: Annotated[int, typer.Option(min=1, help="At most so many records; those of the oldest runs come first.")],
    run_id: Annotated[str, typer.Option(help="A name for the run; the same name goes on with the same pictures.")],
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    full: options.Full = False,
) -> None:
    """Label pictures of the lake that the model in force has not looked at, with suggestions and annotations, as a night does.

    Exactly one of a window (of when their runs were planned), ids or --full must be given. Nothing is harvested or fetched.

    Example:  enrich relabel --run-id museum-2 --full --budget 10000
    """
    from pipeline.cli.stages import run_stage
    from pipeline.errors import CriticalError
    from pipeline.labels.relabel import start_relabel

    settings = Settings()
    scope = options.scope_of(since=since, until=until, ids=ids, ids_file=None, full=full, whole=False)
    if scope is None:
        raise CriticalError("a run needs a scope")
    key = start_relabel(run_id=run_id, scope=scope, budget=budget, created_at=datetime.now(UTC), settings=settings)
    for stage in ("labels", "suggestions", "publish", "report"):
        print(run_stage(stage, key, settings))
