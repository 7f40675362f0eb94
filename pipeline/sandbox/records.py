"""The collection's rows as records of Europeana: search index fields and picture links.

Of a row only what an institution would have published is used; its concepts, its groups and its split are what the
pipeline is to be measured by, and never enter a record.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from pipeline.collection import CollectionRow
from pipeline.errors import CriticalError
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.pictures import Picture, measure

DAY_MS = 86_400_000
_YEAR = timedelta(days=365)

_OPEN = (
    "creativecommons.org/publicdomain/mark/",
    "creativecommons.org/publicdomain/zero/",
    "creativecommons.org/licenses/by/",
    "creativecommons.org/licenses/by-sa/",
)
_RESTRICTED = (
    "creativecommons.org/licenses/by-nc",
    "creativecommons.org/licenses/by-nd",
    "rightsstatements.org/vocab/NoC-NC/",
    "rightsstatements.org/vocab/NoC-OKLR/",
    "rightsstatements.org/vocab/InC-EDU/",
    "www.europeana.eu/rights/out-of-copyright-non-commercial/",
)
_PERMISSION = (
    "rightsstatements.org/vocab/InC/",
    "rightsstatements.org/vocab/InC-OW-EU/",
    "rightsstatements.org/vocab/CNE/",
    "www.europeana.eu/rights/",
)
REUSABILITY = {"open": _OPEN, "restricted": _RESTRICTED, "permission": _PERMISSION}

# Endings that, behind the id of any record, name an id which the Record API alone knows (contract 2.2).
MOVED = "_moved"
DEPUBLISHED = "_depublished"
_KINDS_EVERY = 50
MANY_VIEWS = 18


class Kind(Enum):
    """What is unusual about a record in the Record API; search shows nothing of it (contract 2.4)."""

    PLAIN = -1
    MANY_VIEWS = 3
    PICTURE_FIRST = 4
    NO_WEB_RESOURCES = 5
    NOT_PROCESSED = 6
    IMAGE_SERVICE = 7


@dataclass(frozen=True)
class Record:
    """One record. `shown_by` is the picture's address, empty for a record without a picture.

    `number` is the row's place in the collection; it decides which records are of an unusual kind (`Kind`).
    """

    row: CollectionRow
    path: Path | None
    shown_by: str
    shown_at: str
    updated: datetime
    number: int = 0

    @property
    def id(self) -> str:
        """`/dataset/local`."""
        return self.row.record_id

    @property
    def kind(self) -> Kind:
        """Of every fifty rows of the collection the fourth to the eighth are of an unusual kind."""
        place = self.number % _KINDS_EVERY
        kind = Kind(place) if 3 <= place <= 7 else Kind.PLAIN
        return Kind.PLAIN if not self.shown_by else kind

    @property
    def created(self) -> datetime:
        """First publication: some time before the last change."""
        return self.updated - _YEAR

    @property
    def dataset_name(self) -> str:
        """`edmDatasetName`: the dataset number with a name behind it."""
        return f"{self.id.split('/')[1]}_sandbox"

    @cached_property
    def picture(self) -> Picture | None:
        """What the ingestion measured; None when the file could not be processed."""
        return measure(self.path) if self.path else None

    @property
    def reusability(self) -> str:
        """`open`, `restricted`, `permission` or `uncategorized` (contract section 4)."""
        address = re.sub(r"^https?://", "", self.row.rights)
        for name, prefixes in REUSABILITY.items():
            if address.startswith(prefixes):
                return name
        return "uncategorized"

    @cached_property
    def words(self) -> str:
        """Title, creator and holder as folded text, for free-text search."""
        return fold(" ".join((self.row.title, self.row.creator, self.row.provider, self.row.data_provider)))


def fold(text: str) -> str:
    """Lower case, without accents, words apart by one blank, with a blank at both ends."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain.lower())
    return f" {' '.join(words)} "


def iso(moment: datetime) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def md5(address: str) -> str:
    """The key of a picture's thumbnail (contract 3.1)."""
    return hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()


def first_moment(options: SandboxOptions) -> datetime:
    """Midnight of the sandbox's day: every record was last changed on that day."""
    try:
        return datetime.strptime(options.date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise CriticalError(f"The sandbox's date {options.date!r} is not of the form YYYY-MM-DD.") from error


def updated(record_id: str, day: datetime) -> datetime:
    """A moment of the day that only the id decides."""
    digest = int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:8])
    return day + timedelta(milliseconds=digest % DAY_MS)


def make_record(row: CollectionRow, path: Path | None, options: SandboxOptions, moment: datetime, number: int) -> Record:
    """A row as a record, with its addresses."""
    _, dataset, local = row.record_id.split("/")
    shown_by = ""
    if row.image_file:
        holder = (row.data_provider or row.provider).encode()
        hosts = options.image_hosts or (options.host,)
        host = hosts[hashlib.sha256(holder).digest()[0] % len(hosts)]
        # The file's own folder may name what the picture shows, so the address is made from the record id.
        suffix = Path(row.image_file).suffix.lower() or ".jpg"
        shown_by = f"http://{host}:{options.port}/media/{quote(dataset)}/{quote(local)}{suffix}"
    shown_at = f"{options.public_url}/landing/{quote(dataset)}/{quote(local)}"
    return Record(row, path, shown_by, shown_at, moment, number)
