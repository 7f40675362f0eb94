"""Sources are files; what is wrong in one is told with its line."""

from pathlib import Path

import pytest

from pipeline.errors import CriticalError
from pipeline.harvest.sources import load_source

GOOD = """name: maps
kind: europeana
description: Maps.
schedule: "0 1 * * *"
query: "*:*"
qf:
  - "TYPE:IMAGE"
reusability: [open, restricted]
rights: [open]
images: all
window_hours: 6
revisit_days: [30, 7]
limits:
  max_requests: 500
  max_hours: 1.5
"""


def source(tmp_path: Path, text: str, name: str = "maps"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_source(path)


def test_a_source_says_which_records_how_and_how_far(tmp_path):
    found = source(tmp_path, GOOD)
    assert (found.name, found.kind, found.schedule, found.dag_id) == ("maps", "europeana", "0 1 * * *", "enrich_nightly_maps")
    assert (found.selection.kind, found.selection.value, found.selection.filters) == ("query", "*:*", ("TYPE:IMAGE",))
    assert (found.selection.reusability, found.rules.rights, found.rules.images) == ("open,restricted", ("open",), "all")
    assert (found.rules.window_hours, found.rules.revisit_days) == (6, (7, 30))
    assert (found.rules.limits.max_requests, found.rules.limits.max_hours, found.rules.limits.max_records) == (500, 1.5, None)


def test_concepts_are_single_pairs_or_triples_with_caps(tmp_path):
    text = GOOD.replace(
        'query: "*:*"',
        """concepts:
  - http://data.europeana.eu/concept/47
  - all_of: [http://data.europeana.eu/concept/48, http://data.europeana.eu/concept/43]
    cap: 250""",
    )
    found = source(tmp_path, text).selection
    assert found.kind == "concept"
    assert [(len(one.all_of), one.cap) for one in found.concepts] == [(1, None), (2, 250)]


def test_a_folder_is_named_from_the_place_of_the_file(tmp_path):
    found = source(tmp_path, "name: maps\nkind: folder\nfolder: ../pictures\n")
    assert found.selection.value == str((tmp_path / ".." / "pictures").resolve())
    assert (found.kind, found.selection.kind, found.schedule) == ("folder", "folder", None)


def test_a_collection_of_with(tmp_path):
    found = source(tmp_path, 'name: maps\nkind: with\ncollection: "5a0b"\n')
    assert (found.kind, found.selection.kind, found.selection.value) == ("with", "with_collection", "5a0b")


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("schedule:", "shedule:"), 4, "'shedule' is not a field here"),
        (("kind: europeana", "kind: ftp"), 2, "'ftp' is not one of"),
        (("images: all", "images: some"), 10, "'some' is not one of"),
        (('  - "TYPE:IMAGE"', "  - 7"), 7, "qf.0: 7 is not of type 'string'"),
        (("rights: [open]", "rights: [open, free]"), 9, "rights.1: 'free' is not one of"),
        (("max_requests: 500", "max_requests: 0"), 14, "0 is less than the minimum"),
        (("max_requests", "max_request"), 14, "'max_request' is not a field here"),
        (("window_hours: 6", "window_hours: six"), 11, "window_hours: 'six' is not of type 'integer'"),
        (("name: maps", "name: Maps and more"), 1, "does not match"),
        (("name: maps", "name: other"), 1, "must be the file's: 'maps'"),
        (('query: "*:*"', 'dataset: "a b"'), 5, "dataset: 'a b' does not match"),
        (('query: "*:*"', "concepts: [painting]"), 5, "'painting' is neither a concept's URI"),
        (('query: "*:*"', 'query: "*:*"\ndataset: "7"'), 2, "by exactly one of: query, dataset, concepts"),
        (('query: "*:*"\n', ""), 2, "by exactly one of: query, dataset, concepts"),
        (("kind: europeana", "kind: with"), 6, "qf is for sources of kind europeana only"),
        (('query: "*:*"', 'query: "*:*'), 5, "not readable as YAML"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path, change, line, words):
    old, new = change
    assert old in GOOD
    with pytest.raises(CriticalError) as caught:
        source(tmp_path, GOOD.replace(old, new))
    messages = str(caught.value).splitlines()
    assert any(words in message for message in messages), messages
    if "YAML" not in words:
        assert any(f"maps.yaml line {line}: " in message and words in message for message in messages), messages
    else:
        assert "maps.yaml line " in messages[0]


def test_all_problems_of_a_file_are_told_at_once(tmp_path):
    text = GOOD.replace("images: all", "images: some").replace("window_hours: 6", "window_hours: 0")
    with pytest.raises(CriticalError) as caught:
        source(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "[]", "just words", "7"])
def test_a_file_that_is_no_list_of_fields_says_how_to_begin(tmp_path, text):
    with pytest.raises(CriticalError, match=r"maps.yaml line 1: .*enrich source new"):
        source(tmp_path, text)
