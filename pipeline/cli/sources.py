"""`enrich source …`: look at sources, write one, try one, read saved replies."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.harvest import print_estimate
from pipeline.database import connect, windows
from pipeline.datasets.run import Run
from pipeline.domain.outcome import OutcomeRow
from pipeline.domain.record import Record
from pipeline.domain.scope import Scope
from pipeline.errors import CriticalError
from pipeline.harvest.saved_replies import parse_file
from pipeline.harvest.sources import WAYS, find_source, load_source, load_sources
from pipeline.settings import Settings

SCHEMA_FIELDS = "docs/harvest.md explains every field; `enrich source check {name}` tries it."
EXAMPLES = {
    "query": 'query: "*:*" # in the API\'s own language',
    "dataset": 'dataset: "2021650"',
    "concepts": "concepts:\n  - http://data.europeana.eu/concept/47 # paintings\n"
    "  # - all_of: [http://data.europeana.eu/concept/48, http://data.europeana.eu/concept/43] # both\n  #   cap: 2500",
    "collection": "collection: 5a0b1c2d3e4f5a6b7c8d9e0f # its id on WITH",
    "gallery": 'gallery: "1234" # its number on Europeana',
    "folder": "folder: ../../pictures # with a metadata.csv, from this file's place",
}
OPTIONAL = """
qf:
  - "TYPE:IMAGE"
# reusability: [open]            # asked of the server
# rights: [open, restricted]     # the licence rule: records with other rights are rejected
# images: all                    # every image of a record, by one more request a record
# revisit_days: [7, 30, 90, 365] # old windows are listed again at these ages
"""
LIMITS = """
# limits: # a run that reaches one stops cleanly, and the next one goes on
#   max_records: 100000
#   max_requests: 5000
#   max_hours: 8
"""

out = Console(highlight=False, soft_wrap=True)


def new_source(name: str, *, kind: str, way: str | None, settings: Settings) -> Path:
    """Write a source to begin with and return its path; CriticalError for a bad name, kind, or a file that is there."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", name):
        raise CriticalError(f"{name!r} cannot be a source's name: lower case letters, digits, - and _ only")
    if kind not in WAYS:
        raise CriticalError(f"kind {kind!r} is not one of {', '.join(WAYS)}")
    way = way or next(iter(WAYS[kind]))
    if way not in WAYS[kind]:
        raise CriticalError(f"a source of kind {kind} names its records by one of: {', '.join(WAYS[kind])}")
    path = settings.sources_dir / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# {SCHEMA_FIELDS.format(name=name)}",
        f"name: {name}",
        f"kind: {kind}",
        "description: What it is, in one sentence.",
        'schedule: "0 2 * * *" # every night at two, UTC; take the line out to run it by hand only',
        EXAMPLES[way],
    ]
    text = "\n".join(lines) + (OPTIONAL if kind == "europeana" else "\n") + LIMITS.lstrip("\n")
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise CriticalError(f"{path} is there already") from error
    load_source(path)
    return path


def check_sources(names: Iterable[str], *, offline: bool, settings: Settings) -> None:
    """Read sources and dry-run each over the last day, or over everything where it has no time."""
    for name in names or load_sources(settings.sources_dir):
        source = find_source(settings.sources_dir, name)
        out.print(f"[bold]{name}[/]  {source.kind}, {source.dag_id}, {source.schedule or 'by hand'}: the file is right")
        if offline:
            continue
        scope = Scope("full")
        run = Run(f"check-{name}", name, source.selection, scope, datetime.now(UTC), rules=source.rules)
        print_estimate(run, settings=settings)
        if source.kind == "europeana" and source.schedule:
            end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            night = Run(
                run.run_id,
                name,
                source.selection,
                Scope("window", start=end - timedelta(days=1), end=end),
                end,
                rules=source.rules,
            )
            _print_night(night, settings)


def _print_night(run: Run, settings: Settings) -> None:
    from pipeline.harvest.estimate import estimate_run

    found = estimate_run(run, settings=settings)
    out.print(f"  last night     {found.records:,} records had changed: {found.requests:,} requests, {found.download_gb:g} GB")


def list_sources(settings: Settings) -> None:
    """A table of all sources."""
    table = Table("source", "kind", "DAG", "schedule", "selection", "what it is")
    for entry in load_sources(settings.sources_dir).values():
        selection = f"{entry.selection.kind} {entry.selection.value} {' '.join(entry.selection.filters)}"
        table.add_row(entry.name, entry.kind, entry.dag_id, entry.schedule or "by hand", selection, entry.description)
    out.print(table)


def list_windows(name: str, *, state: str | None, settings: Settings) -> None:
    """A table of a source's windows: how far each has come."""
    rows = windows.of_source(connect(settings), name)
    if not rows:
        raise CriticalError(
            f"no window of a source {name!r} is known; the sources are: {', '.join(load_sources(settings.sources_dir))}"
        )
    table = Table("window", "run", "state", "tries", "records", "promised", "requests", "last change", "why")
    for window in rows:
        if state and window.state != state:
            continue
        counts = window.counts
        promised = counts.get("promised")
        table.add_row(
            window.name,
            window.run_id,
            window.state,
            str(window.attempts),
            f"{counts.get('inputs', 0):,}",
            "–" if promised is None else f"{promised:,}",
            f"{window.requests:,}",
            f"{window.updated_at:%Y-%m-%d %H:%M}",
            window.last_error[:120],
        )
    out.print(table)


def parse_replies(paths: Iterable[Path], *, jsonl: bool) -> None:
    """Print a line for each record or outcome in saved replies."""
    for path in paths:
        for result in parse_file(path):
            line = _line(path, result)
            if jsonl:
                print(json.dumps(line, ensure_ascii=False), flush=True)
            else:
                record = line["record"] or {}
                words = [line["record_id"] or "–", line["outcome"], line["reason"] or record.get("title") or ""]
                print(f"{path}: {'  '.join(words)} {line['detail']}".rstrip(), flush=True)


def _line(path: Path, result: Record | OutcomeRow) -> dict[str, Any]:
    if isinstance(result, OutcomeRow):
        values = {"outcome": str(result.outcome), "reason": str(result.reason), "detail": result.detail}
        return {"file": str(path), "record_id": result.record_id, **values, "record": None, "raw": result.raw}
    record = asdict(result)
    record["updated_at"] = result.updated_at.isoformat().replace("+00:00", "Z") if result.updated_at else None
    line: dict[str, Any] = {"outcome": "ok", "reason": None, "detail": "", "record": record, "raw": None}
    return {"file": str(path), "record_id": result.record_id} | line
