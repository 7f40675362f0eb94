"""What a download task writes: a shard and a part every so many records, each with a checkpoint.

A piece is whole or not there: shard, parts, then the checkpoint that names them, then the links. A task that is killed
goes on behind its last checkpoint, with the same bytes as if nothing had happened.
"""

import hashlib
import json
import mimetypes
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pipeline.database import links
from pipeline.database.links import Link, LinkState, link_id, state_of
from pipeline.datasets.lake import Lake, Part, flat_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import IMAGES, OUTCOMES
from pipeline.datasets.stage import Batch, Counts, outcomes_dataset
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.images.addresses import FetchedAs
from pipeline.images.download import PASSING, host_of
from pipeline.images.fetch import Attempt, Job
from pipeline.images.hosts import HostStats
from pipeline.images.shards import ShardWriter, Spool
from pipeline.imaging.derivative import Attribution, with_attribution
from pipeline.quality.gates import FAULTS

Place = Mapping[str, Any]
NOWHERE: Place = dict.fromkeys(("shard_uri", "shard_offset", "shard_size", "original_uri", "original_offset", "original_size"))


@dataclass
class Piece:
    """What a checkpoint says of one piece. `generation` counts how often it was done: a shard is never overwritten."""

    counts: Counts
    parts: dict[str, list[Part]]
    generation: int = 1

    @property
    def has_passing_trouble(self) -> bool:
        """Might another try bring more?"""
        return bool(self.counts.reasons.keys() & PASSING)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        parts = {name: [asdict(part) for part in group] for name, group in self.parts.items()}
        return {"counts": self.counts.to_json(), "parts": parts, "generation": self.generation}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Piece":
        """Read back what `to_json` wrote."""
        parts = {name: [Part(**part) for part in group] for name, group in value["parts"].items()}
        return cls(Counts.from_json(value["counts"]), parts, value["generation"])


@dataclass
class Checkpoint:
    """How far a batch has come in an attempt of its run; file names tell attempts apart, so generations begin anew."""

    fingerprint: str
    attempt: int
    pieces: dict[int, Piece] = field(default_factory=dict)
    hosts: dict[str, HostStats] = field(default_factory=dict)
    generations: dict[int, int] = field(default_factory=dict)  # of pieces that have to be done again

    @staticmethod
    def key(batch: Batch) -> str:
        """Where it lies."""
        return f"{batch.folder}/pieces-{batch.number:05d}.json"

    @classmethod
    def read(cls, lake: Lake, batch: Batch, attempt: int) -> "Checkpoint":
        """The checkpoint of a batch: nothing done, when there is none or when its attempt, items or settings were others.

        A batch that had come to its end is done again for the pieces that met passing trouble.
        """
        try:
            value = lake.read_json(cls.key(batch))
        except FileNotFoundError:
            return cls(batch.fingerprint, attempt)
        if value.get("attempt") != attempt:
            return cls(batch.fingerprint, attempt)
        pieces = {int(number): Piece.from_json(piece) for number, piece in value["pieces"].items()}
        generations = {number: piece.generation for number, piece in pieces.items()}
        generations |= {
            int(number): generation for number, generation in value["generations"].items() if int(number) not in pieces
        }
        if value["fingerprint"] != batch.fingerprint:
            return cls(batch.fingerprint, attempt, generations=generations)
        ended = lake.store.exists(batch.result_key)
        hosts = {} if ended else {name: HostStats.from_json(stats) for name, stats in value["hosts"].items()}
        kept = {number: piece for number, piece in pieces.items() if not (ended and piece.has_passing_trouble)}
        return cls(batch.fingerprint, attempt, kept, hosts, generations)

    def write(self, lake: Lake, batch: Batch) -> None:
        """Write it down."""
        value = {
            "fingerprint": self.fingerprint,
            "attempt": self.attempt,
            "pieces": {number: piece.to_json() for number, piece in sorted(self.pieces.items())},
            "hosts": {name: stats.to_json() for name, stats in sorted(self.hosts.items())},
            "generations": self.generations,
        }
        lake.write_json(self.key(batch), value)


class PieceWriter:
    """Collects records until a piece is whole, and writes pieces in their order, in a thread of its own.

    The order makes a picture that several records have lie in the shard of the first of them, in every run.
    """

    def __init__(
        self, lake: Lake, run: Run, batch: Batch, checkpoint: Checkpoint, engine: Engine, spool: Spool, *, rules: str
    ) -> None:
        self._lake, self._run, self._batch, self._engine, self._spool = lake, run, batch, engine, spool
        self._checkpoint, self._rules = checkpoint, rules
        self._lake_id = links.lake_id(lake.root)
        self._waiting: dict[int, list[Job]] = {}
        self._expected: dict[int, int] = {}
        self._order: list[int] = []
        self._placed: dict[str, Place] = {}
        self._there: dict[str, bool] = {}
        self._thread = ThreadPoolExecutor(1)
        self._writes: list[Future[None]] = []

    def expect(self, piece: int, records: int) -> None:
        """A piece of so many records will come; call in the order of the pieces."""
        self._expected[piece] = records
        self._waiting[piece] = []
        self._order.append(piece)

    def add(self, piece: int, job: Job, hosts: Mapping[str, HostStats]) -> None:
        """A record is done."""
        self._waiting[piece].append(job)
        while self._order and len(self._waiting[self._order[0]]) == self._expected[self._order[0]]:
            number = self._order.pop(0)
            jobs = sorted(self._waiting.pop(number), key=lambda job: job.position)
            snapshot = {name: HostStats.from_json(stats.to_json()) for name, stats in hosts.items()}
            self._writes.append(self._thread.submit(self._write, number, jobs, snapshot))
        for write in [write for write in self._writes if write.done()]:
            write.result()
            self._writes.remove(write)

    def close(self) -> None:
        """Wait for what is being written; raises what went wrong there."""
        try:
            for write in self._writes:
                write.result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _write(self, number: int, jobs: Sequence[Job], hosts: dict[str, HostStats]) -> None:
        generation = self._checkpoint.generations.get(number, 0) + 1
        attempts = [(job, attempt) for job in jobs for attempt in job.attempts]
        places, shards = self._store(number, generation, attempts)
        rows = [_row(job, attempt, places) | self._run.columns() for job, attempt in attempts]
        refused = [_outcome_row(row) | self._run.columns() for row in rows if row["reason"]]
        # What was done again has a name of its own: readers keep what is published until the new rows are.
        piece = f"{number:03d}" if generation == 1 else f"{number:03d}-{generation:02d}"
        name = outcomes_dataset(self._batch.stage)
        images = self._lake.write_part(
            self._run, "images", self._batch.number, [flat_table("images", rows)], IMAGES, piece=piece
        )
        outcomes = self._lake.write_part(
            self._run, name, self._batch.number, [flat_table("outcomes", refused)], OUTCOMES, piece=piece
        )
        parts = {"images": [images], name: [outcomes], "shards": shards}
        found = [self._link(job, attempt, row) for (job, attempt), row in zip(attempts, rows, strict=True)]
        self._remember(number, found)
        self._checkpoint.pieces[number] = Piece(_counts(jobs, rows), parts, generation)
        self._checkpoint.hosts = hosts
        self._checkpoint.write(self._lake, self._batch)
        links.save(self._engine, found)

    def _store(
        self, number: int, generation: int, attempts: Sequence[tuple[Job, Attempt]]
    ) -> tuple[dict[str, Place], list[Part]]:
        """Put what is new into a shard; returns the place of every picture of the piece by image id, and the shards."""
        new = {one.image_id for _, one in attempts if one.ok and one.image_id and not one.download.not_modified}
        places = {one: self._placed[one] for one in new if one in self._placed}
        known = links.places(self._engine, self._lake_id, [one for one in new if one not in places], self._rules)
        places |= {one: place for one, place in known.items() if self._stands(place)}
        name = f"{self._run.attempt:03d}-{self._batch.number:05d}-{number:03d}-{generation:02d}"
        folder = self._run.dataset_folder("shards")
        keys = {"shard": f"{folder}/shard-{name}.tar", "original": f"{folder}/original-{name}.tar"}
        parts = []
        with tempfile.TemporaryDirectory(prefix="enrich-") as temporary:
            paths = {kind: Path(temporary) / f"{kind}.tar" for kind in keys}
            with ShardWriter(paths["shard"]) as shard, ShardWriter(paths["original"]) as originals:
                for job, attempt in attempts:
                    identity = attempt.image_id
                    if identity in new and identity is not None and identity not in places:
                        places[identity] = self._placed_in(shard, originals, job, attempt, keys)
            for kind, writer in (("shard", shard), ("original", originals)):
                if len(writer):
                    self._lake.store.put_file(keys[kind], paths[kind])
                    parts.append(_part(keys[kind], paths[kind], len(writer)))
        self._placed |= places
        return places, parts

    def _stands(self, place: Place) -> bool:
        """Is the shard there? A lake that was emptied by hand must not be believed in."""
        keys = [place[name] for name in ("shard_uri", "original_uri") if place[name]]
        for key in keys:
            if key not in self._there:
                self._there[key] = self._lake.store.exists(key)
        return all(self._there[key] for key in keys)

    def _placed_in(
        self, shard: ShardWriter, originals: ShardWriter, job: Job, attempt: Attempt, keys: Mapping[str, str]
    ) -> Place:
        assert attempt.image_id is not None and attempt.examined is not None
        jpeg = with_attribution(self._spool.derivative(attempt.image_id), _attribution(job, attempt))
        offset, size = shard.add(attempt.image_id, jpeg)
        place = {**NOWHERE, "shard_uri": keys["shard"], "shard_offset": offset, "shard_size": size}
        if (content := self._spool.original(attempt.image_id)) is not None:
            suffix = mimetypes.guess_extension(attempt.examined.mime or "") or ".bin"
            offset, size = originals.add(attempt.image_id, content, suffix)
            place |= {"original_uri": keys["original"], "original_offset": offset, "original_size": size}
        return place

    def _link(self, job: Job, attempt: Attempt, row: Mapping[str, Any]) -> Link:
        address = attempt.address
        before = job.known.get(address.url)
        if before is not None and before.image_id and attempt.verdict[1] in (*PASSING, Reason.BUDGET):
            # Trouble that passes says nothing of the picture: what is known of it stays.
            now = LinkState.UNREACHABLE if attempt.verdict[1] in PASSING else before.state
            return replace(before, state=now, checked_at=self._run.created_at)
        same = {name: row[name] for name in _OF_LINK}
        state = state_of(row["outcome"], row["reason"], attempt.download.status, moved=attempt.download.moved)
        known = attempt.known if attempt.download.not_modified else None
        return Link(
            id=link_id(self._lake_id, row["record_id"], address.url),
            lake=self._lake_id,
            url=address.url,
            visited=address.visited,
            rules=self._rules,
            checked_at=self._run.created_at,
            tone=known.tone if known else attempt.tone,
            place={name: row[name] for name in NOWHERE} if row["shard_uri"] else None,
            state=state,
            **(same | {"detail": " ".join(attempt.verdict[2].split())[:500]}),
        )

    def _remember(self, number: int, found: Sequence[Link]) -> None:
        """The links lie beside the checkpoint until the batch has ended: a kill between the two loses none."""
        value = [{**vars(link), "checked_at": link.checked_at.isoformat(), "next_check_at": None} for link in found]
        self._lake.store.put_bytes(links_key(self._batch, number), json.dumps(value).encode())


_OF_LINK = (
    "record_id", "fetched_as", "host", "outcome", "reason", "detail", "status", "final_url", "etag", "last_modified",
    "image_id", "mime", "width_px", "height_px", "size_bytes", "perceptual_hash",
)  # fmt: skip


def links_key(batch: Batch, number: int) -> str:
    """Where a piece's links lie as long as its batch is under way."""
    return f"{batch.folder}/links-{batch.number:05d}-{number:03d}.json"


def save_remembered_links(lake: Lake, batch: Batch, checkpoint: Checkpoint, engine: Engine) -> None:
    """Write down the links of pieces that are done: the last one's may be missing."""
    for number in checkpoint.pieces:
        if lake.store.exists(links_key(batch, number)):
            values = lake.read_json(links_key(batch, number))
            links.save(engine, [Link(**{**one, "checked_at": datetime.fromisoformat(one["checked_at"])}) for one in values])


def forget_links(lake: Lake, batch: Batch) -> None:
    """The batch has ended."""
    for key in list(lake.store.list(f"{batch.folder}/links-{batch.number:05d}-")):
        lake.store.delete(key)


def _row(job: Job, attempt: Attempt, places: Mapping[str, Place]) -> dict[str, Any]:
    """A row of `images`. A picture that has not changed has the row that it had: the same input, the same bytes."""
    address, download = attempt.address, attempt.download
    outcome, reason, detail = attempt.verdict
    about: Any = attempt.known if download.not_modified and attempt.known is not None else None
    seen: Any = about or attempt.examined
    place = (about.place if about else places.get(attempt.image_id or "")) if outcome is Outcome.OK else None
    notes = f" ({'; '.join(job.notes)})" if job.notes and reason else ""
    return {
        "record_id": job.record["record_id"],
        "image_url": address.url,
        "position": address.position,
        "fetched_as": str(address.fetched_as),
        "host": host_of(address.visited),
        "image_id": about.image_id if about else attempt.image_id,
        "outcome": str(outcome),
        "reason": str(reason) if reason else None,
        "detail": " ".join(f"{detail}{notes}".split())[:500],
        "status": about.status if about else download.status,
        "final_url": download.final_url,
        "mime": seen.mime if seen else None,
        "width_px": seen.width_px if seen else None,
        "height_px": seen.height_px if seen else None,
        "size_bytes": about.size_bytes if about else (download.body_bytes if attempt.examined else None),
        "perceptual_hash": seen.perceptual_hash if seen else None,
        "etag": download.etag or (about.etag if about else None),
        "last_modified": download.last_modified or (about.last_modified if about else None),
        "attempts": download.attempts,
        "provider": job.record["provider"],
        "rights": address.rights,
        "rights_category": address.rights_category,
        **(place or NOWHERE),
    }


def _attribution(job: Job, attempt: Attempt) -> Attribution:
    return Attribution(
        rights=attempt.address.rights,
        source=job.record["source"],
        provider=job.record["provider"],
        credit=attempt.examined.credit if attempt.examined else "",
    )


def _outcome_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return asdict(
        OutcomeRow(
            stage="images",
            input_id=f"{row['record_id']}|{row['image_url']}",
            record_id=row["record_id"],
            outcome=Outcome(row["outcome"]),
            reason=Reason(row["reason"]),
            detail=row["detail"],
            attempt=row["attempts"],
        )
    )


def _counts(jobs: Sequence[Job], rows: Sequence[Mapping[str, Any]]) -> Counts:
    """Rows by reason; and of records, how many have a picture, or none because of somebody's failure."""
    counts = Counts(extra=Counter(records=len(jobs)))
    for row in rows:
        counts.add(row["reason"])
        if row["outcome"] == Outcome.OK and row["fetched_as"] != FetchedAs.ORIGINAL:
            counts.extra[row["fetched_as"]] += 1
    for job in jobs:
        counts.extra["records_ok"] += any(attempt.ok for attempt in job.attempts)
        counts.extra["records_failed"] += bool(job.attempts) and all(one.verdict[1] in FAULTS for one in job.attempts)
        counts.extra["not_modified"] += sum(one.download.not_modified for one in job.attempts)
        counts.extra["bytes"] += sum(one.download.body_bytes for one in job.attempts if not one.shared)
    return counts


def _part(key: str, path: Path, members: int) -> Part:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Part(key, members, path.stat().st_size, digest)
