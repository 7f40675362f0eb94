"""What `enrich start` and `enrich harvest` have in common: which records, which part of them, and how far."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import ConceptQuery, Scope, Selection
from pipeline.errors import CriticalError
from pipeline.harvest.id_list import bare_id
from pipeline.harvest.sources import DEFAULT, FREE, find_source
from pipeline.settings import Settings

SourceName = Annotated[
    str | None, typer.Option("--source", help="A source of vocab/sources; `default` where nothing else is named.")
]
QueryText = Annotated[str | None, typer.Option("--query", help="Or a query of the Search API; '*:*' is everything.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="Or a dataset's number.")]
Concepts = Annotated[
    list[str] | None, typer.Option("--concept", help="Or a concept's URI; 'URI URI' asks for both; may be repeated.")
]
Gallery = Annotated[str | None, typer.Option("--gallery", help="Or a user gallery of Europeana (through WITH).")]
WithCollection = Annotated[str | None, typer.Option("--with-collection", help="Or a collection of WITH, by its id.")]
WithQuery = Annotated[str | None, typer.Option("--with-query", help="Or a query that WITH imports for us.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Or a folder with pictures and metadata.csv.")]
Filters = Annotated[list[str] | None, typer.Option("--qf", help="A filter of the Search API; may be repeated.")]
Since = Annotated[datetime | None, typer.Option(help="Start of the window (UTC); records changed from then on.")]
Until = Annotated[datetime | None, typer.Option(help="End of the window (UTC), not included.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this record; may be repeated.")]
IdsFile = Annotated[Path | None, typer.Option(help="Only these records: a file with an id or a record's address a line.")]
Full = Annotated[bool, typer.Option("--full", help="Everything that is selected.")]
MaxRecords = Annotated[int | None, typer.Option(help="Stop after so many records, as partial; another start goes on.")]
MaxRequests = Annotated[int | None, typer.Option(help="Stop after so many requests to the API.")]
MaxHours = Annotated[float | None, typer.Option(help="Stop after so many hours.")]
Images = Annotated[str | None, typer.Option(help="first, or all: every image of a record (one request more a record).")]
Technical = Annotated[
    bool | None, typer.Option("--technical", help="Ask for type and size of the images (one request more a record).")
]
Again = Annotated[bool, typer.Option("--again", help="Harvest windows anew that are done.")]


@dataclass(frozen=True)
class Wanted:
    """Which records a command names: by a source, or by one of the other options."""

    source: str
    selection: Selection
    rules: HarvestRules


def wanted(
    settings: Settings,
    *,
    source: str | None,
    ways: Mapping[str, object],
    filters: list[str] | None,
    limits: Limits,
    images: str | None = None,
    technical: bool | None = None,
) -> Wanted:
    """The source's selection or a free one, with the limits that were said; CriticalError when more than one is named."""
    given = {name: value for name, value in ways.items() if value is not None and value != []}
    if len(given) > 1 or (given and source):
        names = ", ".join(["--source"] * bool(source) + [f"--{name.replace('_', '-')}" for name in given])
        raise CriticalError(f"say one of them, not several: {names}")
    if given:
        ((way, value),) = given.items()
        found = _free(way, value, tuple(filters or ()))
    else:
        known = find_source(settings.sources_dir, source or DEFAULT)
        selection = replace(known.selection, filters=(*known.selection.filters, *(filters or ())))
        found = Wanted(known.name, selection, known.rules)
    merged = replace(found.rules.limits, **{name: value for name, value in limits.__dict__.items() if value is not None})
    rules = replace(found.rules, limits=merged, images=images or found.rules.images)
    return replace(found, rules=rules if technical is None else replace(rules, technical=technical))


def scope_of(
    *, since: datetime | None, until: datetime | None, ids: list[str] | None, ids_file: Path | None, full: bool, whole: bool
) -> Scope | None:
    """The scope that was said; None for a file of ids. `whole`: the service lists everything or nothing."""
    given = [bool(since or until), bool(ids), bool(ids_file), full]
    if whole:
        if sum(given) > full:
            raise CriticalError("folders and WITH are listed whole: leave out --since, --until, --id and --ids-file")
        return Scope("full")
    if sum(given) != 1:
        raise CriticalError("say exactly one of: --since with --until, --id, --ids-file, --full")
    if since or until:
        return Scope("window", start=since and since.replace(tzinfo=UTC), end=until and until.replace(tzinfo=UTC))
    if ids_file:
        return None
    return Scope("ids", ids=tuple(map(bare_id, ids))) if ids else Scope("full")


def named_run(source: str, scope: Scope | None, ids_file: Path | None) -> str:
    """A name that is the same for the same request, so that saying it again goes on where it was."""
    if scope is None and ids_file is not None:
        try:
            with ids_file.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise CriticalError(f"{ids_file}: cannot be read as a list of ids ({error.strerror})") from error
        return f"{source}-ids-{digest[:8]}"
    if scope is None:
        raise CriticalError("a run needs a scope")
    if scope.mode == "window" and scope.start and scope.end:
        return f"{source}-{scope.start:%Y-%m-%dT%H%M%S}-{scope.end:%Y-%m-%dT%H%M%S}"
    if scope.mode == "ids":
        return f"{source}-ids-{hashlib.sha256(' '.join(scope.ids).encode()).hexdigest()[:8]}"
    return f"{source}-full"


def _free(way: str, value: object, filters: tuple[str, ...]) -> Wanted:
    """A selection that no file names."""
    service, kind = FREE[way]
    concepts: tuple[ConceptQuery, ...] = ()
    if isinstance(value, list):
        concepts = tuple(ConceptQuery(tuple(one.split())) for one in value)
        value = ", ".join(" + ".join(concept.all_of) for concept in concepts)
    if isinstance(value, Path):
        value = value.resolve()
    selection = Selection(kind, str(value), filters, concepts=concepts)
    mark = hashlib.sha256(repr(selection).encode()).hexdigest()[:8]
    return Wanted(f"{way.replace('_', '-')}-{mark}", selection, HarvestRules(service=service))
