"""Zooniverse's classification export (CSV): subjects, and what volunteers answered about them."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.crowd.ballots import Answer, Ballots, Question
from pipeline.crowd.csv_lines import csv_lines
from pipeline.crowd.json_file import texts
from pipeline.crowd.labels import Labels
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError

ADVICE = "ask for the project's classification export (Data Exports) and give the CSV as it is"
FEWEST_VOTES = 3
_COLUMNS = ("user_name", "workflow_id", "workflow_version", "metadata", "annotations", "subject_data", "subject_ids")
_RECORD_KEYS = ("europeana_id", "URI", "record_id", "ID")


@dataclass
class Subject:
    """A picture that was asked about. `record_id` is empty where its metadata name none."""

    metadata: Mapping[str, str]
    line: int
    ballots: dict[str, Ballots] = field(default_factory=lambda: defaultdict(Ballots))

    @property
    def record_id(self) -> str:
        """From the metadata's `europeana_id` or `URI` (the pilot's keys, WITH contract §5.4)."""
        return next(filter(None, (record_of(self.metadata.get(key, "")) for key in _RECORD_KEYS)), "")


@dataclass
class Classifications:
    """What one pass over the file gathers: as large as there are subjects, not classifications.

    `left` are classifications that are not counted, by reason.
    """

    subjects: dict[str, Subject] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    answered: set[int] = field(default_factory=set)  # hashes of (user, subject, workflow, task)

    def notes(self, path: Path) -> list[str]:
        """A sentence for each reason why something is not counted."""
        return [f"{path.name}: {count:,} classifications are not counted: {why}" for why, count in self.left.items()]


def read_classifications(path: Path, labels: Labels, heard: Callable[[Answer], None] = lambda answer: None) -> Classifications:
    """Count the classifications of an export (columns: WITH contract §6.3); `heard` gets each answer that counts.

    `annotations` is `[{task, task_label, value}]`; a value is the label's text, a list of them, or a survey's list of
    `{choice}`. A yes or no is about the `concept` that the subject's metadata name, if they do. Answers that anybody has
    given to a task in a version of the workflow count as offered there; who answered chose against the rest.

    Not counted: classifications made before the project was live, a person's second answer about a subject, and those
    of several subjects at once (`subject_ids` joined by `;`): which of them is meant is not to be told.
    Raises CriticalError for another file.
    """
    read = Classifications()
    for line, cells in csv_lines(path, _COLUMNS, ADVICE):
        _count(path, line, cells, labels, read, heard)
    return read


def _count(
    path: Path, line: int, cells: Mapping[str, str], labels: Labels, read: Classifications, heard: Callable[[Answer], None]
) -> None:
    metadata, annotations, subjects = (
        _json(path, line, name, cells[name], kind)
        for name, kind in (("metadata", dict), ("annotations", list), ("subject_data", dict))
    )
    if metadata.get("live_project") is False:
        read.left["made before the project was live"] += 1
    elif ";" in cells["subject_ids"] or len(subjects) > 1:
        read.left["about several subjects at once"] += 1
    else:
        identity = cells["subject_ids"]
        if identity not in read.subjects:
            read.subjects[identity] = Subject(_hidden_keys(texts(subjects.get(identity))), line)
        for annotation in annotations:
            if isinstance(annotation, dict):
                _vote(identity, cells, annotation, labels, read, heard)


def _vote(
    identity: str,
    cells: Mapping[str, str],
    annotation: Mapping[str, Any],
    labels: Labels,
    read: Classifications,
    heard: Callable[[Answer], None],
) -> None:
    chosen, single = _chosen(annotation.get("value"))
    if not chosen:
        return
    task = str(annotation.get("task", ""))
    who = hash((cells["user_name"], identity, cells["workflow_id"], task))
    if who in read.answered:
        read.left["a person's second answer about a subject"] += 1
        return
    read.answered.add(who)
    # What is offered may change with a version; only its first number says so.
    key = "|".join((cells["workflow_id"], cells["workflow_version"].partition(".")[0], task))
    subject = read.subjects[identity]
    meant = labels.answer(chosen, question=task, concept=subject.metadata.get("concept", ""))
    key = f"{key}|{meant.about}"
    question = read.questions.setdefault(key, Question())
    question.offered |= meant.offered
    question.single &= single and not meant.about
    subject.ballots[key].add(meant.chosen, readable=meant.readable)
    heard(Answer(identity, key, hash(cells["user_name"]), meant.chosen, meant.readable))


def _chosen(value: Any) -> tuple[Sequence[str], bool]:
    """The labels of a value, and whether it is of a task with one answer; marks and numbers have no labels."""
    if isinstance(value, str):
        return [value], True
    if not isinstance(value, list):
        return [], True
    plain = [one for one in value if isinstance(one, str)]
    survey = [str(one["choice"]) for one in value if isinstance(one, dict) and one.get("choice")]
    return plain + survey, False


def _hidden_keys(metadata: Mapping[str, str]) -> dict[str, str]:
    """A key that starts with `#` or `!` is hidden from volunteers, and means the same (contract §6.2)."""
    return {name.lstrip("#!/ "): value for name, value in metadata.items()}


def _json(path: Path, line: int, name: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text or ("[]" if kind is list else "{}"))
    except ValueError as error:
        raise CriticalError(f"{path} line {line}: the column {name} is not JSON ({error}); {ADVICE}") from error
    if not isinstance(value, kind):
        raise CriticalError(f"{path} line {line}: the column {name} holds no JSON {kind.__name__}; {ADVICE}")
    return value
