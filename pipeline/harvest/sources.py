"""Sources are data: `vocab/sources/*.yaml`, one file a source. Read when DAGs are parsed, so nothing heavy here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.domain.scope import Selection
from pipeline.errors import CriticalError

DEFAULT = "default"


@dataclass(frozen=True)
class Source:
    """Where records come from, and when."""

    name: str
    kind: str
    selection: Selection
    schedule: str | None
    description: str

    @property
    def dag_id(self) -> str:
        """The source `default` makes `enrich_nightly`, any other `enrich_nightly_<name>`."""
        return "enrich_nightly" if self.name == DEFAULT else f"enrich_nightly_{self.name}"


def load_sources(folder: Path) -> dict[str, Source]:
    """All sources by name; CriticalError that names the file of one that cannot be used."""
    sources = [_source(path) for path in sorted(folder.glob("*.yaml"))]
    return {source.name: source for source in sources}


def find_source(folder: Path, name: str) -> Source:
    """One source; the error lists the names that exist."""
    sources = load_sources(folder)
    if name not in sources:
        raise CriticalError(f"no source {name!r} in {folder}; there are: {', '.join(sources) or 'none'}")
    return sources[name]


def _source(path: Path) -> Source:
    try:
        value: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        selection = value["selection"]
        source = Source(
            name=value["name"],
            kind=value["kind"],
            selection=Selection(
                kind=selection["kind"],
                value=selection["value"],
                filters=tuple(selection.get("filters", ())),
                reusability=selection.get("reusability", ""),
            ),
            schedule=value.get("schedule"),
            description=value.get("description", ""),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, CriticalError) as error:
        raise CriticalError(f"{path}: not a usable source ({type(error).__name__}: {error})") from error
    if source.name != path.stem:
        raise CriticalError(f"{path}: the name {source.name!r} must be the file's name")
    return source
