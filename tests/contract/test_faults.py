"""Faults on demand: each can be switched on, hits what its rule says, and is the same for the same seed (7.1 point 8)."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from pipeline.sandbox.faults import PROFILES, Rule, RuleError, profile
from pipeline.sandbox.process import SandboxProcess

TIMEOUT = 10
SEARCH = "/europeana/record/v2/search.json"
RECORD = "/europeana/record/v2/90402/SK_{:02d}.json"


@pytest.fixture
def faulty(sandbox: SandboxProcess) -> Iterator[Callable[..., dict[str, Any]]]:
    """Set one rule, or many; afterwards all are gone."""

    def put(*rules: dict[str, Any], seed: int = 7) -> dict[str, Any]:
        answer = requests.post(f"{sandbox.url}/_sandbox/faults", json={"rules": rules, "seed": seed}, timeout=TIMEOUT)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    yield put
    requests.delete(f"{sandbox.url}/_sandbox/faults", timeout=TIMEOUT)


def get(sandbox: SandboxProcess, path: str, timeout: float = TIMEOUT, **parameters: Any) -> requests.Response:
    return requests.get(sandbox.url + path, params=parameters, headers={"X-Api-Key": sandbox.key}, timeout=timeout)


def search(sandbox: SandboxProcess, **parameters: Any) -> requests.Response:
    return get(sandbox, SEARCH, **{"query": "*:*", **parameters})


def rule(fault: str, route: str = SEARCH, **more: Any) -> dict[str, Any]:
    return {"route": route, "fault": fault, **more}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("504-SA", 400, "504-SA"), ("503-SA", 503, "503-SA"), ("500", 500, None), ("503", 503, None), ("418", 418, None)],
)
def test_7_1_08_errors_of_the_search_api(
    sandbox: SandboxProcess, faulty: Callable[..., Any], fault: str, status: int, code: str | None
) -> None:
    faulty(rule(fault, times=1))
    answer = search(sandbox)
    assert (answer.status_code, answer.json()["success"], answer.json().get("code")) == (status, False, code)
    assert search(sandbox).status_code == 200


def test_7_1_08_a_gateways_page(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("502-html"))
    answer = search(sandbox)
    assert answer.status_code == 502 and answer.headers["Content-Type"].startswith("text/html") and "<html>" in answer.text


def test_7_1_08_429_has_headers_and_no_retry_after(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("429", seconds=3), rule("429", route="/media/", seconds=3))
    answer = search(sandbox)
    assert (answer.status_code, answer.json()["code"]) == (429, "429_limit_personal")
    assert answer.headers["RateLimit"] == '"personal";r=0;t=3' and "Retry-After" not in answer.headers
    picture = get(sandbox, "/media/90402/SK_00.jpg")
    assert (picture.status_code, picture.headers["Retry-After"]) == (429, "3")


@pytest.mark.parametrize("fault", ["reset", "close", "lost-reply"])
def test_7_1_08_dropped_connections(sandbox: SandboxProcess, faulty: Callable[..., Any], fault: str) -> None:
    faulty(rule(fault, times=1))
    with pytest.raises(requests.ConnectionError):
        search(sandbox)
    assert search(sandbox).status_code == 200


def test_7_1_08_a_time_out_holds_the_request(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("timeout", seconds=0.5))
    begin = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        search(sandbox)
    assert 0.4 < time.monotonic() - begin < 3
    faulty(rule("timeout"))
    with pytest.raises(requests.ReadTimeout):
        search(sandbox, timeout=0.3)


def test_7_1_08_slow_answers_and_slow_bodies(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    whole = search(sandbox).json()["items"]
    for fault in ("slow", "slow-body"):
        faulty(rule(fault, seconds=0.4))
        begin = time.monotonic()
        assert [item["id"] for item in search(sandbox).json()["items"]] == [item["id"] for item in whole]
        assert 0.3 < time.monotonic() - begin < 3


def test_7_1_08_truncated_bodies(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("truncated-gzip"))
    with requests.get(
        f"{sandbox.url}{SEARCH}?query=*:*", headers={"X-Api-Key": sandbox.key}, timeout=TIMEOUT, stream=True
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        raw = answer.raw.read(decode_content=False)
        assert len(raw) == int(answer.headers["Content-Length"]) and raw[:2] == b"\x1f\x8b"
    with pytest.raises(json.JSONDecodeError):
        json.loads(search(sandbox).content)
    faulty(rule("truncated"))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        search(sandbox)


def harvest(sandbox: SandboxProcess, rows: int = 4) -> tuple[list[str], list[int]]:
    """All ids in their order, and the total of each page."""
    ids, totals, cursor = [], [], "*"
    while cursor:
        page = search(sandbox, rows=rows, cursor=cursor, sort="europeana_id").json()
        ids += [item["id"] for item in page["items"]]
        assert page["itemsCount"] == len(page["items"])
        totals.append(page["totalResults"])
        cursor = page.get("nextCursor", "")
    return ids, totals


def test_7_1_08_a_record_comes_again_on_the_next_page(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    before, _ = harvest(sandbox)
    faulty(rule("repeated-id", after=1, times=1))
    ids, _ = harvest(sandbox)
    assert len(ids) == len(before) + 1 and set(ids) == set(before)
    assert ids[4] == ids[3]


def test_7_1_08_totals_drift(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("drift", rate=0.5))
    ids, totals = harvest(sandbox)
    assert len(ids) == 12 and len(set(totals)) > 1


def test_7_1_08_a_record_is_tombstoned_in_the_middle_of_a_run(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("tombstone", route="/europeana/record/v2/90402/", after=1, times=1))
    assert get(sandbox, RECORD.format(0)).status_code == 200
    gone = get(sandbox, RECORD.format(1))
    assert (gone.status_code, gone.json()["object"]["about"]) == (410, "/90402/SK_01")
    assert gone.json()["object"]["europeanaAggregation"]["changeLog"][0]["type"] == "Delete"
    assert get(sandbox, RECORD.format(1)).status_code == 410 and get(sandbox, RECORD.format(2)).status_code == 200
    assert "/90402/SK_01" not in harvest(sandbox)[0]
    faulty(rule("tombstone", ids=["/90402/SK_02"]))
    assert get(sandbox, RECORD.format(2)).status_code == 410 and get(sandbox, RECORD.format(1)).status_code == 200


def test_7_1_08_older_paths_meet_the_same_faults_and_other_searches_do_not(
    sandbox: SandboxProcess, faulty: Callable[..., Any]
) -> None:
    faulty(rule("drift", route="/"), rule("tombstone", ids=["/90402/SK_03"]))
    assert get(sandbox, "/europeana/record/search.json", query="*:*").json()["totalResults"] != 12
    for path in ("/europeana/record/90402/SK_03.json", "/europeana/api/v2/record/90402/SK_03.json"):
        if get(sandbox, path.replace("_03", "_04")).status_code == 200:
            assert get(sandbox, path).status_code == 410
    assert "totalResults" not in get(sandbox, "/europeana/annotation/search.json", query="*:*").json()


def test_an_answer_without_a_body_stays_one(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    etag = get(sandbox, RECORD.format(0)).headers["ETag"]
    for fault in ("truncated", "truncated-gzip", "slow-body"):
        faulty(rule(fault, route="/europeana/record", seconds=0.1))
        headers = {"X-Api-Key": sandbox.key, "If-None-Match": etag}
        answer = requests.get(sandbox.url + RECORD.format(0), headers=headers, timeout=TIMEOUT)
        assert (answer.status_code, answer.content) == (304, b"")


def annotate(sandbox: SandboxProcess, number: int) -> requests.Response:
    body = {
        "motivation": "tagging",
        "body": f"http://www.wikidata.org/entity/Q{number}",
        "target": "http://data.europeana.eu/item/90402/faults",
    }
    headers = {"Authorization": f"Bearer {sandbox.token()}"}
    return requests.post(f"{sandbox.url}/europeana/annotation/", json=body, headers=headers, timeout=TIMEOUT)


def written(sandbox: SandboxProcess, number: int) -> int:
    return sum(line["body"] == f"http://www.wikidata.org/entity/Q{number}" for line in sandbox.journal())


def test_11_11_an_annotation_is_stored_and_its_reply_lost(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("lost-reply", route="/europeana/annotation", method="POST", times=1))
    with pytest.raises(requests.ConnectionError):
        annotate(sandbox, 901)
    assert written(sandbox, 901) == 1
    assert annotate(sandbox, 901).status_code == 400
    assert written(sandbox, 901) == 1


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("423", 423, "error.userset_lock_maintenance"),
        ("504", 504, "Unexpected error on solr search"),
        ("500", 500, "An unexpected server exception occurred!"),
        ("expired-token", 401, "Expired JWT token. Please refresh the token."),
    ],
)
def test_11_11_errors_of_the_annotation_api(
    sandbox: SandboxProcess, faulty: Callable[..., Any], fault: str, status: int, text: str
) -> None:
    faulty(rule(fault, route="/europeana/annotation"))
    answer = annotate(sandbox, 902)
    assert answer.status_code == status and text in answer.json()["error"]
    assert answer.json()["action"] == "/annotation/" and written(sandbox, 902) == 0


def test_11_11_429_on_a_write(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("429", route="/europeana/annotation"))
    answer = annotate(sandbox, 903)
    assert answer.status_code == 429 and "RateLimit" in answer.headers


def test_the_search_index_can_lag_from_now_on(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    def found(number: int) -> int:
        query = f'body_uri:"http://www.wikidata.org/entity/Q{number}"'
        return int(get(sandbox, "/europeana/annotation/search", query=query).json()["isPartOf"]["total"])

    shown = faulty({"fault": "index-lag", "seconds": 0.8})
    assert shown["rules"][0]["fault"] == "index-lag"
    assert annotate(sandbox, 904).status_code == 201 and found(904) == 0
    time.sleep(1)
    assert found(904) == 1
    requests.delete(f"{sandbox.url}/_sandbox/faults", timeout=TIMEOUT)
    assert annotate(sandbox, 905).status_code == 201 and found(905) == 1


def statuses(sandbox: SandboxProcess, count: int = 40) -> list[int]:
    return [search(sandbox, rows=0).status_code for _ in range(count)]


def test_the_same_seed_hits_the_same_requests(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    rules = [rule("500", rate=0.2), rule("503", rate=0.2)]
    faulty(*rules, seed=7)
    first = statuses(sandbox)
    faulty(*rules, seed=7)
    assert statuses(sandbox) == first and {200, 500, 503} == set(first)
    faulty(*rules, seed=8)
    assert statuses(sandbox) != first


def test_rules_count_what_they_did_and_can_be_taken_away(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("500", after=1, times=2), rule("500", method="DELETE"), rule("404", route="^/with/.*"))
    assert statuses(sandbox, 5) == [200, 500, 500, 200, 200]
    shown = requests.get(f"{sandbox.url}/_sandbox/faults", timeout=TIMEOUT).json()
    assert [(one["matched"], one["fired"]) for one in shown["rules"]] == [(5, 2), (0, 0), (0, 0)]
    assert requests.get(f"{sandbox.url}/with/user/me", timeout=TIMEOUT).status_code == 404
    assert requests.delete(f"{sandbox.url}/_sandbox/faults", timeout=TIMEOUT).json()["rules"] == []
    assert statuses(sandbox, 2) == [200, 200]


def test_a_picture_can_be_broken_for_good(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("404", route="/media/", rate=0.5, by="path"))
    paths = [f"/media/90402/SK_{number:02d}.jpg" for number in range(9)]
    first = [get(sandbox, path).status_code for path in paths]
    assert [get(sandbox, path).status_code for path in paths] == first and set(first) == {200, 404}


@pytest.mark.parametrize(
    ("fault", "kind", "length"),
    [
        ("html", "text/html; charset=utf-8", None),
        ("zero", "image/jpeg", 0),
        ("wrong-type", "text/plain", None),
        ("octet-stream", "application/octet-stream", None),
        ("no-robots", "image/jpeg", None),
    ],
)
def test_7_1_09_pictures_of_the_collection_can_be_made_bad(
    sandbox: SandboxProcess, faulty: Callable[..., Any], fault: str, kind: str, length: int | None
) -> None:
    faulty(rule(fault, route="/media/"))
    answer = get(sandbox, "/media/90402/SK_00.jpg")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
    assert length is None or len(answer.content) == length
    assert (fault == "no-robots") == ("X-Robots-Tag" in answer.headers)


def test_robots_txt_can_close_a_whole_host(sandbox: SandboxProcess, faulty: Callable[..., Any]) -> None:
    faulty(rule("disallow-all", route="/robots.txt"))
    assert "Disallow: /\n" in get(sandbox, "/robots.txt").text


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        '{"rules": 1}',
        '{"rules": [{"fault": "unheard-of"}]}',
        '{"rules": [{}]}',
        '{"rules": [{"fault": "200"}]}',
        '{"rules": [{"fault": "500", "rate": 2}]}',
        '{"rules": [{"fault": "500", "often": 2}]}',
        '{"rules": [{"fault": "500", "times": "2"}]}',
        '{"rules": [{"fault": "500", "route": "^("}]}',
        '{"rules": [{"fault": "500", "ids": ["/a/b"]}]}',
        '{"rules": [], "seed": "x"}',
    ],
)
def test_rules_that_make_no_sense_are_refused_and_change_nothing(
    sandbox: SandboxProcess, faulty: Callable[..., Any], body: str
) -> None:
    faulty(rule("500"))
    answer = requests.post(f"{sandbox.url}/_sandbox/faults", data=body, timeout=TIMEOUT)
    assert answer.status_code == 400 and answer.json()["error"]
    assert len(requests.get(f"{sandbox.url}/_sandbox/faults", timeout=TIMEOUT).json()["rules"]) == 1


def share_hit(rules: list[Rule], path: str, method: str = "GET", count: int = 4000) -> float:
    hits = 0
    for _ in range(count):
        hits += any(one.fires(path) for one in rules if one.matches(method, path) and one.fault not in ("drift", "repeated-id"))
    return hits / count


def test_profiles_hit_as_many_requests_as_they_say() -> None:
    assert profile("calm", 1) == []
    for path in (SEARCH, "/europeana/annotation/", "/with/record/1", RECORD.format(1)):
        assert 0.01 < share_hit(profile("flaky", 1), path, "POST") < 0.03
        assert 0.06 < share_hit(profile("hostile", 1), path, "POST") < 0.13
    assert share_hit(profile("flaky", 1), "/media/1/a.jpg") == 0
    pictures = [f"/media/1/{number}.jpg" for number in range(1000)]
    hit = sum(share_hit(profile("hostile", 1), path, count=1) for path in pictures)
    assert 70 < hit < 170
    with pytest.raises(RuleError, match="unknown profile"):
        profile("nasty", 1)


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "calm"])
def test_a_profile_is_on_from_the_start_and_stops_cleanly(start_sandbox: Callable[..., SandboxProcess], name: str) -> None:
    running = start_sandbox(profile=name, seed=3)
    shown = requests.get(f"{running.url}/_sandbox/faults", timeout=TIMEOUT).json()
    assert shown["seed"] == 3 and len(shown["rules"]) == len(PROFILES[name])
    assert running.stop() == 0


def test_a_request_that_is_held_does_not_keep_the_sandbox_from_stopping(start_sandbox: Callable[..., SandboxProcess]) -> None:
    running = start_sandbox()
    with requests.get(f"{running.url}/_faulty/never/picture.jpg", stream=True, timeout=TIMEOUT) as answer:
        assert answer.status_code == 200
        assert running.stop() == 0


def test_the_switches_of_the_annotation_api(start_sandbox: Callable[..., SandboxProcess]) -> None:
    running = start_sandbox()
    address = f"{running.url}/_sandbox/annotation"
    assert requests.post(address, json={"locked": True}, timeout=TIMEOUT).status_code == 200
    assert annotate(running, 906).status_code == 423
    requests.post(address, json={"locked": False, "index_reachable": False}, timeout=TIMEOUT)
    assert annotate(running, 906).status_code == 504
    requests.post(address, json={"index_reachable": True, "error_format": "2026"}, timeout=TIMEOUT)
    assert annotate(running, 906).status_code == 201
    assert annotate(running, 906).json()["type"] == "ErrorResponse"
    for wrong in ({"locked": 1}, {"unheard": True}, {"error_format": "1999"}, []):
        assert requests.post(address, json=wrong, timeout=TIMEOUT).status_code == 400


def test_the_process_sets_and_clears_faults(sandbox: SandboxProcess) -> None:
    assert sandbox.faults(rule("500"))[0]["fault"] == "500" and search(sandbox).status_code == 500
    assert sandbox.faults() == [] and search(sandbox).status_code == 200
