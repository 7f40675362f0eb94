"""Parts of objects: which are valid, and which are near enough to be read together."""

from collections.abc import Iterable, Iterator, Sequence

Range = tuple[int, int]  # offset, size

# A request takes about as long as the transfer of this much, so the bytes of a smaller gap are cheaper than a request.
_GAP = 64 * 1024
# What one request may bring into memory at once; a single range may be longer.
_TOGETHER = 8 * 1024 * 1024


def check_range(offset: int, size: int) -> None:
    """ValueError for a negative offset or size: to some servers it would mean bytes from the end."""
    if offset < 0 or size < 0:
        raise ValueError(f"no range of bytes has offset {offset} and size {size}")


def neighbours(ranges: Iterable[Range]) -> Iterator[tuple[Range, Sequence[Range]]]:
    """Consecutive ranges that lie close together, each group with the one range that covers it."""
    group: list[Range] = []
    start = end = 0
    for offset, size in ranges:
        first, last = min(start, offset), max(end, offset + size)
        near = offset <= end + _GAP and offset + size >= start - _GAP
        if group and near and last - first <= _TOGETHER:
            start, end = first, last
            group.append((offset, size))
            continue
        if group:
            yield (start, end - start), group
        start, end, group = offset, offset + size, [(offset, size)]
    if group:
        yield (start, end - start), group
