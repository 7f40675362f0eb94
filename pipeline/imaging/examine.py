"""One file's bytes → verdict, derivative and perceptual hash; whatever a decoder does, this process survives it.

Ordinary JPEGs, nearly all of what museums send, are decoded right here: their decoder is bounded by nature. Everything
else goes to a process of its own (`imaging.worker`) with bounds on memory and time: old decoders of odd formats crash
and hang on hostile bytes, and nothing in Python can stop them.
"""

import json
import os
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.derivative import normalised_jpeg
from pipeline.imaging.inspect import Inspection, Limits, inspect_image
from pipeline.imaging.look import perceptual_hash, sketch

if TYPE_CHECKING:  # the process of odd files needs none
    from pipeline.settings import Settings

# What may be decoded in a thread: a progressive JPEG holds all its coefficients, six bytes a pixel at worst.
_THREAD_PIXELS, _THREAD_PROGRESSIVE_PIXELS = 40_000_000, 10_000_000
_START_OF_FRAME = {0xC0: False, 0xC1: False, 0xC2: True}  # baseline, extended, progressive
_START_OF_SCAN = 0xDA
_MEGABYTE = 1024 * 1024
_CHUNK = 65_536
HEADER = struct.Struct(">II")


@dataclass(frozen=True)
class Rules:
    """What a usable picture is, and what is kept of it; `seconds` and `memory_mb` bound the decoding of odd files."""

    limits: Limits
    side_px: int
    quality: int
    seconds: float = 8.0
    memory_mb: int = 440


def rules_of(settings: "Settings") -> Rules:
    """What a usable picture is, and what is kept of it, as the settings say."""
    limits = Limits(settings.image_min_side_px, settings.image_max_pixels, settings.image_max_aspect)
    return Rules(
        limits,
        settings.derivative_side_px,
        settings.derivative_quality,
        settings.decode_seconds,
        settings.decode_memory_mb,
    )


@dataclass
class Examined:
    """The verdict; the JPEG, the hash and the sketch (16 × 16 grey bytes, in hex) only when the outcome is ok.

    The JPEG may be let go of when it has been stored.
    """

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    mime: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    credit: str = ""
    perceptual_hash: str | None = None
    sketch: str | None = None
    jpeg: bytes | None = None
    peak_mb: float = 0.0  # of the process that decoded it, where that was not this one


def examine_here(content: bytes, rules: Rules) -> Examined:
    """Examine in this very process."""
    found = inspect_image(content, rules.limits, target_side_px=rules.side_px)
    return Examined(
        found.outcome,
        found.reason,
        found.detail[:500],
        found.mime,
        found.width_px,
        found.height_px,
        found.credit,
        perceptual_hash=perceptual_hash(found.look) if found.look is not None else None,
        sketch=sketch(found.look) if found.look is not None else None,
        jpeg=_derivative(found, rules) if found.pixels is not None else None,
    )


def _derivative(found: Inspection, rules: Rules) -> bytes:
    assert found.pixels is not None
    return normalised_jpeg(found.pixels, side_px=rules.side_px, quality=rules.quality, extent=found.extent)


class Examiner:
    """Examines files for one thread; its bounded process is started when the first odd file comes."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._process: subprocess.Popen[bytes] | None = None

    def examine(self, content: bytes) -> Examined:
        """The verdict on a file's bytes; never raises for what the bytes do."""
        if is_ordinary_jpeg(content):
            return examine_here(content, self._rules)
        if len(content) > self._rules.memory_mb * _MEGABYTE // 2:
            return _refused(Reason.BOMB, f"{len(content)} bytes cannot be decoded in {self._rules.memory_mb} MB")
        started, code = time.monotonic(), None
        for _ in range(2):  # a process that was killed for others' sake says nothing of the file: a fresh one tells
            left = self._rules.seconds - (time.monotonic() - started)
            if code is not None and left < self._rules.seconds / 2:
                break  # both tries together stay within the bound
            try:
                return self._examine_there(content, left)
            except TimeoutError:
                self.close()
                return _refused(Reason.BOMB, f"decoding takes longer than {self._rules.seconds:g} s")
            except (BrokenPipeError, EOFError):
                code = self.close()
        return _refused(Reason.CORRUPT, f"the decoder crashed on it (exit status {code})")

    def _examine_there(self, content: bytes, seconds: float) -> Examined:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + seconds
        _write(process.stdin, HEADER.pack(0, len(content)), deadline)
        _write(process.stdin, content, deadline)
        size, rest = HEADER.unpack(_read(process.stdout, HEADER.size, deadline))
        values = json.loads(_read(process.stdout, size, deadline))
        jpeg = _read(process.stdout, rest, deadline) if rest else None
        reason = Reason(values.pop("reason")) if values["reason"] else values.pop("reason")
        return Examined(Outcome(values.pop("outcome")), reason, **values, jpeg=jpeg)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "pipeline.imaging.worker", json.dumps(_as_json(self._rules))]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
            assert self._process.stdout is not None
            _read(self._process.stdout, HEADER.size, time.monotonic() + 60)  # it has started: its imports cost no file's time
        return self._process

    def close(self) -> int | None:
        """End the bounded process, and tell how it ended."""
        process, self._process = self._process, None
        if process is None:
            return None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if process.poll() is None:
            process.kill()
        return process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def is_ordinary_jpeg(content: bytes) -> bool:
    """A JPEG of 1 or 3 components of 8 bits, small enough to be decoded beside others: read from its markers alone."""
    if content[:3] != b"\xff\xd8\xff":
        return False
    at, whole_frame, pixels, components = 2, False, 0, 0
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == 0xFF:  # filling before a marker
            at += 1
            continue
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _START_OF_FRAME and at + 10 <= len(content):
            pixels = int.from_bytes(content[at + 5 : at + 7], "big") * int.from_bytes(content[at + 7 : at + 9], "big")
            components, whole_frame = content[at + 9], _START_OF_FRAME[marker]
            if content[at + 4] != 8 or components not in (1, 3):
                return False
        elif marker == _START_OF_SCAN and at + 5 <= len(content):
            whole_frame |= content[at + 4] < components  # several scans: all coefficients are kept until the last
            return 0 < pixels <= (_THREAD_PROGRESSIVE_PIXELS if whole_frame else _THREAD_PIXELS)
        at += 2 + length
    return False


def _as_json(rules: Rules) -> dict[str, Any]:
    return {**rules.__dict__, "limits": rules.limits.__dict__}


def _refused(reason: Reason, detail: str) -> Examined:
    return Examined(Outcome.REJECTED, reason, detail)


def _write(pipe: IO[bytes], content: bytes, deadline: float) -> None:
    """All bytes, or TimeoutError when the other side does not take them."""
    os.set_blocking(pipe.fileno(), False)
    view = memoryview(content)
    while view:
        _wait(pipe, select.POLLOUT, deadline)
        view = view[os.write(pipe.fileno(), view[:_CHUNK]) :]


def _read(pipe: IO[bytes], size: int, deadline: float) -> bytes:
    """So many bytes, or TimeoutError, or EOFError when the other side has ended."""
    content = bytearray()
    while len(content) < size:
        _wait(pipe, select.POLLIN, deadline)
        chunk = pipe.read(size - len(content))
        if not chunk:
            raise EOFError
        content += chunk
    return bytes(content)


def _wait(pipe: IO[bytes], event: int, deadline: float) -> None:
    """Until the pipe is ready, or TimeoutError. With poll: select fails once a process has more than 1,024 files open."""
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
