"""CSVs of Europeana's image-classification pilot: `category,skos_concept,URI,ID,URL`."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.crowd.csv_lines import csv_lines
from pipeline.crowd.labels import Labels
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.pictures import Pictures
from pipeline.training.sources.rows import Labelled, Source, labelled

_ADVICE = "a CSV of the pilot has category,skos_concept,URI,ID,URL, with blanks between several categories"


def read_pilot(path: Path, beside: Beside) -> Source:
    """The rows of a pilot CSV (WITH contract §5.4): several categories in a row have blanks between them.

    `skos_concept` is looked at only where `category` is empty: the two columns do not run in parallel. `ID` is the record,
    or `URI` where it is empty; empty rows and further columns are passed over.

    In a file with several categories in some row people went through all of them: what a row does not name of the file's
    categories is false. In a file with one category in each row that was the one that a picture was drawn for: a
    photograph of a building stands there as a building alone, so everything else is unknown. Other concepts always are.

    The file is read twice, line by line. Raises CriticalError when it is no such CSV, or a row has no record id.
    """
    labels, offered, several, total = beside.labels(), set[str](), False, 0
    for _, cells in csv_lines(path, ("category", "URI"), _ADVICE):
        values = _values(cells)
        offered |= labels.concepts(values)[0]
        several = several or len(values) > 1
        total += bool(values)
    notes = []
    if offered and not several:
        notes.append(f"{path.name}: one category in each row, so all others of a picture are unknown, not false")
    items = _items(path, offered if several else set(), beside.labels(), beside.pictures)
    return Source(f"pilot:{path.name}", items, total, labels.unknown, notes, by_people=True)


def _values(cells: dict[str, str]) -> list[str]:
    return (cells["category"] or cells.get("skos_concept", "")).split()


def _items(path: Path, checked: set[str], labels: Labels, pictures: Pictures) -> Iterator[Labelled]:
    for line, cells in csv_lines(path, ("category", "URI"), _ADVICE):
        values = _values(cells)
        if not values:
            continue
        record_id = record_of(cells.get("ID", "")) or record_of(cells["URI"])
        if not record_id:
            raise CriticalError(f"{path} line {line}: neither ID nor URI names a record /dataset/local; {_ADVICE}")
        true, readable = labels.concepts(values)
        address = cells.get("URL", "")
        picture = pictures.find(record_id=record_id, addresses=[address] if address else [])
        yield labelled(record_id, picture, *labels.row(true, checked - true if readable else set()), line=line)
