"""Taking down: a record, or all of a provider, is withdrawn, removed from everything that we keep, and does not come back.

What is left is the tombstone: a row that names the record (or the provider and each of its records), so that no harvest
lets it in and nothing about it is published. The tombstone comes first, so whoever is killed in between says the same
again, and it goes on.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from pipeline.database import connect, ledger, links, tombstones, windows
from pipeline.database.ledger import Choice
from pipeline.database.tombstones import PROVIDER
from pipeline.datasets import purge
from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.purge import Rewritten, Unwanted
from pipeline.model.examples import FILE, load_examples, save_examples
from pipeline.publish.withdraw import withdraw
from pipeline.reporting.page import render_page
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings
from pipeline.storage import open_store

_OF_RUNS = "exports/"


@dataclass(frozen=True)
class Forgotten:
    """What was taken out. `open_runs` have not finished: they may bring a record back, which `forget_again` takes out."""

    records: int
    withdrawn: int
    elsewhere: int  # statements on platforms that the settings do not lead to
    parts: int
    pictures: int
    open_runs: tuple[str, ...]


def records_of_provider(provider: str, *, settings: Settings) -> set[str]:
    """All records of an institution or aggregator that the lake or the ledger knows."""
    lake = open_lake(settings)
    found = set(ledger.records_of(connect(settings), Choice(provider=provider)))
    for key in purge.data_parts(lake):
        if key.startswith("records/"):
            for batch in lake.part_rows(key, ("record_id", "provider", "data_provider")):
                mine = pc.or_(pc.equal(batch["provider"], provider), pc.equal(batch["data_provider"], provider))
                found |= set(batch.filter(mine)["record_id"].to_pylist())
    return found


def forget(kind: str, name: str, *, why: str, now: datetime, settings: Settings) -> Forgotten:
    """Take down a record or a provider (`tombstones.RECORD`, `PROVIDER`). Raises what `withdraw` raises."""
    engine = connect(settings)
    if kind == PROVIDER:
        known = sorted(records_of_provider(name, settings=settings))
        tombstones.put_provider(engine, name, known, why=why, now=now)
    else:
        tombstones.put(engine, kind, name, why=why, now=now)
    choice = Choice(provider=name) if kind == PROVIDER else Choice(record_id=name)
    done = withdraw(choice, why=f"taken down: {why}", now=now, settings=settings)
    ledger.forget(engine, choice)
    return _purged(engine, done.deleted, now=now, settings=settings)


def forget_again(*, now: datetime, settings: Settings) -> Forgotten:
    """Take down everything once more that has a tombstone: what a run that was under way has brought in meanwhile."""
    return _purged(connect(settings), 0, now=now, settings=settings)


def _withdrawn(engine: Engine, records: Iterable[str], now: datetime, settings: Settings) -> tuple[int, int]:
    """Withdraw and forget what the ledger still says of records that were taken down: (deleted, rows that are left).

    These are few: statements of a run that was under way, or such that do not name their provider.
    """
    deleted = left = 0
    for record_id in sorted(ledger.known_records(engine, records)):
        choice = Choice(record_id=record_id)
        deleted += withdraw(choice, why="taken down", now=now, settings=settings).deleted
        left += ledger.forget(engine, choice)
    return deleted, left


def _purged(engine: Engine, deleted: int, *, now: datetime, settings: Settings) -> Forgotten:
    lake, records = open_lake(settings), tombstones.standing(engine).records
    name = links.lake_id(lake.root)
    pictures, others = purge.pictures_of(lake, records)
    for link in links.of_records(engine, name, records):
        if link.image_id and link.place:
            pictures.setdefault(link.image_id, set()).update(purge.places_in(link.place))
    others |= links.shared(engine, name, pictures, records)
    unwanted = Unwanted(records, frozenset(pictures) - others)
    shards = purge.blank_pictures(
        lake,
        (place for one, places in pictures.items() if one not in others for place in places),
        (place for one, places in pictures.items() if one in others for place in places),
        records,
    )
    rewritten = _rewritten(lake, unwanted, settings)
    parts = {key: one.part for key, one in rewritten.items()} | shards
    purge.rename_parts(lake, parts)
    windows.revise(engine, lambda listing: _revised(listing, rewritten))
    for key in rewritten:
        lake.store.delete(key)
    purge.forget_plans(lake, unwanted)
    _forget_exports(lake, unwanted, settings)
    _forget_examples(lake, records)
    links.forget(engine, name, records)
    more, left = _withdrawn(engine, records, now, settings)
    return Forgotten(len(records), deleted + more, left, len(rewritten), len(unwanted.images), tuple(_open_runs(lake)))


def _rewritten(lake: Lake, unwanted: Unwanted, settings: Settings) -> dict[str, Rewritten]:
    keys = list(purge.data_parts(lake))
    found: dict[str, Rewritten] = {}
    with Progress("forget", "parts", settings=settings, total=len(keys)) as progress:
        for key in keys:
            if (one := purge.rewrite(lake, key, unwanted)) is not None:
                found[key] = one
            progress.advance()
    return found


def _revised(listing: dict[str, Any], rewritten: dict[str, Rewritten]) -> dict[str, Any]:
    """What a window says it has, without the rows that its parts have lost: a later run counts by it."""
    lost = [rewritten[piece["key"]] for piece in listing["pieces"] if piece["key"] in rewritten]
    revised = {**listing, "pieces": purge.renewed(listing["pieces"], {key: one.part for key, one in rewritten.items()})}
    if not lost or "inputs" not in listing["counts"]:
        return revised
    with_image = sum(one.with_image for one in lost)
    reasons = sum((one.reasons for one in lost), Counter[str]())
    counts = listing["counts"]
    left = {reason: count - reasons[reason] for reason, count in counts["reasons"].items() if count > reasons[reason]}
    inputs = counts["inputs"] - with_image - reasons.total()
    return {**revised, "counts": {**counts, "inputs": inputs, "ok": counts["ok"] - with_image, "reasons": left}}


def _forget_exports(lake: Lake, unwanted: Unwanted, settings: Settings) -> None:
    """In the lake and below VAR_DIR; the pages of changed runs are drawn anew."""
    local = open_store(settings.var_dir.resolve().as_uri())
    for store in (lake.store, local):
        for folder in purge.forget_exports(store, _OF_RUNS, unwanted):
            report = f"{folder}/run_report.json"
            if store.exists(report):
                value = Lake(store).read_json(report)
                run = lake.run(f"runs/run={value['run']['run_id']}/run.json")
                store.put_bytes(f"{folder}/run_report.html", render_page(lake, run, value).encode())


def _forget_examples(lake: Lake, records: Iterable[str]) -> None:
    """The pictures that a model was trained on lie beside it as embeddings, with their records' ids."""
    known = pa.array(list(records), pa.string())
    for key in [key for key in lake.store.list("models/") if key.endswith(f"/{FILE}")]:
        folder = key.rpartition("/")[0]
        if (found := load_examples(lake.store, folder)) is None:
            continue
        kept = pc.invert(pc.is_in(pa.array(found.record_ids, pa.string()), known)).to_pylist()
        if not all(kept):
            places = [place for place, stays in enumerate(kept) if stays]
            save_examples(
                lake.store,
                folder,
                found.embeddings[places],
                [found.record_ids[place] for place in places],
                [found.concepts[place] for place in places],
                image_files=[found.image_files[place] for place in places],
            )


def _open_runs(lake: Lake) -> Iterable[str]:
    """Runs that were started and have not finished."""
    finished = {key.rpartition("/")[0] for key in lake.store.list("runs/") if "/finished-" in key}
    for key in lake.store.list("runs/"):
        folder, _, file = key.rpartition("/")
        if file == "run.json" and folder not in finished:
            yield folder.removeprefix("runs/run=")
