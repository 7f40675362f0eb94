"""Label Studio's JSON export of image classification (`Choices`): tasks, and what annotators chose."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.crowd.ballots import Answer, Ballots, Question
from pipeline.crowd.json_file import read_json, texts
from pipeline.crowd.labels import Labels
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError

ADVICE = "export the project from Label Studio as JSON (not JSON-MIN, not CSV)"
FEWEST_VOTES = 1
_RECORD_KEYS = ("ID", "record_id", "europeana_id", "URI", "uri")


@dataclass(frozen=True)
class Task:
    """A picture that was asked about; ballots by control. `record_id` is empty where its data name none."""

    place: int
    number: Any  # Label Studio's own, or the place where it has none
    data: Mapping[str, str]
    ballots: Mapping[str, Ballots]

    @property
    def record_id(self) -> str:
        """From the data's `ID` or `URI` (the pilot's keys, WITH contract §5.4)."""
        return next(filter(None, (record_of(self.data.get(key, "")) for key in _RECORD_KEYS)), "")


@dataclass(frozen=True)
class Project:
    """All tasks, and by control what was asked."""

    tasks: Sequence[Task]
    questions: Mapping[str, Question]


def read_project(path: Path, labels: Labels, heard: Callable[[Answer], None] = lambda answer: None) -> Project:
    """Read an export: a JSON array of tasks with `data` and `annotations[].result[].value.choices[]` (WITH contract §5.4;
    the pilot's tasks have `data{ID,URI,URL,category}`); `heard` gets each answer.

    A control's choices are those that anybody has made in the file, as the export does not tell the others. A yes or no
    is about the `concept` of the task's data, if there is one. Cancelled and empty annotations are no answer.
    Raises CriticalError when the file is no such export.
    """
    entries = read_json(path, ADVICE)
    if not isinstance(entries, list):
        raise CriticalError(f"{path}: a JSON object, not the array of an export; {ADVICE}")
    questions, tasks = dict[str, Question](), list[Task]()
    for place, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict) or not _has_annotations(entry):
            raise CriticalError(f"{path} entry {place}: it has no data or no list of annotations; {ADVICE}")
        data = texts(entry["data"]) | texts({"file_upload": entry.get("file_upload")})
        ballots = _answers(place, entry, data, labels, questions, heard)
        tasks.append(Task(place, entry.get("id", place), data, ballots))
    return Project(tasks, questions)


def _has_annotations(entry: Mapping[str, Any]) -> bool:
    found = entry.get("annotations", entry.get("completions"))
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def _answers(
    place: int,
    entry: Mapping[str, Any],
    data: Mapping[str, str],
    labels: Labels,
    questions: dict[str, Question],
    heard: Callable[[Answer], None],
) -> dict[str, Ballots]:
    """Ballots by control (`from_name`); what is offered is gathered in `questions`."""
    ballots: dict[str, Ballots] = defaultdict(Ballots)
    for annotation in entry.get("annotations", entry.get("completions")):
        if annotation.get("was_cancelled"):
            continue
        for control, choices in _choices(annotation).items():
            meant = labels.answer(choices, question=control, concept=data.get("concept", ""))
            key = f"{control}|{meant.about}"
            question = questions.setdefault(key, Question())
            question.offered |= meant.offered
            question.single &= len(choices) == 1 and not meant.about
            ballots[key].add(meant.chosen, readable=meant.readable)
            heard(Answer(str(place), key, hash(str(annotation.get("completed_by"))), meant.chosen, meant.readable))
    return ballots


def _choices(annotation: Mapping[str, Any]) -> dict[str, list[str]]:
    """The choices of an annotation by control; other kinds of results are not looked at. A taxonomy's last word counts."""
    made: dict[str, list[str]] = {}
    for result in annotation.get("result") or []:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list) and choices:
            made.setdefault(str(result.get("from_name", "")), []).extend(str(choice) for choice in choices)
    return made
