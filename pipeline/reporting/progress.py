"""Progress with rate and time left: a log line every few seconds, and a line of JSON for `enrich run` to draw."""

import json
import time
from types import TracebackType
from typing import Self

import structlog

from pipeline.settings import Settings

INTERVAL_S = 2.0

log = structlog.get_logger()


class Progress:
    """Counts work of one kind; use as a context manager."""

    def __init__(self, stage: str, unit: str, *, settings: Settings, total: int | None = None) -> None:
        self._stage, self._unit, self._total = stage, unit, total
        self._file = settings.progress_file
        self._done = 0
        self._started = self._shown = time.monotonic()

    @property
    def done(self) -> int:
        """How many are done so far."""
        return self._done

    def advance(self, count: int = 1, *, total: int | None = None) -> None:
        """So many more are done; the total may become known on the way."""
        self._done += count
        self._total = total if total is not None else self._total
        if time.monotonic() - self._shown >= INTERVAL_S:
            self._show(finished=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._show(finished=True)

    def _show(self, *, finished: bool) -> None:
        self._shown = time.monotonic()
        seconds = max(self._shown - self._started, 1e-6)
        rate = self._done / seconds
        left = (self._total - self._done) / rate if self._total and rate else None
        values = {
            "stage": self._stage,
            "unit": self._unit,
            "done": self._done,
            "total": self._total,
            "rate_per_s": round(rate, 1),
            "eta_s": round(left) if left is not None else None,
            "finished": finished,
        }
        log.info("progress", **values)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(values) + "\n")
