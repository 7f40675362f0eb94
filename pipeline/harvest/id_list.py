"""Lists of record ids, of any length: a file with one a line, stored beside the run's manifest and read by ranges of lines."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.errors import CriticalError
from pipeline.harvest.seen import SeenIds

# What people have at hand: the id, the record's URI, or the address of its page on the portal.
_ADDRESS = re.compile(r"https?://(?:data\.europeana\.eu|(?:www\.)?europeana\.eu(?:/[a-z]{2})?)/item(/[^/\s?#]+/[^/\s?#]+)")
_HEADERS = frozenset({"id", "record_id", "uri", "europeana_id"})


def store_id_list(lake: Lake, run_folder: str, path: Path) -> str:
    """Copy a file of ids into the lake, each id once, and return the SHA-256 that names it.

    A line is an id, a record's URI or a portal address; of a CSV line the first cell counts. Empty lines, comments
    (#) and a heading are passed over. Raises CriticalError when there is no id in it.
    """
    digest, count = hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(prefix="enrich-") as folder, SeenIds() as seen:
        copy = Path(folder) / "ids.txt"
        with copy.open("w", encoding="utf-8") as target:
            for record_id in _read(path):
                if seen.add(record_id):
                    line = f"{record_id}\n"
                    digest.update(line.encode())
                    target.write(line)
                    count += 1
        if not count:
            raise CriticalError(f"{path}: there is no id in it; write one a line, such as /2021650/abc")
        sha256 = digest.hexdigest()
        lake.store.put_file(f"{run_folder}/ids-{sha256[:12]}.txt", copy)
    return sha256


def ids_of_run(lake: Lake, run: Run, first: int = 0, last: int | None = None) -> Iterator[str]:
    """The ids of a run's scope, from a position up to another, each once."""
    if run.scope.ids:
        yield from islice(dict.fromkeys(run.scope.ids), first, last)
        return
    with lake.store.local_copy(run.ids_key) as path, path.open(encoding="utf-8") as handle:
        for line in islice(handle, first, last):
            yield line.rstrip("\n")


def bare_id(text: str) -> str:
    """The id in a record's URI or in the address of its page; anything else as it is."""
    address = _ADDRESS.match(text)
    return address.group(1) if address else text


def _read(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, 1):
                cell = re.split(r"[,;\t]", line.strip(), maxsplit=1)[0].strip().strip('"')
                if not cell or cell.startswith("#") or (number == 1 and cell.lower() in _HEADERS):
                    continue
                yield bare_id(cell)
    except (OSError, UnicodeDecodeError) as error:
        raise CriticalError(f"{path}: cannot be read as a list of ids ({error})") from error
