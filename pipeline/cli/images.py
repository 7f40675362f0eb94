"""`enrich images …`: check files, take pictures out of the lake, look after their addresses."""

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.errors import CriticalError
from pipeline.settings import Settings

images = typer.Typer(no_args_is_help=True, help="Pictures: check files, take them out of the lake, re-check their addresses.")
out = Console(width=None if sys.stdout.isatty() else 140)  # tables in a file are not squeezed
HOSTS_SHOWN = 30


@images.command("check")
def check(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to walk.")],
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
    images_to_remove: Annotated[
        Path | None, typer.Option(help='A folder of "picture not available" pictures: they are found in any size.')
    ] = None,
) -> None:
    """Say of each file whether it would be accepted as a picture, and why not.

    Examples:  enrich images check scans/ --jsonl  ·  enrich images check scans/ --images-to-remove placeholders/
    """
    from pipeline.cli.check_images import check_images

    settings = Settings()
    if images_to_remove is not None:
        settings.images_to_remove_dir = images_to_remove
    check_images(paths, jsonl=jsonl, settings=settings)


@images.command("get")
def get(
    identity: Annotated[str, typer.Argument(metavar="ID", help="An image id (SHA-256) or a record id (/dataset/local).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; without it, standard output.")
    ] = None,
    original: Annotated[bool, typer.Option("--original", help="The bytes as received (with KEEP_ORIGINALS).")] = False,
) -> None:
    """Take one picture out of the lake, with one range read.

    Example:  enrich images get /2021650/abc -o abc.jpg
    """
    from pipeline.images.export import get_picture

    content = get_picture(identity, original=original, settings=Settings())
    if output is not None:
        output.write_bytes(content)
        out.print(f"{output}: {len(content):,} bytes", highlight=False)
    elif sys.stdout.isatty():
        raise CriticalError("a picture is not for a terminal; name a file with --output")
    else:
        sys.stdout.buffer.write(content)


@images.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files and their metadata.csv go.")],
    run: Annotated[str, typer.Option(help="The run's key, as `enrich start` printed it.")],
    limit: Annotated[int | None, typer.Option(help="At most so many pictures.", min=1)] = None,
) -> None:
    """Write a run's pictures as files with a metadata.csv: a collection folder, as `enrich run --collection` takes it.

    Example:  enrich images export ../pictures --run runs/run=try/run.json --limit 1000
    """
    from pipeline.images.export import export_run

    count = export_run(run, folder, most=limit, settings=Settings())
    out.print(f"{folder}: {count:,} pictures and metadata.csv", highlight=False, soft_wrap=True)


@images.command("recheck")
def recheck(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many addresses are due, and visit none.")] = False,
    at: Annotated[str, typer.Option(help="Take what is due at this time (UTC); without it, now.")] = "",
) -> None:
    """Visit image addresses again that are due, as the DAG recheck_links does every night.

    Examples:  enrich images recheck --dry-run  ·  enrich images recheck
    """
    from pipeline.database import connect, links
    from pipeline.images import recheck as steps

    settings = Settings()
    try:
        now = datetime.fromisoformat(at).replace(tzinfo=UTC) if at else datetime.now(UTC)
    except ValueError as error:
        raise CriticalError(f"--at {at!r} is not a time such as 2026-01-31T04:30") from error
    if dry_run:
        from pipeline.datasets.lake import open_lake

        lake = links.lake_id(open_lake(settings).root)
        count = sum(1 for _ in links.due(connect(settings), lake, now=now, most=settings.rechecks_per_run))
        out.print(f"{count:,} addresses are due (RECHECKS_PER_RUN={settings.rechecks_per_run:,})", highlight=False)
        return
    run = steps.start_recheck(run_id=f"recheck-{now:%Y-%m-%dT%H%M%S}", now=now, settings=settings)
    results = [steps.recheck_batch(key, settings=settings) for key in steps.plan_recheck(run, settings=settings)]
    report = steps.publish_recheck(run, results, settings=settings)
    from pipeline.datasets.lake import open_lake

    counts = open_lake(settings).read_json(report)["counts"]
    now_states = {name.removeprefix("now_"): count for name, count in counts["extra"].items() if name.startswith("now_")}
    out.print(
        f"{counts['inputs']:,} addresses visited: {now_states}; {counts['extra'].get('changed', 0)} changed", highlight=False
    )
    out.print(f"report: {report}", highlight=False, soft_wrap=True)


@images.command("links")
def show_links() -> None:
    """How all image addresses stand, by host.  Example:  enrich images links"""
    from pipeline.database import connect, links
    from pipeline.datasets.lake import open_lake

    settings = Settings()
    by_host: dict[str, Counter[str]] = {}
    for host, state, count in links.states(connect(settings), links.lake_id(open_lake(settings).root)):
        by_host.setdefault(host, Counter())[state] += count
    names = [str(state) for state in links.LinkState]
    table = Table("host", *names)
    for host, states in sorted(by_host.items(), key=lambda item: -item[1].total())[:HOSTS_SHOWN]:
        table.add_row(host, *(f"{states[name]:,}" if states[name] else "–" for name in names))
    total = sum(by_host.values(), Counter())
    table.add_section()
    table.add_row(f"{len(by_host)} hosts", *(f"{total[name]:,}" for name in names))
    out.print(table)
