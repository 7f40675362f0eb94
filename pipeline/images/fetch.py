"""The download engine of one task: an event loop that visits hosts politely, threads that look at what they sent.

A record's addresses are visited one after the other until one gives a picture (or all of them are, when all images are
wanted). What became of each is handed to `on_done`; the order of records is that of the hosts' answers.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.database.links import Link
from pipeline.domain.identifiers import image_id
from pipeline.domain.outcome import Outcome, Reason
from pipeline.images.addresses import Address, FetchedAs
from pipeline.images.download import Download, Downloader, Validators, host_of, open_downloader
from pipeline.images.hosts import Host, HostQueue, HostStats
from pipeline.images.shards import Spool
from pipeline.imaging.derivative import DERIVATION
from pipeline.imaging.examine import Examined, Examiner, rules_of
from pipeline.imaging.placeholders import ImagesToRemove, load_images_to_remove, tone
from pipeline.settings import Settings

# A thumbnail shows the same picture, and a host that wants no machines at its pictures is not to be got round.
_NO_THUMBNAIL = frozenset(
    {Reason.ROBOTS_DISALLOWED, Reason.NEAR_BLANK, Reason.PLACEHOLDER, Reason.TOO_SMALL, Reason.BAD_ASPECT, Reason.BUDGET}
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one address. `known` is what is remembered of it, when the host says that nothing has changed."""

    address: Address
    download: Download
    examined: Examined | None = None
    image_id: str | None = None
    known: Link | None = None
    shared: bool = False  # the answer to another record's visit to the same address

    @property
    def verdict(self) -> tuple[Outcome, Reason | None, str]:
        """Outcome, reason and detail of the address."""
        if self.known is not None and self.download.not_modified:
            return Outcome(self.known.outcome), Reason(self.known.reason) if self.known.reason else None, self.known.detail
        last = self.examined if self.examined is not None else self.download
        return last.outcome, last.reason, last.detail

    @property
    def ok(self) -> bool:
        """Is there a picture?"""
        return self.verdict[0] is Outcome.OK

    @property
    def tone(self) -> str | None:
        """See `imaging.placeholders.tone`."""
        return tone(self.examined.sketch) if self.examined and self.examined.sketch else None


@dataclass(slots=True)
class Job:
    """One record's images; a batch's jobs are all in memory. `known` are its addresses' links, by address."""

    position: int
    record: Mapping[str, Any]
    addresses: list[Address]
    known: Mapping[str, Link]
    all_images: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    last: Attempt | None = None  # whatever it was of
    at: int = 0
    notes: list[str] = field(default_factory=list)

    def settle(self, attempt: Attempt) -> None:
        """Take down what became of the address in turn, and go on to the next one that is still wanted.

        A rendition or a thumbnail that fails is no attempt of its own: it only stands in for an image.
        """
        self.last = attempt
        stand_in = attempt.address.fetched_as is not FetchedAs.ORIGINAL
        if stand_in and not attempt.ok:
            _, reason, detail = attempt.verdict
            self.notes.append(f"{attempt.address.fetched_as}: {detail or reason}")
        else:
            self.attempts.append(attempt)
        self.at += 1
        while self.at < len(self.addresses) and not self._wanted(self.addresses[self.at]):
            self.at += 1

    def _wanted(self, address: Address) -> bool:
        if any(done.ok and done.address.url == address.url for done in self.attempts):
            return False  # its rendition is there
        if address.fetched_as is FetchedAs.THUMBNAIL:
            reasons = {done.verdict[1] for done in self.attempts}
            return not any(done.ok for done in self.attempts) and not reasons & _NO_THUMBNAIL
        return self.all_images or not any(done.ok for done in self.attempts)

    @property
    def done(self) -> bool:
        """Is nothing left to visit?"""
        return self.at >= len(self.addresses)


@dataclass(frozen=True, slots=True)
class _Visit:
    job: Job
    attempt: int = 1

    @property
    def address(self) -> Address:
        return self.job.addresses[self.job.at]


class Fetcher:
    """Visits all addresses of a task's records. Use as a context manager: it holds threads and processes."""

    def __init__(
        self,
        settings: Settings,
        *,
        folder: Path | None = None,
        spool: Spool | None = None,
        placeholders: frozenset[tuple[str, str, str]] = frozenset(),
        stats: Mapping[str, HostStats] | None = None,
        whatever_rules: bool = False,
    ) -> None:
        """`whatever_rules`: what is known of an address holds under other settings, too (for re-checks)."""
        self._settings = settings
        self._folder = folder
        self._placeholders = placeholders
        self._spool = spool
        self._rules = rules_of(settings)
        self.fingerprint = fingerprint_of(settings)
        self._whatever_rules = whatever_rules
        self._to_remove: ImagesToRemove = load_images_to_remove(settings.images_to_remove_dir, self._rules)
        self._queue: HostQueue[_Visit] = HostQueue(
            per_host=settings.download_per_host, interval_s=settings.download_host_interval_s
        )
        for name, known in (stats or {}).items():
            self._queue.host(name).stats.merge(known)
        self._threads = ThreadPoolExecutor(settings.decode_threads or _cores() + 1)
        self._own = threading.local()
        self._examiners = ExitStack()
        self._same: dict[str, list[_Visit]] = {}  # visits that wait for the answer to the same address
        self._several: frozenset[str] = frozenset()  # addresses that several records name: their answers are kept
        self._answers: dict[str, Attempt] = {}
        self._rules_read: set[str] = set()
        self._last_trouble: dict[str, Download] = {}  # of each host
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._on_done: Callable[[Job], None] = lambda job: None
        self._failure: BaseException | None = None
        self._stopped = False
        self._ends = time.monotonic() + settings.download_hours * 3600

    async def run(self, jobs: Iterable[Job], on_done: Callable[[Job], None]) -> None:
        """Visit until every job is done; `on_done` is called in the event loop's thread."""
        self._on_done = on_done
        ending = asyncio.get_running_loop().call_later(max(0.0, self._ends - time.monotonic()), self._changed.set)
        async with open_downloader(self._settings, folder=self._folder) as downloader:
            self._put_all(list(jobs))
            try:
                while self._queue.waiting or self._running:
                    self._changed.clear()
                    if not self._stopped and time.monotonic() >= self._ends:
                        self._stopped = True
                        self._queue.stop("the task's time is used up")
                    self._start_visits(downloader)
                    await self._something()
            finally:
                ending.cancel()
                for task in self._running:
                    task.cancel()

    def _put_all(self, jobs: Sequence[Job]) -> None:
        times = Counter(address.visited for job in jobs for address in job.addresses)
        self._several = frozenset(visited for visited, count in times.items() if count > 1)
        for job in jobs:
            self._put(_Visit(job))

    @property
    def stats(self) -> dict[str, HostStats]:
        """What was seen of each host so far."""
        return {host.name: host.stats for host in self._queue.hosts()}

    def _start_visits(self, downloader: Downloader) -> None:
        while len(self._running) < self._settings.download_concurrency and (taken := self._queue.take(time.monotonic())):
            task = asyncio.create_task(self._visit(downloader, *taken))
            self._running.add(task)
            task.add_done_callback(self._visited)

    def _visited(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()):
            self._failure = error

    async def _something(self) -> None:
        """Wait until a visit has ended, a host may be visited that made us wait, or the time is used up."""
        if (moment := self._queue.next_time()) is None:
            await self._changed.wait()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, moment - time.monotonic())):
                    await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def _put(self, visit: _Visit, *, again: bool = False, first: bool = False) -> None:
        """Queue a visit; an address that is being visited in this task is not visited a second time."""
        visited = visit.address.visited
        if not again:
            if visited in self._answers:
                self._settle(visit, replace(self._answers[visited], address=visit.address, shared=True))
                return
            if visited in self._same:
                self._same[visited].append(visit)
                return
            self._same[visited] = []
        self._queue.put(host_of(visited), visit, first=again or first)

    async def _visit(self, downloader: Downloader, host: Host[_Visit], visit: _Visit) -> None:
        started = time.monotonic()
        known = self._known(visit)
        if self._stopped:
            download = Download(Outcome.SKIPPED, Reason.BUDGET, "the task's time is used up; a later run goes on")
            self._queue.answered(host, started)
        elif host.down:
            host.stats.given_up += 1
            last = self._last_trouble[host.name]
            download = Download(last.outcome, last.reason, f"the host was given up: {last.detail}"[:500], status=last.status)
            self._queue.answered(host, started)
        else:
            download = await downloader.fetch(visit.address.visited, _validators(known))
            if visit.attempt > 1:
                download.attempts = visit.attempt
            self._take_down(downloader, host, visit, download, started)
            if download.passing and visit.attempt < self._settings.download_attempts and not host.down:
                self._put(replace(visit, attempt=visit.attempt + 1), again=True)
                return
        try:
            attempt = await self._looked_at(visit.address, download, known)
        finally:
            downloader.done_with(download)
        self._answered(visit, attempt)

    def _known(self, visit: _Visit) -> Link | None:
        """What is remembered of the address, if it was the very same one under the same rules."""
        known = visit.job.known.get(visit.address.url)
        if known is None or known.visited != visit.address.visited:
            return None
        return known if self._whatever_rules or known.rules == self.fingerprint else None

    def _take_down(self, downloader: Downloader, host: Host[_Visit], visit: _Visit, download: Download, started: float) -> None:
        """What the visit says of its host: in the statistics, and for its pace."""
        stats, now = host.stats, time.monotonic()
        stats.visits += 1
        stats.bytes += download.body_bytes
        stats.not_modified += download.not_modified
        if (rules := downloader.rules_of(visit.address.visited)) is not None and host.name not in self._rules_read:
            self._rules_read.add(host.name)
            stats.robots = rules.file
            stats.crawl_delay_s = rules.crawl_delay_s
            host.interval_s = max(host.interval_s, min(rules.crawl_delay_s, self._settings.crawl_delay_longest_s))
            host.not_before = max(host.not_before, now + host.interval_s)
        if download.passing:
            wait = min(download.wait_s, self._settings.retry_after_longest_s) if download.wait_s is not None else None
            self._last_trouble[host.name] = download
            self._queue.troubled(host, now, since=started, wait_s=wait, why=download.detail)
        else:
            self._queue.answered(host, now)
        if download.reason is Reason.ROBOTS_DISALLOWED and download.status is None:
            self._queue.spare(host, now)  # nothing was asked of it

    async def _looked_at(self, address: Address, download: Download, known: Link | None) -> Attempt:
        if download.content is None:
            return Attempt(address, download, known=known)
        loop = asyncio.get_running_loop()
        identity, examined = await loop.run_in_executor(
            self._threads, self._examine, download.content, host_of(address.visited)
        )
        download.content = examined.jpeg = None  # thousands of attempts are kept for a while
        return Attempt(address, download, examined, identity)

    def _examine(self, content: bytes, host: str) -> tuple[str, Examined]:
        """In a thread: identity and verdict; a good picture goes into the spool."""
        if not hasattr(self._own, "examiner"):
            self._own.examiner = self._examiners.enter_context(Examiner(self._rules))
        identity = image_id(content)
        examined: Examined = self._own.examiner.examine(content)
        if examined.outcome is Outcome.OK and examined.sketch is not None:
            why = self._to_remove.match(identity, examined)
            if (
                why is None
                and self._placeholders
                and (host, examined.perceptual_hash, tone(examined.sketch)) in self._placeholders
            ):
                why = f"{host} sends the same picture for many records"
            if why is not None:
                examined = replace(examined, outcome=Outcome.REJECTED, reason=Reason.PLACEHOLDER, detail=why, jpeg=None)
        if self._spool is not None and examined.jpeg is not None:
            self._spool.keep(identity, examined.jpeg, content)
        return identity, examined

    def _answered(self, visit: _Visit, attempt: Attempt) -> None:
        """Settle the visit, and those that wait for the same address."""
        visited = visit.address.visited
        waiting = self._same.pop(visited, [])
        if visited in self._several:
            self._answers[visited] = attempt
        self._settle(visit, attempt)
        for other in waiting:
            self._settle(other, replace(attempt, address=other.address, shared=True))

    def _settle(self, visit: _Visit, attempt: Attempt) -> None:
        job = visit.job
        if attempt.address.fetched_as is not FetchedAs.ORIGINAL and not attempt.ok:
            # A stand-in that fails has no row, from which the report could count it.
            self._queue.host(host_of(attempt.address.visited)).stats.reasons[str(attempt.verdict[1])] += 1
        job.settle(attempt)
        if job.done:
            self._on_done(job)
        else:
            self._put(_Visit(job), first=True)  # so that its piece need not wait for all others

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._examiners.close()


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fingerprint_of(settings: Settings) -> str:
    """Short hash of what decides about a picture, settings and code: under others a verdict is reached anew."""
    mark = settings.fingerprint(
        "derivative_side_px",
        "derivative_quality",
        "image_min_side_px",
        "image_max_pixels",
        "image_max_aspect",
        "image_max_bytes",
        "keep_originals",
    )
    folder = settings.images_to_remove_dir
    paths = [path for path in folder.rglob("*") if path.is_file()] if folder is not None else []
    files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
    return hashlib.sha256(f"{mark}|{DERIVATION}|{files}".encode()).hexdigest()[:16]


def _validators(known: Link | None) -> Validators | None:
    """Only for a verdict on bytes that were looked at: what a host forbids is asked anew each time."""
    if known is None or known.image_id is None:
        return None
    return Validators(known.etag, known.last_modified)
