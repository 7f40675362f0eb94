"""The bounded process of `imaging.examine`: reads files from its standard input, answers on its standard output.

A message is two sizes and the two blocks: (0, file) comes in, (JSON verdict, JPEG) goes out. It ends with its input.
"""

import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import IO, Any

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.examine import HEADER, Examined, Rules, examine_here
from pipeline.imaging.inspect import Limits

_MEGABYTE = 1024 * 1024
_STDERR = 2
_TOO_MUCH = "decoding needs more memory than a picture may take"
# What the decoders need at once, where that is more than the four bytes of the picture itself.
_BYTES_PER_PIXEL = {"image/webp": 8, "image/avif": 8, "image/jp2": 16, "image/jpx": 16}


def main() -> None:
    """Serve until the input ends."""
    rules = _rules(json.loads(sys.argv[1]))
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    _bound(rules)
    outgoing.write(HEADER.pack(0, 0))
    outgoing.flush()
    while header := incoming.read(HEADER.size):
        _, size = HEADER.unpack(header)
        _forget_peak()
        with _complaints() as complaints:
            found = examine_here(incoming.read(size), rules)
        _answer(outgoing, _held_to(found, complaints.decode(errors="replace"), rules))


def _rules(values: dict[str, Any]) -> Rules:
    return Rules(**{**values, "limits": Limits(**values["limits"])})


def _bound(rules: Rules) -> None:
    """No more memory than the rules say on top of what the libraries take; no core dump of somebody's picture."""
    limit = _own_data_bytes() + rules.memory_mb * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _own_data_bytes() -> int:
    """What this process has so far, as the limit counts it; a guess where no /proc tells it."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    except (OSError, StopIteration):
        return 150 * _MEGABYTE


@contextmanager
def _complaints() -> Iterator[bytearray]:
    """What native libraries print meanwhile: libtiff tells of damage there, and of nothing else."""
    said = bytearray()
    before = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield said
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            file.seek(0)
            said += file.read(2_000)


def _held_to(found: Examined, complaints: str, rules: Rules) -> Examined:
    """What the decoders do not say: libtiff draws on after damage, others call it damage when memory does not suffice."""
    if found.outcome is Outcome.OK and found.mime == "image/tiff" and complaints.strip():
        detail = " ".join(complaints.split())[:500]
        return replace(
            found, outcome=Outcome.REJECTED, reason=Reason.CORRUPT, detail=detail, jpeg=None, perceptual_hash=None, sketch=None
        )
    pixels = (found.width_px or 0) * (found.height_px or 0)
    if found.reason is Reason.CORRUPT and pixels * _BYTES_PER_PIXEL.get(found.mime or "", 4) > rules.memory_mb * _MEGABYTE:
        return replace(found, reason=Reason.BOMB, detail=f"{_TOO_MUCH}: {found.detail}"[:500])
    return found


def _answer(outgoing: IO[bytes], found: Examined) -> None:
    values = asdict(replace(found, jpeg=None, peak_mb=peak_mb()))
    del values["jpeg"]
    text = json.dumps(values).encode()
    outgoing.write(HEADER.pack(len(text), len(found.jpeg or b"")))
    outgoing.write(text)
    outgoing.write(found.jpeg or b"")
    outgoing.flush()


def _forget_peak() -> None:
    """Let the peak be that of the next file; Linux only, elsewhere it is the highest so far."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as handle:
            handle.write("5")
    except OSError:
        return


def peak_mb() -> float:
    """Largest resident memory of this process; not `ru_maxrss`, which begins with that of the parent at the fork."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
