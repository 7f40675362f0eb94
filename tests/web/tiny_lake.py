"""A tiny lake, written as the pipeline writes one: five records, four of them with a picture."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.datasets.lake import Lake, as_table
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.domain.identifiers import image_id
from pipeline.images.shards import ShardWriter

FULL_TITLE = "Coin <script>alert('x')</script> & more"
COIN, JAR, CITY, SHIP, LOST = "/100/coin", "/100/jar", "/200/city", "/200/ship", "/200/lost"
TITLES = {COIN: FULL_TITLE, JAR: "Jar", CITY: "City", SHIP: "Ship", LOST: "A record without a picture"}
MODEL = {
    "model_name": "tiny",
    "model_version": "7",
    "model_sha256": "ab" * 32,
    "preprocessing_version": "p1",
    "vocabulary_version": "v1",
}
# record: {concept: (score, decision)}
LABELS = {
    COIN: {"coin": (0.97, "publish"), "map": (0.4, "review"), "textile": (0.3, "hidden"), "painting": (0.01, "drop")},
    JAR: {"coin": (0.92, "publish"), "textile": (0.8, "publish")},
    CITY: {"map": (0.6, "review")},
}
# (record, related, rank, score, shared concepts)
SUGGESTIONS = [(COIN, JAR, 1, 0.9, ["coin", "textile"]), (COIN, LOST, 2, 0.5, [])]
REPORT = {
    "summary": {
        "records": 5,
        "images": 4,
        "labels_by_decision": {"publish": 3, "review": 2, "hidden": 1, "drop": 1},
        "suggestions": 2,
        "annotations_on_platform": 3,
    }
}

WriteRun = Callable[..., Run]


def jpeg(colour: str) -> bytes:
    """A real JPEG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {COIN: jpeg("gold"), JAR: jpeg("brown"), CITY: jpeg("grey"), SHIP: jpeg("navy")}


def write_datasets(lake: Lake, run: Run, records: tuple[str, ...], finished: bool) -> None:
    """Everything that a run leaves in the lake; `finished` says whether it came to its end."""
    lake.save_run(run)
    datasets = {
        "records": [_record(record_id) for record_id in records],
        "images": _images(lake, run, records),
        "record_labels": [row for record_id in records for row in _labels(record_id)],
        "suggestions": [_suggestion(*row) for row in SUGGESTIONS if row[0] in records],
    }
    for dataset, rows in datasets.items():
        # Two parts, so that reading over the border of parts is part of every test.
        halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        tables = [as_table(dataset, [row | run.columns() for row in half]) for half in halves]
        parts = [lake.write_part(run, dataset, number, [table], SCHEMAS[dataset]) for number, table in enumerate(tables)]
        lake.publish(run, dataset, parts)
    lake.store.put_bytes(f"exports/run={run.run_id}/run_report.json", json.dumps(REPORT).encode())
    lake.store.put_bytes(f"exports/run={run.run_id}/run_report.html", b"<h1>The stored report</h1>")
    if finished:
        lake.write_json(run.finished_key, REPORT["summary"])


def _record(record_id: str) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "dataset_id": record_id.split("/")[1],
        "title": TITLES[record_id],
        "titles": {"def": [TITLES[record_id]]},
        "descriptions": {"en": ["Found <b>in</b> a field."]},
        "creators": ["A. Maker"],
        "creator_names": {"def": ["A. Maker"]},
        "subjects": {},
        "types": {},
        "concept_labels": {},
        "dataset_name": "",
        "record_rights": "",
        "media": [],
        "year": 1850,
        "media_type": "IMAGE",
        "concept_uris": [],
        "provider": "A provider",
        "data_provider": "A museum",
        "country": "Europe",
        "languages": ["en"],
        "rights": "http://creativecommons.org/publicdomain/zero/1.0/",
        "rights_category": "open",
        "image_urls": [],
        "landing_url": "javascript:alert(1)",
    }


def _images(lake: Lake, run: Run, records: tuple[str, ...]) -> list[dict[str, Any]]:
    key = f"{run.dataset_folder('shards')}/shard-00000.tar"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tar"
        with ShardWriter(path) as shard:
            for record_id in records:
                common = {"record_id": record_id, "image_url": "http://example.org/i.jpg", "detail": "", "attempts": 1}
                common |= {"provider": "A provider", "rights": "", "rights_category": "open"}
                common |= {"position": 0, "fetched_as": "original", "host": "example.org"}
                if (content := PICTURES.get(record_id)) is None:
                    rows.append(common | {"outcome": "rejected", "reason": "near_blank"})
                    continue
                offset, size = shard.add(image_id(content), content)
                place = {"shard_uri": key, "shard_offset": offset, "shard_size": size}
                rows.append(common | place | {"outcome": "ok", "image_id": image_id(content), "width_px": 40, "height_px": 30})
        lake.store.put_file(key, path)
    return rows


def _labels(record_id: str) -> list[dict[str, Any]]:
    return [
        {
            "record_id": record_id,
            "concept_uri": f"http://example.org/{slug}",
            "label": slug,
            "max_score": score,
            "mean_score": score,
            "image_id": "0",
            "images": 1,
            "decision": decision,
            "why": "threshold",
            **MODEL,
        }
        for slug, (score, decision) in LABELS.get(record_id, {}).items()
    ]


def _suggestion(record_id: str, related: str, rank: int, score: float, shared: list[str]) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "related_record_id": related,
        "rank": rank,
        "score": score,
        "visual_similarity": score,
        "shared_concepts": shared,
        "reasons": ["visual", *(f"concept:{slug}" for slug in shared)],
        **MODEL,
    }
