"""The commands of `enrich` that are about records: start, harvest, source …"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import options
from pipeline.database.windows import WindowState
from pipeline.domain.harvest_rules import Limits
from pipeline.settings import Settings

source = typer.Typer(no_args_is_help=True, help="Sources: what is harvested, and when.")


def start(
    run_id: Annotated[str, typer.Option(help="A name for the run; the same name goes on with, or redoes, the same run.")],
    source_name: options.SourceName = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    ids_file: options.IdsFile = None,
    full: options.Full = False,
    max_records: options.MaxRecords = None,
    max_requests: options.MaxRequests = None,
    max_hours: options.MaxHours = None,
    again: options.Again = False,
    dry_run: Annotated[bool, typer.Option(help="Do everything but send annotations.")] = False,
) -> None:
    """Start a run of a source and print its key; exactly one of a window, ids, a file of ids or --full must be given.

    Example:  enrich stage harvest --run "$(enrich start --run-id try --full --max-records 20)"
    """
    settings = Settings()
    limits = Limits(max_records, max_requests, max_hours)
    wanted = options.wanted(settings, source=source_name, ways={}, filters=None, limits=limits)
    print(
        _start(
            wanted,
            run_id,
            settings,
            since=since,
            until=until,
            ids=ids,
            ids_file=ids_file,
            full=full,
            dry_run=dry_run,
            again=again,
        )
    )


def harvest(
    source_name: options.SourceName = None,
    query: options.QueryText = None,
    dataset: options.Dataset = None,
    concept: options.Concepts = None,
    gallery: options.Gallery = None,
    with_collection: options.WithCollection = None,
    with_query: options.WithQuery = None,
    folder: options.Folder = None,
    qf: options.Filters = None,
    since: options.Since = None,
    until: options.Until = None,
    ids: options.Ids = None,
    ids_file: options.IdsFile = None,
    full: options.Full = False,
    images: options.Images = None,
    technical: options.Technical = None,
    max_records: options.MaxRecords = None,
    max_requests: options.MaxRequests = None,
    max_hours: options.MaxHours = None,
    again: options.Again = False,
    run_id: Annotated[str, typer.Option(help="The run's name; without it, one that follows from what is asked.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what it would take: records, requests, hours, GB, hosts.")] = False,
) -> None:
    """Harvest records into the lake, and say whether they are all there. Said again, it goes on where it stopped.

    Examples:  enrich harvest --since 2026-01-01 --until 2026-02-01 --dry-run  ·
    enrich harvest --dataset 2021650 --full  ·  enrich harvest --ids-file ids.txt  ·
    enrich harvest --concept "http://data.europeana.eu/concept/47" --full --max-records 5000
    """
    from pipeline.cli.harvest import harvest_run, print_estimate
    from pipeline.datasets.lake import open_lake

    settings = Settings()
    ways = {
        "query": query,
        "dataset": dataset,
        "concept": concept,
        "gallery": gallery,
        "with_collection": with_collection,
        "with_query": with_query,
        "folder": folder,
    }
    limits = Limits(max_records, max_requests, max_hours)
    wanted = options.wanted(
        settings, source=source_name, ways=ways, filters=qf, limits=limits, images=images, technical=technical
    )
    scope: dict[str, Any] = {"since": since, "until": until, "ids": ids, "ids_file": ids_file, "full": full}
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="enrich-") as scratch:  # a dry run leaves nothing in the lake
            settings = settings.model_copy(update={"storage_url": Path(scratch).as_uri()})
            key = _start(wanted, "dry-run", settings, **scope, dry_run=True, again=again)
            print_estimate(open_lake(settings).run(key), settings=settings)
    else:
        harvest_run(_start(wanted, run_id, settings, **scope, dry_run=False, again=again), settings=settings)


def _start(
    wanted: options.Wanted, run_id: str, settings: Settings, *, ids_file: Path | None, dry_run: bool, again: bool, **scope: Any
) -> str:
    from pipeline.harvest.steps import start_run

    asked = options.scope_of(**scope, ids_file=ids_file, whole=wanted.rules.service != "europeana")
    return start_run(
        run_id=run_id or options.named_run(wanted.source, asked, ids_file),
        source=wanted.source,
        scope=asked,
        created_at=datetime.now(UTC),
        settings=settings,
        selection=wanted.selection,
        rules=wanted.rules,
        ids_file=ids_file,
        dry_run=dry_run,
        again=again,
    )


@source.command("list")
def source_list() -> None:
    """The sources, their schedules and the DAGs that they make."""
    from pipeline.cli.sources import list_sources

    list_sources(Settings())


@source.command("new")
def source_new(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits, - and _.")],
    kind: Annotated[str, typer.Option(help="europeana, with or folder.")] = "europeana",
    by: Annotated[
        str | None, typer.Option(help="What names the records: query, dataset, concepts; collection, query, gallery; folder.")
    ] = None,
) -> None:
    """Write a source's file to begin with.  Example:  enrich source new maps --by concepts"""
    from pipeline.cli.sources import new_source

    path = new_source(name, kind=kind, way=by, settings=Settings())
    print(f"{path} is written; say what it takes, then: enrich source check {name}")


@source.command("check")
def source_check(
    names: Annotated[list[str] | None, typer.Argument(help="Which ones; all without a name.")] = None,
    offline: Annotated[bool, typer.Option(help="Only read the files, ask nobody.")] = False,
) -> None:
    """Check sources and say what a harvest of each would take; nothing is harvested.  Example:  enrich source check maps"""
    from pipeline.cli.sources import check_sources

    check_sources(names or (), offline=offline, settings=Settings())


@source.command("windows")
def source_windows(
    name: Annotated[str, typer.Argument(help="The source.")],
    state: Annotated[WindowState | None, typer.Option(help="Only those.")] = None,
) -> None:
    """How far the windows of a source have come.  Example:  enrich source windows default --state partial"""
    from pipeline.cli.sources import list_windows

    list_windows(name, state=state, settings=Settings())


@source.command("parse")
def source_parse(
    files: Annotated[list[Path], typer.Argument(help="Saved replies of the Search or Record API.")],
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
) -> None:
    """Read saved replies as a harvest would: a line each record.  Example:  enrich source parse reply.json --jsonl"""
    from pipeline.cli.sources import parse_replies

    parse_replies(files, jsonl=jsonl)
