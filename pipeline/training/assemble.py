"""One dataset out of several labelled folders: usable pictures, each once, nothing that belongs together on two sides.

Written as a collection that `enrich train` reads as it is, with Parquet and a card beside it.
"""

import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.collection import CollectionRow, read_collection
from pipeline.domain.identifiers import image_id
from pipeline.errors import CriticalError
from pipeline.imaging.examine import Examiner, Rules
from pipeline.imaging.inspect import Limits
from pipeline.imaging.look import sketch_distance
from pipeline.index.near_hashes import near_pairs, says_enough
from pipeline.reporting.progress import Progress
from pipeline.reporting.truth import known_labels
from pipeline.settings import Settings
from pipeline.training.splits import Example, Splits, draw_splits, most_held_out
from pipeline.training.tables import write_csv
from pipeline.vocabulary import Vocabulary, load_vocabulary

COLUMNS = (
    "record_id", "image_file", "title", "creator", "year", "provider", "data_provider", "rights", "concepts",
    "not_annotated", "group", "split", "image_id", "perceptual_hash", "source",
)  # fmt: skip
LEFT_OUT = ("record_id", "source", "reason", "detail")
SAME_LOOK = 12.0  # grey levels between two sketches, at most, for pictures whose hashes are close


@dataclass(frozen=True)
class Found:
    """A usable picture with its labels (slugs); `file` is where it lies, `source` the folder that it comes from."""

    row: CollectionRow
    source: str
    file: Path
    image_id: str
    perceptual_hash: str
    sketch: str
    concepts: frozenset[str]
    unknown: frozenset[str]
    groups: frozenset[str]  # of all rows that it comes from


@dataclass(frozen=True)
class Built:
    """What was written: pictures by split, and lines of `left_out.csv` by reason."""

    folder: Path
    splits: Mapping[str, int]
    left_out: Mapping[str, int]
    unseen_provider: str


def build_dataset(
    sources: Sequence[Path], folder: Path, *, settings: Settings, now: datetime, unseen: str | None = None
) -> Built:
    """Read the folders, and write `metadata.csv`, `dataset.parquet`, `left_out.csv`, `card.md` and the pictures.

    Of a record or a picture that comes twice the first is kept; what either says is true then, and only what neither
    looked at is unknown. `unseen` as in `splits.draw_splits`. Raises CriticalError when a folder cannot be read, when
    `folder` is not empty, or when no picture is usable.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CriticalError(f"{folder} is not empty; a dataset is never changed: name another folder")
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    left_out: list[dict[str, str]] = []
    found = _merged(_usable(sources, vocabulary, settings, left_out), left_out)
    if not found:
        raise CriticalError(f"no usable picture in {', '.join(map(str, sources))}")
    examples = [Example(one.row.record_id, one.groups, _owner(one.row), one.concepts, one.row.split) for one in found]
    drawn = draw_splits(examples, _near(found, settings.near_duplicate_bits), unseen=unseen)
    for one, split, cluster in zip(found, drawn.splits, drawn.clusters, strict=True):
        if not split:
            detail = f"pictures of its cluster ({cluster}) are held out"
            left_out.append({"record_id": one.row.record_id, "source": one.source, "reason": "leak", "detail": detail})
    return _write(folder, found, drawn, left_out, sources, vocabulary, now)


def _usable(
    sources: Sequence[Path], vocabulary: Vocabulary, settings: Settings, left_out: list[dict[str, str]]
) -> Iterator[Found]:
    limits = Limits(settings.image_min_side_px, settings.image_max_pixels, settings.image_max_aspect)
    rules = Rules(limits, settings.derivative_side_px, settings.derivative_quality)
    collections = [(source, read_collection(source)) for source in sources]
    total = sum(len(collection.rows) for _, collection in collections)
    with Examiner(rules) as examiner, Progress("dataset", "pictures", settings=settings, total=total) as progress:
        for source, collection in collections:
            for row in collection.rows:
                progress.advance()
                said = {"record_id": row.record_id, "source": source.name}
                path = collection.image_path(row)
                if path is None or not path.is_file():
                    left_out.append(said | {"reason": "no_picture", "detail": row.image_file})
                    continue
                content = path.read_bytes()
                seen = examiner.examine(content)
                if seen.perceptual_hash is None or seen.sketch is None:
                    left_out.append(said | {"reason": str(seen.reason), "detail": seen.detail})
                    continue
                row = replace(row, split="" if collection.split_drawn else row.split)
                true, unknown = known_labels(row, vocabulary)
                yield Found(
                    row,
                    source.name,
                    path,
                    image_id(content),
                    seen.perceptual_hash,
                    seen.sketch,
                    concepts=frozenset(true),
                    unknown=frozenset(unknown),
                    groups=frozenset({f"{source.name}|{row.group}"}),
                )


def _owner(row: CollectionRow) -> str:
    """Who made the pictures: the institution, where the row names one, not the aggregator."""
    return row.data_provider or row.provider


def _merged(found: Iterator[Found], left_out: list[dict[str, str]]) -> list[Found]:
    kept: dict[str, Found] = {}
    by_record: dict[str, str] = {}
    for one in found:
        first = kept.get(one.image_id) or kept.get(by_record.get(one.row.record_id, ""))
        if first is None:
            kept[one.image_id] = one
            by_record[one.row.record_id] = one.image_id
            continue
        true = first.concepts | one.concepts
        kept[first.image_id] = replace(
            first,
            row=replace(first.row, split=most_held_out([first.row.split, one.row.split])),
            concepts=true,
            unknown=(first.unknown & one.unknown) - true,
            groups=first.groups | one.groups,
        )
        detail = f"the same {'picture' if one.image_id == first.image_id else 'record'} as {first.row.record_id}"
        left_out.append({"record_id": one.row.record_id, "source": one.source, "reason": "duplicate", "detail": detail})
    return list(kept.values())


def _near(found: Sequence[Found], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs that look nearly the same: close hashes, and close grey values."""
    telling = [place for place, one in enumerate(found) if says_enough(one.perceptual_hash)]
    hashes = np.frombuffer(b"".join(bytes.fromhex(found[place].perceptual_hash) for place in telling), np.uint8)
    for first, second, _ in near_pairs(hashes.reshape(-1, 8), bits):
        one, other = telling[first], telling[second]
        if sketch_distance(found[one].sketch, found[other].sketch) <= SAME_LOOK:
            yield one, other


def _write(
    folder: Path,
    found: Sequence[Found],
    drawn: Splits,
    left_out: Sequence[Mapping[str, str]],
    sources: Sequence[Path],
    vocabulary: Vocabulary,
    now: datetime,
) -> Built:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for one, split, cluster in zip(found, drawn.splits, drawn.clusters, strict=True):
        if split:
            shutil.copyfile(one.file, folder / _file(one))
            rows.append(_line(one, split, cluster))
    write_csv(folder / "metadata.csv", COLUMNS, rows)
    write_csv(folder / "left_out.csv", LEFT_OUT, left_out)
    pq.write_table(pa.Table.from_pydict({name: [row[name] for row in rows] for name in COLUMNS}), folder / "dataset.parquet")
    digest = hashlib.sha256((folder / "metadata.csv").read_bytes()).hexdigest()
    (folder / "card.md").write_text(_card(rows, left_out, drawn, sources, vocabulary, digest, now), encoding="utf-8")
    reasons = Counter(line["reason"] for line in left_out)
    return Built(folder, Counter(row["split"] for row in rows), reasons, drawn.unseen_provider)


def _file(one: Found) -> str:
    return f"pictures/{one.image_id}{one.file.suffix.lower()}"


def _line(one: Found, split: str, cluster: str) -> dict[str, str]:
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
        "not_annotated": ";".join(sorted(one.unknown)),
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
    sources: Sequence[Path],
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
