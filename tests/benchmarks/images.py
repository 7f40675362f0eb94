"""Images: the image stage by itself (fetch, SHA-256, strict validation, perceptual hash, normalised JPEG, shard, Parquet)
against img2dataset over the same 5,000 pictures of a web server on this machine.

Both sides are processes of their own, clocked from their start to their end, and in turn. `--full` adds a server that
answers late, an S3 store, twenty times as many addresses, and a second run over what has not changed.
"""

import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.for_images.fidelity import signal_to_noise
from tests.benchmarks.for_images.ours import FIRST_NIGHT, SECOND_NIGHT, Task
from tests.benchmarks.for_images.peer import install_peer, run_peer
from tests.benchmarks.for_images.pictures import make_pictures
from tests.benchmarks.for_images.places import BENCH, PICTURES
from tests.benchmarks.for_images.s3 import S3Server, install_s3
from tests.benchmarks.for_images.server import DELAY_S, Nginx, Program, find_nginx
from tests.benchmarks.for_images.watch import Watched

COUNT, COPIES, TURNS = 5_000, 20, 3
FEWER = 2_000  # pictures of the small side in the short form, once
WARM_UP = 100  # pictures
COMPARED = 200  # pictures whose likeness is measured
SIDE_PX, SMALL_SIDE_PX = 400, 256


def measure(*, full: bool, count: int = COUNT) -> list[Figure]:
    """All figures; fewer pictures than `count` are for trying the benchmark itself."""
    program, peer = find_nginx(to_delay=full), install_peer()
    s3 = install_s3() if full else None
    names = [picture.name for picture in make_pictures(PICTURES, count)]
    with _stopped_cleanly(), tempfile.TemporaryDirectory(prefix="work-", dir=BENCH) as name:
        folder = Path(name)
        with Nginx(program, PICTURES, folder / "nginx") as server:
            bench = Bench(folder, server, peer, names)
            bench.warm_up()
            figures, peak = _against_peer(bench, SIDE_PX, TURNS, count)
            figures += _likeness(bench)
            figures += _against_peer(bench, SMALL_SIDE_PX, *((TURNS, count) if full else (1, min(FEWER, count))))[0]
            if s3:
                figures += [*_late_and_far(bench, s3), _growth(bench, peak)]
        if full:
            figures += _unchanged(program, folder, names)
    return figures


@contextmanager
def _stopped_cleanly() -> Iterator[None]:
    """SIGTERM is an exception, so that servers are stopped and folders removed then, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Bench:
    """The pictures' names, the server that has them, and both sides; `folder` is for what they write."""

    folder: Path
    server: Nginx
    peer: Path
    names: Sequence[str]
    _runs: int = 0

    def ours(
        self, side_px: int, *, below: Sequence[str] = ("",), environment: dict[str, str] | None = None, limit: int | None = None
    ) -> Watched:
        """Our side, with a lake and a database of its own; once for each path in `below`."""
        urls = [self.server.url(name, below=path) for path in below for name in self.names[:limit]]
        task = Task(self.new_folder(), self.server.port, side_px, environment or {})
        watched = task.run(urls)
        shutil.rmtree(task.folder)
        place = f", {below[0].strip('/')}" if len(below) == 1 and below[0] else ""
        where = f"{place}, S3" if "STORAGE_URL" in (environment or {}) else place
        return _told(f"ours, {side_px} px{where}", len(urls), watched)

    def theirs(self, side_px: int, *, limit: int | None = None) -> Watched:
        """The peer's side."""
        urls = [self.server.url(name) for name in self.names[:limit]]
        return _told(f"img2dataset, {side_px} px", len(urls), run_peer(self.peer, self.new_folder(), urls, side_px=side_px))

    def warm_up(self) -> None:
        """The pictures into the system's memory, and each side's program; nobody's first start is measured."""
        for name in self.names:
            (PICTURES / name).read_bytes()
        self.ours(SIDE_PX, limit=WARM_UP)
        self.theirs(SIDE_PX, limit=WARM_UP)

    def new_folder(self) -> Path:
        """A folder that nobody has used."""
        self._runs += 1
        return self.folder / f"run-{self._runs}"


def _against_peer(bench: Bench, side_px: int, turns: int, count: int) -> tuple[list[Figure], float]:
    """Rates, memory and their ratios over the first `count` pictures, the two sides in turn; and our peak (MB)."""
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(bench.ours(side_px, limit=count))
        theirs.append(bench.theirs(side_px, limit=count))
    faster = [round(peer.seconds / own.seconds, 3) for own, peer in zip(ours, theirs, strict=True)]
    leaner = [round(own.peak_mb / peer.peak_mb, 3) for own, peer in zip(ours, theirs, strict=True)]
    memory = "memory_ratio" if side_px == SIDE_PX else f"memory_ratio_{side_px}"
    return [
        Figure(f"ratio_{side_px}", f"x img2dataset's images/s, {count:,} pictures, all included", faster, at_least=2.5),
        Figure(memory, f"of img2dataset's peak memory, {side_px} px", leaner, at_most=0.25),
        Figure(f"ours_{side_px}", "images/s", [round(count / one.seconds, 1) for one in ours]),
        Figure(f"img2dataset_{side_px}", "images/s", [round(count / one.seconds, 1) for one in theirs]),
        Figure(f"ours_{side_px}_mb", "MB at the peak, all processes", [round(one.peak_mb) for one in ours]),
        Figure(f"img2dataset_{side_px}_mb", "MB at the peak, all processes", [round(one.peak_mb) for one in theirs]),
    ], statistics.median(one.peak_mb for one in ours)


def _likeness(bench: Bench) -> list[Figure]:
    """Stored pictures against Pillow's."""
    task = Task(bench.new_folder(), bench.server.port, SIDE_PX)
    some = bench.names[:: max(1, len(bench.names) // COMPARED)][:COMPARED]
    task.run([bench.server.url(name) for name in some])
    decibels = signal_to_noise(task.settings, task.run_key(), PICTURES)
    unit = f"dB against a full decode and Lanczos, {len(decibels)} pictures"
    return [
        Figure("psnr_mean", unit, [round(statistics.mean(decibels), 2)], at_least=36),
        Figure("psnr_min", f"{unit}, the worst", [round(min(decibels), 2)]),
    ]


def _late_and_far(bench: Bench, s3: Path) -> list[Figure]:
    """A server that answers late, and a store over the network, against the plain run, all three in turn."""
    late, far = [], []
    with S3Server(s3, bench.folder / "s3") as store:
        store.check()
        for turn in range(TURNS):
            plain = bench.ours(SIDE_PX).seconds
            late.append(round(plain / bench.ours(SIDE_PX, below=["slow/"]).seconds, 3))
            far.append(round(plain / bench.ours(SIDE_PX, environment=store.environment(f"turn-{turn}")).seconds, 3))
    return [
        Figure("delayed", f"of the rate, when each answer comes {DELAY_S * 1000:g} ms later", late, at_least=0.9),
        Figure("s3", "of the rate, when the lake is on S3 (s3rver)", far, at_least=0.85),
    ]


def _growth(bench: Bench, peak_mb: float) -> Figure:
    """Memory over many addresses, against the peak over few."""
    # Each picture comes twenty times from one host, as a placeholder does: that is not what is measured.
    many = bench.ours(SIDE_PX, below=[f"copy-{number}/" for number in range(COPIES)], environment={"PLACEHOLDER_RECORDS": "0"})
    unit = f"x the peak memory, {COPIES * len(bench.names):,} addresses to {len(bench.names):,}"
    return Figure("memory_growth", unit, [round(many.peak_mb / peak_mb, 3)], at_most=1.1)


def _unchanged(program: Program, folder: Path, names: Sequence[str]) -> list[Figure]:
    """A second run, over a collection that is as it was: what is fetched and stored again."""
    with Nginx(program, PICTURES, folder / "nginx-logged", logged=True) as server:
        task = Task(folder / "unchanged", server.port, SIDE_PX)
        urls = [server.url(name) for name in names]
        _told("ours, the first night", len(urls), task.run(urls, FIRST_NIGHT))
        first, shards = server.bytes_sent(), task.shards()
        _told("ours, the second night", len(urls), task.run(urls, SECOND_NIGHT))
        again = server.bytes_sent() - first
        written = len(task.shards() - shards)
    return [
        Figure("unchanged_bytes", "of the first run's bytes, in a second run without change", [again / first], at_most=0.05),
        Figure("unchanged_shards", "shards written in it", [written], at_most=0),
    ]


def _told(what: str, count: int, watched: Watched) -> Watched:
    """Print how a run went, so that a long benchmark shows that it goes on."""
    print(
        f"{what}, {count:,} pictures: {count / watched.seconds:.1f} images/s, {watched.peak_mb:.0f} MB at the peak", flush=True
    )
    return watched
