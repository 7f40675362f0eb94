"""Search hits become records or outcome rows, never an exception; sources are read from files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.errors import CriticalError
from pipeline.harvest.parse import parse_item
from pipeline.harvest.sources import find_source, load_sources

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = PROJECT.parent / "shared" / "samples" / "europeana"
ITEM: dict[str, Any] = {
    "id": "/2021650/abc",
    "title": ["Night watch"],
    "dcTitleLangAware": {"nl": ["Nachtwacht"], "en": ["Night watch"]},
    "dcDescriptionLangAware": {"en": ["A company of militia"]},
    "dcCreator": ["Rembrandt"],
    "year": ["1642"],
    "type": "IMAGE",
    "edmConcept": ["http://data.europeana.eu/concept/47"],
    "provider": ["Aggregator"],
    "dataProvider": ["Rijksmuseum"],
    "country": ["Netherlands"],
    "language": ["nl"],
    "rights": ["http://creativecommons.org/publicdomain/mark/1.0/"],
    "edmIsShownBy": ["https://example.org/a.jpg"],
    "edmIsShownAt": ["https://example.org/a"],
    "edmPreview": ["https://api.europeana.eu/thumbnail/v2/url.json?uri=https%3A%2F%2Fexample.org%2Fa.jpg&type=IMAGE"],
    "timestamp_update": "2025-05-04T21:01:05.123Z",
}


def record(**changes: Any) -> Record:
    parsed = parse_item(ITEM | changes)
    assert isinstance(parsed, Record), parsed
    return parsed


def rejection(item: Any) -> OutcomeRow:
    parsed = parse_item(item)
    assert isinstance(parsed, OutcomeRow)
    assert (parsed.stage, parsed.outcome) == ("harvest", Outcome.REJECTED)
    return parsed


def texts(value: Any) -> list[str]:
    """Every text anywhere in a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in texts(part)]
    return []


def test_a_full_item_becomes_a_record_with_every_field() -> None:
    found = record()
    assert (found.record_id, found.dataset_id, found.title, found.year) == ("/2021650/abc", "2021650", "Night watch", 1642)
    assert found.titles == {"en": ["Night watch"], "nl": ["Nachtwacht"]}
    assert (found.creators, found.provider, found.data_provider) == (("Rembrandt",), "Aggregator", "Rijksmuseum")
    assert (found.rights_category, found.media_type, found.country) == ("open", "IMAGE", "Netherlands")
    assert (found.image_url, found.landing_url) == ("https://example.org/a.jpg", "https://example.org/a")
    assert found.thumbnail_url == "https://example.org/a.jpg"
    assert found.updated_at == datetime(2025, 5, 4, 21, 1, 5, 123_000, tzinfo=UTC)


def test_an_id_alone_makes_a_record_without_an_image() -> None:
    parsed = parse_item({"id": "/1/a"})
    assert isinstance(parsed, Record)
    assert (parsed.title, parsed.image_url, parsed.rights_category, parsed.updated_at) == ("", None, "unknown", None)


def test_several_images_keep_their_order_and_are_named_once() -> None:
    found = record(edmIsShownBy=["http://x.org/b.jpg", " http://x.org/a.jpg", "http://x.org/b.jpg"])
    assert found.image_urls == ("http://x.org/b.jpg", "http://x.org/a.jpg")
    assert found.image_url == "http://x.org/b.jpg"


@pytest.mark.parametrize("name", ["title", "dcCreator", "provider", "dataProvider", "rights", "edmIsShownBy", "year"])
def test_older_replies_with_a_bare_text_are_read_like_a_list(name: str) -> None:
    assert record(**{name: ITEM[name][0]}) == record()


@pytest.mark.parametrize(
    ("years", "year"),
    [(["1642"], 1642), (["c. 1642"], None), (["c. 1642", "1643"], 1643), (["-0500"], -500), (["20240101"], None)],
)
def test_the_first_whole_year_counts(years: list[str], year: int | None) -> None:
    assert record(year=years).year == year


@pytest.mark.parametrize("name", ["wskey", "apikey", "api_key", "WSKEY"])
def test_no_key_stays_in_a_stored_address(name: str) -> None:
    address = f"https://example.org/a?x=1&{name}=SECRET&y=2"
    found = record(edmIsShownAt=[address], edmIsShownBy=[address])
    assert not [text for text in texts(found.__dict__) if "SECRET" in text]
    assert found.image_url is not None and found.image_url.endswith("&y=2")


@pytest.mark.parametrize(
    "item", [None, 1, "text", [], {}, {"id": None}, {"id": 7}, {"id": ""}, {"id": "abc"}, {"id": "/a/b c"}]
)
def test_without_an_id_there_is_no_record(item: Any) -> None:
    assert rejection(item).reason is Reason.MISSING_FIELD


@pytest.mark.parametrize(
    "changes",
    [
        {"title": 5},
        {"title": {"en": "x"}},
        {"dcCreator": True},
        {"rights": {"uri": "x"}},
        {"edmIsShownBy": 3.5},
        {"edmPreview": {}},
        {"year": 1642},
        {"dcTitleLangAware": {"en": 1}},
        {"timestamp_update": "yesterday"},
    ],
)
def test_an_item_with_odd_types_becomes_an_outcome_row_under_its_id(changes: dict[str, Any]) -> None:
    row = rejection(ITEM | changes)
    assert (row.reason, row.input_id, row.record_id) == (Reason.UNPARSEABLE, ITEM["id"], ITEM["id"])
    assert row.detail


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_a_record_or_an_outcome_row(item: Any) -> None:
    assert isinstance(parse_item(item), (Record, OutcomeRow))


@given(st.dictionaries(st.sampled_from([*ITEM, "timestamp_update_epoch", "dcDescription"]), _JSON))
def test_any_values_under_the_real_names_are_a_record_or_an_outcome_row(changes: dict[str, Any]) -> None:
    parsed = parse_item(ITEM | changes)
    assert isinstance(parsed, (Record, OutcomeRow))
    if isinstance(parsed, OutcomeRow):
        assert len(parsed.detail) <= 500


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples of real replies are not here")
def test_every_item_of_real_replies_becomes_a_record() -> None:
    found = 0
    for path in sorted(SAMPLES.glob("search_*.json")):
        reply = json.loads(path.read_text(encoding="utf-8"))
        items = reply["items"] if isinstance(reply, dict) and "items" in reply else reply if isinstance(reply, list) else []
        for item in items:
            parsed = parse_item(item)
            assert isinstance(parsed, Record), f"{path.name}: {parsed}"
            assert parsed.record_id == item["id"] and parsed.dataset_id
            found += 1
    assert found > 20


# --- Sources ---

SOURCE = """
name: maps
kind: europeana
schedule: "@daily"
dataset: "2021650"
qf: ["TYPE:IMAGE"]
"""


def test_every_source_of_the_project_is_usable_and_default_is_the_nightly_run() -> None:
    sources = load_sources(PROJECT / "vocab" / "sources")
    assert sources["default"].dag_id == "enrich_nightly"
    assert all(name == source.name for name, source in sources.items())


def test_a_source_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "maps.yaml").write_text(SOURCE)
    source = find_source(tmp_path, "maps")
    assert (source.dag_id, source.schedule) == ("enrich_nightly_maps", "@daily")
    assert (source.selection.kind, source.selection.filters) == ("dataset", ("TYPE:IMAGE",))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "name: maps", SOURCE.replace("dataset", "sql"), SOURCE.replace("name: maps", "name: other"), "a: [", "- 1\n- 2"],
)
def test_a_source_that_cannot_be_used_names_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "maps.yaml").write_text(content)
    with pytest.raises(CriticalError, match="maps.yaml"):
        load_sources(tmp_path)


def test_an_unknown_source_lists_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "maps.yaml").write_text(SOURCE)
    with pytest.raises(CriticalError, match="there are: maps"):
        find_source(tmp_path, "nothing")


@pytest.mark.parametrize(
    "url",
    [
        "http://www.europeana.eu/api/SECRETKEY/redirect?shownBy=x",
        "https://a.example/p?next=x%3Fwskey%3DSECRETKEY%26b=1",
        "https://a.example/p;apikey=SECRETKEY",
        "https://a.example/p#wskey=SECRETKEY",
        "https://a.example/p?a=1&WSKEY=SECRETKEY&b=2",
    ],
)
@pytest.mark.parametrize("field", ["edmIsShownAt", "edmIsShownBy", "edmPreview"])
def test_no_key_survives_in_any_address_of_a_record(url, field):
    parsed = parse_item({"id": "/1/a", field: [url]})
    assert isinstance(parsed, Record)
    assert "SECRETKEY" not in repr(parsed)


def test_odd_values_are_cleaned_or_refused_but_never_raise():
    assert parse_item({"id": "/a/b", "timestamp_update": "0001-01-01T00:00:00+01:00"}).reason == "unparseable"
    assert parse_item({"id": "/a/b\n"}).reason == "missing_field"
    assert parse_item({"id": "/a/b", "title": ["x\ud800y"]}).title == "x\N{REPLACEMENT CHARACTER}y"
    assert parse_item({"id": "/a/b", "type": None, "edmIsShownBy": [" "]}).image_url is None
