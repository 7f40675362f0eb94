"""The stand-in Search and Record APIs, by the numbers of the contract's check list 7.1 (points 1 to 7).

The routes are called in this process: no port, no fault of another server comes between.
"""

import base64
import csv
import hashlib
import json
import multiprocessing
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipeline.collection import read_collection
from pipeline.sandbox.access import Gate
from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.europeana import Europeana
from pipeline.sandbox.fields import predicate
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.process import SandboxProcess
from pipeline.sandbox.query import parse_query
from pipeline.sandbox.tokens import Tokens
from pipeline.vocabulary import load_vocabulary

SEARCH = "/europeana/record/v2/search.json"
KEY = {"X-Api-Key": "sandbox"}
SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "europeana"
ROWS, PICTURES = 60, 30
RIGHTS = (
    "http://creativecommons.org/publicdomain/zero/1.0/",
    "http://creativecommons.org/licenses/by-nc/4.0/",
    "http://rightsstatements.org/vocab/InC/1.0/",
    "",
)
VOCABULARY = """
concepts:
  - {slug: painting, kind: type, labels: {en: Painting, nl: Schilderij}, europeana: "http://data.europeana.eu/concept/47",
     wikidata: "http://www.wikidata.org/entity/Q11629", aat: "http://vocab.getty.edu/aat/300033618"}
  - {slug: map, kind: type, labels: {en: Map}, europeana: "http://data.europeana.eu/concept/43", broader: [painting]}
"""

Api = TestClient


def write(folder: Path) -> SandboxOptions:
    """Sixty records in two datasets, of which thirty have pictures; the 23rd file is missing."""
    (folder / "pictures" / "secret-class").mkdir(parents=True)
    rows = []
    for number in range(ROWS):
        name = f"pictures/secret-class/{number}.png" if number < PICTURES else ""
        if name and number != 22:
            size = (1200, 1000) if number % 2 else (300, 400)
            Image.new("L" if number % 3 else "RGB", size, 60).save(folder / name)
        rows.append(
            {
                "record_id": f"/{123 if number < 40 else 456}/r_{number:02d}",
                "image_file": name,
                "title": f"Vue d'été {number}",
                "creator": "Jane Engraver" if number % 2 else "",
                "year": str(1640 + number) if number % 3 else "",
                "provider": "Aggregator",
                "data_provider": "City: Archive" if number % 5 else "Rijksmuseum",
                "rights": RIGHTS[number % 4],
                "concepts": "painting;secret-truth",
                "not_annotated": "secret-unknown",
                "group": "secret-group",
                "split": "test",
            }
        )
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "concepts.yaml").write_text(VOCABULARY)
    (folder / "state").mkdir()
    return SandboxOptions(collection=folder, state_dir=folder / "state", vocabulary_path=folder / "concepts.yaml")


def app(options: SandboxOptions) -> Api:
    catalogue = Catalogue(read_collection(options.collection), options)
    vocabulary = load_vocabulary(options.vocabulary_path, base_url=options.public_url)
    apis = Europeana(catalogue, vocabulary, Gate(options, Tokens(options)), options)
    return TestClient(Starlette(routes=apis.routes()), base_url=options.public_url)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SandboxOptions:
    return write(tmp_path_factory.mktemp("europeana"))


@pytest.fixture(scope="module")
def api(options: SandboxOptions) -> Iterator[Api]:
    with app(options) as client:
        client.headers.update(KEY)
        yield client


def found(api: Api, query: str = "*:*", **parameters: Any) -> dict[str, Any]:
    answer = api.get(SEARCH, params={"query": query, **parameters})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def numbers(api: Api, query: str = "*:*", **parameters: Any) -> set[int]:
    return {int(item["id"][-2:]) for item in found(api, query, rows=100, **parameters)["items"]}


def every(test: Callable[[int], bool]) -> set[int]:
    return set(filter(test, range(ROWS)))


def item(api: Api, number: int = 1, **parameters: Any) -> dict[str, Any]:
    hit: dict[str, Any] = found(api, f'europeana_id:"{identifier(number)}"', **parameters)["items"][0]
    return hit


def identifier(number: int) -> str:
    return f"/{123 if number < 40 else 456}/r_{number:02d}"


def record(api: Api, number: int, suffix: str = "", **options: Any) -> httpx.Response:
    return api.get(f"/europeana/record/v2{identifier(number)}{suffix}.json", **options)


# --- 1: keys and error bodies ---


def test_7_1_1_the_key_comes_in_three_ways_and_wrong_ones_are_told_apart(options: SandboxOptions) -> None:
    with app(options) as api:

        def get(**more: Any) -> httpx.Response:
            return api.get(SEARCH, params={"query": "*:*", "rows": 0} | more.pop("params", {}), **more)

        assert get(headers=KEY).status_code == 200
        assert get(params={"wskey": "sandbox"}).status_code == 200
        assert get(headers={"Authorization": "APIKEY sandbox"}).status_code == 200
        codes = {
            "invalid_apikey": get(),
            "401_key_invalid": get(headers={"X-Api-Key": "other"}),
            "401_key_disabled": get(headers={"X-Api-Key": "disabled"}),
            "401_token_invalid": get(headers={"Authorization": "Bearer nonsense"}),
        }
        for code, answer in codes.items():
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert "apikey" not in answer.json()
        echoed = get(params={"wskey": "other"}).json()
        assert list(echoed) == ["apikey", "success", "error", "message", "code"] and echoed["apikey"] == "other"


def test_7_1_1_the_parameter_can_be_switched_off(options: SandboxOptions) -> None:
    changed = replace(options, accept_wskey=False)
    with app(changed) as api:
        assert api.get(SEARCH, params={"query": "*:*", "wskey": "sandbox"}).json()["code"] == "invalid_apikey"
        assert api.get(SEARCH, params={"query": "*:*"}, headers=KEY).status_code == 200


def test_7_1_1_the_key_is_echoed_in_envelope_and_links(api: Api) -> None:
    body = found(api, rows=1)
    assert body["apikey"] == "sandbox" and body["requestNumber"] == 999
    assert body["items"][0]["guid"].endswith("utm_campaign=sandbox")
    assert body["items"][0]["link"].endswith("wskey=sandbox")


@pytest.mark.parametrize("path", ["/europeana/record/search.json", "/europeana/api/v2/search.json", SEARCH])
def test_7_1_1_the_search_answers_under_all_its_paths_to_get_head_and_post(api: Api, path: str) -> None:
    answer = api.get(path, params={"query": "*:*"})
    assert answer.json()["totalResults"] == ROWS
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert answer.headers["Access-Control-Expose-Headers"] == "Allow, Vary, Link, ETag"
    assert api.head(path, params={"query": "*:*"}).content == b""
    posted = api.post(path, json={"query": "*:*", "qf": ["YEAR:1641", "YEAR:1642"], "rows": 1, "profile": "minimal"})
    assert (posted.json()["totalResults"], posted.json()["itemsCount"]) == (2, 1)
    assert "timestamp" not in posted.json()["items"][0]


@pytest.mark.parametrize(
    ("post", "status"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"[1]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400),
        ({"json": {"query": {"deep": 1}}}, 400),
        ({"json": {"qf": ["TYPE:IMAGE"]}}, 400),
        ({"content": b"query=*:*", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"json": {"query": "*:*"}, "headers": {"Accept": "text/html"}}, 406),
    ],
)
def test_7_1_1_a_wrong_post_is_refused_without_code(api: Api, post: dict[str, Any], status: int) -> None:
    answer = api.post(SEARCH, **post)
    assert answer.status_code == status and answer.json()["success"] is False and "code" not in answer.json()


def test_7_1_1_half_characters_in_a_post_break_nothing(api: Api) -> None:
    answer = api.post(
        SEARCH, content=rb'{"query": "title:\ud800(", "profile": "params"}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "400-SA")


def test_7_1_1_other_methods_are_refused_and_a_callback_pads_the_answer(api: Api) -> None:
    assert api.delete(SEARCH).status_code == 405 and api.delete(SEARCH).json()["success"] is False
    padded = api.get(SEARCH, params={"query": "*:*", "rows": 0, "callback": "show"})
    assert re.fullmatch(r"show\(\{.*\}\);", padded.text) and "javascript" in padded.headers["Content-Type"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"query": " "}, "400-SE"),
        ({"query": "title:("}, "400-SA"),
        ({"query": "no_such_field:x"}, "400-SA"),
        ({"query": "*:*", "sort": "no_such_field"}, "400-SA"),
        ({"query": "*:*", "sort": "YEAR sideways"}, "400-SA"),
        ({"query": "*:*", "rows": -1}, "400-SA"),
        ({"query": "*:*", "start": 0}, "400-SA"),
        ({"query": "*:*", "facet": "no_such_field", "profile": "facets"}, "400-SA"),
        ({"query": "*:*", "cursor": "not base64"}, "400-SC"),
        ({"query": "*:*", "start": 2, "cursor": "*"}, "400-SD"),
        ({"query": "*:*", "start": 902, "rows": 100}, "400-SL"),
        ({"query": "*:*", "boost": "title^2"}, "400-SB"),
        ({"query": "*:*", "profile": "hits", "hit.selectors": "many"}, "400-SH"),
        ({"query": "*:*", "profile": "hits", "hit.fl": "title"}, "400-SH"),
        ({"query": "*:*", "facet.range": "timestamp_update", "facet.range.start": "yesterday"}, "400-SR"),
        ({"query": "*:*", "facet.range": "title", "facet.range.start": "2026-01-01T00:00:00Z"}, "400-SR"),
        ({"query": "*:*", "theme": "cooking"}, "400-ST"),
        ({"query": "*:*", "theme": "art,map"}, "400-SU"),
        ({"query": "*:*", "theme": ["art", "map"]}, "400-SU"),
        ({}, None),
        ({"query": "*:*", "rows": "abc"}, None),
        ({"query": "*:*", "rows": "99999999999"}, None),
        ({"query": "*:*", "start": "1.5"}, None),
        ({"query": "*:*", "media": "perhaps"}, None),
        ({"query": "*:*", "profile": "facets", "f.TYPE.facet.limit": "x"}, None),
    ],
)
def test_7_1_1_every_wrong_search_has_its_code(api: Api, parameters: dict[str, Any], code: str | None) -> None:
    answer = api.get(SEARCH, params=parameters)
    assert answer.status_code == 400 and answer.json()["success"] is False
    assert answer.json().get("code") == code and answer.json()["error"]


def test_7_1_1_translation_needs_a_token(api: Api) -> None:
    for path in (SEARCH, f"/europeana/record/v2{identifier(1)}.json"):
        answer = api.get(path, params={"query": "*:*", "profile": "translate"})
        assert answer.status_code == 403 and "code" not in answer.json()


# --- 2: quota ---


def test_7_1_2_one_budget_is_told_in_headers_and_ends_in_429_without_retry_after(options: SandboxOptions) -> None:
    with app(replace(options, quota=3, quota_window_s=86_400)) as api:
        api.headers.update(KEY)
        for left, path in (
            (2, SEARCH),
            (1, f"/europeana/record/v2{identifier(1)}.json"),
            (0, "/europeana/entity/concept/47.json"),
        ):
            answer = api.get(path, params={"query": "*:*"})
            assert answer.headers["RateLimit-Policy"] == '"personal";q=3;w=86400'
            assert re.fullmatch(rf'"personal";r={left};t=\d+', answer.headers["RateLimit"])
        over = api.get(SEARCH, params={"query": "*:*"})
        assert (over.status_code, over.json()["code"]) == (429, "429_limit_personal")
        assert "Retry-After" not in over.headers and over.headers["RateLimit"].startswith('"personal";r=0')


# --- 3: rows, start ---


def test_7_1_3_rows_have_a_default_of_twelve_and_are_capped_at_100(options: SandboxOptions) -> None:
    with app(replace(options, records=250)) as api:
        api.headers.update(KEY)
        assert found(api)["itemsCount"] == found(api, rows="")["itemsCount"] == 12
        assert found(api, rows=5000)["itemsCount"] == found(api, rows=100)["itemsCount"] == 100
        assert found(api, rows=0)["items"] == [] and found(api, rows=0)["totalResults"] == 250
        assert found(api, rows=100, start=240)["itemsCount"] == 11
        assert found(api, start=901, rows=100)["items"] == []


# --- 4: cursors ---


def walk(api: Api, rows: int = 7, **parameters: Any) -> list[list[str]]:
    cursor, pages = "*", []
    while cursor:
        page = found(api, rows=rows, cursor=cursor, **parameters)
        pages.append([hit["id"] for hit in page["items"]])
        cursor = page.get("nextCursor", "")
        assert not cursor or all(sign in cursor for sign in "+/=") and base64.b64decode(cursor, validate=True)
    return pages


@pytest.mark.parametrize("sort", ["", "europeana_id", "europeana_id asc", "random_7,europeana_id", "YEAR asc,europeana_id asc"])
@pytest.mark.parametrize("count", [None, 60])
def test_7_1_4_the_cursor_gives_every_record_once_and_then_an_empty_page(
    options: SandboxOptions, sort: str, count: int | None
) -> None:
    with app(replace(options, records=count)) as api:
        api.headers.update(KEY)
        pages = walk(api, sort=sort)
        assert [len(page) for page in pages] == [7] * 8 + [4, 0]
        assert len({one for page in pages for one in page}) == ROWS
        assert pages == walk(api, sort=sort)


def test_7_1_4_a_full_last_page_still_has_a_mark(api: Api) -> None:
    assert [len(page) for page in walk(api, rows=30, sort="europeana_id")] == [30, 30, 0]


def test_7_1_4_the_direction_is_descending_unless_it_is_said(api: Api) -> None:
    up = [one for page in walk(api, sort="europeana_id asc") for one in page]
    assert up == sorted(up) and up == [one for page in walk(api, sort="europeana_id") for one in page][::-1]


def test_7_1_4_a_mark_is_a_place_and_needs_no_hit_there(api: Api) -> None:
    mark = found(api, rows=21, cursor="*", sort="europeana_id asc")["nextCursor"]
    rest = found(api, "YEAR:*", rows=100, cursor=mark, sort="europeana_id asc")
    assert {hit["id"] for hit in rest["items"]} == {identifier(n) for n in range(21, ROWS) if n % 3}
    assert rest["totalResults"] == 40


@pytest.mark.parametrize("sort", ["timestamp_update", "random", "random_3", "YEAR asc,timestamp_created desc"])
def test_7_1_4_a_cursor_needs_the_unique_key_in_the_sort(api: Api, sort: str) -> None:
    answer = api.get(SEARCH, params={"query": "*:*", "cursor": "*", "sort": sort})
    assert (answer.status_code, answer.json()["code"]) == (400, "400-SC") and "cursorMark" in answer.json()["message"]


def test_7_1_4_an_unencoded_mark_is_refused_with_a_hint(api: Api) -> None:
    mark = found(api, rows=1, cursor="*")["nextCursor"]
    answer = api.get(f"{SEARCH}?query=*:*&cursor={mark}")
    assert answer.json()["code"] == "400-SC" and "encode" in answer.json()["message"]


def test_7_1_4_no_mark_without_a_cursor_or_without_rows(api: Api) -> None:
    assert "nextCursor" not in found(api) and "nextCursor" not in found(api, cursor="*", rows=0)


def test_7_1_4_marks_that_differ_in_case_only_end_the_list(tmp_path: Path) -> None:
    """Contract 1.6: the server compares marks without regard to case, so such a neighbour ends a harvest early."""
    first, second = "xxG", "xxa"
    assert base64.b64encode(first.encode()).lower() == base64.b64encode(second.encode()).lower()
    changed = write(tmp_path)
    # Behind the mark's six own bytes and `/1/` the name begins on a border of base64's groups of three.
    (tmp_path / "metadata.csv").write_text(f"record_id,image_file\n/1/{first},\n/1/{second},\n/1/zzz,\n")
    with app(changed) as api:
        api.headers.update(KEY)
        assert [len(page) for page in walk(api, rows=1, sort="europeana_id asc")] == [1, 1]


# --- 5: fields ---


def test_7_1_5_empty_fields_are_left_out(api: Api) -> None:
    bare = item(api, 42, profile="rich")
    assert not {"edmIsShownBy", "edmPreview", "dcCreator", "year", "dcCreatorLangAware"} & set(bare)
    assert all(
        value not in ("", [], {}, None) for hit in found(api, rows=100, profile="rich")["items"] for value in hit.values()
    )
    assert found(api, "YEAR:1")["items"] == []


def test_7_1_5_scores_are_one_with_a_cursor_and_other_numbers_without(api: Api) -> None:
    assert {hit["score"] for hit in found(api, cursor="*", rows=100)["items"]} == {1.0}
    assert len({hit["score"] for hit in found(api, rows=100)["items"]}) > 20


def test_7_1_5_keys_have_no_fixed_order(api: Api) -> None:
    assert len({tuple(hit) for hit in found(api, rows=100)["items"]}) > 5


def test_7_1_5_the_profiles_drop_fields_by_the_set_of_their_words(api: Api) -> None:
    minimal, standard, rich = (set(item(api, profile=profile)) for profile in ("minimal", "standard", "rich"))
    assert minimal < standard < rich and set(item(api)) == standard
    assert not {"timestamp", "country", "dcLanguage", "previewNoDistribute"} & minimal
    assert {"rights", "title", "dataProvider", "edmIsShownBy", "europeanaCompleteness", "score"} < minimal
    assert rich - standard == {"organizations", "edmLandingPage"}
    assert set(item(api, profile="minimal,rich")) == set(item(api, profile="minimal+nonsense")) == minimal
    assert set(item(api, profile="standard,rich")) == set(item(api, profile="standard%2Crich")) == standard
    assert standard < set(item(api, profile="facets")) < rich
    assert set(item(api, profile="rich debug")) - rich == {"contentTier", "metadataTier"}


def test_7_1_5_a_language_drops_the_texts_without_one(api: Api) -> None:
    assert {"title", "dcCreator"} == set(item(api)) - set(item(api, lang="nl"))


def test_7_1_5_params_are_echoed_without_the_key(api: Api) -> None:
    body = found(api, profile="params facets", facet="TYPE,YEAR", rows=3, wskey="sandbox", **{"f.TYPE.facet.limit": 2})
    assert body["params"]["facet"] == "TYPE,YEAR" and body["params"]["rows"] == 3 and body["params"]["query"] == "*:*"
    assert body["params"]["f.TYPE.facet.limit"] == 2 and "wskey" not in body["params"]


def counts(body: dict[str, Any], name: str) -> dict[str, int]:
    (fields,) = [facet["fields"] for facet in body["facets"] if facet["name"] == name]
    return {field["label"]: field["count"] for field in fields}


@pytest.mark.parametrize("profile", ["facets", "portal"])
def test_7_1_5_facets_count_the_hits(api: Api, profile: str) -> None:
    body = found(api, rows=0, profile=profile)
    assert counts(body, "DATA_PROVIDER") == {"City: Archive": 48, "Rijksmuseum": 12}
    assert counts(body, "REUSABILITY") == {"open": 15, "restricted": 15, "permission": 15, "uncategorized": 15}
    assert counts(body, "TYPE") == {"IMAGE": 60} and counts(body, "MEDIA") == {"true": 29, "false": 31}
    assert counts(body, "IMAGE_SIZE") == {"large": 15, "small": 14}
    assert counts(body, "IMAGE_ASPECTRATIO") == {"Landscape": 15, "Portrait": 14}
    narrowed = found(api, rows=0, profile=profile, qf='DATA_PROVIDER:"Rijksmuseum"')
    assert counts(narrowed, "DATA_PROVIDER") == {"Rijksmuseum": 12}
    assert "facets" not in found(api, rows=0)


def test_7_1_5_facets_have_limits_and_offsets(api: Api) -> None:
    every_year = list(counts(found(api, rows=0, profile="facets", facet="YEAR"), "YEAR"))
    assert len(every_year) == 40
    some = found(api, rows=0, profile="facets", facet="YEAR", **{"f.YEAR.facet.limit": 5, "f.YEAR.facet.offset": 3})
    assert list(counts(some, "YEAR")) == every_year[3:8]
    limited = found(api, rows=0, profile="facets", facet="DEFAULT,contentTier", **{"f.DEFAULT.facet.limit": 1})
    assert len(counts(limited, "YEAR")) == 1 and len(counts(limited, "contentTier")) > 1


@pytest.mark.parametrize("count", [None, 240])
def test_7_1_5_a_range_facet_counts_by_hour(options: SandboxOptions, count: int | None) -> None:
    with app(replace(options, records=count)) as api:
        api.headers.update(KEY)
        window = {"facet.range.start": "2026-01-01T00:00:00Z", "facet.range.end": "2026-01-02T00:00:00Z"}
        hours = {"facet.range": "timestamp_update", "facet.range.gap": "+1HOUR"}
        by_hour = counts(found(api, rows=0, profile="facets", **window, **hours), "timestamp_update")
        assert sum(by_hour.values()) == (count or ROWS) and set(by_hour) <= {f"2026-01-01T{n:02d}:00:00Z" for n in range(24)}


# --- 6: query language ---


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("été", every(lambda n: True)),
        ("ETE 17", {17}),
        ('title:"vue d\'été 17"', {17}),
        ("YEAR:1641 OR YEAR:1642", {1, 2}),
        ("YEAR:(1641 OR 1642)", {1, 2}),
        ("YEAR:1641 YEAR:1642", set()),
        ("YEAR:[1641 TO 1645]", {1, 2, 4, 5}),
        ("YEAR:[1641 TO *] AND NOT YEAR:[1643 TO *]", {1, 2}),
        ("(who:engraver OR YEAR:1642) -YEAR:[1643 TO *]", {1, 2, 3, 9, 15, 21, 27, 33, 39, 45, 51, 57}),
        ('DATA_PROVIDER:"City: Archive"', every(lambda n: bool(n % 5))),
        ('DATA_PROVIDER:"city: archive"', set()),
        (r"DATA_PROVIDER:City\:\ Archive", every(lambda n: bool(n % 5))),
        ('europeana_id:("/123/r_01" OR "/456/r_41")', {1, 41}),
        (r"europeana_id:\/456\/*", every(lambda n: n >= 40)),
        ("edm_datasetName:456_*", every(lambda n: n >= 40)),
        ('skos_concept:"http://data.europeana.eu/concept/47"', set()),
        ("provider_aggregation_edm_isShownBy:*", every(lambda n: n < PICTURES)),
        ("provider_aggregation_edm_hasView:*", {3}),
        ("contentTier:(1 OR 2 OR 3 OR 4)", every(lambda n: n < PICTURES and n != 22)),
        ("contentTier:4", set()),
        ("contentTier:3", every(lambda n: n < PICTURES and n % 4 == 1)),
        ("COUNTRY:europe", every(lambda n: True)),
        ("NOT (YEAR:* OR title:*)", set()),
        ("+TYPE:IMAGE !YEAR:*", every(lambda n: n % 3 == 0)),
    ],
)
@pytest.mark.parametrize("as_filter", [False, True])
def test_7_1_6_the_query_language_finds_what_it_says(api: Api, query: str, expected: set[int], as_filter: bool) -> None:
    if as_filter and query.startswith("COUNTRY"):
        pytest.skip("only the query's countries are capitalised")
    assert (numbers(api, qf=query) if as_filter else numbers(api, query)) == expected


def test_7_1_6_one_field_is_ored_and_different_fields_are_anded(api: Api) -> None:
    assert numbers(api, qf=["YEAR:1641", "YEAR:1642"]) == {1, 2}
    assert numbers(api, qf=["YEAR:1641", "YEAR:1645", 'DATA_PROVIDER:"Rijksmuseum"']) == {5}
    assert numbers(api, qf=["IMAGE_SIZE:small", "IMAGE_SIZE:LARGE", "YEAR:[1640 TO 1642]"]) == {1, 2}


def test_7_1_6_rights_are_quoted_or_a_prefix_and_types_upper_cased(api: Api) -> None:
    assert numbers(api, qf=f"RIGHTS:{RIGHTS[0]}") == every(lambda n: n % 4 == 0)
    assert numbers(api, qf="RIGHTS:http://creativecommons.org/*") == every(lambda n: n % 4 < 2)
    assert numbers(api, qf=f'RIGHTS:("{RIGHTS[0]}" OR "{RIGHTS[2]}")') == every(lambda n: n % 2 == 0)
    assert numbers(api, qf="RIGHTS:http://creativecommons.org/") == set()
    assert numbers(api, qf='TYPE:"image"') == every(lambda n: True) and numbers(api, qf="TYPE:text") == set()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MIME_TYPE:image/png", every(lambda n: n < PICTURES and n != 22)),
        (r"MIME_TYPE:IMAGE\/PNG", every(lambda n: n < PICTURES and n != 22)),
        ('MIME_TYPE:"image/png"', set()),
        ("IMAGE_SIZE:Large", every(lambda n: n < PICTURES and bool(n % 2))),
        ("IMAGE_SIZE:gigantic", set()),
        ("IMAGE_SIZE:(small OR large)", set()),
        ("IMAGE_COLOUR:TRUE", every(lambda n: n < PICTURES and n % 3 == 0)),
        ("IMAGE_ASPECTRATIO:portrait", every(lambda n: n < PICTURES and not n % 2 and n != 22)),
        ("IMAGE_GREYSCALE:true", set()),
        ("COLOURPALETTE:#FF6347", set()),
        ("SOUND_HQ:true", set()),
        ("MEDIA:true", every(lambda n: n < PICTURES and n != 22)),
        ("THUMBNAIL:false", every(lambda n: n >= PICTURES or n == 22)),
        ("TEXT_FULLTEXT:false", every(lambda n: True)),
        ("REUSABILITY:open", every(lambda n: n % 4 == 0)),
    ],
)
def test_7_1_6_technical_values_are_unquoted_in_any_case_and_unknown_ones_find_nothing(
    api: Api, value: str, expected: set[int]
) -> None:
    assert numbers(api, qf=value) == expected


def test_7_1_6_names_of_technical_fields_are_case_sensitive(api: Api) -> None:
    assert api.get(SEARCH, params={"query": "*:*", "qf": "image_size:small"}).json()["code"] == "400-SA"


def test_7_1_6_date_ranges_are_closed_or_in_a_filter_half_open(api: Api) -> None:
    at = item(api, 5)["timestamp_update"]
    assert numbers(api, f"timestamp_update:[{at} TO {at}]") == numbers(api, qf=f"timestamp_update:[{at} TO {at}]") == {5}
    assert numbers(api, qf=f"timestamp_update:[{at} TO {at}}}") == set()
    assert len(numbers(api, qf="timestamp_update:[2026-01-01T00:00:00Z TO 2026-01-02T00:00:00Z}")) == ROWS
    assert len(numbers(api, qf="timestamp_created:[* TO 2025-01-02T00:00:00Z]")) == ROWS
    assert len(numbers(api, qf="timestamp_update:[* TO NOW]")) == ROWS
    for query in (f"timestamp_update:[* TO {at}}}", "YEAR:[1641 TO 1642}", f"timestamp_update:[* TO {at}\\}}"):
        assert api.get(SEARCH, params={"query": query}).json()["code"] == "400-SA"
    assert numbers(api, qf="YEAR:[1641 TO 1642}") == {1}


def test_7_1_6_classes_of_re_use_and_flags_are_filters(api: Api) -> None:
    assert numbers(api, reusability="open") == every(lambda n: n % 4 == 0)
    assert numbers(api, reusability="open,restricted") == numbers(api, reusability=["open", "restricted"])
    assert numbers(api, reusability="uncategorized") == every(lambda n: n % 4 == 3)
    for words in ("open restricted permission", "nonsense"):
        assert numbers(api, reusability=words) == every(lambda n: True)
    assert numbers(api, media="true") == numbers(api, thumbnail="TRUE") == every(lambda n: n < PICTURES and n != 22)
    assert numbers(api, landingpage="false") == numbers(api, text_fulltext="true") == set()
    assert numbers(api, theme="art") == every(lambda n: n % 15 == 1) and numbers(api, colourpalette="ff6347") == set()


def test_7_1_6_random_orders_are_repeated_by_their_seed_only(api: Api) -> None:
    def order(sort: str) -> list[str]:
        return [hit["id"] for hit in found(api, rows=60, sort=sort)["items"]]

    assert order("random_5") == order("random_5") != order("random_6")
    assert order("random") != order("random") and set(order("random")) == set(order("random_5"))
    assert order("distance asc") == order("")


# --- 7: records ---


@pytest.mark.parametrize("path", ["/record/v2", "/record", "/api/v2/record", "/v2/record"])
def test_7_1_7_a_record_answers_under_all_its_paths(api: Api, path: str) -> None:
    answer = api.get(f"/europeana{path}{identifier(2)}.json")
    assert answer.json()["object"]["about"] == identifier(2) and answer.json()["requestNumber"] == 999
    assert api.head(f"/europeana{path}{identifier(2)}.json").status_code == 200


def test_7_1_7_caching_headers_save_a_second_transfer(api: Api) -> None:
    answer = record(api, 2)
    etag, changed = answer.headers["ETag"], answer.headers["Last-Modified"]
    assert re.fullmatch(r'W/"[0-9a-f]{64}"', etag) and answer.headers["Cache-Control"] == "public, max-age=86400"
    for unchanged in ({"If-None-Match": f'"x", {etag}'}, {"If-None-Match": "*"}, {"If-Modified-Since": changed}):
        again = record(api, 2, headers=unchanged)
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    older = {"If-Modified-Since": "Wed, 31 Dec 2025 23:59:59 GMT"}
    for other in ({"If-None-Match": '"x"'}, older, {"If-Modified-Since": "nonsense"}, {"If-Match": etag}, {"If-Match": "*"}):
        assert record(api, 2, headers=other).status_code == 200
    assert record(api, 2, headers={"If-None-Match": '"x"', "If-Modified-Since": changed}).status_code == 200
    assert record(api, 2, headers={"If-Match": '"x"'}).status_code == 412
    assert record(api, 3).headers["ETag"] != etag


def test_7_1_7_an_unknown_record_is_404_without_code(api: Api) -> None:
    answer = api.get("/europeana/record/v2/1/none.json")
    assert answer.status_code == 404
    assert answer.json() == {"apikey": "sandbox", "success": False, "error": "Invalid record identifier: /1/none"}


def test_7_1_7_a_moved_id_answers_with_the_record_under_its_new_id(api: Api) -> None:
    answer = record(api, 2, "_moved")
    assert answer.status_code == 200 and answer.json()["object"]["about"] == identifier(2)


def test_7_1_7_a_depublished_record_is_410_with_a_tombstone(api: Api) -> None:
    answer = record(api, 2, "_depublished")
    assert answer.status_code == 410 and answer.json()["object"]["about"] == f"{identifier(2)}_depublished"
    (change,) = answer.json()["object"]["europeanaAggregation"]["changeLog"]
    assert change["type"] == "Delete" and set(change) == {"type", "context", "endTime"}


def test_7_1_7_unusual_ids_are_in_no_search(api: Api) -> None:
    assert numbers(api, r"europeana_id:*_moved OR europeana_id:*_depublished") == set()


def aggregation(api: Api, number: int) -> dict[str, Any]:
    body: dict[str, Any] = record(api, number).json()["object"]["aggregations"][0]
    return body


def test_7_1_7_records_have_no_picture_one_or_nineteen(api: Api) -> None:
    none, one, many = (aggregation(api, number) for number in (40, 1, 3))
    assert "edmIsShownBy" not in none and "hasView" not in none and len(none["webResources"]) == 1
    assert one["edmIsShownBy"] and "hasView" not in one
    assert len(set(many["hasView"])) == 18 and many["edmIsShownBy"] not in many["hasView"]
    assert {resource["about"] for resource in many["webResources"]} == {many["edmIsShownBy"], *many["hasView"]}
    assert item(api, 3)["edmIsShownBy"] == [many["edmIsShownBy"]]


def test_7_1_7_the_first_web_resource_is_a_page_or_the_picture_or_there_is_none(api: Api) -> None:
    plain, turned, bare = (aggregation(api, number) for number in (1, 4, 5))
    assert plain["webResources"][0]["ebucoreHasMimeType"] == "text/html"
    assert plain["webResources"][0]["about"] == plain["edmIsShownAt"]
    assert turned["webResources"][0]["about"] == turned["edmIsShownBy"]
    assert "webResources" not in bare and bare["edmIsShownBy"]


@pytest.mark.parametrize(("number", "is_measured"), [(1, True), (6, False), (22, False)])
def test_7_1_7_technical_fields_are_there_as_a_block_or_not_at_all(api: Api, number: int, is_measured: bool) -> None:
    resource = next(one for one in aggregation(api, number)["webResources"] if one["about"].endswith(".png"))
    technical = {name for name in resource if name.startswith(("ebucore", "edmHas"))}
    assert len(technical) == (6 if is_measured else 0)
    if is_measured:
        assert (resource["ebucoreWidth"], resource["ebucoreOrientation"]) == (1200, "landscape")


def test_7_1_7_a_record_may_have_an_image_service(api: Api) -> None:
    body = record(api, 7).json()["object"]
    (service,) = body["services"]
    assert service["about"] == body["aggregations"][0]["webResources"][1]["svcsHasService"][0]
    assert service["about"].endswith(f"/iiif{identifier(7)}") and "services" not in record(api, 8).json()["object"]


def test_7_1_7_nothing_of_the_truth_travels(api: Api) -> None:
    text = "".join(found(api, rows=100, profile=f"{profile} facets debug").__repr__() for profile in ("rich", "standard"))
    text += "".join(record(api, number, suffix).text for number in range(ROWS) for suffix in ("", "_depublished"))
    assert not re.search(r"secret|painting|\"?test\"|split|not_annotated|Concept|dcType|dcSubject", text)


# --- Entities (3.4) ---


def test_3_4_concepts_are_found_by_label_uri_and_list(api: Api) -> None:
    page = api.get("/europeana/entity/search", params={"query": "schilderij", "type": "concept"}).json()
    assert (page["type"], page["total"], page["items"][0]["id"]) == ("ResultPage", 1, "http://data.europeana.eu/concept/47")
    assert page["items"][0]["narrower"] == ["http://data.europeana.eu/concept/43"]
    assert "items" not in api.get("/europeana/entity/search", params={"query": "nothing"}).json()
    second = api.get("/europeana/entity/search", params={"query": "*", "page": 1, "pageSize": 1}).json()
    assert (second["total"], len(second["items"])) == (2, 1)
    assert api.get("/europeana/entity/suggest", params={"text": "paint"}).json()["total"] == 1
    uris = ["http://data.europeana.eu/concept/43", "http://unknown.example/1"]
    assert api.post("/europeana/entity/retrieve", json=uris).json()["total"] == 1
    resolved = api.get(
        "/europeana/entity/resolve", params={"uri": "http://vocab.getty.edu/aat/300033618"}, follow_redirects=False
    )
    assert resolved.status_code == 301 and resolved.headers["Location"].endswith("/entity/concept/47.json")


def test_3_4_refusals_have_the_newer_shape(api: Api) -> None:
    for answer, status, code in (
        (api.get("/europeana/entity/search"), 400, "400_param_missing"),
        (api.get("/europeana/entity/search", params={"query": "x", "page": "a"}), 400, "400_param_invalid"),
        (api.post("/europeana/entity/retrieve", content=b"{"), 400, "400_param_invalid"),
        (api.get("/europeana/entity/concept/9.json"), 404, "404_not_found"),
        (api.get("/europeana/entity/concept/47.json", headers={"X-Api-Key": "x"}), 401, "401_key_invalid"),
    ):
        assert (answer.status_code, answer.json()["code"], answer.json()["type"]) == (status, code, "ErrorResponse")


# --- Shapes of real replies ---

Shape = dict[str, set[str]]
LANGUAGE = re.compile(r"def|[a-z]{2,3}(-[A-Za-z]+)*")
# In the contract's tables (1.7, 1.8, 2.2 to 2.4), but in none of the samples of the same kind.
TABLES: dict[str, Shape] = {
    "search": {".nextCursor": {"str"}},
    "item": {
        ".organizations": {"list"},
        ".organizations[]": {"str"},
        ".edmLandingPage": {"list"},
        ".edmLandingPage[]": {"str"},
        ".contentTier": {"str"},
        ".metadataTier": {"str"},
    },
    "record": {
        ".object.provider": {"list"},
        ".object.provider[]": {"str"},
        ".object.country": {"list"},
        ".object.country[]": {"str"},
        ".object.aggregations[].hasView": {"list"},
        ".object.aggregations[].hasView[]": {"str"},
    },
    "entity": {
        ".items[].narrower": {"list"},
        ".items[].narrower[]": {"str"},
        ".items[].broader": {"list"},
        ".items[].broader[]": {"str"},
    },
}


# What a record shows would say the truth that is to be found out, so these are in no reply of the sandbox.
DESCRIBING = ("dcType", "dcSubject")


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def shape(value: Any, path: str = "") -> Shape:
    """Each path with the types found there; languages count as one name."""
    collected: Shape = {path: {kind(value)}}
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        is_map = bool(value) and all(LANGUAGE.fullmatch(name) for name in value) and "id" not in value
        parts = [(f"{path}.{'<language>' if is_map else name}", part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}[]", part) for part in value]
    for below, part in parts:
        for name, types in shape(part, below).items():
            collected.setdefault(name, set()).update(types)
    return collected


def united(values: list[Any]) -> Shape:
    return shape(values) and {path[2:]: types for path, types in shape(values).items() if path.startswith("[]")}


def in_all(values: list[Any]) -> set[str]:
    return set.intersection(*(set(shape(value)) for value in values))


def sample(pattern: str) -> list[Any]:
    if not SAMPLES.is_dir():
        pytest.skip("the samples of real replies are not here")
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SAMPLES.glob(pattern))]


def check(ours: list[Any], theirs: list[Any], table: Shape, *, mandatory_of: list[Any] | None = None) -> None:
    """Nothing that the real server never said, with its types; and all that every real reply has."""
    known = united(theirs)
    for path, types in united(ours).items():
        assert types <= known.get(path, set()) | table.get(path, set()), f"{path} is {types}, not {known.get(path)}"
    for one in ours:
        missing = in_all(mandatory_of or theirs) - set(shape(one))
        assert not {path for path in missing if not any(name in path for name in DESCRIBING)}


def items(api: Api, profile: str) -> list[Any]:
    """Items with a picture, a licence and a creator, as nearly all real ones have them."""
    return [hit for hit in found(api, "who:*", media="true", reusability="restricted", rows=100, profile=profile)["items"]]


def test_shape_of_standard_items_is_that_of_the_sample(api: Api) -> None:
    (theirs,) = sample("search_standard_2024__items50.json")
    assert items(api, "standard")
    check(items(api, "standard"), theirs, {})


def test_shape_of_minimal_items_is_that_of_the_sample(api: Api) -> None:
    (reply,) = sample("search_minimal__entity-management__timespan*.json")
    (full,) = sample("search_standard_2024__items50.json")
    check(items(api, "minimal"), [*reply["items"], *full], {}, mandatory_of=reply["items"])


def test_shape_of_rich_items_is_that_of_the_samples(api: Api) -> None:
    (reply,) = sample("search_rich_facets_params_2019*.json")
    more = sample("search_rich__openverse-catalog__image_data_example.json")
    check(items(api, "rich"), [*reply["items"], *more], TABLES["item"])


def test_shape_of_envelopes_is_that_of_the_samples(api: Api) -> None:
    (full,) = sample("search_rich_facets_params_2019*.json")
    empty = sample("search_minimal__entity-management__search_and_record_empty.json")
    reply = found(
        api, profile="params rich facets", reusability="restricted", facet="TYPE,YEAR,RIGHTS", sort="europeana_id", cursor="*"
    )
    ours = {**reply, "items": []}
    ours["params"] = {name: value for name, value in ours["params"].items() if name in full["params"]}
    assert set(full) <= set(ours)
    check([ours], [full], TABLES["search"], mandatory_of=empty)
    assert shape(found(api, "YEAR:1")) == shape(empty[0])


def test_shape_of_records_is_that_of_the_samples(api: Api) -> None:
    theirs = sample("record_20*.json")
    ours = [record(api, number).json() for number in (1, 3, 4, 5, 6, 7, 9, 40)]
    check(ours[:1], theirs, TABLES["record"])
    check(ours, theirs, TABLES["record"], mandatory_of=[{"object": {"about": ""}}])


def test_shape_of_entities_is_that_of_the_samples(api: Api) -> None:
    pages = sample("entity__metis-framework__concept*.json") + sample("entity__metis-framework__timespan.json")
    (empty,) = sample("entity__metis-framework__concept-nomatch.json")
    parameters = [{"query": "*"}, {"query": "painting", "type": "concept"}]
    check([api.get("/europeana/entity/search", params=one).json() for one in parameters], pages, TABLES["entity"])
    nothing = api.get("/europeana/entity/search", params={"query": "zzz"}).json()
    assert shape(nothing) == shape(empty)
    (unresolved,) = sample("entity__metis-framework__resolve-uri-nomatch.json")
    assert shape(api.get("/europeana/entity/resolve", params={"uri": "http://x.example"}).json()) == shape(unresolved)


# --- Scale ---


def test_scale_without_a_number_the_records_are_the_collections_own(options: SandboxOptions) -> None:
    catalogue = Catalogue(read_collection(options.collection), options)
    assert list(catalogue.records) == [identifier(number) for number in range(ROWS)]


@pytest.fixture(scope="module")
def large(options: SandboxOptions) -> Iterator[Api]:
    with app(replace(options, records=25_000)) as client:
        client.headers.update(KEY)
        yield client


@pytest.mark.parametrize(
    "query",
    [
        "*:*",
        "TYPE:IMAGE",
        "timestamp_update:[2026-01-01T00:00:00Z TO 2026-01-01T01:00:00Z]",
        "timestamp_created:[* TO 2025-01-01T01:00:00Z]",
        'europeana_id:("/10001/V00012345" OR "/10000/V00012345" OR "/10002/V00024999")',
        r"europeana_id:\/10001\/V0001*",
        "europeana_id:*77",
        'europeana_id:["/10001/V00010000" TO "/10001/V00010010"]',
        "edm_datasetName:10001_*",
        "YEAR:[1641 TO 1645] OR REUSABILITY:open",
        "vue NOT who:engraver",
        '"ete 17 1217"',
        "title:1217?",
        "provider_aggregation_edm_isShownBy:*V000000?0.png",
        "IMAGE_SIZE:large AND (contentTier:3 OR YEAR:1642)",
    ],
)
def test_scale_a_computed_index_finds_what_looking_at_each_record_finds(
    options: SandboxOptions, large: Api, query: str
) -> None:
    records = Catalogue(read_collection(options.collection), replace(options, records=25_000)).records
    matches = predicate(parse_query(query))
    expected = [one.id for one in records.values() if matches(one)]
    body = found(large, query, cursor="*", sort="europeana_id asc", rows=100, profile="facets", facet="YEAR,edm_datasetName")
    assert (body["totalResults"], [hit["id"] for hit in body["items"]]) == (len(expected), expected[:100])
    if expected:
        assert sum(counts(body, "edm_datasetName").values()) == len(expected)


def test_scale_computed_records_are_found_by_id_picture_address_and_digest(options: SandboxOptions, large: Api) -> None:
    catalogue = Catalogue(read_collection(options.collection), replace(options, records=25_000))
    one = catalogue.records["/10001/V00012361"]
    assert one.shown_by.endswith("/media/10001/V00012361.png") and one.row.title == "Vue d'été 1 12361"
    assert catalogue.by_media["10001/V00012361.png"] == catalogue.by_address[one.shown_by] == one
    assert catalogue.by_md5[hashlib.md5(one.shown_by.encode()).hexdigest()] == one
    for wrong in ("/10000/V00012361", "/10002/V00025000", "nonsense"):
        assert wrong not in catalogue.records
    assert catalogue.by_media.get("10001/V00012361.jpg") is None and catalogue.by_md5.get("0" * 32) is None
    assert len({record.updated for record in catalogue.records.values()}) == len(catalogue.records) == 25_000
    answer = large.get("/europeana/record/v2/10001/V00012361.json")
    assert answer.json()["object"]["about"] == one.id
    assert large.get("/europeana/record/v2/10001/V00012361_moved.json").json()["object"]["about"] == one.id


def test_scale_default_order_is_the_latest_first(large: Api) -> None:
    times = [hit["timestamp_update"] for page in (1, 101) for hit in found(large, rows=100, start=page)["items"]]
    assert times == sorted(times, reverse=True) and len(set(times)) == 200


def resident_mb() -> float:
    """Memory of the sandbox that was started last, as Linux tells it."""
    newest = max(multiprocessing.active_children(), key=lambda child: child.pid or 0)
    try:
        text = Path(f"/proc/{newest.pid}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        pytest.skip("only Linux tells it")
    match = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert match
    return int(match[1]) / 1024


@pytest.mark.slow
def test_scale_a_million_records_are_paged_in_little_memory(start_sandbox: Callable[..., SandboxProcess]) -> None:
    """How quickly is a figure of `make bench BENCH=sandbox`."""
    sandbox = start_sandbox(records=1_000_000)
    with httpx.Client(base_url=sandbox.url, headers=KEY, timeout=30) as client:
        for query, total in (
            ({"query": "*:*", "sort": "europeana_id"}, 1_000_000),
            ({"query": "*:*", "qf": "TYPE:IMAGE"}, 1_000_000),
            (
                {
                    "query": "*:*",
                    "qf": "timestamp_update:[2026-01-01T00:00:00Z TO 2026-01-01T06:00:00Z}",
                    "sort": "europeana_id",
                },
                250_000,
            ),
        ):
            cursor, seen = "*", set()
            for _ in range(50):
                page = client.get(SEARCH, params={**query, "rows": 100, "profile": "rich", "cursor": cursor}).json()
                cursor = page["nextCursor"]
                seen.update(item["id"] for item in page["items"])
            assert (page["totalResults"], len(seen)) == (total, 5_000)
    assert resident_mb() < 400
