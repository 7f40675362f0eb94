"""Moves the rows of one ledger batch through a target: what stands there is changed or taken back, what is planned is sent."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Engine

from pipeline.database import ledger
from pipeline.database.ledger import Settled, State
from pipeline.datasets.stage import Counts
from pipeline.errors import TransientError
from pipeline.publish import container, europeana, with_hidden
from pipeline.publish.container import ContainerTarget
from pipeline.publish.europeana import Each, EuropeanaTarget
from pipeline.publish.with_hidden import WithTarget
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings

Row = Mapping[str, Any]
CLAIM = 1024  # rows taken and settled together: what a crash leaves to be asked about is at most so much
THREADS = 8  # for what is not posted together: changes, searches, deletions, and creations elsewhere than at Europeana
PASSES = 4  # over what was put off, with a pause before each that doubles; then a later run takes it up
_STANDS = (State.SENT, State.DUPLICATE)


class Target(Protocol):
    """A platform. What is done for a row says what became of it, except for CriticalError, which goes up."""

    settles_s: float

    def prepare(self, record_ids: Sequence[str]) -> None:
        """Called once for all records of a batch."""

    def close(self) -> None:
        """Nothing more comes."""

    def send_all(self, rows: Sequence[Row], each: Each) -> list[Settled | BaseException]:
        """Say them all, beside each other; a result for each row, in any order."""

    def resolve(self, row: Row) -> Settled:
        """Has it arrived? Asked `settles_s` after a reply was lost."""

    def update(self, row: Row) -> Settled:
        """Say it anew."""

    def withdraw(self, row: Row) -> Settled:
        """Take it back, and prove it."""


def target_of(kind: str, settings: Settings) -> Target:
    """The target of a kind."""
    kinds: dict[str, Callable[[Settings], Target]] = {
        europeana.KIND: EuropeanaTarget,
        container.KIND: ContainerTarget,
        with_hidden.KIND: WithTarget,
    }
    return kinds[kind](settings)


@dataclass
class Sender:
    """Works at one batch, in threads. Use `open_sender`."""

    engine: Engine
    batch: str
    kind: str
    target: Target
    threads: ThreadPoolExecutor
    progress: Progress
    pause_s: float
    counts: Counts = field(default_factory=Counts)
    _unsure_since: float = field(default_factory=time.monotonic)  # the last moment at which a reply may have been lost

    def work(self) -> None:
        """Do all that the batch has open, as far as the platform lets us; what is left is counted under its state."""
        self.progress.advance(0, total=ledger.count(self.engine, self.batch, ledger.OPEN))
        self.target.prepare(ledger.open_records(self.engine, self.batch))
        if not self.target.settles_s:
            self._resolve()
        for number in range(PASSES):
            self._change(State.RETRACTING, self.target.withdraw, "retracted")
            self._change(State.UPDATING, self.target.update, "updated")
            self._send()
            if ledger.in_states(self.engine, self.batch, (State.SENDING,), limit=1):
                self._wait_until_known()
                self._resolve()
            if not ledger.in_states(self.engine, self.batch, ledger.OPEN, limit=1):
                break
            if number + 1 < PASSES:
                time.sleep(self.pause_s * 2**number)
        for row in ledger.in_states(self.engine, self.batch, (State.PLANNED, State.SENDING)):
            self.counts.add(row["state"])

    def withdraw(self) -> int:
        """Take back all that the batch is to withdraw; returns how many are left."""
        self.progress.advance(0, total=ledger.count(self.engine, self.batch, (State.WITHDRAWING,)))
        for number in range(PASSES):
            self._change(State.WITHDRAWING, self.target.withdraw, "withdrawn")
            left = ledger.count(self.engine, self.batch, (State.WITHDRAWING,))
            if not left:
                break
            if number + 1 < PASSES:
                time.sleep(self.pause_s * 2**number)
        return left

    def _send(self) -> None:
        """Send planned rows once each, until a whole claim comes to nothing: put off, or without a reply."""
        after = 0
        while rows := ledger.claim(self.engine, self.batch, after=after, limit=CLAIM, now=_now()):
            after = rows[-1]["id"]
            outcomes = self._write_down(self.target.send_all(rows, self._each), rows, (State.SENDING,))
            if any(outcome.state == State.SENDING for outcome in outcomes):
                self._unsure_since = time.monotonic()
            self._count(outcomes)
            if all(outcome.state in (State.PLANNED, State.SENDING) for outcome in outcomes):
                return

    def _change(self, state: State, work: Callable[[Row], Settled], name: str) -> None:
        """Do what may be done twice: rows that are known there first, the others once a search must know them."""
        rows = ledger.in_states(self.engine, self.batch, (state,))
        known = [row for row in rows if row["remote_id"]]
        lost = [row for row in rows if not row["remote_id"]]
        for group in (known, lost):
            if group is lost and lost:
                self._wait_until_known()
            for at in range(0, len(group), CLAIM):
                outcomes = self._settled(work, group[at : at + CLAIM], (state,))
                done = [outcome for outcome in outcomes if outcome.state != state]
                # One that is gone or that the platform refused to change has been dealt with, but was not updated.
                failed = [one for one in done if state == State.UPDATING and (one.state != State.SENT or one.error)]
                self.counts.extra[name] += len(done) - len(failed)
                if not done:
                    return

    def _resolve(self) -> None:
        """Ask about the rows whose reply was lost; a row that never arrived is counted when it is sent."""
        outcomes = self._settled(self.target.resolve, ledger.interrupted(self.engine, self.batch), (State.SENDING,))
        self.counts.extra["recovered"] += sum(outcome.state in _STANDS for outcome in outcomes)
        self._count(outcomes)

    def _wait_until_known(self) -> None:
        """A search knows nothing of what was stored just now, and a request that was cut off may still be under way."""
        time.sleep(max(0.0, self._unsure_since + self.target.settles_s - time.monotonic()))

    def _count(self, outcomes: Sequence[Settled]) -> None:
        for outcome in outcomes:
            if outcome.state not in (State.PLANNED, State.SENDING):
                self.counts.add(None if outcome.state in _STANDS else outcome.state)
                self.counts.extra[f"created_{self.kind}"] += outcome.created
                self.counts.extra["duplicates"] += outcome.state == State.DUPLICATE

    def _settled(self, work: Callable[[Row], Settled], rows: Sequence[Row], before: Sequence[State]) -> list[Settled]:
        """Do the work for all rows, and write down what became of them."""
        return self._write_down(self._each(work, rows), rows, before)

    def _each(self, work: Callable[[Row], Settled], rows: Sequence[Row]) -> list[Settled | BaseException]:
        """Do the work for each row in a thread; an error stands in the place of its result."""
        futures = [self.threads.submit(work, row) for row in rows]
        return [future.exception() or future.result() for future in futures]

    def _write_down(
        self, results: Sequence[Settled | BaseException], rows: Sequence[Row], before: Sequence[State]
    ) -> list[Settled]:
        """Write down every outcome, before a CriticalError among the results goes up."""
        outcomes = [one for one in results if isinstance(one, Settled)]
        late = ledger.settle(self.engine, self.batch, outcomes, now=_now(), before=before) if outcomes else []
        for one in results:
            if isinstance(one, BaseException):
                raise one
        of_number = {row["id"]: row for row in rows}
        for outcome in late:
            if outcome.created:
                self._take_back(of_number[outcome.id], outcome)
        self.progress.advance(sum(outcome.state not in before for outcome in outcomes))
        return [outcome for outcome in outcomes if outcome not in late]

    def _take_back(self, sent: Row, outcome: Settled) -> None:
        """What was taken back by a person in the very moment of its sending must not stay; if it cannot be deleted now,
        the ledger says that it stands there, and the next withdrawal finds it."""
        row = ledger.row(self.engine, outcome.id)
        state = ledger.take_back(self.engine, outcome.id, outcome.remote_id, self.batch, now=_now()) if row else None
        if row and state:
            self._settled(self.target.withdraw, [{**row, "state": state, "remote_id": outcome.remote_id}], (state,))
        elif row is None:  # forgotten: nobody else knows of it
            done = self.target.withdraw({**sent, "state": State.WITHDRAWING, "remote_id": outcome.remote_id})
            if done.state == State.WITHDRAWING:
                raise TransientError(f"{outcome.remote_id} was forgotten while it was sent: delete it by hand ({done.error})")


@contextmanager
def open_sender(engine: Engine, batch: str, kind: str, settings: Settings, *, what: str) -> Iterator[Sender]:
    """A sender for one batch, with its threads and a progress line named `what`."""
    with (
        ThreadPoolExecutor(min(THREADS, settings.publish_concurrency)) as threads,
        Progress(f"{what} {kind}", "annotations", settings=settings) as progress,
        closing(target_of(kind, settings)) as target,
    ):
        yield Sender(engine, batch, kind, target, threads, progress, settings.publish_pause_s)


def _now() -> datetime:
    """When something happened to a row; what a row says of its statement comes from the plan."""
    return datetime.now(UTC)
