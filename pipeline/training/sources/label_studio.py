"""Label Studio's JSON export of image classification (`Choices`)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError
from pipeline.training.sources.ballots import Ballots, Question, verdicts
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.json_file import read_json, texts
from pipeline.training.sources.labels import Labels
from pipeline.training.sources.pictures import Pictures, picture_addresses
from pipeline.training.sources.rows import Labelled, Source, labelled, made_up_record, record_of

_ADVICE = "export the project from Label Studio as JSON (not JSON-MIN, not CSV)"
_RECORD_KEYS = ("ID", "record_id", "europeana_id", "URI", "uri")
_PICTURE_KEYS = ("image", "URL", "url", "img", "picture", "photo", "file_upload")
FEWEST_VOTES = 1


def read_label_studio(path: Path, beside: Beside) -> Source:
    """The pictures of an export: a JSON array of tasks with `data` and `annotations[].result[].value.choices[]`
    (WITH contract §5.4; the pilot's tasks have `data{ID,URI,URL,category}`).

    A control's choices are those that anybody has made in the file, as the export does not tell the others. Who answered
    the control left out the other choices, single or multiple: they are false. Choices of several people: what more than
    half say; a tie is unknown, and in a control with one choice a picture that no choice has a majority for has none
    false that somebody made. Concepts that were never chosen are unknown. Cancelled and empty annotations are no answer.

    Raises CriticalError when the file is no such export.
    """
    entries = read_json(path, _ADVICE)
    if not isinstance(entries, list):
        raise CriticalError(f"{path}: a JSON object, not the array of an export; {_ADVICE}")
    labels, questions, read = beside.labels(), dict[str, Question](), []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), dict) or not _has_annotations(entry):
            raise CriticalError(f"{path} entry {number}: it has no data or no list of annotations; {_ADVICE}")
        read.append((texts(entry["data"]) | _upload(entry), entry.get("id", number), _answers(entry, labels, questions)))
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(path, read, questions, labels, beside.pictures, least)
    return Source(f"label-studio:{path.name}", items, len(read), labels.unknown)


def _has_annotations(entry: Mapping[str, Any]) -> bool:
    found = entry.get("annotations", entry.get("completions"))
    return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def _upload(entry: Mapping[str, Any]) -> dict[str, str]:
    return texts({"file_upload": entry.get("file_upload")})


def _answers(entry: Mapping[str, Any], labels: Labels, questions: dict[str, Question]) -> dict[str, Ballots]:
    """Ballots by control (`from_name`); what is offered is gathered in `questions`."""
    ballots: dict[str, Ballots] = defaultdict(Ballots)
    for annotation in entry.get("annotations", entry.get("completions")):
        if annotation.get("was_cancelled"):
            continue
        made = _choices(annotation)
        for control, choices in made.items():
            slugs, readable = labels.concepts(choices, question=control)
            question = questions.setdefault(control, Question())
            question.offered |= slugs
            question.single &= len(choices) == 1
            ballots[control].add(slugs, readable=readable)
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


def _items(
    path: Path,
    read: Sequence[tuple[Mapping[str, str], Any, Mapping[str, Ballots]]],
    questions: Mapping[str, Question],
    labels: Labels,
    pictures: Pictures,
    fewest: int,
) -> Iterator[Labelled]:
    names = Counter(number for _, number, _ in read)
    for place, (data, number, ballots) in enumerate(read, 1):
        true, false = verdicts([(questions[control], one) for control, one in ballots.items()], fewest=fewest)
        addresses = picture_addresses(data, _PICTURE_KEYS)
        known = next(filter(None, (record_of(data.get(key, "")) for key in _RECORD_KEYS)), "")
        made_up = made_up_record(path.stem, str(number) if names[number] == 1 else f"{number}-{place}")
        picture = pictures.find(record_id=known, addresses=addresses, image_id=data.get("image_id", ""))
        yield labelled(known or made_up, picture, *labels.row(true, false), line=place)
