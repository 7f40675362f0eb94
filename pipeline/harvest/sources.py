"""Sources are data: `vocab/sources/*.yaml`, one file a source. Read when DAGs are parsed, so nothing heavy here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import ConceptQuery, Selection
from pipeline.errors import CriticalError

DEFAULT = "default"
# How a source of each kind may name its records, and what the selection is called then.
WAYS: Mapping[str, Mapping[str, str]] = {
    "europeana": {"query": "query", "dataset": "dataset", "concepts": "concept"},
    "with": {"collection": "with_collection", "query": "query", "gallery": "gallery"},
    "folder": {"folder": "folder"},
}
# How records are named without a source, by hand or in a form: the service, and the kind of selection.
FREE: Mapping[str, tuple[str, str]] = {
    "dataset": ("europeana", "dataset"),
    "query": ("europeana", "query"),
    "concept": ("europeana", "concept"),
    "with_collection": ("with", "with_collection"),
    "with_query": ("with", "query"),
    "gallery": ("with", "gallery"),
    "folder": ("folder", "folder"),
}
_OF_EUROPEANA = ("qf", "reusability", "images", "technical", "window_hours", "window_hits", "revisit_days", "revisit_windows")
_NUMBERS = ("window_hours", "window_hits", "revisit_windows")
_RULES = ("images", "technical", "window_hours", "window_hits", "revisit_windows")


@dataclass(frozen=True)
class Source:
    """Where records come from, which ones, how, and when."""

    name: str
    selection: Selection
    rules: HarvestRules
    schedule: str | None = None
    description: str = ""

    @property
    def kind(self) -> str:
        """`europeana`, `with` or `folder`."""
        return self.rules.service

    @property
    def dag_id(self) -> str:
        """The source `default` makes `enrich_nightly`, any other `enrich_nightly_<name>`."""
        return "enrich_nightly" if self.name == DEFAULT else f"enrich_nightly_{self.name}"


def load_sources(folder: Path) -> dict[str, Source]:
    """All sources by name; CriticalError that names file and line of what cannot be used."""
    sources = [load_source(path) for path in sorted(folder.glob("*.yaml"))]
    return {source.name: source for source in sources}


def load_good_sources(folder: Path) -> tuple[dict[str, Source], dict[str, str]]:
    """The sources that can be used, and of the others, by file name, what is wrong with them."""
    sources, problems = {}, {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            sources[path.stem] = load_source(path)
        except CriticalError as error:
            problems[path.stem] = str(error)
    return sources, problems


def find_source(folder: Path, name: str) -> Source:
    """One source; the error lists the names that exist."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(other.stem for other in folder.glob("*.yaml")))
        raise CriticalError(f"no source {name!r} in {folder}; there are: {names or 'none'}")
    return load_source(path)


def load_source(path: Path) -> Source:
    """One file; CriticalError with a line for each thing that is wrong, each with its place."""
    try:
        text = path.read_text(encoding="utf-8")
        tree, value = yaml.compose(text), yaml.safe_load(text)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise CriticalError(f"{path}{where}: not readable as YAML: {getattr(error, 'problem', None) or error}") from error
    problems = [f"{path} line {line}: {name} stands twice" for line, name in _twice(tree)]
    problems += [f"{path} line {_line(tree, place)}: {message}" for place, message in _problems(path, value)]
    if problems:
        raise CriticalError("\n".join(problems))
    try:
        return _source(path, value)
    except CriticalError as error:
        raise CriticalError(f"{path}: {error}") from error


def _problems(path: Path, value: Any) -> Iterator[tuple[Sequence[Any], str]]:
    """What is wrong, with the place in the document."""
    if not isinstance(value, dict):
        yield (), "a source is a list of `name: value` lines; `enrich source new` writes one to begin with"
        return
    found = False
    for error in sorted(_schema().iter_errors(value), key=lambda error: list(map(str, error.absolute_path))):
        found = True
        yield _place(error), _message(error)
    if found:
        return
    for number, one in enumerate(value.get("qf", ())):
        if one.startswith("timestamp_update:"):
            yield ("qf", number), "a filter on timestamp_update would widen the windows: the server takes either of two"
    if value.get("schedule") is not None and not _is_cron(value["schedule"]):
        yield ("schedule",), f"{value['schedule']!r} is no cron expression, such as '0 2 * * *' for every night at two"
    if value["name"] != path.stem:
        yield ("name",), f"the name {value['name']!r} must be the file's: {path.stem!r}"
    ways = WAYS[value["kind"]]
    given = [way for of_kind in WAYS.values() for way in of_kind if way in value]
    if len(set(given)) != 1 or given[0] not in ways:
        yield ("kind",), f"a source of kind {value['kind']} names its records by exactly one of: {', '.join(ways)}"
    if value["kind"] != "europeana":
        for name in _OF_EUROPEANA:
            if name in value:
                yield (name,), f"{name} is for sources of kind europeana only"


def _source(path: Path, value: Mapping[str, Any]) -> Source:
    kind = value["kind"]
    way = next(way for way in WAYS[kind] if way in value)
    # A whole number may be written 10.0 in YAML.
    rules: dict[str, Any] = {name: int(value[name]) if name in _NUMBERS else value[name] for name in _RULES if name in value}
    limits = {name: number if name == "max_hours" else int(number) for name, number in value.get("limits", {}).items()}
    return Source(
        name=value["name"],
        selection=Selection(
            kind=WAYS[kind][way],
            value=_value(path, way, value[way]),
            filters=tuple(value.get("qf", ())),
            reusability=",".join(value.get("reusability", ())),
            concepts=_concepts(value.get("concepts", ())),
        ),
        rules=HarvestRules(
            service=kind,
            rights=tuple(value.get("rights", ())),
            revisit_days=tuple(sorted(map(int, value.get("revisit_days", ())))),
            limits=Limits(**limits),
            **rules,
        ),
        schedule=value.get("schedule"),
        description=value.get("description", ""),
    )


def _value(path: Path, way: str, value: Any) -> str:
    if way == "folder":
        return str((path.parent / value).resolve())
    if way == "concepts":
        return ", ".join(" + ".join(concept.all_of) for concept in _concepts(value))
    return str(value)


def _concepts(values: Sequence[Any]) -> tuple[ConceptQuery, ...]:
    return tuple(
        ConceptQuery((one,)) if isinstance(one, str) else ConceptQuery(tuple(one["all_of"]), _whole(one.get("cap")))
        for one in values
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _is_cron(text: str) -> bool:
    from croniter import croniter

    return bool(croniter.is_valid(text))


def _twice(tree: Any) -> Iterator[tuple[int, str]]:
    """Fields that a mapping has twice: YAML would silently take the last one."""
    if isinstance(tree, yaml.MappingNode):
        seen = set()
        for key, value in tree.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _twice(value)


@cache
def _schema() -> Any:
    from jsonschema import Draft202012Validator

    schema = json.loads(Path(__file__).with_name("source.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _place(error: Any) -> list[Any]:
    """Where the trouble is; of an unknown field, the field itself."""
    place = list(error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = [name for name in error.instance if name not in error.schema["properties"]]
        return [*place, unknown[0]]
    return place


def _message(error: Any) -> str:
    """The validator's finding in words that say what to do."""
    if error.validator == "additionalProperties":
        known = ", ".join(error.schema["properties"])
        return f"{_place(error)[-1]!r} is not a field here; there are: {known}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{', '.join(missing)} is missing"
    if error.validator == "anyOf":  # a concept
        return f"{error.instance!r} is neither a concept's URI nor all_of with URIs"
    hint = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    name = ".".join(map(str, error.absolute_path))
    return f"{name}: {error.message}. {hint}".strip()


def _line(tree: Any, place: Sequence[Any]) -> int:
    """The line of a place in the document; of a field, the line of its name."""
    line, node = (tree.start_mark.line if tree is not None else 0), tree
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(step)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
    return int(line) + 1
