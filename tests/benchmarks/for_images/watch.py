"""Run a command and watch it: how long it takes from its very start to its end, and how much memory all of it needs."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Watched:
    """`peak_mb`: the largest sum, at one moment, of the resident memory of all processes of the command."""

    seconds: float
    peak_mb: float


def run_watched(command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path) -> Watched:
    """Run a command to its end, what it prints into `log`; RuntimeError with the end of that when it fails.

    It gets a session of its own, by which all processes that it starts are known, even when their parent is gone.
    """
    os.sync()  # what an earlier command has left for the disk is not this one's work
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            peak = _peak_of(process)
            seconds = time.perf_counter() - started
        finally:
            _end(process)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{log.read_text(errors='replace')[-3_000:]}")
    return Watched(seconds, peak / 1e6)


def _peak_of(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end; the largest memory (bytes) on the way."""
    peak = 0
    while True:
        peak = max(peak, _resident(process.pid))
        try:
            process.wait(INTERVAL_S)
        except subprocess.TimeoutExpired:
            continue
        return peak


def _resident(session: int) -> int:
    """Resident memory (bytes) of all processes of a session; Linux only, it reads /proc."""
    pages = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            # Asked first, as it costs next to nothing: the watching must not take time from what is watched.
            if os.getsid(int(name)) == session:
                with open(f"/proc/{name}/statm", "rb") as status:
                    pages += int(status.read().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended in the meantime
    return pages * PAGE


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing that the command has started outlives it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
