"""Fetch the next pages while the last one is being read: the server's time and ours pass together."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")
_STEP_S = 0.2  # how soon the thread sees that nobody wants more


class _End:
    """The last thing in the queue: how the iterator ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(items: Iterator[T], *, ahead: int = 2) -> Iterator[T]:
    """The same items, fetched by a thread that is at most `ahead` items further on.

    What the iterator raises comes out here, after the items before it.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(maxsize=ahead)
    unwanted = threading.Event()

    def put(item: T | _End) -> None:
        while not unwanted.is_set():
            try:
                waiting.put(item, timeout=_STEP_S)
                break
            except queue.Full:
                continue

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(item)
                if unwanted.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the items are used
            error = raised
        put(_End(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
