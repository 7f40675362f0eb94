"""Our search client against the stand-in Search API, and against servers that misbehave."""

import csv
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.clients.europeana import SearchClient, UnusableCursorError, hit
from pipeline.clients.http import ApiSession
from pipeline.clients.metering import Metering
from pipeline.collection.reader import EXPECTED
from pipeline.database import connect
from pipeline.database.quota import SharedQuota
from pipeline.domain.rate_limit import RateLimit
from pipeline.errors import CriticalError, EnrichmentError, PermanentError, TransientError
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings

KEY = "a-key-that-nobody-may-see"


def settings(url: str, **changes: Any) -> Settings:
    defaults: dict[str, Any] = {"europeana_api_url": url, "europeana_api_key": KEY, "api_attempts": 5}
    return Settings(_env_file=None, **(defaults | changes))


def client_of(sandbox: SandboxProcess, **changes: Any) -> SearchClient:
    return SearchClient(settings(f"{sandbox.url}/europeana", **({"europeana_api_key": sandbox.key} | changes)))


def ids(client: SearchClient, query: str = "*:*", filters: tuple[str, ...] = (), **options: Any) -> list[str]:
    return [hit(item)["id"] for page in client.pages(query, filters, **options) for item in page.items]


# --- Against the stand-in ---


@pytest.fixture(scope="module")
def large_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More records than three pages hold, without pictures."""
    folder = tmp_path_factory.mktemp("large")
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, EXPECTED, restval="")
        writer.writeheader()
        writer.writerows({"record_id": f"/77/r{number:04d}", "title": f"Record {number}"} for number in range(345))
    return folder


def test_paging_collects_every_record_exactly_once(
    start_sandbox: Callable[..., SandboxProcess], large_collection: Path
) -> None:
    client = client_of(start_sandbox(collection=large_collection))
    pages = list(client.pages("*:*"))
    found = [hit(item)["id"] for page in pages for item in page.items]
    assert sorted(found) == [f"/77/r{number:04d}" for number in range(345)]
    assert [len(page.items) for page in pages] == [100, 100, 100, 45]
    assert {page.total for page in pages} == {345}


def test_filters_narrow_the_result(sandbox: SandboxProcess) -> None:
    client = client_of(sandbox)
    assert len(ids(client)) == 12
    assert sorted(ids(client, 'europeana_id:("/90402/SK_03" OR "/90402/SK_05")')) == ["/90402/SK_03", "/90402/SK_05"]
    assert len(ids(client, reusability="open")) == 8
    assert ids(client, 'europeana_id:"/nothing/here"') == []


def test_the_key_is_in_no_item(sandbox: SandboxProcess) -> None:
    pages = list(client_of(sandbox).pages("*:*"))
    for item in map(hit, pages[0].items):
        assert not {"guid", "link"} & set(item)
        assert f"wskey={sandbox.key}" not in json.dumps(item)


def test_a_wrong_key_is_one_clear_message_without_the_key(sandbox: SandboxProcess) -> None:
    with pytest.raises(CriticalError) as caught:
        ids(client_of(sandbox, europeana_api_key=KEY))
    assert "401" in str(caught.value) and KEY not in str(caught.value)


def test_a_missing_key_names_the_setting(sandbox: SandboxProcess) -> None:
    with pytest.raises(CriticalError, match="EUROPEANA_API_KEY"):
        client_of(sandbox, europeana_api_key="")


def test_a_query_that_the_server_cannot_read_is_critical(sandbox: SandboxProcess) -> None:
    with pytest.raises(CriticalError, match="400"):
        ids(client_of(sandbox), "title:(")


def test_a_used_up_quota_is_waited_for(start_sandbox: Callable[..., SandboxProcess]) -> None:
    client = client_of(start_sandbox(quota=5, quota_window_s=2))
    started = time.monotonic()
    # Eleven calls at five a window touch three windows at least: the one in the middle has passed as a whole.
    for _ in range(11):
        assert next(client.pages("*:*")).total == 12
    assert 2 <= time.monotonic() - started < 20


# --- Against servers that misbehave ---

Reply = tuple[int, dict[str, str], bytes]


class Stub:
    """Answers the n-th call with the n-th reply, the last one for ever; remembers paths and headers."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def next(self, path: str, headers: dict[str, str]) -> Reply:
        self.seen.append((path, headers))
        return self.replies[min(len(self.seen), len(self.replies)) - 1]


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = stub.next(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(status: int, body: object, **headers: str) -> Reply:
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


GOOD = reply(200, {"success": True, "totalResults": 1, "items": [{"id": "/1/a"}]})
HTML = b"<!DOCTYPE html><html><body>Gateway</body></html>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(200, HTML), TransientError),
        (reply(200, b'{"items": [{"id"'), TransientError),
        (reply(200, {"success": False, "error": "later"}), TransientError),
        (reply(200, [1, 2]), TransientError),
        (reply(500, HTML), TransientError),
        (reply(503, {"error": "busy"}), TransientError),
        (reply(429, {"error": "too many"}), TransientError),
        (reply(400, {"success": False, "error": "timeout", "code": "504-SA"}), TransientError),
        (reply(404, {"error": "gone"}), PermanentError),
        (reply(410, {"error": "gone"}), PermanentError),
        (reply(400, {"error": "bad", "code": "400-SV"}), CriticalError),
        (reply(401, {"error": "no"}), CriticalError),
        (reply(403, HTML), CriticalError),
    ],
)
def test_every_reply_means_one_of_our_errors(answer: Reply, error: type[EnrichmentError]) -> None:
    with serving(Stub(answer)) as stub, pytest.raises(EnrichmentError) as caught:
        ids(SearchClient(settings(stub.url, api_attempts=1)))
    assert type(caught.value) is error


def test_a_key_that_the_server_echoes_stays_out_of_the_message() -> None:
    body = {"success": False, "apikey": KEY, "error": f"key {KEY} is invalid, see ?wskey=another-secret&x=1"}
    with serving(Stub(reply(401, body))) as stub, pytest.raises(CriticalError) as caught:
        ids(SearchClient(settings(stub.url, api_attempts=1)))
    assert KEY not in str(caught.value) and "another-secret" not in str(caught.value)


def test_the_key_travels_in_a_header_and_never_in_the_address() -> None:
    with serving(Stub(GOOD)) as stub:
        assert ids(SearchClient(settings(stub.url, contact="mailto:a@example.org"))) == ["/1/a"]
    ((path, headers),) = stub.seen
    assert KEY not in path and headers["X-Api-Key"] == KEY
    assert headers["User-Agent"].startswith("heritage-enrichment/") and "a@example.org" in headers["User-Agent"]


def test_passing_trouble_is_tried_again() -> None:
    waits: list[float] = []
    limited = reply(429, {}, RateLimit='"personal";r=0;t=42')
    solr = reply(400, {"code": "504-SA"})
    with serving(Stub(reply(500, HTML), limited, solr, GOOD)) as stub:
        session = ApiSession(stub.url, "test", timeout_s=5, attempts=5, sleep=waits.append)
        assert session.json("GET", "/x")["items"] == [{"id": "/1/a"}]
    assert len(stub.seen) == 4
    # The server's own word on when the quota is fresh again goes before our back-off.
    assert 42 <= waits[1] <= 43 and waits[0] < 2 and waits[2] < 5


def test_what_must_not_be_repeated_is_sent_once() -> None:
    with serving(Stub(reply(500, HTML), GOOD)) as stub:
        session = ApiSession(stub.url, "test", timeout_s=5, attempts=5, sleep=lambda _: None)
        assert session.request("GET", "/x", retry=False).status_code == 500
    assert len(stub.seen) == 1


def test_a_server_that_cannot_be_reached_is_a_passing_trouble_after_all_attempts() -> None:
    with serving(Stub(GOOD)) as stub:
        pass
    waits: list[float] = []
    session = ApiSession(stub.url, "test", timeout_s=1, attempts=3, sleep=waits.append)
    with pytest.raises(TransientError, match="attempt 3"):
        session.json("GET", "/x")
    assert len(waits) == 2 and waits[0] < waits[1] * 2


def test_an_answer_that_does_not_come_is_given_up() -> None:
    class Silent(Stub):
        def next(self, path: str, headers: dict[str, str]) -> Reply:
            time.sleep(1)
            return GOOD

    with serving(Silent()) as stub, pytest.raises(TransientError):
        ApiSession(stub.url, "test", timeout_s=0.2, attempts=1).json("GET", "/x")


def test_a_cursor_that_ends_the_list_ends_the_paging() -> None:
    first = reply(200, {"totalResults": 3, "items": [{"id": "/1/a"}], "nextCursor": "abc+/="})
    empty = reply(200, {"totalResults": 3, "items": [], "nextCursor": "more"})
    with serving(Stub(first, GOOD, empty)) as stub:
        assert ids(SearchClient(settings(stub.url))) == ["/1/a", "/1/a"]
    assert "cursor=abc%2B%2F%3D" in stub.seen[1][0]
    with serving(Stub(first, empty)) as stub:
        assert ids(SearchClient(settings(stub.url))) == ["/1/a"]


# --- The reaction table of the search contract (§5.4), line by line ---


def session_of(stub: Stub, waits: list[float], **changes: Any) -> ApiSession:
    return ApiSession(stub.url, "test", timeout_s=5, attempts=4, sleep=waits.append, **changes)


@pytest.mark.parametrize(
    "first",
    [
        reply(500, HTML),
        reply(502, HTML),
        reply(503, {"code": "503-SA"}),
        reply(504, HTML),
        reply(522, HTML),
        reply(408, {}),
        reply(400, {"code": "504-SA"}),
        reply(200, HTML),
        reply(200, b'{"items": [{"id"'),
        reply(200, {"success": False, "error": "later"}),
    ],
)
def test_what_passes_is_tried_again_with_growing_pauses(first: Reply) -> None:
    waits: list[float] = []
    with serving(Stub(first, first, GOOD)) as stub:
        assert session_of(stub, waits).json("GET", "/x")["items"] == [{"id": "/1/a"}]
    assert len(waits) == 2 and 0.4 < waits[0] < 1.1 and 0.9 < waits[1] < 2.1


@pytest.mark.parametrize(
    "answer",
    [
        reply(401, {"code": "401_key_invalid", "error": "API key is invalid"}),
        reply(401, {"code": "401_key_disabled"}),
        reply(403, {"code": "403_scope_missing"}),
        reply(400, {"code": "400-SA", "error": "Invalid search query"}),
        reply(400, {"code": "400-SL"}),
        reply(302, {}, Location="https://elsewhere.example/"),
    ],
)
def test_what_is_wrong_for_good_is_asked_once_and_told_with_the_server_s_words(answer: Reply) -> None:
    waits: list[float] = []
    with serving(Stub(answer)) as stub, pytest.raises(CriticalError) as caught:
        session_of(stub, waits).json("GET", "/x")
    assert (len(stub.seen), waits) == (1, [])
    assert str(json.loads(answer[2]).get("code") or answer[1].get("Location")) in str(caught.value)


def test_a_quota_that_is_used_up_costs_no_attempt_however_often_one_has_to_wait() -> None:
    waits: list[float] = []
    limited = reply(429, {"code": "429_limit_personal"}, RateLimit='"personal";r=0;t=7')
    with serving(Stub(*[limited] * 9, reply(500, HTML), GOOD)) as stub:
        assert session_of(stub, waits).json("GET", "/x")["totalResults"] == 1
    assert all(7 <= wait <= 8.1 for wait in waits[:9]) and waits[9] < 2


def test_without_a_word_of_the_reset_one_waits_to_the_full_hour() -> None:
    waits: list[float] = []
    with serving(Stub(reply(429, {}), GOOD)) as stub:
        session_of(stub, waits).json("GET", "/x")
    assert 0 < waits[0] <= 3602
    left = 3600 - time.gmtime().tm_min * 60 - time.gmtime().tm_sec
    assert abs(waits[0] - left) < 5 or waits[0] > 3500


def test_a_cursor_that_the_server_cannot_read_is_told_apart_from_a_wrong_query() -> None:
    first = reply(200, {"totalResults": 3, "items": [{"id": "/1/a"}], "nextCursor": "abc"})
    with serving(Stub(first, reply(400, {"code": "400-SC"}))) as stub, pytest.raises(UnusableCursorError):
        ids(SearchClient(settings(stub.url)))
    with serving(Stub(reply(400, {"code": "400-SC"}))) as stub, pytest.raises(CriticalError):
        ids(SearchClient(settings(stub.url)))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(200, {"success": True, "object": {"about": "/1/a"}}), {"about": "/1/a"}),
        (reply(404, {"success": False, "error": "Invalid record identifier: /1/a"}), None),
        (reply(410, {"success": True, "object": {"about": "/1/a"}}), None),
    ],
)
def test_a_record_is_its_object_or_gone(answer: Reply, expected: Any) -> None:
    with serving(Stub(answer)) as stub:
        assert SearchClient(settings(stub.url)).record("/1/a?b#c") == expected
    assert stub.seen[0][0] == "/record/v2/1/a%3Fb%23c.json"


@pytest.mark.parametrize("answer", [reply(404, HTML), reply(200, HTML), reply(200, {"success": False}), reply(503, HTML)])
def test_a_gateway_s_page_does_not_make_a_record_gone(answer: Reply) -> None:
    with serving(Stub(answer)) as stub, pytest.raises(TransientError):
        SearchClient(settings(stub.url, api_attempts=1)).record("/1/a")


@pytest.mark.parametrize(
    ("url", "words"), [("ftp://x.org", "check the API's address"), ("not an address", "check the API's address")]
)
def test_an_address_that_is_none_is_told_at_once(url: str, words: str) -> None:
    with pytest.raises(CriticalError, match=words):
        ids(SearchClient(settings(url)))


def test_a_key_that_cannot_be_one_is_told_without_showing_it() -> None:
    with pytest.raises(CriticalError, match="EUROPEANA_API_KEY") as caught:
        SearchClient(settings("http://127.0.0.1:1", europeana_api_key="ключ"))
    assert "ключ" not in str(caught.value)


def test_hits_that_strict_readers_refuse_are_read_all_the_same() -> None:
    odd = b'{"success": true, "totalResults": 2, "items": [{"id": "/1/a", "title": ["\\ud800"]}, {"id": "/1/b", "score": NaN}]}'
    with serving(Stub((200, {}, odd))) as stub:
        assert ids(SearchClient(settings(stub.url))) == ["/1/a", "/1/b"]


def test_all_clients_of_a_key_keep_to_its_quota_together_and_none_is_ever_refused(
    start_sandbox: Callable[..., SandboxProcess], tmp_path: Path
) -> None:
    sandbox = start_sandbox(quota=12, quota_window_s=3)
    sandbox.faults({"route": "^/europeana/record", "fault": "500", "rate": 0})
    here = settings(f"{sandbox.url}/europeana", europeana_api_key=sandbox.key, var_dir=tmp_path)
    refusals: list[int] = []

    class Watched(Metering):
        def after(self, limit: RateLimit, *, refused: bool) -> None:
            refusals.extend([1] * refused)
            super().after(limit, refused=refused)

    def work(times: int) -> None:
        quota = SharedQuota(connect(here), here.europeana_api_url, sandbox.key)
        client = SearchClient(here, metering=Watched(quota))
        for _ in range(times):
            next(client.pages("*:*"))

    work(1)  # somebody has to hear of the quota first
    threads = [threading.Thread(target=work, args=(9,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refusals) <= 1  # where the server's window ends a moment before ours
