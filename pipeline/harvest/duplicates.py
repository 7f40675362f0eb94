"""Each record once in a run: one that changed while its windows were listed, or has several concepts, is met twice."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import PARTS_PER_ATTEMPT, Run
from pipeline.datasets.schemas import RECORDS
from pipeline.harvest.seen import SeenIds


def drop_duplicates(lake: Lake, run: Run, parts: Sequence[Part]) -> tuple[list[Part], int, int]:
    """The parts without repeated records, and how many (with an image, without one) were dropped.

    Parts come in the order of their windows: the last one has the record as it is now, and that one stays. A part that
    loses rows is written anew beside the old one, which goes when the run is published.
    """
    kept: list[Part] = []
    dropped = {True: 0, False: 0}
    with SeenIds() as seen:
        for part in reversed(parts):
            repeated: set[str] = set()
            for batch in lake.part_rows(part.key, ["record_id", "image_url"]):
                for row in batch.to_pylist():
                    if not seen.add(row["record_id"]):
                        repeated.add(row["record_id"])
                        dropped[row["image_url"] is not None] += 1
            kept.append(_without(lake, run, part, repeated) if repeated else part)
    return kept[::-1], dropped[True], dropped[False]


def _without(lake: Lake, run: Run, part: Part, repeated: set[str]) -> Part:
    number, _, piece = part.key.rpartition("/part-")[2].removesuffix(".parquet").partition("-")
    values = pa.array(sorted(repeated))

    def rows() -> "list[pa.Table]":
        tables = [pa.Table.from_batches([batch], schema=RECORDS) for batch in lake.part_rows(part.key)]
        return [table.filter(pc.invert(pc.is_in(table["record_id"], values))) for table in tables]

    return lake.write_part(run, "records", int(number) % PARTS_PER_ATTEMPT, rows(), RECORDS, piece=f"{piece}-once")
