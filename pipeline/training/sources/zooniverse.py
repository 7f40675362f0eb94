"""Zooniverse's classification export (CSV)."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError
from pipeline.training.sources.ballots import Ballots, Question, verdicts
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.csv_lines import csv_lines
from pipeline.training.sources.json_file import texts
from pipeline.training.sources.labels import Labels
from pipeline.training.sources.pictures import Pictures, picture_addresses
from pipeline.training.sources.rows import Labelled, Source, labelled, made_up_record, record_of

_COLUMNS = ("user_name", "workflow_id", "workflow_version", "metadata", "annotations", "subject_data", "subject_ids")
_ADVICE = "ask for the project's classification export (Data Exports) and give the CSV as it is"
_RECORD_KEYS = ("europeana_id", "URI", "record_id", "ID")
_PICTURE_KEYS = ("image_name", "filename", "Filename", "file_name", "image", "link", "url", "URL")
FEWEST_VOTES = 3

_Key = tuple[str, str, str]  # workflow, major version, task: what is offered may change with a version


@dataclass
class _Subject:
    metadata: Mapping[str, str]
    line: int
    ballots: dict[_Key, Ballots] = field(default_factory=lambda: defaultdict(Ballots))


@dataclass
class _Read:
    """What one pass over the file gathers: as large as there are subjects, not classifications."""

    subjects: dict[str, _Subject] = field(default_factory=dict)
    questions: dict[_Key, Question] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    answered: set[int] = field(default_factory=set)  # hashes of (user, subject, workflow, task)


def read_zooniverse(path: Path, beside: Beside) -> Source:
    """The subjects of an export, with their classifications counted (columns: WITH contract §6.3).

    `annotations` is `[{task, task_label, value}]`; a value is the label's text, a list of them, or a survey's list of
    `{choice}`. Left out: classifications made before the project was live, a person's second answer about a subject, and
    classifications of several subjects at once. Answers that anybody has given to a task in a version of the workflow
    count as offered there; who answered chose against the rest. True or false is what more than half say, from 3 votes on
    (`fewest_votes`); everything else is unknown, and so is what was never offered. Where one answer is allowed and none
    has a majority, those that somebody gave are unknown.

    A subject's record is its metadata's `europeana_id` or `URI` (the pilot's keys, §5.4), its picture is looked for by
    that, by `image_name` and by whatever in the metadata looks like a picture. Raises CriticalError for another file.
    """
    labels, read = beside.labels(), _Read()
    for line, cells in csv_lines(path, _COLUMNS, _ADVICE):
        _count(path, line, cells, labels, read)
    notes = [f"{path.name}: {count:,} classifications are not counted: {why}" for why, count in read.left.items()]
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(path, read, labels, beside.pictures, least)
    return Source(f"zooniverse:{path.name}", items, len(read.subjects), labels.unknown, notes)


def _count(path: Path, line: int, cells: Mapping[str, str], labels: Labels, read: _Read) -> None:
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
            read.subjects[identity] = _Subject(_hidden_keys(texts(subjects.get(identity))), line)
        for annotation in annotations:
            if isinstance(annotation, dict):
                _vote(identity, cells, annotation, labels, read)


def _vote(identity: str, cells: Mapping[str, str], annotation: Mapping[str, Any], labels: Labels, read: _Read) -> None:
    chosen, single = _chosen(annotation.get("value"))
    if not chosen:
        return
    task = str(annotation.get("task", ""))
    who = hash((cells["user_name"], identity, cells["workflow_id"], task))
    if who in read.answered:
        read.left["a person's second answer about a subject"] += 1
        return
    read.answered.add(who)
    slugs, readable = labels.concepts(chosen, question=task)
    key = (cells["workflow_id"], cells["workflow_version"].partition(".")[0], task)
    question = read.questions.setdefault(key, Question())
    question.offered |= slugs
    question.single &= single
    read.subjects[identity].ballots[key].add(slugs, readable=readable)


def _chosen(value: Any) -> tuple[list[str], bool]:
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
        raise CriticalError(f"{path} line {line}: the column {name} is not JSON ({error}); {_ADVICE}") from error
    if not isinstance(value, kind):
        raise CriticalError(f"{path} line {line}: the column {name} holds no JSON {kind.__name__}; {_ADVICE}")
    return value


def _items(path: Path, read: _Read, labels: Labels, pictures: Pictures, fewest: int) -> Iterator[Labelled]:
    for identity, subject in read.subjects.items():
        data = subject.metadata
        true, false = verdicts(((read.questions[key], one) for key, one in subject.ballots.items()), fewest=fewest)
        known = next(filter(None, (record_of(data.get(key, "")) for key in _RECORD_KEYS)), "")
        addresses = picture_addresses(data, _PICTURE_KEYS)
        picture = pictures.find(record_id=known, addresses=addresses, image_id=data.get("image_id", ""))
        yield labelled(known or made_up_record(path.stem, identity), picture, *labels.row(true, false), line=subject.line)
