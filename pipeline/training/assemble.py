"""One dataset out of several labelled folders: usable pictures, each once, nothing that belongs together on two sides.

Written as a collection that `enrich train` reads as it is, with Parquet and a card beside it.
"""

import hashlib
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.collection import CollectionRow
from pipeline.crowd.labels import read_meanings
from pipeline.domain.identifiers import image_id
from pipeline.errors import CriticalError
from pipeline.imaging.examine import Examiner, rules_of
from pipeline.reporting.progress import Progress
from pipeline.reporting.truth import known_labels
from pipeline.settings import Settings
from pipeline.training.alike import alike
from pipeline.training.sources import Beside, Labelled, Source, open_source, read_collection_folder
from pipeline.training.sources.pictures import Pictures
from pipeline.training.splits import Example, Splits, draw_splits, most_held_out
from pipeline.training.tables import write_csv
from pipeline.vocabulary import Vocabulary, load_vocabulary

COLUMNS = (
    "record_id", "image_file", "title", "creator", "year", "provider", "data_provider", "rights", "concepts",
    "not_annotated", "group", "split", "image_id", "perceptual_hash", "source",
)  # fmt: skip
LEFT_OUT = ("record_id", "source", "reason", "detail")
UNKNOWN_LABELS = ("source", "label", "count")
AGREEMENT = ("concept", "both", "only_metadata", "only_people", "precision", "recall")


@dataclass(frozen=True)
class Found:
    """A usable picture with its labels (slugs); `file` is where it lies, `source` the name of what it comes from."""

    row: CollectionRow
    source: str
    file: Path
    image_id: str
    perceptual_hash: str
    sketch: str
    concepts: frozenset[str]
    unknown: frozenset[str]
    by_people: frozenset[str]  # concepts that people have decided, as true or as false
    groups: frozenset[str]  # of all rows that it comes from


@dataclass(frozen=True)
class Built:
    """What was written: pictures by split, and lines of `left_out.csv` by reason.

    `notes` are what else a person should know of the sources, `unknown_labels` (source, label, how often) what the
    vocabulary does not have, the most frequent first.
    """

    folder: Path
    splits: Mapping[str, int]
    left_out: Mapping[str, int]
    unseen_provider: str
    notes: tuple[str, ...] = ()
    unknown_labels: tuple[tuple[str, str, int], ...] = ()


def build_dataset(
    collections: Sequence[Path],
    folder: Path,
    *,
    settings: Settings,
    now: datetime,
    unseen: str | None = None,
    sources: Sequence[str] = (),
    pictures: Sequence[str] = (),
    meanings: Path | None = None,
    fewest_votes: int | None = None,
) -> Built:
    """Read the sources, and write `metadata.csv`, `dataset.parquet`, `left_out.csv`, the pictures, and `card.md` last.

    `sources` are further ones as `KIND:PATH`, `pictures` the folders (or `lake`) where those are looked for that a source
    names by address or id, `meanings` a CSV `label,concept`, `fewest_votes` how many votes decide (see `sources`). Labels
    that are in no vocabulary are also written, to `unknown_labels.csv`.

    Of a record or a picture that comes twice the first is kept. What people say of it (`Source.by_people`) goes before what
    metadata say; else what either says is true, and only what neither looked at is unknown. How often the two agree is
    written to `agreement.csv`. `unseen` as in `splits.draw_splits`. Raises CriticalError when a source cannot be read, when
    `folder` is not empty, or when no picture is usable.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CriticalError(f"{folder} is not empty; a dataset is never changed: name another folder")
    if not collections and not sources:
        raise CriticalError("nothing to build from; name a --collection DIR or a --source KIND:PATH")
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    said = read_meanings(meanings, vocabulary) if meanings else {}
    beside = Beside(vocabulary, Pictures(pictures, settings), settings, said, fewest_votes)
    opened = [*map(read_collection_folder, collections), *(open_source(text, beside) for text in sources)]
    left_out: list[dict[str, str]] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=folder.parent) as kept:
        agreement = Agreement()
        found = _merged(_usable(opened, vocabulary, settings, left_out, Path(kept)), left_out, agreement, vocabulary)
        if not found:
            reasons = Counter(line["reason"] for line in left_out)
            lost = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
            names = ", ".join(source.name for source in opened)
            raise CriticalError(f"no usable picture in {names}; left out: {lost or 'nothing'}{_first_of(left_out)}")
        examples = [Example(one.row.record_id, one.groups, one.row.owner, one.concepts, one.row.split) for one in found]
        near = alike([(one.perceptual_hash, one.sketch) for one in found], settings.near_duplicate_bits)
        drawn = draw_splits(examples, near, unseen=unseen)
        for one, split, cluster in zip(found, drawn.splits, drawn.clusters, strict=True):
            if not split:
                detail = f"pictures of its cluster ({cluster}) are held out"
                left_out.append({"record_id": one.row.record_id, "source": one.source, "reason": "leak", "detail": detail})
        return _write(folder, found, drawn, left_out, agreement, opened, vocabulary, now)


def _first_of(left_out: Sequence[Mapping[str, str]]) -> str:
    """An example, and what may help."""
    if not left_out:
        return ""
    first = f"; the first is {left_out[0]['record_id']} ({left_out[0]['detail'] or 'nothing known'})"
    missing = any(line["reason"] == "no_picture" for line in left_out)
    return first + ("; pictures are looked for where --pictures says: a folder, or lake" if missing else "")


def _usable(
    sources: Sequence[Source], vocabulary: Vocabulary, settings: Settings, left_out: list[dict[str, str]], kept: Path
) -> Iterator[Found]:
    """The pictures that can be used, with labels; `kept` is where those go that are no files yet."""
    totals = [source.total for source in sources]
    total = None if None in totals else sum(filter(None, totals))
    with Examiner(rules_of(settings)) as examiner, Progress("dataset", "pictures", settings=settings, total=total) as progress:
        for source in sources:
            for item in source.items:
                progress.advance()
                found = _examined(item, source, vocabulary, examiner, kept)
                if isinstance(found, Found):
                    yield found
                else:
                    left_out.append({"record_id": item.row.record_id, "source": source.name} | found)


def _examined(item: Labelled, source: Source, vocabulary: Vocabulary, examiner: Examiner, kept: Path) -> Found | dict[str, str]:
    """The picture, or the reason and detail why it is left out."""
    true, unknown = known_labels(item.row, vocabulary)
    unknown = _spelt_out(unknown, vocabulary) - true
    if not true and unknown.issuperset(vocabulary.by_slug):
        return {"reason": "no_label", "detail": "nothing that it says is both decided and in the vocabulary"}
    picture = item.picture
    if picture.reason:
        return {"reason": picture.reason, "detail": picture.detail}
    try:
        content = picture.read()
    except OSError as error:
        return {"reason": "no_picture", "detail": str(error)}
    seen = examiner.examine(content)
    if seen.perceptual_hash is None or seen.sketch is None:
        return {"reason": str(seen.reason), "detail": seen.detail}
    identity = picture.image_id or image_id(content)
    file = picture.file
    if file is None:
        file = kept / f"{identity}.jpg"
        file.write_bytes(content)
    return Found(
        item.row,
        source.name,
        file,
        identity,
        seen.perceptual_hash,
        seen.sketch,
        concepts=frozenset(true),
        unknown=frozenset(unknown),
        by_people=frozenset(vocabulary.by_slug.keys() - unknown) if source.by_people else frozenset(),
        groups=frozenset({f"{source.name}|{item.row.group}"}),
    )


def _spelt_out(unknown: Collection[str], vocabulary: Vocabulary) -> set[str]:
    """Every slug where a row says `material`, so that it can be compared with rows that name each."""
    of_kinds = {slug for slug in vocabulary.by_slug if ":" in slug and slug.partition(":")[0] in unknown}
    return (set(unknown) | of_kinds) - {slug.partition(":")[0] for slug in of_kinds}


def _in_short(unknown: Collection[str], vocabulary: Vocabulary) -> list[str]:
    """`material` where all `material:*` are unknown."""
    members: dict[str, set[str]] = defaultdict(set)
    for slug in vocabulary.by_slug:
        if ":" in slug:
            members[slug.partition(":")[0]].add(slug)
    whole = {kind for kind, slugs in members.items() if slugs.issubset(unknown)}
    return sorted(whole | {slug for slug in unknown if slug.partition(":")[0] not in whole})


@dataclass
class Agreement:
    """How often metadata and people say the same of pictures that both have labelled: counts by (concept, metadata, people)."""

    counts: Counter[tuple[str, bool, bool]] = field(default_factory=Counter)

    def observe(self, one: Found, other: Found) -> None:
        """Two rows of a picture; nothing is counted unless just one of them is by people."""
        if bool(one.by_people) == bool(other.by_people):
            return
        people, metadata = (one, other) if one.by_people else (other, one)
        for slug in people.by_people - metadata.unknown:
            self.counts[slug, slug in metadata.concepts, slug in people.concepts] += 1

    def lines(self) -> Iterator[dict[str, Any]]:
        """A line a concept that either calls true: precision and recall of the metadata, people being right."""
        for slug in sorted({slug for slug, metadata, people in self.counts if metadata or people}):
            both, only_metadata, only_people = (
                self.counts[slug, *said] for said in ((True, True), (True, False), (False, True))
            )
            yield {
                "concept": slug,
                "both": both,
                "only_metadata": only_metadata,
                "only_people": only_people,
                "precision": round(both / (both + only_metadata), 4) if both + only_metadata else "",
                "recall": round(both / (both + only_people), 4) if both + only_people else "",
            }


def _merged(
    found: Iterator[Found], left_out: list[dict[str, str]], agreement: Agreement, vocabulary: Vocabulary
) -> list[Found]:
    kept: dict[str, Found] = {}
    by_record: dict[str, str] = {}
    for one in found:
        first = kept.get(one.image_id) or kept.get(by_record.get(one.row.record_id, ""))
        if first is None:
            kept[one.image_id] = one
            by_record[one.row.record_id] = one.image_id
            continue
        agreement.observe(first, one)
        decided = first.by_people | one.by_people
        by_people = (first.concepts & first.by_people) | (one.concepts & one.by_people)
        # What they deny is denied of every narrower concept that only metadata name.
        by_metadata = (first.concepts | one.concepts) - decided
        true = by_people | {slug for slug in by_metadata if not vocabulary.broader_of(slug) & (decided - by_people)}
        kept[first.image_id] = replace(
            first,
            row=replace(first.row, split=most_held_out([first.row.split, one.row.split])),
            concepts=frozenset(true),
            unknown=(first.unknown & one.unknown) - true,
            by_people=decided,
            groups=first.groups | one.groups,
        )
        detail = f"the same {'picture' if one.image_id == first.image_id else 'record'} as {first.row.record_id}"
        left_out.append({"record_id": one.row.record_id, "source": one.source, "reason": "duplicate", "detail": detail})
    return list(kept.values())


def _write(
    folder: Path,
    found: Sequence[Found],
    drawn: Splits,
    left_out: Sequence[Mapping[str, str]],
    agreement: Agreement,
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    now: datetime,
) -> Built:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for one, split, cluster in zip(found, drawn.splits, drawn.clusters, strict=True):
        if split:
            shutil.copyfile(one.file, folder / _file(one))
            rows.append(_line(one, split, cluster, vocabulary))
    write_csv(folder / "metadata.csv", COLUMNS, rows)
    write_csv(folder / "left_out.csv", LEFT_OUT, left_out)
    pq.write_table(pa.Table.from_pydict({name: [row[name] for row in rows] for name in COLUMNS}), folder / "dataset.parquet")
    if agreed := list(agreement.lines()):
        write_csv(folder / "agreement.csv", AGREEMENT, agreed)
    unknown = _unknown_labels(sources)
    if unknown:
        lines = (dict(zip(UNKNOWN_LABELS, one, strict=True)) for one in unknown)
        write_csv(folder / "unknown_labels.csv", UNKNOWN_LABELS, lines)
    digest = hashlib.sha256((folder / "metadata.csv").read_bytes()).hexdigest()
    (folder / "card.md").write_text(_card(rows, left_out, drawn, sources, vocabulary, digest, now), encoding="utf-8")
    reasons = Counter(line["reason"] for line in left_out)
    notes = tuple(note for source in sources for note in source.notes)
    return Built(folder, Counter(row["split"] for row in rows), reasons, drawn.unseen_provider, notes, unknown)


def _unknown_labels(sources: Sequence[Source]) -> tuple[tuple[str, str, int], ...]:
    found = [(source.name, label, count) for source in sources for label, count in source.unknown_labels.items()]
    return tuple(sorted(found, key=lambda one: (-one[2], one)))


def _file(one: Found) -> str:
    return f"pictures/{one.image_id}{one.file.suffix.lower()}"


def _line(one: Found, split: str, cluster: str, vocabulary: Vocabulary) -> dict[str, str]:
    row = one.row
    return {
        "record_id": row.record_id,
        "image_file": _file(one),
        "title": row.title,
        "creator": row.creator,
        "year": "" if row.year is None else str(row.year),
        "provider": row.provider,
        "data_provider": row.data_provider,
        "rights": row.rights,
        "concepts": ";".join(sorted(one.concepts)),
        "not_annotated": ";".join(_in_short(one.unknown, vocabulary)),
        "group": cluster,
        "split": split,
        "image_id": one.image_id,
        "perceptual_hash": one.perceptual_hash,
        "source": one.source,
    }


def _card(
    rows: Sequence[Mapping[str, str]],
    left_out: Sequence[Mapping[str, str]],
    drawn: Splits,
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    digest: str,
    now: datetime,
) -> str:
    """What the dataset is, for people: sources, splits, licences, and how often each provider has each concept."""
    providers = sorted({row["data_provider"] or row["provider"] for row in rows})
    cells: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for slug in filter(None, row["concepts"].split(";")):
            cells[slug][row["data_provider"] or row["provider"]] += 1
    splits, rights = (Counter(row[name] for row in rows) for name in ("split", "rights"))
    reasons = Counter(line["reason"] for line in left_out)
    named = [name or "(none named)" for name in providers]
    table = [
        f"| {slug} | {sum(cells[slug].values())} | " + " | ".join(str(cells[slug][name] or "") for name in providers) + " |"
        for slug in sorted(cells, key=lambda slug: (-sum(cells[slug].values()), slug))
    ]
    unseen = drawn.unseen_provider or ("named by the data" if splits["unseen"] else "none")
    lost = ", ".join(f"{name} {count:,}" for name, count in reasons.most_common()) or "nothing"
    return "\n".join(
        [
            f"# {len(rows):,} labelled pictures",
            "",
            f"Put together {now:%Y-%m-%d %H:%M} UTC from {', '.join(source.name for source in sources)}; "
            f"vocabulary {vocabulary.version}. SHA-256 of metadata.csv: `{digest}`.",
            *(line for source in sources if source.query for line in ("", f"{source.name}: {source.query}")),
            "",
            f"- splits: {', '.join(f'{name} {count:,}' for name, count in sorted(splits.items()))}; unseen provider: {unseen}",
            f"- left out: {lost} (`left_out.csv`)",
            "- pictures that belong together or look nearly the same have one `group`; none stands on two sides",
            "",
            "## Licences",
            "",
            *(f"- {name or 'none stated'}: {count:,}" for name, count in rights.most_common()),
            "",
            "## Concepts and providers",
            "",
            "| concept | all | " + " | ".join(named) + " |",
            "|---|---|" + "---|" * len(providers),
            *table,
            "",
        ]
    )
