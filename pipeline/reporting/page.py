"""The run report as a page that needs nothing but itself: styles, bars and sample pictures are inside."""

import base64
import math
from collections import defaultdict
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, select_autoescape

from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.domain.label import Decision

SAMPLES = 12
RELATED_SHOWN = 4
SHOWN = (Decision.PUBLISH, Decision.REVIEW)  # annotations point to this page: hidden labels are not for everybody


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
    return [
        {
            "record_id": record_id,
            "picture": _data_uri(lake, *places[record_id]),
            "labels": labels[record_id],
            "related": [
                {"record_id": other, "picture": _data_uri(lake, *places[other])}
                for other in related[record_id]
                if other in places
            ],
        }
        for record_id in chosen
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
    return list(islice(stored, 0, None, step))[:SAMPLES]


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


def _data_uri(lake: Lake, shard_uri: str, offset: int, size: int) -> str:
    content = lake.store.get_range(shard_uri, offset, size)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
