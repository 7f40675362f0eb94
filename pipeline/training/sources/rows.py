"""What every source of labelled pictures yields, whatever it is made of."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.collection import CollectionRow


@dataclass(frozen=True)
class Picture:
    """A picture as a file or as its bytes; neither, and `reason` and `detail` say why.

    `image_id` is set where `content` is not as it was received: a derivative carries the id of its original. `known` is
    what else is known of the picture where it was found.
    """

    file: Path | None = None
    content: bytes | None = None
    image_id: str = ""
    reason: str = ""
    detail: str = ""
    known: CollectionRow | None = None

    @property
    def suffix(self) -> str:
        """The ending of its file name, in small letters; derivatives are JPEGs."""
        return self.file.suffix.lower() if self.file else ".jpg"

    def read(self) -> bytes:
        """The bytes of its file; FileNotFoundError when there is neither file nor content."""
        if self.content is not None:
            return self.content
        if self.file is None:
            raise FileNotFoundError(self.detail)
        return self.file.read_bytes()


@dataclass(frozen=True)
class Labelled:
    """A row with its picture. Its concepts, and those that are unknown, are slugs (in collections as the CSV has them)."""

    row: CollectionRow
    picture: Picture


@dataclass(frozen=True)
class Source:
    """A named source. `items` may be read once; `unknown_labels` and `notes` are complete when it has been read.

    `query` says in words what was asked for, where the source is what a query found.
    `by_people`: people have looked at these pictures to say so; what they say goes before what metadata say.
    """

    name: str
    items: Iterable[Labelled]
    total: int | None = None
    unknown_labels: Mapping[str, int] = field(default_factory=Counter)
    notes: Sequence[str] = ()
    by_people: bool = False
    query: str = ""


def labelled(record_id: str, picture: Picture, concepts: tuple[str, ...], unknown: tuple[str, ...], line: int = 0) -> Labelled:
    """A row of a source that states nothing but concepts; where the picture was found with its metadata they come along."""
    row = picture.known or CollectionRow(record_id, "")
    row = replace(row, record_id=record_id, concepts=concepts, not_annotated=unknown, group=record_id, split="", line=line)
    return Labelled(replace(row, image_file=picture.file.name if picture.file else ""), picture)


def made_up_record(dataset: str, local: str) -> str:
    """A record id for a picture that has none; two pictures of a dataset never share one."""
    return f"/{_word(dataset)}/{_word(local)}"


def _word(text: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_")
    return readable if readable == text else f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
