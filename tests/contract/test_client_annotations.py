"""Our annotation client against the stand-in Annotation API, and against servers that lose or spoil replies."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from pipeline.clients.annotations import AmbiguousError, AnnotationClient, Created, Duplicate
from pipeline.database.ledger import State
from pipeline.domain.annotation import as_request, tag_annotation
from pipeline.domain.identifiers import annotation_number
from pipeline.errors import CriticalError, EnrichmentError, PermanentError, TransientError
from pipeline.publish.europeana import EuropeanaTarget
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import Settings

PAINTING = "http://www.wikidata.org/entity/Q11629"
SECRET = "a-secret-that-nobody-may-see"


def client_at(url: str, **changes: Any) -> AnnotationClient:
    return AnnotationClient(settings_at(url, **changes))


def settings_at(url: str, **changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "europeana_api_url": f"{url}/europeana",
        "europeana_auth_url": f"{url}/auth",
        "annotation_client_id": "sandbox",
        "annotation_client_secret": "sandbox",
    }
    return Settings(_env_file=None, **(defaults | changes))


def tag(record_id: str, body_uri: str = PAINTING) -> dict[str, Any]:
    document = tag_annotation(
        record_id=record_id,
        concept_uri="http://data.europeana.eu/concept/47",
        body_uri=body_uri,
        target="europeana",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run_page=None,
    )
    return as_request(document)


def created(client: AnnotationClient, record_id: str) -> str:
    reply = client.create(tag(record_id))
    assert isinstance(reply, Created)
    return reply.remote_id


# --- Against the stand-in ---


def test_a_tag_is_created_once_and_again_is_a_duplicate_of_ours(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url)
    remote_id = created(client, "/90402/client_a")
    again = client.create(tag("/90402/client_a"))
    assert again == Duplicate((annotation_number(remote_id),))
    assert client.is_ours(annotation_number(remote_id))
    kept = client.get(annotation_number(remote_id))
    assert (kept["target"], kept["body"]) == ("http://data.europeana.eu/item/90402/client_a", PAINTING)


def test_the_same_tag_of_somebody_else_is_a_duplicate_that_is_not_ours(sandbox: SandboxProcess) -> None:
    headers = {"Authorization": f"Bearer {sandbox.token('somebody')}"}
    address = f"{sandbox.url}/europeana/annotation/"
    theirs = requests.post(address, json=tag("/90402/client_b"), headers=headers, timeout=10).json()["id"]
    client = client_at(sandbox.url)
    reply = client.create(tag("/90402/client_b"))
    assert reply == Duplicate((annotation_number(theirs),))
    assert not client.is_ours(annotation_number(theirs))
    assert client.find("/90402/client_b", PAINTING) is None


def test_find_tells_our_tag_of_this_record_and_body_only(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url)
    remote_id = created(client, "/90402/client_c")
    assert client.find("/90402/client_c", PAINTING) == remote_id
    assert client.find("/90402/client_c", "http://www.wikidata.org/entity/Q1") is None
    assert client.find("/90402/client", PAINTING) is None


def test_a_deleted_tag_is_found_no_more_and_deleting_again_is_fine(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url)
    number = annotation_number(created(client, "/90402/client_d"))
    client.delete(number)
    assert client.find("/90402/client_d", PAINTING) is None
    with pytest.raises(PermanentError):
        client.get(number)
    client.delete(number)
    assert created(client, "/90402/client_d")


def test_deleting_what_is_not_ours_is_refused_loudly(sandbox: SandboxProcess) -> None:
    headers = {"Authorization": f"Bearer {sandbox.token('somebody')}"}
    address = f"{sandbox.url}/europeana/annotation/"
    theirs = requests.post(address, json=tag("/90402/client_e"), headers=headers, timeout=10).json()["id"]
    with pytest.raises(CriticalError, match="403"):
        client_at(sandbox.url).delete(annotation_number(theirs))


def test_an_unknown_annotation_is_permanent(sandbox: SandboxProcess) -> None:
    with pytest.raises(PermanentError):
        client_at(sandbox.url).get("99999999")


@pytest.mark.parametrize(
    "change", [{"motivation": "guessing"}, {"target": ""}, {"id": "http://data.europeana.eu/annotation/1"}]
)
def test_a_document_that_the_server_refuses_is_permanent(sandbox: SandboxProcess, change: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match="HTTP 400"):
        client_at(sandbox.url).create(tag("/90402/client_f") | change)


def test_a_user_can_write_with_name_and_password(sandbox: SandboxProcess) -> None:
    service = client_at(sandbox.url)
    client = client_at(sandbox.url, annotation_username="maker", annotation_password="sandbox")
    assert client.creator() != service.creator()
    assert client.is_ours(annotation_number(created(client, "/90402/client_g")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"annotation_client_secret": SECRET},
        {"annotation_username": "maker", "annotation_password": SECRET},
    ],
)
def test_refused_credentials_are_one_message_without_them(sandbox: SandboxProcess, wrong: dict[str, str]) -> None:
    with pytest.raises(CriticalError) as caught:
        client_at(sandbox.url, **wrong).create(tag("/90402/client_h"))
    assert "401" in str(caught.value) and SECRET not in str(caught.value)


def test_missing_credentials_name_the_setting() -> None:
    with pytest.raises(CriticalError, match="ANNOTATION_CLIENT_ID"):
        client_at("http://127.0.0.1:1", annotation_client_id="")


def test_a_token_is_renewed_when_it_expires(start_sandbox: Callable[..., SandboxProcess]) -> None:
    client = client_at(start_sandbox(token_lifetime_s=2).url)
    first = created(client, "/90402/SK_01")
    time.sleep(2.5)
    # Neither reading nor writing meets the expired token.
    assert client.find("/90402/SK_01", PAINTING) == first
    assert created(client, "/90402/SK_02") != first


def test_a_token_that_the_server_forgets_is_fetched_again(sandbox_options: SandboxOptions, tmp_path: Path) -> None:
    # A server that starts afresh signs with a new key, so the old token is refused although it has not expired.
    options = replace(sandbox_options, port=free_port(), state_dir=tmp_path / "one")
    with SandboxProcess(options) as first:
        client = client_at(first.url)
        created(client, "/90402/SK_01")
        assert first.stop(signal.SIGTERM) == 0
    with SandboxProcess(replace(options, state_dir=tmp_path / "two")):
        assert created(client, "/90402/SK_01")


def test_threads_share_a_client_and_each_tag_is_stored_once(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url)
    records = [f"/90402/thread_{number:02d}" for number in range(20)] * 2
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda record_id: client.create(tag(record_id)), records))
    assert sum(isinstance(reply, Created) for reply in replies) == 20
    assert sum(isinstance(reply, Duplicate) for reply in replies) == 20


# --- Between us and the server ---


@contextmanager
def listening(handle: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            handle(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_GET(self) -> None:
            self.do_POST()

        def do_DELETE(self) -> None:
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


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_reply_that_is_lost_after_storing_is_ambiguous_and_the_tag_is_found_afterwards(sandbox: SandboxProcess) -> None:
    posts = 0

    def losing(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Hands every call on, and keeps the replies to creations to itself."""
        nonlocal posts
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        reply = requests.request(handler.command, sandbox.url + handler.path, data=body, headers=headers, timeout=10)
        if handler.path == "/europeana/annotation/":
            posts += 1
            assert reply.status_code == 201
            handler.connection.close()
        else:
            answer(handler, reply.status_code, reply.content)

    with listening(losing) as url:
        client = client_at(url)
        with pytest.raises(AmbiguousError):
            client.create(tag("/90402/client_lost"))
        assert posts == 1
        assert client.find("/90402/client_lost", PAINTING) is not None


def token() -> bytes:
    signed = jwt.encode({"sub": "me"}, "k" * 32, algorithm="HS256")
    return json.dumps({"access_token": signed, "expires_in": 300}).encode()


HTML = b"<!DOCTYPE html><html><body>Gateway</body></html>"
DUPLICATE = json.dumps({"success": False, "error": "Found duplicate annotations with the ids: 12,345, 6"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, HTML, AmbiguousError),
        (201, HTML, AmbiguousError),
        (201, b"{}", AmbiguousError),
        (201, b'{"id": "http://data', AmbiguousError),
        (500, b'{"error": "internal"}', AmbiguousError),
        (502, HTML, AmbiguousError),
        (504, HTML, AmbiguousError),
        (423, b'{"error": "locked"}', TransientError),
        (429, b'{"error": "slow down"}', TransientError),
        (401, b'{"error": "no"}', CriticalError),
        (403, b'{"error": "no"}', CriticalError),
        (400, b'{"error": "no such motivation"}', PermanentError),
        (400, HTML, PermanentError),
        (404, HTML, PermanentError),
        (413, b"", PermanentError),
    ],
)
def test_every_reply_to_a_creation_means_one_of_our_errors(status: int, body: bytes, error: type[EnrichmentError]) -> None:
    def spoiling(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        answer(handler, *((200, token()) if "openid" in handler.path else (status, body)))

    with listening(spoiling) as url, pytest.raises(EnrichmentError) as caught:
        client_at(url, api_attempts=1).create(tag("/1/a"))
    assert type(caught.value) is error
    assert str(status) in str(caught.value)


def test_a_duplicate_is_known_by_its_text_with_all_numbers() -> None:
    def refusing(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        answer(handler, *((200, token()) if "openid" in handler.path else (400, DUPLICATE)))

    with listening(refusing) as url:
        assert client_at(url).create(tag("/1/a")) == Duplicate(("12", "345", "6"))


def test_the_oldest_of_several_finds_is_ours() -> None:
    uris = [f"http://data.europeana.eu/annotation/{number}" for number in (100, 20, 3)]

    def finding(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        answer(handler, 200, token() if "openid" in handler.path else json.dumps({"items": uris}).encode())

    with listening(finding) as url:
        assert client_at(url).find("/1/a", PAINTING) == "http://data.europeana.eu/annotation/3"


def test_a_creation_is_never_sent_twice_after_a_failure() -> None:
    posts: list[str] = []

    def failing(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        if "openid" in handler.path:
            answer(handler, 200, token())
        else:
            posts.append(handler.path)
            answer(handler, 503, HTML)

    with listening(failing) as url, pytest.raises(AmbiguousError):
        client_at(url, api_attempts=5).create(tag("/1/a"))
    assert len(posts) == 1


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_posted_to() -> None:
    def closing_silently(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.protocol_version = "HTTP/1.1"  # says that the connection stays, and yet it goes
        stored = b'{"id": "http://data.europeana.eu/annotation/7"}'
        answer(handler, *((200, token()) if "openid" in handler.path else (201, stored)))

    with listening(closing_silently) as url:
        client = client_at(url)
        for number in range(5):
            assert created(client, f"/1/{number}") == "http://data.europeana.eu/annotation/7"
            time.sleep(0.05)


def test_a_client_that_is_closed_keeps_nothing_open_and_can_be_used_again(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url)
    for number in range(3):
        created(client, f"/90402/closed_{number}")
        client.close()
    gc.collect()  # of what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3, 8):
        created(client, f"/90402/closed_{number}")
        client.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_behind_a_redirect_nothing_was_done_and_the_address_is_to_be_checked() -> None:
    def moved(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        if "openid" in handler.path:
            return answer(handler, 200, token())
        handler.send_response(301)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        return handler.end_headers()

    with listening(moved) as url:
        for call in (lambda: client_at(url).create(tag("/1/a")), lambda: client_at(url).delete("7")):
            with pytest.raises(CriticalError, match="check EUROPEANA_API_URL.*HTTP 301"):
                call()


def test_many_requests_that_are_refused_for_one_old_token_fetch_one_new_one() -> None:
    handed_out: list[str] = []
    seen: list[str] = []

    def forgetful(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        if "openid" in handler.path:
            signed = jwt.encode({"sub": "me", "number": len(handed_out)}, "k" * 32, algorithm="HS256")
            handed_out.append(signed)
            answer(handler, 200, json.dumps({"access_token": signed, "expires_in": 300}).encode())
        elif handler.headers["Authorization"] == f"Bearer {handed_out[0]}" and seen:
            time.sleep(0.2)  # the others are under way by then
            answer(handler, 401, b"{}")
        else:
            seen.append(handler.path)  # the first one goes alone, and is good
            answer(handler, 201, b'{"id": "http://data.europeana.eu/annotation/7"}')

    with listening(forgetful) as url:
        replies = client_at(url).create_all([[tag(f"/1/{number}")] for number in range(20)])
    assert all(isinstance(reply, Created) for (reply,) in replies) and len(handed_out) == 2


def test_a_duplicate_of_what_was_deleted_meanwhile_is_tried_again_later() -> None:
    def late(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        answer(handler, *((200, token()) if "openid" in handler.path else (410, b'{"error": "deleted"}')))

    with listening(late) as url:
        target = EuropeanaTarget(settings_at(url))
        settled = target._duplicate({"id": 1}, ("12",))
    assert settled.state == State.PLANNED and "12" in (settled.error or "")


def test_a_quota_is_used_up_in_each_window_and_never_overstepped(start_sandbox: Callable[..., SandboxProcess]) -> None:
    platform = start_sandbox(annotation_quota=40, quota_window_s=3)
    client = client_at(platform.url)
    started = time.monotonic()
    replies = client.create_all([[tag(f"/90402/quota_{number}")] for number in range(100)])
    seconds = time.monotonic() - started
    client.close()
    assert all(isinstance(reply, Created) for (reply,) in replies)
    assert requests.get(f"{platform.url}/_sandbox/health", timeout=10).json()["refused_by_quota"] == 0
    assert 3 <= seconds < 14  # 40 in the first window, which has begun, 40 in the next, 20 in the third


def test_the_annotations_of_a_record_are_posted_one_after_the_other(sandbox: SandboxProcess) -> None:
    """Two at once could both succeed: the server looks for duplicates without a transaction."""
    client = client_at(sandbox.url)
    sandbox.faults({"route": "/europeana/annotation/", "fault": "slow", "seconds": 0.1, "method": "POST"})
    try:
        chains = [[tag("/90402/chain")] * 3, [tag("/90402/other_chain")]]
        first, second = client.create_all(chains)
    finally:
        sandbox.faults()
        client.close()
    assert [type(one) for one in first] == [Created, Duplicate, Duplicate] and isinstance(second[0], Created)


def test_once_the_account_is_refused_nothing_more_is_posted(sandbox: SandboxProcess) -> None:
    (rule,) = sandbox.faults({"route": "/europeana/annotation/", "fault": "403", "method": "POST"})
    client = client_at(sandbox.url)
    try:
        replies = client.create_all([[tag(f"/90402/refused_{number}")] for number in range(300)])
        (rule,) = requests.get(f"{sandbox.url}/_sandbox/faults", timeout=10).json()["rules"]
    finally:
        sandbox.faults()
        client.close()
    assert all(isinstance(reply, CriticalError) for (reply,) in replies)
    assert rule["fired"] <= 16  # those that were under way together


def test_where_no_token_can_be_had_it_is_tried_once_and_nothing_is_posted(sandbox: SandboxProcess) -> None:
    client = client_at(sandbox.url, europeana_auth_url=f"http://127.0.0.1:{free_port()}", api_attempts=2, api_backoff_s=0.2)
    started = time.monotonic()
    replies = client.create_all([[tag(f"/90402/tokenless_{number}")] for number in range(300)])
    client.close()
    assert all(isinstance(reply, TransientError) for (reply,) in replies)
    assert time.monotonic() - started < 5


def test_a_platform_that_answers_nothing_is_given_up_and_what_is_left_was_never_sent(sandbox: SandboxProcess) -> None:
    sandbox.faults({"route": "/europeana/annotation/", "fault": "timeout", "method": "POST"})
    client = client_at(sandbox.url, api_timeout_s=0.3)
    started = time.monotonic()
    try:
        replies = [reply for (reply,) in client.create_all([[tag(f"/90402/silent_{number}")] for number in range(300)])]
    finally:
        sandbox.faults()
        client.close()
    assert 8 <= sum(isinstance(reply, AmbiguousError) for reply in replies) <= 16
    assert all(isinstance(reply, AmbiguousError | TransientError) for reply in replies)
    assert time.monotonic() - started < 10
