"""Reads `vocab/quality.yaml`: what is expected of each dataset, and whether a run stops where it does not hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.datasets.schemas import SCHEMAS
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Outcome, Reason
from pipeline.errors import CriticalError

# The columns of each kind of table that expectations are about; those of `rows` are the dataset's own.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "run": ("rows", "rows_to_previous", "failed_share", "score_range"),
    "concepts": ("label", "images", "score_range"),
    "drift": ("provider", "label", "images", "psi"),
}
_LISTS = {"decisions": Decision, "outcomes": Outcome, "reasons": Reason}


@dataclass(frozen=True)
class Expectation:
    """One entry of the file: `kind` is its name in Great Expectations, `about` the kind of table, `place` where it stands."""

    about: str
    kind: str
    arguments: Mapping[str, Any]
    blocking: bool
    place: str

    @property
    def columns(self) -> list[str]:
        """The columns that it looks at."""
        return list(self.arguments.get("column_list", ())) or [self.arguments["column"]]


def load_expectations(path: Path) -> dict[str, list[Expectation]]:
    """By dataset. Raises CriticalError that names file, entry and what to do, whichever dataset the fault is about."""
    try:
        datasets = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CriticalError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(datasets, dict):
        raise CriticalError(f"{path}: must name datasets, and under each of them: rows, {', '.join(FIGURES)}")
    if unknown := sorted(map(str, datasets.keys() - SCHEMAS.keys())):
        raise CriticalError(f"{path}: {', '.join(unknown)} is no dataset; there are: {', '.join(SCHEMAS)}")
    return {dataset: list(_of_dataset(path, dataset, tables)) for dataset, tables in datasets.items()}


def _of_dataset(path: Path, dataset: str, tables: Any) -> Iterator[Expectation]:
    kinds = ("rows", *FIGURES)
    if not isinstance(tables, dict) or tables.keys() - set(kinds):
        raise CriticalError(f"{path}: {dataset} must hold nothing but: {', '.join(kinds)}")
    for about, entries in tables.items():
        if not isinstance(entries, list):
            raise CriticalError(f"{path}: {dataset}/{about} must be a list of expectations")
        known = FIGURES.get(about) or tuple(SCHEMAS[dataset].names)
        for number, entry in enumerate(entries, start=1):
            yield _expectation(f"{path}: {dataset}/{about}, entry {number}", about, entry, known)


def _expectation(place: str, about: str, entry: Any, known: tuple[str, ...]) -> Expectation:
    if not isinstance(entry, dict) or not str(entry.get("expect", "")).startswith("Expect"):
        raise CriticalError(f"{place}: needs `expect` with the name of an expectation, like ExpectColumnValuesToBeBetween")
    if not isinstance(entry.get("blocking"), bool):
        raise CriticalError(f"{place}: say `blocking: true` (it stops the run) or `blocking: false` (it warns)")
    arguments = {name: value for name, value in entry.items() if name not in ("expect", "blocking")}
    if isinstance(named := arguments.get("value_set"), str):
        if named not in _LISTS:
            raise CriticalError(f"{place}: value_set {named} is not one of {', '.join(_LISTS)}; or give a list")
        arguments["value_set"] = [str(value) for value in _LISTS[named]]
    if not ("column" in arguments) ^ bool(arguments.get("column_list")):
        raise CriticalError(f"{place}: needs either `column` or `column_list`")
    found = Expectation(about, entry["expect"], arguments, entry["blocking"], place)
    if unknown := [str(column) for column in found.columns if column not in known]:
        raise CriticalError(f"{place}: {', '.join(unknown)} is no column here; there are: {', '.join(known)}")
    return found
