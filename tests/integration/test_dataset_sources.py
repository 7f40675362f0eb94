"""Datasets out of other people's labels: two kinds at once by the command, and pictures that only the lake has."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.collection import read_collection
from pipeline.crowd.labels import Labels
from pipeline.domain.scope import ConceptQuery, Selection
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.training.assemble import build_dataset
from pipeline.vocabulary import load_vocabulary
from tests.integration.pictures import (
    EVERYTHING,
    OPEN,
    ImageHost,
    do_images,
    image_host,
    jpeg,
    record,
    rows_of,
    settings_of,
    write_run,
)
from tests.integration.test_dataset_build import build, lines_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MAP, COIN = "http://data.europeana.eu/concept/43", "http://www.wikidata.org/entity/Q41207"
PAINTING = "http://data.europeana.eu/concept/47"


def pilot_csv(path: Path) -> Path:
    """Six records: four pictures lie in `files`, one is nowhere, one has a category that nobody knows."""
    lines = [f"map photograph,,http://data.europeana.eu/item/9/p{number},/9/p{number},u" for number in range(4)]
    lines += ["painting,,http://data.europeana.eu/item/9/gone,/9/gone,http://h.example/gone.jpg"]
    lines += ["spaceship,,http://data.europeana.eu/item/9/odd,/9/odd,http://h.example/odd.jpg"]
    path.write_text("category,skos_concept,URI,ID,URL\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The pilot's records and folders of classes, which share a picture, in one dataset."""
    work = tmp_path_factory.mktemp("both")
    for place in ("files", "set/coin", "set/map"):
        (work / place).mkdir(parents=True)
    for number in range(4):
        (work / f"files/9_p{number}.jpg").write_bytes(jpeg(number))
        (work / f"set/coin/c{number}.jpg").write_bytes(jpeg(100 + number))
    (work / "set/map/same.jpg").write_bytes(jpeg(0))
    (work / "set/map/text.jpg").write_text("no picture")
    told = build(
        "--source", f"pilot:{pilot_csv(work / 'p.csv')}", "--source", f"folders:{work / 'set'}", "--pictures", work / "files",
        "--out", work / "out", var=work / "var",
    )  # fmt: skip
    return work / "out", told


def test_two_kinds_become_one_collection_with_the_labels_of_each(both: tuple[Path, str]) -> None:
    collection = read_collection(both[0])
    assert collection.problems == () and len(collection.rows) == 8
    rows = {row.record_id: row for row in collection.rows}
    unknown = set(rows["/9/p1"].not_annotated)
    assert rows["/9/p1"].concepts == ("map", "photograph")
    assert "painting" not in unknown and {"coin", "material"} <= unknown  # painting is a category of the file, coin is not
    assert rows["/set/coin-c1.jpg"].concepts == ("coin",)
    assert "map" not in rows["/set/coin-c1.jpg"].not_annotated and "photograph" in rows["/set/coin-c1.jpg"].not_annotated
    assert {line["source"] for line in lines_of(both[0] / "metadata.csv")} == {"pilot:p.csv", "folders:set"}


def test_a_picture_of_both_kinds_is_kept_once_and_only_what_neither_looked_at_is_unknown(both: tuple[Path, str]) -> None:
    (row,) = [row for row in read_collection(both[0]).rows if row.record_id == "/9/p0"]
    assert row.concepts == ("map", "photograph")
    assert not {"coin", "painting"} & set(row.not_annotated) and "people" in row.not_annotated


def test_what_was_not_found_has_its_line_and_its_reason(both: tuple[Path, str]) -> None:
    left_out = {line["record_id"]: line for line in lines_of(both[0] / "left_out.csv")}
    assert {name: line["reason"] for name, line in left_out.items()} == {
        "/9/gone": "no_picture",
        "/9/odd": "no_label",
        "/set/map-same.jpg": "duplicate",
        "/set/map-text.jpg": "not_an_image",
    }
    assert left_out["/9/gone"]["detail"] == "http://h.example/gone.jpg"


def test_a_label_outside_the_vocabulary_is_one_warning_with_its_count(both: tuple[Path, str]) -> None:
    assert both[1].count("spaceship") == 1 and "'spaceship' (1 times) is not in the vocabulary" in both[1]
    assert lines_of(both[0] / "unknown_labels.csv") == [{"source": "pilot:p.csv", "label": "spaceship", "count": "1"}]


def test_nothing_but_the_dataset_is_left_behind(both: tuple[Path, str]) -> None:
    assert [path.name for path in both[0].parent.iterdir() if path.name.startswith(".")] == []


def test_a_source_of_an_unknown_kind_and_no_source_at_all_are_told_in_one_line(tmp_path: Path) -> None:
    assert "KIND is one of" in build("--source", "excel:a", "--out", tmp_path / "out", var=tmp_path, fails=True)
    assert "nothing to build from" in build("--out", tmp_path / "out", var=tmp_path, fails=True)


# --- The lake ---


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """A lake with a run of six pictures; its image host is no longer there."""
    with image_host("127.0.0.1") as host:
        settings = settings_of(tmp_path_factory.mktemp("lake") / "var", host.names, images_per_shard=4)
        key = filled(host, settings)
    return settings, key


def filled(host: ImageHost, settings: Settings) -> str:
    key = write_run(settings, [record(f"/1/r{number}", host.draw(f"/{number}", number)) for number in range(6)])
    do_images(settings, key)
    return key


def test_pictures_of_a_run_come_out_of_the_shards_with_the_labels_of_a_csv(run: tuple[Settings, str], tmp_path: Path) -> None:
    settings, key = run
    lines = ["/1/r0,map", "/1/r1,Coin;map", "/1/r2,", "/1/r3,spaceship", "/9/none,map"]
    (tmp_path / "labels.csv").write_text("record_id,concepts\n" + "\n".join(lines) + "\n")
    for name in ("night", key):
        built = build_dataset(
            [], tmp_path / f"out-{len(name)}", settings=settings, now=NOW, sources=[f"lake:{tmp_path / 'labels.csv'}@{name}"]
        )
        assert built.left_out == {"no_label": 1, "no_picture": 1} and sum(built.splits.values()) == 3
    rows = {row.record_id: row for row in read_collection(built.folder).rows}
    assert {name: row.concepts for name, row in rows.items()} == {"/1/r0": ("map",), "/1/r1": ("coin", "map"), "/1/r2": ()}
    assert "coin" not in rows["/1/r0"].not_annotated and "painting" in rows["/1/r0"].not_annotated
    assert (rows["/1/r0"].data_provider, rows["/1/r0"].rights, rows["/1/r0"].year) == ("A museum", OPEN, 1850)
    known = {row["record_id"]: row["image_id"] for row in rows_of(settings, key)}
    assert {line["record_id"]: line["image_id"] for line in lines_of(built.folder / "metadata.csv")} == {
        name: known[name] for name in rows
    }


def test_a_column_of_what_was_not_annotated_makes_the_rest_false(run: tuple[Settings, str], tmp_path: Path) -> None:
    settings, key = run
    path = tmp_path / "labels.csv"
    path.write_text("record_id,concepts,not_annotated,group,split\n/1/r0,map,material;people,one,test\n/1/r1,coin,,,train\n")
    built = build_dataset([], tmp_path / "out", settings=settings, now=NOW, sources=[f"lake:{path}@{key}"])
    rows = {row.record_id: row for row in read_collection(built.folder).rows}
    assert rows["/1/r0"].not_annotated == ("material", "people") and rows["/1/r0"].split == "test"
    assert rows["/1/r1"].not_annotated == () and rows["/1/r1"].split == "train"


def carrying(settings: Settings, host: ImageHost, run_id: str, selection: Selection) -> str:
    """A run of four records: a map, a coin, both, and one about something that is no concept of ours."""
    of = Labels(load_vocabulary(settings.vocabulary_file, base_url="urn:test"))
    assert of.peek(MAP) == "map" and of.peek(COIN) == "coin"
    carried = [[MAP], [COIN], [COIN, MAP], ["http://www.wikidata.org/entity/Q1"]]
    records = [record(f"/1/c{at}", host.draw(f"/c{at}", 50 + at), concept_uris=uris) for at, uris in enumerate(carried)]
    key = write_run(settings, records, run_id=run_id, selection=selection)
    do_images(settings, key)
    return key


def test_what_the_queries_of_a_run_asked_for_and_a_record_does_not_carry_is_a_no(tmp_path: Path) -> None:
    asked = Selection("concept", "maps", concepts=(ConceptQuery((MAP,), cap=5), ConceptQuery((MAP, PAINTING))))
    with image_host("127.0.0.1") as host:
        settings = settings_of(tmp_path / "var", host.names)
        for name, selection in (("asked", asked), ("all", EVERYTHING)):
            carrying(settings, host, name, selection)
            built = build_dataset([], tmp_path / name, settings=settings, now=NOW, sources=[f"run:{name}"])
            assert sum(built.splits.values()) == 4
    said = {
        name: {row.record_id: (row.concepts, *(slug in row.not_annotated for slug in ("map", "coin", "painting")))
               for row in read_collection(tmp_path / name).rows}
        for name in ("asked", "all")
    }  # fmt: skip
    assert said["asked"] == {
        "/1/c0": (("map",), False, True, False),
        "/1/c1": (("coin",), False, False, False),
        "/1/c2": (("coin", "map"), False, False, False),
        "/1/c3": ((), False, True, False),
    }
    assert said["all"]["/1/c3"] == ((), False, False, True)  # no query: what records carry was asked for, a painting was not


def test_votes_find_their_pictures_in_the_lake_only_when_it_is_named(run: tuple[Settings, str], tmp_path: Path) -> None:
    settings, _ = run
    graph = [
        {"body": word, "target": {"source": f"/1/r{number}"}, "review": {"upvotes": up, "downvotes": down}}
        for number, (word, up, down) in enumerate([("map", 2, 0), ("map", 0, 2), ("map", 1, 1)])
    ]
    source = f"votes:{tmp_path / 'v.json'}"
    (tmp_path / "v.json").write_text(json.dumps({"@graph": graph}))
    with pytest.raises(CriticalError, match=r"no usable picture .* no_picture 2.*--pictures"):
        build_dataset([], tmp_path / "none", settings=settings, now=NOW, sources=[source])
    built = build_dataset([], tmp_path / "out", settings=settings, now=NOW, sources=[source], pictures=["lake"])
    rows = {row.record_id: row for row in read_collection(built.folder).rows}
    assert {name: ("map" in row.concepts, "map" in row.not_annotated) for name, row in rows.items()} == {
        "/1/r0": (True, False),
        "/1/r1": (False, False),
    }
    assert built.left_out == {"no_label": 1}


def test_a_run_that_is_not_there_is_told(run: tuple[Settings, str], tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("record_id,concepts\n/1/r0,map\n")
    with pytest.raises(CriticalError, match="no such run"):
        build_dataset([], tmp_path / "out", settings=run[0], now=NOW, sources=[f"lake:{tmp_path / 'labels.csv'}@nobody"])
    with pytest.raises(CriticalError, match="no such run"):
        build_dataset([], tmp_path / "out", settings=run[0], now=NOW, sources=["run:nobody"])
