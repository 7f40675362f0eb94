"""CSV files of other people, line by line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import CriticalError

_LONGEST_CELL = 16 * 1024 * 1024  # characters; a subject's metadata stand in one cell


def csv_lines(path: Path, needed: Sequence[str], advice: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, trimmed cells by column) of every line that is not empty; the file is never whole in memory.

    CriticalError that names file, line and `advice` when the file, one of the `needed` columns or a line cannot be read.
    """
    csv.field_size_limit(_LONGEST_CELL)
    if not path.is_file():
        raise CriticalError(f"{path}: not found; {advice}")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, strict=True)
        try:
            reader.fieldnames = [(name or "").strip() for name in reader.fieldnames or []]
            if absent := [name for name in needed if name not in reader.fieldnames]:
                raise CriticalError(f"{path} line 1: the column {', '.join(absent)} is missing; {advice}")
            for cells in reader:
                if None in cells:
                    raise CriticalError(f"{path} line {reader.line_num}: it has more cells than the header; {advice}")
                values = {name: (value or "").strip() for name, value in cells.items()}
                if any(values.values()):
                    yield reader.line_num, values
        except (csv.Error, UnicodeDecodeError) as error:
            raise CriticalError(f"{path} line {reader.line_num + 1}: not CSV in UTF-8 ({error}); {advice}") from error
