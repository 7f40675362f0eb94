"""The collection format and the spelling of concept URIs in it."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.collection import Collection, read_collection
from pipeline.errors import CriticalError
from pipeline.vocabulary.concepts import canonical_uri

HEADER = "record_id,image_file,title,creator,year,provider,data_provider,rights,concepts,split"


def collection(folder: Path, *lines: str, header: str = HEADER) -> Collection:
    folder.mkdir(exist_ok=True)
    (folder / "metadata.csv").write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return read_collection(folder)


def test_a_full_row_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    header = f"{HEADER},not_annotated,group,unknown"
    row = '/1/a,a.jpg," Night, watch ",R.,-500,P,D,http://r,"painting; http://x ;;",train,material,g1,ignored'
    found = collection(tmp_path, row, header=header)
    assert found.problems == ()
    (one,) = found.rows
    assert (one.title, one.year, one.concepts, one.split, one.line) == (
        "Night, watch",
        -500,
        ("painting", "http://x"),
        "train",
        2,
    )
    assert (one.not_annotated, one.group) == (("material",), "g1")
    assert found.image_path(one) == tmp_path / "a.jpg"


def test_a_record_without_a_group_is_a_group_of_its_own_and_without_a_picture_has_no_path(tmp_path: Path) -> None:
    found = collection(tmp_path, "/1/a,,,,,,,,,")
    assert found.rows[0].group == "/1/a"
    assert found.image_path(found.rows[0]) is None
    assert found.problems == ()


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n/1/a,,t,,,,,,,test\r\n".encode())
    found = read_collection(tmp_path)
    assert (found.rows[0].split, found.problems) == ("test", ())


@pytest.mark.parametrize(
    ("line", "kept", "message"),
    [
        ("no-slash,,,,,,,,,", False, "not of the form"),
        (",,,,,,,,,", False, "not of the form"),
        ("/1/a b,,,,,,,,,", False, "not of the form"),
        ("/1/a,,,,,,,,,,one too many", False, "more cells"),
        ("/1/a,../secret.jpg,,,,,,,,", False, "outside the folder"),
        ("/1/a,/etc/hostname,,,,,,,,", False, "outside the folder"),
        ("/1/a,missing.jpg,,,,,,,,", True, "does not exist"),
        ("/1/a,,,,MDCLX,,,,,", True, "not a whole number"),
        ("/1/a,,,,16640,,,,,", True, "not a whole number"),
        ("/1/a,,,,,,,,,validation", True, "neither train nor test"),
    ],
)
def test_a_bad_row_gives_one_message_with_its_line_and_the_rest_is_read(
    tmp_path: Path, line: str, kept: bool, message: str
) -> None:
    found = collection(tmp_path, "/0/first,,,,,,,,,", line, "/2/last,,,,,,,,,")
    (problem,) = found.problems
    assert "metadata.csv line 3: " in problem and message in problem
    assert [row.record_id for row in found.rows] == (["/0/first", "/1/a", "/2/last"] if kept else ["/0/first", "/2/last"])


def test_a_repeated_record_is_read_once(tmp_path: Path) -> None:
    found = collection(tmp_path, "/1/a,,first,,,,,,,", "/1/a,,second,,,,,,,")
    assert [row.title for row in found.rows] == ["first"]
    assert "line 3" in found.problems[0]


def test_an_unclosed_quote_ends_the_reading_with_a_message(tmp_path: Path) -> None:
    found = collection(tmp_path, "/1/a,,,,,,,,,", '/1/b,,"never closed,,,,,,,', "/1/c,,,,,,,,,")
    assert [row.record_id for row in found.rows] == ["/1/a"]
    assert "reading stops here" in found.problems[0]


def test_a_column_that_may_be_missing_is_read_as_empty_with_a_message(tmp_path: Path) -> None:
    found = collection(tmp_path, "/1/a,", header="record_id,image_file")
    assert len(found.rows) == 1 and len(found.problems) == 8
    assert all("line 1" in problem for problem in found.problems)


@pytest.mark.parametrize("header", ["record_id,title", "image_file", "", "record_id;image_file"])
def test_without_a_required_column_nothing_can_be_read(tmp_path: Path, header: str) -> None:
    with pytest.raises(CriticalError, match="metadata.csv line 1"):
        collection(tmp_path, header=header)


def test_a_folder_without_metadata_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(CriticalError, match="metadata.csv"):
        read_collection(tmp_path)


def test_the_fingerprint_changes_with_labels_and_pictures_only(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    first = collection(tmp_path, "/1/a,a.jpg,title,,,,,,painting,train").fingerprint()
    assert collection(tmp_path, "/1/a,a.jpg,other title,,,,,,painting,train").fingerprint() == first
    assert collection(tmp_path, "/1/a,a.jpg,title,,,,,,map,train").fingerprint() != first
    (tmp_path / "a.jpg").write_bytes(b"2")
    assert collection(tmp_path, "/1/a,a.jpg,title,,,,,,painting,train").fingerprint() != first


@settings(max_examples=150)
@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30), max_size=12), max_size=5))
def test_any_cells_under_a_good_header_are_read_without_an_error(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = collection(Path(folder), *(",".join(cells) for cells in rows))
        ids = [row.record_id for row in found.rows]
    assert len(ids) == len(set(ids))


# --- Spelling of concept URIs ---

_URIS = st.builds(
    "{}://{}{}{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", "www."]),
    st.sampled_from(["wikidata.org/", "vocab.getty.edu/", "data.europeana.eu/", "example.org/"]),
    st.sampled_from(["", "wiki/", "entity/", "page/aat/", "aat/", "concept/", "concept/base/"]),
    st.sampled_from(["", "Q42", "300033618", "47", "a b"]),
    st.sampled_from(["", "/", "//"]),
)


@given(_URIS)
def test_a_canonical_uri_is_its_own_canonical_form(uri: str) -> None:
    once = canonical_uri(uri)
    assert canonical_uri(once) == once
    assert canonical_uri(f"  {uri}\n") == once


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("https://www.wikidata.org/wiki/Q42", "http://www.wikidata.org/entity/Q42"),
        ("http://wikidata.org/entity/Q42/", "http://www.wikidata.org/entity/Q42"),
        ("https://vocab.getty.edu/page/aat/300033618", "http://vocab.getty.edu/aat/300033618"),
        ("http://data.europeana.eu/concept/base/47", "http://data.europeana.eu/concept/47"),
        ("https://data.europeana.eu/concept/47", "http://data.europeana.eu/concept/47"),
        ("https://example.org/concept/base/47", "https://example.org/concept/base/47"),
    ],
)
def test_every_spelling_of_a_concept_uri_has_one_canonical_form(spelling: str, canonical: str) -> None:
    assert canonical_uri(spelling) == canonical


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_with_one_message(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "metadata.csv").write_bytes(content)
        with suppress(CriticalError):
            read_collection(Path(folder))


@pytest.mark.parametrize("cell", ["a\x00b.jpg", "a" * 300 + ".jpg"])
def test_an_image_file_that_cannot_be_a_file_name_is_one_bad_row(tmp_path, cell):
    (tmp_path / "metadata.csv").write_text(f"record_id,image_file\n/1/a,{cell}\n/1/b,\n", encoding="utf-8")
    collection = read_collection(tmp_path)
    assert [row.record_id for row in collection.rows] == ["/1/b"]
    assert any("line 2" in problem and "cannot be" in problem for problem in collection.problems)


def test_a_header_that_is_not_csv_is_one_message(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b'record_id,"image_file\n')
    with pytest.raises(CriticalError, match="line 1"):
        read_collection(tmp_path)
