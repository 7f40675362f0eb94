"""The run report as a page that needs nothing but itself: styles, bars and sample pictures are inside."""

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from jinja2 import Environment, PackageLoader, select_autoescape

from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.domain.label import Decision

SAMPLES = 12
RELATED_SHOWN = 4
SHOWN = (Decision.PUBLISH, Decision.REVIEW)  # annotations point to this page: hidden labels are not for everybody

log = structlog.get_logger()


def render_page(lake: Lake, run: Run, report: dict[str, Any]) -> str:
    """The report and sample pictures with their labels and related images, as HTML."""
    return environment().get_template("run_report.html").render(report=report, samples=_samples(lake, run))


def environment() -> Environment:
    """Templates of pages about a run."""
    found = Environment(loader=PackageLoader("pipeline.reporting"), autoescape=select_autoescape())
    found.filters["thousands"] = lambda number: f"{number:,}"
    found.filters["scaled"] = lambda number: min(20.0, 4 * math.log10(number + 1))  # of 20: a hundred thousand fill it
    return found


def _samples(lake: Lake, run: Run) -> list[dict[str, Any]]:
    """Records spread evenly over the run, with pictures, labels and related pictures."""
    chosen = _chosen(lake, run)
    labels, related = _labels(lake, run, set(chosen)), _related(lake, run, set(chosen))
    places = _picture_places(lake, run, {*chosen, *(other for others in related.values() for other in others)})

    def pictures(record_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
        for record_id in record_ids:
            if record_id in places and (picture := _data_uri(lake, *places[record_id])):
                yield {"record_id": record_id, "picture": picture}

    return [
        one | {"labels": labels[one["record_id"]], "related": list(pictures(related[one["record_id"]]))}
        for one in pictures(chosen)
    ]


def _chosen(lake: Lake, run: Run) -> list[str]:
    """Every so-many-th record with a picture; counted first, so that not all ids are held at once."""
    stored = (
        row["record_id"]
        for batch in lake.rows(run, "images", ("record_id", "shard_uri"))
        for row in batch.to_pylist()
        if row["shard_uri"]
    )
    step = max(1, sum(part.rows for part in lake.parts(run, "features")) // SAMPLES)
    return list(dict.fromkeys(islice(stored, 0, None, step)))[:SAMPLES]


def _picture_places(lake: Lake, run: Run, wanted: set[str]) -> dict[str, tuple[str, int, int]]:
    columns = ("record_id", "shard_uri", "shard_offset", "shard_size")
    return {
        row["record_id"]: (row["shard_uri"], row["shard_offset"], row["shard_size"])
        for batch in lake.rows(run, "images", columns)
        for row in batch.to_pylist()
        if row["shard_uri"] and row["record_id"] in wanted
    }


def _labels(lake: Lake, run: Run, chosen: set[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    wanted = pa.array(sorted(chosen), pa.string())
    for batch in lake.rows(run, "record_labels", ("record_id", "label", "max_score", "decision")):
        for row in batch.filter(pc.is_in(batch["record_id"], value_set=wanted)).to_pylist():
            if row["decision"] in SHOWN:
                found[row["record_id"]].append(row)
    return defaultdict(list, {key: sorted(rows, key=lambda row: -row["max_score"])[:5] for key, rows in found.items()})


def _related(lake: Lake, run: Run, chosen: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for batch in lake.rows(run, "suggestions", ("record_id", "related_record_id", "rank")):
        for row in batch.to_pylist():
            if row["record_id"] in chosen and row["rank"] <= RELATED_SHOWN:
                found[row["record_id"]].append(row["related_record_id"])
    return found


def _data_uri(lake: Lake, shard_uri: str, offset: int, size: int) -> str | None:
    """None when the shard has gone or is damaged: the report of a run does not depend on a few pictures."""
    try:
        content = lake.store.get_range(shard_uri, offset, size)
    except FileNotFoundError:
        content = b""
    if not content.startswith(b"\xff\xd8"):
        log.warning("picture_unreadable", shard=shard_uri, offset=offset)
        return None
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
