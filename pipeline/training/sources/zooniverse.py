"""Zooniverse's classification export (CSV)."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.crowd.ballots import verdicts
from pipeline.crowd.labels import Labels
from pipeline.crowd.zooniverse import FEWEST_VOTES, Classifications, read_classifications
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.pictures import Pictures, picture_addresses
from pipeline.training.sources.rows import Labelled, Source, labelled, made_up_record

_PICTURE_KEYS = ("image_name", "filename", "Filename", "file_name", "image", "link", "url", "URL")


def read_zooniverse(path: Path, beside: Beside) -> Source:
    """The subjects of an export, with their classifications counted (`read_classifications`).

    True or false is what more than half say, from 3 votes on (`fewest_votes`); everything else is unknown, and so is what
    was never offered. Where one answer is allowed and none has a majority, those that somebody gave are unknown.

    A subject's picture is looked for by its record, by `image_name` and by whatever in the metadata looks like a picture.
    Raises CriticalError for another file.
    """
    labels = beside.labels()
    read = read_classifications(path, labels)
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(path, read, labels, beside.pictures, least)
    return Source(f"zooniverse:{path.name}", items, len(read.subjects), labels.unknown, read.notes(path), by_people=True)


def _items(path: Path, read: Classifications, labels: Labels, pictures: Pictures, fewest: int) -> Iterator[Labelled]:
    for identity, subject in read.subjects.items():
        data, known = subject.metadata, subject.record_id
        true, false = verdicts(((read.questions[key], one) for key, one in subject.ballots.items()), fewest=fewest)
        addresses = picture_addresses(data, _PICTURE_KEYS)
        picture = pictures.find(record_id=known, addresses=addresses, image_id=data.get("image_id", ""))
        yield labelled(known or made_up_record(path.stem, identity), picture, *labels.row(true, false), line=subject.line)
