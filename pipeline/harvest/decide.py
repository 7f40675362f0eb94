"""What to do with a slice, from what is known of it: nothing, go on, take over what another run has, or begin anew."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from pipeline.database.windows import Window, WindowState
from pipeline.datasets.run import Run
from pipeline.harvest.slices import Slice

# What another run has left of a listing without windows is taken over for so long; later the beginning would be stale.
FRESH = timedelta(days=7)


class Step(StrEnum):
    """What is to be done."""

    NOTHING = "nothing"  # this run has done it
    GO_ON = "go on"  # this run has begun it
    ADOPT = "adopt"  # another run has done it: its parts are this run's too
    TAKE_OVER = "take over"  # another run stopped on the way: from its cursor on, with its parts
    ANEW = "anew"


def next_step(slice_: Slice, own: Window, others: Sequence[Window], run: Run, *, now: datetime) -> Step:
    """`own` is this run's row; `others` are finished rows of other runs whose parts still stand, the newest first."""
    newest = others[0] if others else None
    trusted = slice_.is_window and not run.again and not slice_.again
    if own.state == WindowState.SUCCESS and is_whole(own):
        this_time = own.run_attempt == run.attempt and bool(own.pieces)
        return Step.NOTHING if this_time or (slice_.is_window and not run.again) else Step.ANEW
    if trusted and newest is not None and newest.state == WindowState.SUCCESS and is_whole(newest):
        return Step.ADOPT
    if own.state in (WindowState.RUNNING, WindowState.PARTIAL, WindowState.FAILED):
        return Step.GO_ON
    if newest is not None and newest.state == WindowState.PARTIAL and not run.again:
        stopped = newest.finished_at or newest.updated_at
        if slice_.is_window or (stopped is not None and now - stopped < FRESH):
            return Step.TAKE_OVER
    return Step.ANEW


def is_whole(window: Window) -> bool:
    """Did every record come, and was it listed after its end? What was listed before lacks whatever changed since."""
    if window.counts.get("extra", {}).get("missing"):
        return False
    return window.end is None or (window.finished_at is not None and window.finished_at >= window.end)
