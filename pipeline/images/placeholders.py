"""Placeholders that nobody has named: one look on many records of one host."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from pipeline.database import links
from pipeline.database.links import lake_id
from pipeline.datasets.lake import Lake, Part, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import IMAGES, OUTCOMES
from pipeline.datasets.stage import Result, outcomes_dataset
from pipeline.domain.outcome import Outcome, Reason

_NAME = outcomes_dataset("images")
Found = dict[str, tuple[str, int]]  # url → (perceptual hash, records that have it)


def take_out_placeholders(
    lake: Lake, run: Run, result: Result, engine: Engine, hosts: Collection[str], *, fewest: int
) -> dict[str, int]:
    """Change the verdict on pictures that look the same on `fewest` records of a host; 0 leaves all as they are.

    The host's other runs count too. Parts with such pictures are written anew, and `result` names those instead; counts
    move with them. Returns how many pictures by perceptual hash.
    """
    if not fewest:
        return {}
    found = links.find_placeholders(engine, lake_id(lake.root), hosts, fewest=fewest)
    taken: dict[str, int] = {}
    if found:
        result.parts["images"] = [_rewritten(lake, run, part, found, result, taken) for part in result.parts.get("images", [])]
    return taken


def _rewritten(lake: Lake, run: Run, part: Part, found: Found, result: Result, taken: dict[str, int]) -> Part:
    """The part itself when it holds none of them, else one with their verdicts changed."""
    rows = [row for batch in lake.part_rows(part.key) for row in batch.to_pylist()]
    wrong = [row for row in rows if row["image_url"] in found and row["outcome"] == Outcome.OK]
    if not wrong:
        return part
    for row in wrong:
        digest, records = found[row["image_url"]]
        detail = f"{row['host']} sends this picture for {records} records"
        row |= {"outcome": str(Outcome.REJECTED), "reason": str(Reason.PLACEHOLDER), "detail": detail}
        row |= dict.fromkeys(_PLACE)
        taken[digest] = taken.get(digest, 0) + 1
    _count(result, rows, wrong)
    name = part.key.rpartition("/")[2].removesuffix(".parquet").removeprefix("part-")
    number, _, piece = name.partition("-")
    batch = int(number) - run.part_number(0)
    refused = as_table("outcomes", [_outcome_row(row) | run.columns() for row in wrong])
    outcomes = lake.write_part(run, _NAME, batch, [refused], OUTCOMES, piece=f"{piece}-placeholders")
    result.parts.setdefault(_NAME, []).append(outcomes)
    return lake.write_part(run, "images", batch, [pa.Table.from_pylist(rows, IMAGES)], IMAGES, piece=f"{piece}-checked")


_PLACE = ("shard_uri", "shard_offset", "shard_size", "original_uri", "original_offset", "original_size")


def _count(result: Result, rows: list[dict[str, Any]], wrong: list[dict[str, Any]]) -> None:
    counts = result.counts
    counts.ok -= len(wrong)
    counts.reasons[Reason.PLACEHOLDER] += len(wrong)
    still = {row["record_id"] for row in rows if row["outcome"] == Outcome.OK}
    counts.extra["records_ok"] -= len({row["record_id"] for row in wrong} - still)
    for row in wrong:
        if row["fetched_as"] in ("iiif", "thumbnail"):
            counts.extra[row["fetched_as"]] -= 1


def _outcome_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": "images",
        "input_id": f"{row['record_id']}|{row['image_url']}",
        "record_id": row["record_id"],
        "outcome": row["outcome"],
        "reason": row["reason"],
        "detail": row["detail"],
        "attempt": row["attempts"],
        "raw": None,
    }
