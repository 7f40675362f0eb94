"""Any number of records, each computed from its number when it is looked at (issue 3, scale).

Record `i` has the picture and the description of row `i mod n` of the collection, a title that ends in `i`, an id that
sorts as `i` does, and a moment of the sandbox's day that a multiplication spreads. So a query needs to look at the n
rows only, and at the numbers: nothing is kept for a single record.
"""

import fnmatch
import hashlib
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import gcd
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from pipeline.errors import CriticalError
from pipeline.sandbox.fields import DATES, TEXTS, Values, moment, predicate, value_test, within
from pipeline.sandbox.listed import SORTABLE, Hits, Order
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.query import And, Everything, Node, Not, Or, Range, Term
from pipeline.sandbox.records import DAY_MS, Record, first_moment, fold, make_record, md5

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST = 10_000_000
_PER_DATASET = 10_000
_FIRST_DATASET = 10_000
_ID = re.compile(r"/(\d{5})/V(\d{8})")
_MEDIA = re.compile(r"(\d{5})/(V\d{8})\.\w+")
_DATASETS = ("edm_datasetName", "europeana_collectionName")
_BY_NUMBER = ("europeana_id", "provider_aggregation_edm_isShownBy", "provider_aggregation_edm_isShownAt")
# Stands for the number in a text, and is no word of any language.
_NUMBER = "zqxjkvnumber"


class VirtualRecords(Mapping[str, Record]):
    """Computed records by id."""

    def __init__(self, rows: tuple[Record, ...], count: int, options: SandboxOptions) -> None:
        if not 0 <= count <= MOST:
            raise CriticalError(f"The sandbox can compute 0 to {MOST} records, not {count}.")
        self.rows = rows
        self.count = count if rows else 0
        self.day = first_moment(options)
        self._options = options
        # A multiplier without a common divisor spreads the numbers 0 to count - 1 over themselves.
        self._factor = next(k for k in range(int(self.count * 0.618034) | 1, 2 * MOST) if gcd(k, max(1, self.count)) == 1)
        self.by_media: Mapping[str, Record] = _Derived(self, self._of_media)
        self.by_address: Mapping[str, Record] = _Derived(self, self._of_address)
        self.by_md5: Mapping[str, Record] = _Derived(self, self._of_md5)

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def __iter__(self) -> Iterator[str]:
        """All ids, in order."""
        return map(record_id, range(self.count))

    def __getitem__(self, key: str) -> Record:
        """The record of an id."""
        number = self.number(key)
        if number is None:
            raise KeyError(key)
        return self.record(number)

    def number(self, key: str) -> int | None:
        """The number behind an id, if it is one of ours."""
        match = _ID.fullmatch(key)
        number = int(match[2]) if match else -1
        return number if 0 <= number < self.count and record_id(number) == key else None

    def record(self, number: int) -> Record:
        """One record."""
        base = self.rows[number % len(self.rows)]
        row = replace(
            base.row,
            record_id=record_id(number),
            title=f"{base.row.title} {number}".strip(),
            concepts=(),
            not_annotated=(),
            group="",
            split="",
        )
        when = self.day + timedelta(milliseconds=self.place(number) * DAY_MS // self.count)
        return make_record(row, base.path, self._options, when, base.number)

    def place(self, number: int) -> int:
        """Which of all records was changed before so many others."""
        return number * self._factor % self.count

    @cached_property
    def places(self) -> npt.NDArray[np.int32]:
        """The places of all records."""
        return (np.arange(self.count, dtype=np.int64) * self._factor % max(1, self.count)).astype(np.int32)

    @property
    def pictured(self) -> int:
        """How many records have a picture."""
        has = [bool(base.shown_by) for base in self.rows]
        whole, rest = divmod(self.count, max(1, len(has)))
        return whole * sum(has) + sum(has[:rest])

    def views(self, count: int) -> tuple[str, ...]:
        """The addresses of the first pictures."""
        firsts = (self.record(number).shown_by for number in range(min(self.count, len(self.rows))))
        return tuple(address for address in firsts if address)[:count]

    def _of_media(self, path: str) -> Record | None:
        match = _MEDIA.fullmatch(path)
        record = self.get(f"/{match[1]}/{match[2]}") if match else None
        return record if record and record.shown_by.partition("/media/")[2] == path else None

    def _of_address(self, address: str) -> Record | None:
        try:
            path = urlsplit(address).path
        except ValueError:
            return None
        record = self._of_media(path.removeprefix("/media/"))
        return record if record and record.shown_by == address else None

    @cached_property
    def _digests(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
        """The first eight bytes of every picture's MD5, sorted, with the numbers: 12 bytes a record, on first use.

        Made from the parts of the addresses: whole records would take ten times as long.
        """
        parts = [base.shown_by.partition("/media/")[:2] for base in self.rows]
        heads = ["".join(part) for part in parts]
        tails = [f".{base.shown_by.rpartition('.')[2]}" for base in self.rows]
        found = bytearray()
        for number in range(self.count):
            row = number % len(heads)
            address = f"{heads[row]}{record_id(number)[1:]}{tails[row]}"
            found += hashlib.md5(address.encode(), usedforsecurity=False).digest()[:8]
        digests = np.frombuffer(found, dtype=">u8").astype(np.uint64)
        order = np.argsort(digests).astype(np.int32)
        return digests[order], order

    def _of_md5(self, key: str) -> Record | None:
        if not re.fullmatch(r"[0-9a-f]{32}", key):
            return None
        digests, numbers = self._digests
        at = int(np.searchsorted(digests, np.uint64(int(key[:16], 16))))
        record = self.record(int(numbers[at])) if at < len(numbers) else None
        return record if record and record.shown_by and md5(record.shown_by) == key else None


class _Derived(Mapping[str, Record]):
    """Records by something that can be computed back into one."""

    def __init__(self, records: VirtualRecords, find: Callable[[str], Record | None]) -> None:
        self._records = records
        self._find = find

    def __len__(self) -> int:
        return self._records.pictured

    def __iter__(self) -> Iterator[str]:
        raise TypeError("computed records are looked up, not listed, by their pictures")

    def __getitem__(self, key: str) -> Record:
        record = self._find(key)
        if record is None:
            raise KeyError(key)
        return record


def record_id(number: int) -> str:
    """`/10000/V00000000`: ids sort as their numbers do."""
    return f"/{_FIRST_DATASET + number // _PER_DATASET}/V{number:08d}"


class VirtualHits:
    """Matching numbers, in order."""

    def __init__(self, records: VirtualRecords, numbers: npt.NDArray[np.int32], order: Order) -> None:
        self._records = records
        self._order = order
        self._numbers = _sorted(records, numbers, order)

    def __len__(self) -> int:
        """How many records match."""
        return len(self._numbers)

    def page(self, offset: int, rows: int) -> list[Record]:
        """Some of them."""
        return [self._records.record(int(number)) for number in self._numbers[offset : offset + rows]]

    def after(self, record: Record) -> int:
        """How many stand before or at a record."""
        number = self._records.number(record.id) or 0
        if self._order[0] == ("europeana_id", False):
            return int(np.searchsorted(self._numbers, number, side="right"))
        found = np.flatnonzero(self._numbers == number)
        if len(found):
            return int(found[0]) + 1
        joined = _sorted(self._records, np.append(self._numbers, np.int32(number)), self._order)
        return int(np.flatnonzero(joined == number)[0])

    def counts(self, name: str, values: Values) -> Counter[str]:
        """How often each value of a field occurs: by dataset, or by the row that the records repeat."""
        counts: Counter[str] = Counter()
        width = _PER_DATASET if name in _DATASETS else 0
        groups = self._numbers // width if width else self._numbers % max(1, len(self._records.rows))
        for group, count in enumerate(np.bincount(groups).tolist() if len(groups) else []):
            if count:
                for value in values(self._records.record(group * (width or 1))):
                    counts[value] += count
        return counts


def _sorted(records: VirtualRecords, numbers: npt.NDArray[np.int32], order: Order) -> npt.NDArray[np.int32]:
    """Numbers come sorted, so the unique key needs no work when it stands first."""
    if order[0][0] == "europeana_id":
        numbers = np.sort(numbers)
        return numbers[::-1] if order[0][1] else numbers
    keys = [(-1 if descending else 1) * _key(records, numbers, name) for name, descending in order]
    return numbers[np.lexsort([numbers.astype(np.int64), *reversed(keys)])]


def _key(records: VirtualRecords, numbers: npt.NDArray[np.int32], name: str) -> Numbers:
    if name == "europeana_id":
        return numbers.astype(np.int64)
    if name in DATES:
        return records.places[numbers].astype(np.int64)
    if name.startswith("random"):
        seed = np.uint64(int(md5(name)[:15], 16))
        mixed = (numbers.astype(np.uint64) + seed) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(33)).astype(np.int64)
    values = [SORTABLE[name](base) for base in records.rows]
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return np.array([ranks[value] for value in values], dtype=np.int64)[numbers % max(1, len(values))]


class VirtualIndex:
    """Answers queries with arrays over all numbers; each part of a query looks at the rows, not at the records."""

    def __init__(self, records: VirtualRecords) -> None:
        self._records = records

    def find(self, node: Node, order: Order) -> Hits:
        """All matches, in order."""
        return VirtualHits(self._records, np.flatnonzero(self._mask(node)).astype(np.int32), order)

    def _mask(self, node: Node) -> Mask:
        count = self._records.count
        match node:
            case Everything():
                return np.ones(count, dtype=bool)
            case Not(inner):
                return ~self._mask(inner)
            case And(nodes):
                mask = self._mask(nodes[0])
                for inner in nodes[1:]:
                    mask &= self._mask(inner)
                return mask
            case Or(nodes):
                return self._any(nodes)
            case Term() | Range():
                predicate(node)  # refuses what no index has, before any shortcut
                return self._leaf(node)

    def _any(self, nodes: tuple[Node, ...]) -> Mask:
        """Alternatives; long lists of ids are looked up together."""
        mask = np.zeros(self._records.count, dtype=bool)
        numbers = []
        for node in nodes:
            if isinstance(node, Term) and node.field == "europeana_id" and node.glob is None:
                numbers.append(self._records.number(node.text))
            else:
                mask |= self._mask(node)
        mask[[number for number in numbers if number is not None]] = True
        return mask

    def _leaf(self, node: Term | Range) -> Mask:
        field = node.field or "text"
        if isinstance(node, Term) and node.glob == "*":
            return self._by_row(predicate(node))
        if field in DATES:
            return self._by_date(node, field)
        if field in _DATASETS:
            return self._by_dataset(node)
        if field == "europeana_id":
            return self._by_id(node)
        if field in _BY_NUMBER:
            matches = predicate(node)
            return self._each(lambda number: matches(self._records.record(number)))
        if field in TEXTS and isinstance(node, Term) and re.search(r"\d|[*?]", node.text):
            return self._by_text(node, field)
        return self._by_row(predicate(node))

    def _each(self, test: Callable[[int], bool]) -> Mask:
        return np.fromiter(map(test, range(self._records.count)), bool, self._records.count)

    def _by_row(self, test: Callable[[Record], bool]) -> Mask:
        rows = np.array([test(base) for base in self._records.rows], dtype=bool)
        return np.resize(rows, self._records.count)

    def _by_dataset(self, node: Term | Range) -> Mask:
        test = predicate(node)
        firsts = range(0, self._records.count, _PER_DATASET)
        datasets = np.array([test(self._records.record(number)) for number in firsts], dtype=bool)
        return np.repeat(datasets, _PER_DATASET)[: self._records.count]

    def _by_id(self, node: Term | Range) -> Mask:
        mask = np.zeros(self._records.count, dtype=bool)
        if isinstance(node, Range):
            return self._each(lambda number: within(record_id(number), node.low, node.high, node))
        if node.glob is None:
            if (number := self._records.number(node.text)) is not None:
                mask[number] = True
            return mask
        prefix = node.glob[:-1]
        if node.glob.endswith("*") and not re.search(r"[*?\[]", prefix):
            numbers = range(self._records.count)
            low = bisect_left(numbers, prefix, key=record_id)
            mask[low : bisect_left(numbers, prefix + "\U0010ffff", key=record_id)] = True
            return mask
        test = value_test(node)
        return self._each(lambda number: test(record_id(number)))

    def _by_date(self, node: Term | Range, field: str) -> Mask:
        """Times in whole microseconds since the sandbox's day began (for `timestamp_created`, the day a year before)."""
        records = self._records
        day = records.day if field != "timestamp_created" else records.day - timedelta(days=365)
        times = records.places.astype(np.int64) * DAY_MS // max(1, records.count) * 1000
        if isinstance(node, Term):
            return np.equal(times, _micros(moment(node.text), day))
        mask = np.ones(records.count, dtype=bool)
        if node.low is not None:
            low = _micros(moment(node.low), day)
            mask &= (times >= low) if node.includes_low else (times > low)
        if node.high is not None:
            high = _micros(moment(node.high), day)
            mask &= (times <= high) if node.includes_high else (times < high)
        return mask

    def _by_text(self, node: Term, field: str) -> Mask:
        """A word or phrase that may hold the number: looked for in the row's text with the number put in."""
        texts = []
        for base in self._records.rows:
            row = replace(base.row, title=f"{base.row.title} {_NUMBER}".strip())
            texts.append(TEXTS[field](replace(base, row=row)))
        rows = len(texts)
        if node.glob:
            pattern = re.compile(fnmatch.translate(node.glob.lower()))
            return self._each(lambda n: any(pattern.match(word) for word in texts[n % rows].replace(_NUMBER, str(n)).split()))
        phrase = fold(node.text)
        return self._each(lambda n: phrase in texts[n % rows].replace(_NUMBER, str(n)))


def _micros(when: datetime, day: datetime) -> int:
    return (when.astimezone(UTC) - day) // timedelta(microseconds=1)
