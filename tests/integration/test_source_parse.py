"""`enrich source parse`, as it is run on saved replies: a line of JSON for each record or outcome."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.datasets.schemas import RECORDS
from pipeline.domain.record import Record
from pipeline.settings import Settings
from tests.conftest import ROOT
from tests.integration.archive import enrich

SAMPLES = ROOT.parent / "shared" / "samples" / "europeana"
SEARCH = {
    "success": True,
    "totalResults": 3,
    "items": [
        {"id": "/7/a", "title": ["ä"], "edmIsShownBy": ["http://x.org/a.jpg"], "timestamp_update": "2026-01-01T00:00:00.5Z"},
        {"title": ["no id"], "guid": "https://x.org?wskey=SECRETKEY"},
        {"id": "/7/b", "title": 5},
    ],
}
RECORD = {
    "success": True,
    "object": {"about": "/7/c", "aggregations": [{"edmIsShownBy": "http://x.org/c.jpg", "hasView": ["http://x.org/d.jpg"]}]},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path / "var")


def lines(settings: Settings, *paths: Path) -> list[dict]:
    done = enrich(settings, "source", "parse", *map(str, paths), "--jsonl")
    assert done.returncode == 0 and "SECRETKEY" not in done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_record_or_outcome_is_a_line_with_the_columns_of_records(settings, tmp_path):
    for name, reply in {"search": SEARCH, "items": SEARCH["items"], "item": SEARCH["items"][0], "record": RECORD}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(reply))
    (tmp_path / "broken.json").write_text("<html>")
    names = ("search", "items", "item", "record", "broken")
    found = lines(settings, *(tmp_path / f"{name}.json" for name in names))
    of_search = [("/7/a", "ok", None), (None, "rejected", "missing_field"), ("/7/b", "rejected", "unparseable")]
    told: dict[str, list] = {}
    for line in found:
        told.setdefault(Path(line["file"]).stem, []).append((line["record_id"], line["outcome"], line["reason"]))
    assert told == {
        "search": of_search,
        "items": of_search,
        "item": of_search[:1],
        "record": [("/7/c", "ok", None)],
        "broken": [(None, "rejected", "unparseable")],
    }
    columns = {field.name for field in fields(Record)}
    assert columns == set(RECORDS.names) - {"run_id", "created_at"}
    assert set(found[0]["record"]) == columns and found[0]["record"]["updated_at"] == "2026-01-01T00:00:00.500000Z"
    assert json.loads(found[1]["raw"]) == {"title": ["no id"]} and found[1]["record"] is None
    shown = next(line["record"] for line in found if line["record_id"] == "/7/c")
    assert (shown["image_url"], shown["image_urls"]) == ("http://x.org/c.jpg", ["http://x.org/c.jpg", "http://x.org/d.jpg"])


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of real replies are not here")
def test_every_saved_reply_of_search_and_record_is_read_and_none_stops_the_others(settings):
    found = lines(settings, *sorted(SAMPLES.glob("*.json")))
    by_file: dict[str, list[str]] = {}
    for line in found:
        by_file.setdefault(Path(line["file"]).name, []).append(line["outcome"])
    records = {name: outcomes for name, outcomes in by_file.items() if name.startswith(("search_", "record_"))}
    assert len(records) == 9 and all(set(outcomes) == {"ok"} for outcomes in records.values())
    assert sum(map(len, records.values())) == 80
    assert all(set(by_file[name]) == {"rejected"} for name in by_file.keys() - records.keys())
