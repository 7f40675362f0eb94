"""Label Studio's JSON export of image classification (`Choices`)."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.crowd.ballots import verdicts
from pipeline.crowd.label_studio import FEWEST_VOTES, Project, read_project
from pipeline.crowd.labels import Labels
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.pictures import Pictures, picture_addresses
from pipeline.training.sources.rows import Labelled, Source, labelled, made_up_record

_PICTURE_KEYS = ("image", "URL", "url", "img", "picture", "photo", "file_upload")


def read_label_studio(path: Path, beside: Beside) -> Source:
    """The pictures of an export (`read_project`).

    Who answered a control left out the other choices, single or multiple: they are false. Choices of several people: what
    more than half say; a tie is unknown, and in a control with one choice a picture that no choice has a majority for has
    none false that somebody made. Concepts that were never chosen are unknown.

    Raises CriticalError when the file is no such export.
    """
    labels = beside.labels()
    project = read_project(path, labels)
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(path, project, labels, beside.pictures, least)
    return Source(f"label-studio:{path.name}", items, len(project.tasks), labels.unknown, by_people=True)


def _items(path: Path, project: Project, labels: Labels, pictures: Pictures, fewest: int) -> Iterator[Labelled]:
    names = Counter(task.number for task in project.tasks)
    for task in project.tasks:
        answers = [(project.questions[key], one) for key, one in task.ballots.items()]
        true, false = verdicts(answers, fewest=fewest)
        addresses = picture_addresses(task.data, _PICTURE_KEYS)
        known = task.record_id
        made_up = made_up_record(path.stem, str(task.number) if names[task.number] == 1 else f"{task.number}-{task.place}")
        picture = pictures.find(record_id=known, addresses=addresses, image_id=task.data.get("image_id", ""))
        yield labelled(known or made_up, picture, *labels.row(true, false), line=task.place)
