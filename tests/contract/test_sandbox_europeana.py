"""The stand-in Search, Record, Entity and Thumbnail APIs and image hosts behave as their contracts say."""

import base64
import hashlib
import io
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from PIL import Image

from pipeline.sandbox.process import SandboxProcess

TIMEOUT = 10

SEARCH = "/europeana/record/v2/search.json"
WINDOW_START, WINDOW_END = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def get(sandbox: SandboxProcess, path: str, **options: Any) -> requests.Response:
    headers = {"X-Api-Key": sandbox.key, **options.pop("headers", {})}
    return requests.get(sandbox.url + path, headers=headers, timeout=TIMEOUT, **options)


def search(sandbox: SandboxProcess, query: str = "*:*", **parameters: Any) -> dict[str, Any]:
    answer = get(sandbox, SEARCH, params={"query": query, **parameters})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(sandbox: SandboxProcess, query: str = "*:*", **parameters: Any) -> set[str]:
    return {item["id"] for item in search(sandbox, query, rows=100, **parameters)["items"]}


def record(number: int) -> str:
    return f"/90402/SK_{number:02d}"


def records(*numbers: int) -> set[str]:
    return {record(number) for number in numbers}


def shown_by(sandbox: SandboxProcess, number: int) -> str:
    return str(search(sandbox, f'europeana_id:"{record(number)}"')["items"][0]["edmIsShownBy"][0])


def test_it_is_ready_within_three_seconds_and_ends_cleanly(start_sandbox: Callable[..., SandboxProcess]) -> None:
    begin = time.monotonic()
    sandbox = start_sandbox()
    assert time.monotonic() - begin < 3
    assert get(sandbox, "/_sandbox/health").json()["records"] == 12
    assert sandbox.stop(signal.SIGTERM) == 0


def test_a_search_without_a_key_and_with_an_unknown_one_are_told_apart(sandbox: SandboxProcess) -> None:
    url = sandbox.url + SEARCH
    missing = requests.get(url, params={"query": "*:*"}, timeout=TIMEOUT)
    unknown = requests.get(url, params={"query": "*:*"}, headers={"X-Api-Key": "other"}, timeout=TIMEOUT)
    assert (missing.status_code, missing.json()["code"]) == (401, "invalid_apikey")
    assert (unknown.status_code, unknown.json()["code"]) == (401, "401_key_invalid")
    assert "apikey" not in unknown.json()


def test_the_key_is_taken_from_header_parameter_and_authorization(sandbox: SandboxProcess) -> None:
    url = f"{sandbox.url}{SEARCH}?query=*:*&rows=0"
    token = sandbox.token()
    for address, headers in (
        (url, {"X-Api-Key": sandbox.key}),
        (f"{url}&wskey={sandbox.key}", {}),
        (url, {"Authorization": f"APIKEY {sandbox.key}"}),
        (url, {"Authorization": f"bearer {token}"}),
    ):
        assert requests.get(address, headers=headers, timeout=TIMEOUT).status_code == 200
    refused = requests.get(url, headers={"Authorization": "Bearer x"}, timeout=TIMEOUT)
    assert (refused.status_code, refused.json()["code"]) == (401, "401_token_invalid")


def test_the_key_is_echoed_in_the_envelope_and_in_the_links(sandbox: SandboxProcess) -> None:
    found = search(sandbox, rows=1)
    assert found["apikey"] == sandbox.key and found["requestNumber"] == 999
    assert f"utm_campaign={sandbox.key}" in found["items"][0]["guid"]
    assert f"wskey={sandbox.key}" in found["items"][0]["link"]


def test_nothing_of_the_truth_travels(sandbox: SandboxProcess) -> None:
    text = json.dumps(search(sandbox, rows=100, profile="rich debug"))
    text += get(sandbox, f"/europeana/record/v2{record(3)}.json").text
    assert not re.search(r"secret|painting|\bsplit\b|\"test\"|edmConcept", text)


def test_the_profiles_have_their_fields_and_empty_fields_are_left_out(sandbox: SandboxProcess) -> None:
    minimal = search(sandbox, f'europeana_id:"{record(0)}"', profile="minimal")["items"][0]
    standard = search(sandbox, f'europeana_id:"{record(0)}"')["items"][0]
    rich = search(sandbox, f'europeana_id:"{record(1)}"', profile="rich")["items"][0]
    assert "timestamp_update" not in minimal and "country" not in minimal and minimal["rights"]
    assert standard["timestamp_update"].startswith("2026-01-01T") and standard["timestamp_update"].endswith("Z")
    assert "dcCreator" not in standard and "year" not in standard
    assert rich["dcCreator"] == ["Jane Engraver"] and rich["year"] == ["1641"] and "edmLandingPage" in rich
    assert rich["dcTitleLangAware"] == {"def": rich["title"]}


def test_a_record_without_a_picture_has_neither_media_link_nor_preview(sandbox: SandboxProcess) -> None:
    item = search(sandbox, f'europeana_id:"{record(11)}"')["items"][0]
    assert item["type"] == "IMAGE" and "edmIsShownBy" not in item and "edmPreview" not in item
    assert ids(sandbox, qf="provider_aggregation_edm_isShownBy:*") == records(*range(11))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("*:*", records(*range(12))),
        ('DATA_PROVIDER:"City Archive"', records(6, 7, 8, 9, 10, 11)),
        ('DATA_PROVIDER:"city archive"', set()),
        ('europeana_id:("/90402/SK_01" OR "/90402/SK_02")', records(1, 2)),
        ("nachtwacht numero", records(*range(12))),
        ('title:"Nachtwacht número 3"', records(3)),
        ("who:engraver AND NOT YEAR:*", records(3, 9)),
        ("(YEAR:1641 OR YEAR:1642) AND TYPE:IMAGE", records(1, 2)),
        ("YEAR:[1641 TO 1642]", records(1, 2)),
        ("YEAR:164?", records(1, 2, 4, 5, 7, 8)),
        ('skos_concept:"http://data.europeana.eu/concept/47"', set()),
        ("contentTier:4", set()),
    ],
)
def test_the_query_language_finds_what_it_says(sandbox: SandboxProcess, query: str, expected: set[str]) -> None:
    assert ids(sandbox, query) == expected


def test_filters_on_one_field_are_alternatives_and_on_different_fields_all_hold(sandbox: SandboxProcess) -> None:
    assert ids(sandbox, qf=["YEAR:1641", "YEAR:1642"]) == records(1, 2)
    assert ids(sandbox, qf=["YEAR:1641", "YEAR:1648", 'DATA_PROVIDER:"Rijksmuseum"']) == records(1)
    assert ids(sandbox, qf=["TYPE:image", "RIGHTS:http://rightsstatements.org/*"]) == records(8, 9, 10, 11)
    assert ids(sandbox, qf="RIGHTS:http://rightsstatements.org/vocab/InC/1.0/") == records(8, 9, 10, 11)


def test_the_update_window_is_closed_or_half_open(sandbox: SandboxProcess) -> None:
    assert len(ids(sandbox, qf=f"timestamp_update:[{WINDOW_START} TO {WINDOW_END}}}")) == 12
    assert ids(sandbox, qf=f"timestamp_update:[* TO {WINDOW_START}}}") == set()
    at = search(sandbox, f'europeana_id:"{record(5)}"')["items"][0]["timestamp_update"]
    assert ids(sandbox, qf=f"timestamp_update:[{at} TO {at}]") == records(5)
    assert ids(sandbox, qf=f"timestamp_update:[{at} TO {at}}}") == set()


def test_reusability_and_media_filters_follow_licence_and_readable_file(sandbox: SandboxProcess) -> None:
    assert ids(sandbox, reusability="open") == records(*range(8))
    assert ids(sandbox, reusability="open,permission") == records(*range(12))
    assert ids(sandbox, reusability="nonsense") == records(*range(12))
    assert ids(sandbox, media="true") == ids(sandbox, thumbnail="true") == records(*range(9))
    assert ids(sandbox, qf="IMAGE_SIZE:huge") == set()
    assert ids(sandbox, qf="MIME_TYPE:image/jpeg".replace("/", "\\/")) == records(*range(9))
    assert ids(sandbox, qf="IMAGE_SIZE:nonsense") == set()


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"query": " "}, "400-SE"),
        ({"query": "title:("}, "400-SA"),
        ({"query": "no_such_field:x"}, "400-SA"),
        ({"query": "title:night^2"}, "400-SA"),
        ({"query": "timestamp_update:[* TO 2026-01-01T00:00:00Z}"}, "400-SA"),
        ({"query": "*:*", "qf": "timestamp_update:[yesterday TO *]"}, "400-SA"),
        ({"query": "*:*", "start": 902, "rows": 100}, "400-SL"),
        ({"query": "*:*", "start": 2, "cursor": "*"}, "400-SD"),
        ({"query": "*:*", "cursor": "AoQh VH="}, "400-SC"),
        ({"query": "*:*", "cursor": "bm90aGluZyBvZiBvdXJz"}, "400-SC"),
        ({"query": "*:*", "cursor": "*", "sort": "timestamp_update"}, "400-SC"),
        ({"query": "*:*", "rows": "abc"}, None),
        ({}, None),
    ],
)
def test_a_wrong_search_is_refused_with_its_code(sandbox: SandboxProcess, parameters: dict[str, Any], code: str | None) -> None:
    answer = get(sandbox, SEARCH, params=parameters)
    assert answer.status_code == 400 and answer.json()["success"] is False
    assert answer.json().get("code") == code


def test_rows_have_a_default_and_a_silent_cap(sandbox: SandboxProcess) -> None:
    assert search(sandbox)["itemsCount"] == 12
    nothing = search(sandbox, rows=0)
    assert (nothing["itemsCount"], nothing["items"], nothing["totalResults"]) == (0, [], 12)
    assert get(sandbox, SEARCH, params={"query": "*:*", "rows": 5000}).status_code == 200
    assert search(sandbox, rows=5, start=11)["itemsCount"] == 2
    assert "nextCursor" not in search(sandbox)


def test_a_cursor_walks_over_all_records_and_ends_with_an_empty_page(sandbox: SandboxProcess) -> None:
    cursor, seen, pages = "*", [], 0
    while True:
        page = search(sandbox, rows=4, cursor=cursor, sort="europeana_id asc")
        seen += [item["id"] for item in page["items"]]
        pages += 1
        if "nextCursor" not in page:
            break
        cursor = page["nextCursor"]
        assert base64.b64decode(cursor, validate=True) and "+" in cursor and "/" in cursor and "=" in cursor
        assert all(item["score"] == 1.0 for item in page["items"])
    assert seen == sorted(records(*range(12))) and pages == 4
    assert page["items"] == [] and page["itemsCount"] == 0
    unencoded = requests.get(
        f"{sandbox.url}{SEARCH}?query=*:*&sort=europeana_id+asc&wskey={sandbox.key}&cursor={cursor}", timeout=TIMEOUT
    )
    assert unencoded.json()["code"] == "400-SC"


def test_a_quota_is_told_in_headers_and_ends_in_429(start_sandbox: Callable[..., SandboxProcess]) -> None:
    sandbox = start_sandbox(quota=2, quota_window_s=86_400)
    first = get(sandbox, SEARCH, params={"query": "*:*", "rows": 0})
    assert first.headers["RateLimit-Policy"] == '"personal";q=2;w=86400'
    assert re.fullmatch(r'"personal";r=1;t=\d+', first.headers["RateLimit"])
    get(sandbox, f"/europeana/record/v2{record(0)}.json")
    over = get(sandbox, SEARCH, params={"query": "*:*"})
    assert (over.status_code, over.json()["code"]) == (429, "429_limit_personal")
    assert "Retry-After" not in over.headers and '"personal";r=0' in over.headers["RateLimit"]


def test_a_record_tells_what_was_measured_of_its_picture(sandbox: SandboxProcess) -> None:
    body = get(sandbox, f"/europeana/record/v2{record(2)}.json").json()
    aggregation = body["object"]["aggregations"][0]
    page, media = aggregation["webResources"]
    assert body["object"]["about"] == record(2)
    assert media["about"] == aggregation["edmIsShownBy"] and page["about"] == aggregation["edmIsShownAt"]
    assert (media["ebucoreWidth"], media["ebucoreHeight"]) == (800, 500)
    assert media["ebucoreHasMimeType"] == "image/jpeg" and media["ebucoreOrientation"] == "landscape"
    provider = next(proxy for proxy in body["object"]["proxies"] if not proxy["europeanaProxy"])
    assert provider["dcTitle"] == {"def": ["Nachtwacht número 2"]}


@pytest.mark.parametrize("number", [9, 10])
def test_an_unreadable_picture_has_no_technical_fields(sandbox: SandboxProcess, number: int) -> None:
    body = get(sandbox, f"/europeana/record/v2{record(number)}.json").json()
    media = body["object"]["aggregations"][0]["webResources"][1]
    assert not [name for name in media if name.startswith("ebucore")]


def test_an_unchanged_record_is_304_and_an_unknown_one_404_without_code(sandbox: SandboxProcess) -> None:
    path = f"/europeana/record/v2{record(2)}.json"
    etag = get(sandbox, path).headers["ETag"]
    assert etag.startswith('W/"')
    unchanged = get(sandbox, path, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    missing = get(sandbox, "/europeana/record/v2/1/none.json")
    assert missing.status_code == 404 and "code" not in missing.json()
    assert missing.json()["error"] == "Invalid record identifier: /1/none"


def test_pictures_are_spread_over_image_hosts_and_come_byte_for_byte(sandbox: SandboxProcess) -> None:
    hosts = {urlsplit(shown_by(sandbox, number)).hostname for number in (0, 1, 6, 7)}
    assert hosts <= set(sandbox.options.image_hosts)
    address = shown_by(sandbox, 1)
    file = (sandbox.options.collection / "pictures/painting/p1.jpg").read_bytes()
    whole = requests.get(address, timeout=TIMEOUT)
    assert whole.content == file and whole.headers["Content-Type"] == "image/jpeg"
    head = requests.head(address, timeout=TIMEOUT)
    assert head.headers["Content-Length"] == str(len(file)) and head.content == b""
    again = requests.get(address, headers={"If-None-Match": whole.headers["ETag"]}, timeout=TIMEOUT)
    assert (again.status_code, again.content) == (304, b"")


def test_every_image_host_listens_and_has_robots_txt(sandbox: SandboxProcess) -> None:
    for host in sandbox.options.image_hosts:
        with socket.create_connection((host, sandbox.options.port), timeout=TIMEOUT):
            pass
        text = requests.get(f"http://{host}:{sandbox.options.port}/robots.txt", timeout=TIMEOUT).text
        assert text.startswith("User-agent: *")


def test_a_page_under_a_pictures_name_is_served_as_the_page_it_is(sandbox: SandboxProcess) -> None:
    page = requests.get(shown_by(sandbox, 10), timeout=TIMEOUT)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    assert requests.get(f"{sandbox.url}/media/90402/none.jpg", timeout=TIMEOUT).status_code == 404


def test_a_file_that_is_gone_is_404(start_sandbox: Callable[..., SandboxProcess], tmp_path: Any) -> None:
    folder = tmp_path / "collection"
    folder.mkdir()
    (folder / "metadata.csv").write_text("record_id,image_file\n/1/a,gone.jpg\n")
    sandbox = start_sandbox(collection=folder)
    address = search(sandbox)["items"][0]["edmIsShownBy"][0]
    assert requests.get(address, timeout=TIMEOUT).status_code == 404


def test_the_newer_thumbnail_api_answers_404_and_the_older_one_an_icon(sandbox: SandboxProcess) -> None:
    good, broken = shown_by(sandbox, 8), shown_by(sandbox, 9)
    for address, statuses in ((good, (200, 200)), (broken, (200, 404)), ("http://unknown.example/x.jpg", (200, 404))):
        older = requests.get(
            f"{sandbox.url}/europeana/thumbnail/v2/url.json?uri={quote(address, safe='')}&type=IMAGE", timeout=TIMEOUT
        )
        md5 = hashlib.md5(address.encode()).hexdigest()
        newer = requests.get(f"{sandbox.url}/europeana/thumbnail/v3/200/{md5}", timeout=TIMEOUT)
        assert (older.status_code, newer.status_code) == statuses
        assert older.headers["Content-Type"] == ("image/jpeg" if address == good else "image/png")
        if newer.ok:
            assert Image.open(io.BytesIO(newer.content)).width == 200
            assert Image.open(io.BytesIO(older.content)).width == 400
    wrong = requests.get(f"{sandbox.url}/europeana/thumbnail/v3/300/{'0' * 32}", timeout=TIMEOUT)
    assert wrong.status_code == 400


def test_the_preview_of_an_item_leads_to_its_thumbnail(sandbox: SandboxProcess) -> None:
    item = search(sandbox, f'europeana_id:"{record(0)}"')["items"][0]
    assert quote(item["edmIsShownBy"][0], safe="") in item["edmPreview"][0]
    assert requests.get(item["edmPreview"][0], timeout=TIMEOUT).headers["Content-Type"] == "image/jpeg"


def test_concepts_of_the_vocabulary_are_entities(sandbox: SandboxProcess) -> None:
    concept = get(sandbox, "/europeana/entity/concept/47.json").json()
    assert concept["prefLabel"] == {"en": "Painting", "nl": "Schilderij"}
    assert "http://www.wikidata.org/entity/Q11629" in concept["exactMatch"]
    assert get(sandbox, "/europeana/entity/concept/base/47.json").json()["id"] == concept["id"]
    missing = get(sandbox, "/europeana/entity/concept/1.json")
    assert (missing.status_code, missing.json()["type"]) == (404, "ErrorResponse")
    resolve = get(
        sandbox,
        "/europeana/entity/resolve",
        params={"uri": "http://vocab.getty.edu/aat/300028094"},
        allow_redirects=False,
    )
    assert resolve.status_code == 301 and resolve.headers["Location"].endswith("/entity/concept/43.json")
