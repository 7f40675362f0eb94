"""Which addresses of a record are visited, in which order, and as what."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.addresses import ALTERNATIVES, Address, FetchedAs, address_from_json, addresses_of, thumbnail_v3

CC0 = "http://creativecommons.org/publicdomain/zero/1.0/"
CLOSED = "http://rightsstatements.org/vocab/InC/1.0/"
API = "https://api.europeana.eu"
SIDE = 400


def file(url: str, rights: str = CC0, category: str = "open", **facts: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("mime", "width_px", "height_px", "size_bytes", "iiif_service"))
    return {"url": url, "rights": rights, "rights_category": category, **nothing, **facts}


def url(name: object) -> str:
    return f"https://museum.example.org/{name}.jpg"


def record(*files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    urls = [one["url"] for one in files]
    facts = {"record_id": "/2021650/abc", "rights": CC0, "rights_category": "open", "thumbnail_url": None}
    return facts | {"image_url": urls[0] if urls else None, "image_urls": urls, "media": list(files)} | changes


def found(
    given_record: dict[str, Any], *, most: int = 4, rights: Sequence[str] = (), iiif: bool = True, thumbnails: str = ""
) -> list[Address]:
    return addresses_of(given_record, most=most, side_px=SIDE, rights=rights, iiif=iiif, thumbnails=thumbnails)


def names(addresses: list[Address]) -> list[str]:
    return [address.url.removeprefix("https://museum.example.org/").removesuffix(".jpg") for address in addresses]


# --- Order and number ---


def test_the_records_own_picture_comes_first_then_the_others_in_their_order() -> None:
    addresses = found(record(file(url("a")), file(url("b")), file(url("c"))))
    assert names(addresses) == ["a", "b", "c"]
    assert [address.position for address in addresses] == [0, 1, 2]
    assert {address.fetched_as for address in addresses} == {FetchedAs.ORIGINAL}
    assert all(address.visited == address.url for address in addresses)


def test_the_records_own_picture_comes_first_wherever_it_is_listed() -> None:
    addresses = found(record(file(url("b")), file(url("c")), file(url("a")), image_url=url("a")))
    assert names(addresses) == ["a", "b", "c"]


def test_an_address_that_is_listed_twice_is_visited_once() -> None:
    addresses = found(record(*(file(url(name)) for name in "abacbad")))
    assert names(addresses) == ["a", "b", "c", "d"]
    assert [address.position for address in addresses] == [0, 1, 2, 3]


def test_at_most_three_others_stand_in_for_a_picture() -> None:
    assert ALTERNATIVES == 3
    assert names(found(record(*(file(url(at)) for at in range(9))), most=1 + ALTERNATIVES)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("most", [1, 2, 5, 50])
def test_no_more_pictures_are_named_than_are_wanted(most: int) -> None:
    many = record(*(file(url(at), iiif_service=f"https://iiif.example.org/{at}") for at in range(9)))
    for iiif in (True, False):
        assert len({address.url for address in found(many, most=most, iiif=iiif)}) == min(most, 9)


def test_a_rendition_does_not_count_as_a_picture_of_its_own() -> None:
    two = record(*(file(url(name), iiif_service=f"https://iiif.example.org/{name}") for name in "abc"))
    addresses = found(two, most=2)
    assert names(addresses) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("nothing", [[], None])
def test_a_record_that_lists_nothing_else_has_its_one_picture(nothing: list[str] | None) -> None:
    addresses = found(record(file(url("a")), image_urls=nothing, media=nothing))
    assert addresses == [Address(url("a"), url("a"), FetchedAs.ORIGINAL, 0, CC0, "open")]


# --- Rights ---


def test_others_than_the_first_are_left_out_when_their_rights_are_not_wanted() -> None:
    mixed = record(file(url("a")), file(url("b"), CLOSED, "closed"), file(url("c")), file(url("d"), "http://x/", "restricted"))
    assert names(found(mixed, rights=["open"])) == ["a", "c"]
    assert names(found(mixed, rights=["open", "restricted"])) == ["a", "c", "d"]
    assert names(found(mixed, rights=[])) == ["a", "b", "c", "d"]


def test_what_is_left_out_for_its_rights_takes_nobodys_place() -> None:
    mixed = record(file(url("a")), file(url("b"), CLOSED, "closed"), file(url("c")), file(url("d")))
    assert names(found(mixed, most=3, rights=["open"])) == ["a", "c", "d"]


def test_each_address_carries_the_rights_of_its_own_file() -> None:
    addresses = found(record(file(url("a")), file(url("b"), CLOSED, "closed", iiif_service="https://iiif.example.org/b")))
    assert [(address.rights, address.rights_category) for address in addresses] == [
        (CC0, "open"),
        (CLOSED, "closed"),
        (CLOSED, "closed"),
    ]


def test_a_file_of_which_nothing_is_known_has_the_rights_of_the_record() -> None:
    addresses = found(record(file(url("a")), media=[], image_urls=[url("a"), url("b")]), rights=["open"])
    assert [(address.rights, address.rights_category) for address in addresses] == [(CC0, "open")] * 2


def test_rights_and_their_category_are_of_the_same_statement() -> None:
    silent = found(record(file(url("a")), file(url("b"), "", "unknown")))[1]
    assert (silent.rights, silent.rights_category) in {("", "unknown"), (CC0, "open")}


# --- Renditions ---


def test_a_rendition_of_a_large_file_is_asked_for_before_the_file_itself() -> None:
    service = "https://iiif.example.org/image/1"
    addresses = found(record(file(url("a"), iiif_service=service, width_px=6_000, height_px=4_000)))
    assert addresses == [
        Address(url("a"), f"{service}/full/!800,800/0/default.jpg", FetchedAs.IIIF, 0, CC0, "open"),
        Address(url("a"), url("a"), FetchedAs.ORIGINAL, 0, CC0, "open"),
    ]


@pytest.mark.parametrize(
    ("width", "height", "useful"),
    [
        (6_000, 4_000, True),
        (801, 10, True),
        (10, 801, True),
        (800, 800, False),
        (300, 200, False),
        (None, None, True),
        (6_000, None, True),
        (None, 300, True),  # nobody knows how wide
    ],
)
def test_a_rendition_is_asked_for_only_where_the_file_may_be_larger(
    width: int | None, height: int | None, useful: bool
) -> None:
    one = file(url("a"), iiif_service="https://iiif.example.org/1", width_px=width, height_px=height)
    assert [address.fetched_as is FetchedAs.IIIF for address in found(record(one))] == ([True, False] if useful else [False])


@pytest.mark.parametrize("service", [None, "", "iiif.example.org/1", "ftp://iiif.example.org/1", "urn:x", "file:///etc"])
def test_without_a_service_on_the_web_there_is_no_rendition(service: str | None) -> None:
    addresses = found(record(file(url("a"), iiif_service=service, width_px=6_000, height_px=4_000)))
    assert [address.fetched_as for address in addresses] == [FetchedAs.ORIGINAL]


def test_renditions_can_be_switched_off() -> None:
    large = record(file(url("a"), iiif_service="https://iiif.example.org/1", width_px=6_000, height_px=4_000))
    assert [address.fetched_as for address in found(large, iiif=False)] == [FetchedAs.ORIGINAL]


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_slash_at_the_end_of_a_service_is_not_doubled(slashes: str) -> None:
    one = file(url("a"), iiif_service=f"https://iiif.example.org/1{slashes}")
    assert found(record(one))[0].visited == "https://iiif.example.org/1/full/!800,800/0/default.jpg"


# --- Thumbnails ---


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_the_last_address_of_a_europeana_record_is_its_thumbnail() -> None:
    addresses = found(record(file(url("a")), file(url("b"))), thumbnails=API)
    thumbnail = f"{API}/thumbnail/v3/400/{md5(url('a'))}"
    assert addresses[-1] == Address(thumbnail, thumbnail, FetchedAs.THUMBNAIL, 2, CC0, "open")
    assert [address.fetched_as for address in addresses[:-1]] == [FetchedAs.ORIGINAL] * 2


@pytest.mark.parametrize(
    "stored",
    [
        "http://museum.example.org/a.jpg#page=2",
        "http://museum.example.org/a.jpg?x=1&y=%20#frag",
        "http://museum.example.org/a b.jpg",
        "http://MUSEUM.example.org/A.JPG",
        "https://museum.example.org/gemälde/ß.jpg",
        "https://museum.example.org/a.jpg/",
        "ftp://museum.example.org/a.jpg",
        "urn:imss:image:019201",
    ],
)
def test_the_thumbnails_key_is_the_md5_of_the_very_address_that_was_stored(stored: str) -> None:
    addresses = found(record(file(url("a")), thumbnail_url=stored), thumbnails=API)
    assert addresses[-1].visited == f"{API}/thumbnail/v3/400/{md5(stored)}"
    assert found(record(file(stored)), thumbnails=API)[-1].fetched_as is FetchedAs.THUMBNAIL


def test_the_address_of_the_api_may_end_in_a_slash() -> None:
    assert thumbnail_v3(url("a"), f"{API}/") == thumbnail_v3(url("a"), API) == f"{API}/thumbnail/v3/400/{md5(url('a'))}"


@pytest.mark.parametrize("record_id", ["/with/5a1b", "/with/abc/def", "abc", "/abc", "/a b/c", "/a/b/c", "", "folder-1"])
def test_records_of_other_sources_have_no_thumbnail(record_id: str) -> None:
    addresses = found(record(file(url("a")), record_id=record_id), thumbnails=API)
    assert [address.fetched_as for address in addresses] == [FetchedAs.ORIGINAL]


@pytest.mark.parametrize("stored", ["file:///pictures/a.jpg", "pictures/a.jpg", "data:image/png;base64,AAAA"])
def test_a_file_of_a_folder_has_no_thumbnail(stored: str) -> None:
    assert [address.fetched_as for address in found(record(file(stored)), thumbnails=API)] == [FetchedAs.ORIGINAL]


def test_thumbnails_can_be_switched_off() -> None:
    assert [address.fetched_as for address in found(record(file(url("a"))), thumbnails="")] == [FetchedAs.ORIGINAL]


def test_a_thumbnail_comes_on_top_of_what_is_wanted_at_most() -> None:
    addresses = found(record(*(file(url(at)) for at in range(9))), most=2, thumbnails=API)
    assert [address.fetched_as for address in addresses] == [FetchedAs.ORIGINAL, FetchedAs.ORIGINAL, FetchedAs.THUMBNAIL]
    assert addresses[-1].position > addresses[-2].position


# --- Whatever a record lists ---

URLS = st.sampled_from([url(name) for name in "abcdef"])


@given(
    st.lists(URLS, min_size=1, max_size=12),
    URLS,
    st.integers(1, 6),
    st.lists(st.sampled_from(["open", "restricted"]), max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_whatever_a_record_lists_its_addresses_are_distinct_in_order_and_bounded(
    urls: list[str], first: str, most: int, rights: list[str], iiif: bool, thumbnails: bool
) -> None:
    files = [file(one, category="open" if one < url("d") else "restricted", iiif_service="https://i.org/1") for one in urls]
    listed = record(*files, image_url=first)
    addresses = found(listed, most=most, rights=rights, iiif=iiif, thumbnails=API if thumbnails else "")
    assert addresses[0].url == first and addresses[0].position == 0
    pictures = [address for address in addresses if address.fetched_as is not FetchedAs.THUMBNAIL]
    assert len(dict.fromkeys(address.url for address in pictures)) <= most
    originals = [address.url for address in pictures if address.fetched_as is FetchedAs.ORIGINAL]
    assert len(originals) == len(set(originals))
    assert [address.position for address in addresses] == sorted(address.position for address in addresses)
    assert not rights or all(address.rights_category in rights for address in pictures if address.position)
    assert pictures + [address for address in addresses if address.fetched_as is FetchedAs.THUMBNAIL] == addresses
    assert len(addresses) - len(pictures) == thumbnails
    for address in addresses:
        assert address_from_json(json.loads(json.dumps(address.to_json()))) == address
