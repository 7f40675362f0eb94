"""Each line of the client's decision table (Europeana Annotation API contract, §10) against the stand-in server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from pipeline.clients.annotations import AmbiguousError, AnnotationClient, Created, Duplicate, GoneError
from pipeline.domain.annotation import as_request, tag_annotation
from pipeline.domain.identifiers import annotation_number
from pipeline.errors import CriticalError, PermanentError, TransientError
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings

PAINTING, MAP = "http://www.wikidata.org/entity/Q11629", "http://www.wikidata.org/entity/Q4006"
CREATE, CHANGE = "/europeana/annotation/", "^/europeana/annotation/[0-9]+$"


def tag(record_id: str, body_uri: str = PAINTING, **changes: Any) -> dict[str, Any]:
    document = tag_annotation(
        record_id=record_id,
        concept_uri="http://data.europeana.eu/concept/47",
        body_uri=body_uri,
        target="europeana",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run_page=None,
    )
    return as_request(document) | changes


def client_at(server: SandboxProcess, **changes: Any) -> AnnotationClient:
    values: dict[str, Any] = {
        "europeana_api_url": f"{server.url}/europeana",
        "europeana_auth_url": f"{server.url}/auth",
        "annotation_client_id": "sandbox",
        "annotation_client_secret": "sandbox",
        "api_backoff_s": 0.02,
        "api_timeout_s": 2,
    }
    return AnnotationClient(Settings(_env_file=None, **(values | changes)))


@pytest.fixture
def server(sandbox: SandboxProcess) -> Iterator[SandboxProcess]:
    yield sandbox
    sandbox.faults()


@pytest.fixture
def client(server: SandboxProcess) -> Iterator[AnnotationClient]:
    made = client_at(server)
    yield made
    made.close()


def stored(server: SandboxProcess, record_id: str) -> list[str]:
    """The operations on a record's annotations that the server has carried out, in order."""
    return [line["operation"] for line in server.journal() if line["record_id"] == record_id]


def created(client: AnnotationClient, record_id: str) -> str:
    """The number of a new annotation."""
    reply = client.create(tag(record_id))
    assert isinstance(reply, Created)
    return annotation_number(reply.remote_id)


def test_201_the_id_is_kept_and_what_is_stored_is_what_was_sent(client: AnnotationClient) -> None:
    kept = client.get(created(client, "/901/made"))
    assert (kept["target"], kept["body"], kept["motivation"]) == (
        "http://data.europeana.eu/item/901/made", PAINTING, "tagging",
    )  # fmt: skip
    assert kept["generated"] and kept["creator"]["id"] == client.creator()


@pytest.mark.parametrize("error_format", ["2024", "2026"])
def test_400_for_a_duplicate_names_it_in_both_formats_of_errors(
    start_sandbox: Callable[..., SandboxProcess], error_format: str
) -> None:
    server = start_sandbox(error_format=error_format)
    client = client_at(server)
    number = created(client, "/902/twice")
    assert client.create(tag("/902/twice")) == Duplicate((number,)) and client.is_ours(number)
    assert stored(server, "/902/twice") == ["create"]


@pytest.mark.parametrize("error_format", ["2024", "2026"])
def test_another_400_is_for_good_and_its_text_is_kept(start_sandbox: Callable[..., SandboxProcess], error_format: str) -> None:
    server = start_sandbox(error_format=error_format)
    with pytest.raises(PermanentError, match="HTTP 400.*Motivation not provided or invalid"):
        client_at(server).create(tag("/903/wrong", motivation="guessing"))
    assert stored(server, "/903/wrong") == []


def test_415_is_for_good(server: SandboxProcess, client: AnnotationClient) -> None:
    (rule,) = server.faults({"route": CREATE, "fault": "415", "method": "POST"})
    with pytest.raises(PermanentError, match="HTTP 415"):
        client.create(tag("/904/type"))
    assert fired(server) == rule["fired"] + 1  # it is not tried again


def test_401_fetches_one_new_token_and_tries_once_more(server: SandboxProcess, client: AnnotationClient) -> None:
    server.faults({"route": CREATE, "fault": "401", "method": "POST", "times": 1})
    assert created(client, "/905/token") and stored(server, "/905/token") == ["create"]
    server.faults({"route": CREATE, "fault": "401", "method": "POST"})
    with pytest.raises(CriticalError, match="401"):
        client.create(tag("/905/refused"))
    assert fired(server) == 2


@pytest.mark.parametrize("call", ["create", "update", "delete"])
def test_403_stops_everything(server: SandboxProcess, client: AnnotationClient, call: str) -> None:
    number = created(client, f"/906/{call}")
    server.faults({"route": "/europeana/annotation/", "fault": "403"})
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: client.create(tag("/906/other")),
        "update": lambda: client.update(number, tag(f"/906/{call}", MAP)),
        "delete": lambda: client.delete(number),
    }
    with pytest.raises(CriticalError, match="403"):
        calls[call]()
    if call == "create":
        first, second = client.create_all([[tag("/906/x")], [tag("/906/y")]])
        assert isinstance(first[0], CriticalError) and isinstance(second[0], CriticalError)


@pytest.mark.parametrize("how", ["deleted", "unknown"])
def test_404_and_410_say_that_it_is_gone_and_to_delete_it_again_is_done(client: AnnotationClient, how: str) -> None:
    number = created(client, "/907/gone")
    assert client.delete(number)
    number = number if how == "deleted" else "99999999"
    with pytest.raises(GoneError, match="410" if how == "deleted" else "404"):
        client.update(number, tag("/907/gone", MAP))
    assert client.delete(number) is False


def test_412_reads_it_again_and_replaces_it_once_more(server: SandboxProcess, client: AnnotationClient) -> None:
    number = created(client, "/908/changed")
    server.faults({"route": CHANGE, "fault": "412", "method": "PUT", "times": 1})
    client.update(number, tag("/908/changed", MAP))
    assert client.get(number)["body"] == MAP
    server.faults({"route": CHANGE, "fault": "412", "method": "PUT"})
    with pytest.raises(TransientError, match="412"):
        client.update(number, tag("/908/changed", PAINTING))
    assert fired(server) == 2 and client.get(number)["body"] == MAP


def test_412_an_annotation_that_somebody_else_has_changed_meanwhile_is_not_overwritten_blindly(
    server: SandboxProcess, client: AnnotationClient
) -> None:
    number = created(client, "/908/race")
    address = f"{server.url}/europeana/annotation/{number}"
    headers = {"Authorization": f"Bearer {server.token('somebody')}"}
    etag = requests.get(address, params={"wskey": server.key}, headers=headers, timeout=10).headers["ETag"]
    client.update(number, tag("/908/race", MAP))
    own = {"Authorization": f"Bearer {client._tokens.current()}", "If-Match": etag}
    assert requests.put(address, json=tag("/908/race"), headers=own, timeout=10).status_code == 412
    client.update(number, tag("/908/race"))  # with the ETag of what it reads
    assert client.get(number)["body"] == PAINTING


def test_423_passes_and_fewer_requests_go_together(server: SandboxProcess, client: AnnotationClient) -> None:
    before = client._poster._slots.limit
    server.faults({"route": CREATE, "fault": "423", "method": "POST", "times": 1})
    with pytest.raises(TransientError, match="423"):
        client.create(tag("/909/locked"))
    assert client._poster._slots.limit == before // 2 and stored(server, "/909/locked") == []
    assert created(client, "/909/locked")


def test_429_waits_for_as_long_as_the_server_says_and_posts_once(start_sandbox: Callable[..., SandboxProcess]) -> None:
    server = start_sandbox(annotation_quota=3, quota_window_s=2)
    client = client_at(server)
    for number in range(5):  # more than the server takes in one window
        created(client, f"/910/{number}")
    assert [stored(server, f"/910/{number}") for number in range(5)] == [["create"]] * 5


def test_429_without_a_word_for_how_long_waits_a_little_and_goes_on(server: SandboxProcess, client: AnnotationClient) -> None:
    server.faults({"route": CREATE, "fault": "429", "method": "POST", "times": 1, "seconds": 1})
    assert created(client, "/910/silent") and stored(server, "/910/silent") == ["create"]


@pytest.mark.parametrize("fault", ["500", "502-html", "503-html", "504", "timeout", "reset", "close"])
def test_a_post_without_a_clear_answer_is_ambiguous_and_is_not_sent_again(
    server: SandboxProcess, client: AnnotationClient, fault: str
) -> None:
    server.faults({"route": CREATE, "fault": fault, "method": "POST", "times": 1})
    with pytest.raises(AmbiguousError):
        client.create(tag(f"/911/{fault}"))
    assert stored(server, f"/911/{fault}") == [] and client.find(f"/911/{fault}", PAINTING) is None


@pytest.mark.parametrize("fault", ["lost-reply", "truncated"])
def test_a_post_that_was_stored_without_a_clear_answer_is_found_by_record_and_body(
    server: SandboxProcess, client: AnnotationClient, fault: str
) -> None:
    server.faults({"route": CREATE, "fault": fault, "method": "POST", "times": 1})
    with pytest.raises(AmbiguousError):
        client.create(tag(f"/912/{fault}"))
    assert stored(server, f"/912/{fault}") == ["create"]
    found = client.find(f"/912/{fault}", PAINTING)
    assert found is not None and client.is_ours(annotation_number(found))


@pytest.mark.parametrize("fault", ["500", "502-html", "503-html", "504", "429", "timeout", "reset", "lost-reply"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_may_be_done_twice_is_tried_again(
    server: SandboxProcess, client: AnnotationClient, method: str, fault: str
) -> None:
    record_id = f"/913/{method}-{fault}"
    number = created(client, record_id)
    server.faults({"route": CHANGE, "fault": fault, "method": method, "times": 1, "seconds": 3})
    if method == "GET":
        assert client.get(number)["body"] == PAINTING
    elif method == "PUT":
        client.update(number, tag(record_id, MAP))
        server.faults()
        assert client.get(number)["body"] == MAP
    else:
        client.delete(number)  # a second time it may be gone already
        with pytest.raises(GoneError):
            client.get(number)
    server.faults()
    assert stored(server, record_id).count("create") == 1


def fired(server: SandboxProcess) -> int:
    """How often the server's only fault has come."""
    (rule,) = requests.get(f"{server.url}/_sandbox/faults", timeout=10).json()["rules"]
    return int(rule["fired"])
