"""Our WITH client against the stand-in platform, and against servers that misbehave."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.clients.with_platform import WithClient
from pipeline.errors import CriticalError, EnrichmentError, PermanentError, TransientError
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import Settings

PAINTING = {"uri": "http://www.wikidata.org/entity/Q11629"}
SECRET = "a-password-that-nobody-may-see"


def client_at(url: str, **changes: Any) -> WithClient:
    defaults: dict[str, Any] = {"with_api_url": url, "with_username": "maker@example.org", "with_password": "sandbox"}
    return WithClient(Settings(_env_file=None, **(defaults | changes)))


def annotate(client: WithClient, record_id: str, body: dict[str, str] = PAINTING) -> str:
    return client.annotate(
        record_id, body, generator="enrichment hidden labels", confidence=0.123456, generated="2026-01-01T00:00:00.000Z"
    )


# --- Against the stand-in ---


def test_a_filled_collection_holds_its_records_when_the_call_returns(sandbox: SandboxProcess) -> None:
    client = client_at(f"{sandbox.url}/with")
    wanted = [f"/90402/SK_{number:02d}" for number in range(12)]
    client.fill_collection("client, filled", wanted)
    for record_id in wanted:
        assert annotate(client, record_id)


def test_ids_that_the_platform_does_not_know_do_not_hold_up_the_filling_for_ever(sandbox: SandboxProcess) -> None:
    client = client_at(f"{sandbox.url}/with")
    started = time.monotonic()
    client.fill_collection("client, partly", ["/90402/SK_01", "/1/unknown"])
    assert time.monotonic() - started < 8
    assert annotate(client, "/90402/SK_01")


def test_the_same_tag_twice_is_one_annotation_and_it_is_not_for_publication(sandbox: SandboxProcess) -> None:
    client = client_at(f"{sandbox.url}/with")
    client.fill_collection("client, twice", ["/90402/SK_02"])
    first = annotate(client, "/90402/SK_02")
    assert annotate(client, "/90402/SK_02") == first
    assert annotate(client, "/90402/SK_02", {"uri": "http://vocab.getty.edu/aat/300028094"}) != first
    stored = requests.get(f"{sandbox.url}/with/annotation/{first}", timeout=10).json()
    assert stored["publish"] is False
    assert stored["target"]["externalId"] == "/90402/SK_02"
    (annotator,) = stored["annotators"]
    assert (annotator["generator"], annotator["confidence"]) == ("enrichment hidden labels", 0.1235)


def test_a_record_that_the_platform_does_not_know_is_permanent(sandbox: SandboxProcess) -> None:
    with pytest.raises(PermanentError):
        annotate(client_at(f"{sandbox.url}/with", api_attempts=1), "/1/unknown")


@pytest.mark.parametrize("wrong", [{"with_username": "nobody"}, {"with_password": SECRET}])
def test_a_refused_login_is_one_message_without_the_password(sandbox: SandboxProcess, wrong: dict[str, str]) -> None:
    with pytest.raises(CriticalError, match="refuses the login") as caught:
        annotate(client_at(f"{sandbox.url}/with", **wrong), "/90402/SK_02")
    assert SECRET not in str(caught.value)


def test_a_missing_account_names_the_setting() -> None:
    with pytest.raises(CriticalError, match="WITH_USERNAME"):
        client_at("http://127.0.0.1:1", with_username="")


def test_a_session_that_the_platform_forgets_is_opened_again(sandbox_options: SandboxOptions, tmp_path: Path) -> None:
    # A server that starts afresh signs with a new key, so the cookie of before means nobody.
    options = replace(sandbox_options, port=free_port(), state_dir=tmp_path / "one")
    with SandboxProcess(options) as first:
        client = client_at(f"{first.url}/with")
        client.fill_collection("before", ["/90402/SK_01"])
    with SandboxProcess(replace(options, state_dir=tmp_path / "two")):
        client.fill_collection("after", ["/90402/SK_01"])
        assert annotate(client, "/90402/SK_01")


# --- Against servers that misbehave ---

Reply = tuple[int, bytes]
HTML = b"<!DOCTYPE html><html><body>Gateway</body></html>"


@contextmanager
def serving(answers: Callable[[str, str], Reply]) -> Iterator[str]:
    """A platform that logs everybody in and answers the rest by method and path."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_login = self.path == "/user/login"
            status, body = (200, b"{}") if is_login else answers(self.command, self.path)
            self.send_response(status)
            if is_login:
                self.send_header("Set-Cookie", "PLAY_SESSION=abc")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((200, HTML), PermanentError),
        ((200, b"null"), PermanentError),
        ((400, b""), PermanentError),
        ((500, b'{"error": "Cannot retrieve resource"}'), TransientError),
        ((429, b"{}"), TransientError),
        ((502, HTML), TransientError),
        ((503, HTML), TransientError),
        ((504, HTML), TransientError),
        ((401, b"{}"), CriticalError),
        ((403, b'{"error": "no access"}'), CriticalError),
        ((400, b'{"error": "User not logged in"}'), CriticalError),
    ],
)
def test_every_reply_means_one_of_our_errors(reply: Reply, error: type[EnrichmentError]) -> None:
    with serving(lambda method, path: reply) as url, pytest.raises(EnrichmentError) as caught:
        annotate(client_at(url, api_attempts=1, with_password=SECRET), "/1/a")
    assert type(caught.value) is error
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("page", [HTML, b"", b'{"annotators": [', b"[]"])
def test_a_page_that_is_no_annotation_is_no_proof_that_it_is_gone(page: bytes) -> None:
    with serving(lambda method, path: (200, page)) as url, pytest.raises(TransientError):
        client_at(url, api_attempts=1).delete_annotation("a1", generator="ours")
    with serving(lambda method, path: (200, b"null")) as url:
        client_at(url, api_attempts=1).delete_annotation("a1", generator="ours")


def test_filling_waits_until_the_collection_has_grown_to_all_its_records() -> None:
    looks = 0

    def growing(method: str, path: str) -> Reply:
        nonlocal looks
        if method == "GET":
            looks += 1
        return 200, json.dumps({"dbId": "c1", "administrative": {"entryCount": 10 + min(looks, 4)}}).encode()

    with serving(growing) as url:
        client_at(url).fill_collection("growing", [f"/1/{number}" for number in range(4)])
    assert looks == 4


def test_filling_with_nothing_asks_nothing() -> None:
    def never(method: str, path: str) -> Reply:
        raise AssertionError("not to be called")

    with serving(never) as url:
        client_at(url).fill_collection("empty", [])
