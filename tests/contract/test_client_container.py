"""Our client for annotation containers against the stand-in, which keeps to the W3C Web Annotation Protocol."""

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from pipeline.clients.annotation_container import MEDIA_TYPE, ContainerClient
from pipeline.clients.annotations import AmbiguousError
from pipeline.domain.annotation import annotation_errors, as_request, tag_annotation
from pipeline.errors import CriticalError, PermanentError, TransientError
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings

SECRET = "a-token-that-nobody-may-see"


def client_at(url: str, **changes: Any) -> ContainerClient:
    values: dict[str, Any] = {"annotation_container_url": url, "api_timeout_s": 2, "api_attempts": 2, "api_backoff_s": 0.01}
    return ContainerClient(Settings(_env_file=None, **(values | changes)))


@pytest.fixture
def url(sandbox: SandboxProcess) -> str:
    return f"{sandbox.url}/container/"


def tag(number: int) -> dict[str, Any]:
    document = tag_annotation(
        record_id=f"/90402/{number}",
        concept_uri="http://data.europeana.eu/concept/47",
        body_uri="http://www.wikidata.org/entity/Q11629",
        target="container",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run_page=None,
    )
    return as_request(document)


def test_what_is_created_can_be_read_under_the_name_that_we_asked_for_and_is_a_web_annotation(url: str) -> None:
    client = client_at(url)
    uri = client.create(tag(1), name="first-name")
    assert uri == f"{url}first-name"
    reply = requests.get(uri, headers={"Accept": MEDIA_TYPE}, timeout=10)
    assert reply.headers["Content-Type"] == MEDIA_TYPE and reply.headers["ETag"]
    assert reply.json() == {**tag(1), "id": uri} and annotation_errors(reply.json()) == []
    assert client.is_there(uri) and not client.is_there(f"{url}nobody")


def test_one_is_found_by_its_name_and_where_that_was_taken_on_the_pages(url: str) -> None:
    client = client_at(url)
    for number in range(100, 320):  # three pages
        client.create(tag(number), name=f"paged-{number}")
    assert client.find_all(tag(319)["canonical"], name="paged-319") == [f"{url}paged-319"]
    other = client.create(tag(400), name="paged-100")
    assert other != f"{url}paged-100"
    assert client.find_all(tag(400)["canonical"], name="paged-100") == [other]
    assert client.find_all(tag(999)["canonical"], name="paged-999") == []


def test_an_update_says_which_version_it_means(url: str) -> None:
    client = client_at(url)
    uri = client.create(tag(2), name="to-be-changed")
    client.update(uri, {**tag(2), "via": "https://example.org/runs/2"})
    assert requests.get(uri, timeout=10).json()["via"] == "https://example.org/runs/2"
    assert requests.put(uri, json={**tag(2), "id": uri}, headers={"If-Match": '"1"'}, timeout=10).status_code == 412
    assert requests.put(uri, json={**tag(2), "id": uri}, timeout=10).status_code == 428


def test_deleting_twice_is_deleting_once_and_what_is_gone_cannot_be_changed(url: str) -> None:
    client = client_at(url)
    uri = client.create(tag(3), name="to-be-deleted")
    client.delete(uri)
    client.delete(uri)
    assert requests.get(uri, timeout=10).status_code == 410
    with pytest.raises(PermanentError, match="not there"):
        client.update(uri, tag(3))
    assert client.create(tag(3), name="to-be-deleted") != uri  # a name is never given twice


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", CriticalError),
        ("403", CriticalError),
        ("400", PermanentError),
        ("415", PermanentError),
        ("423", TransientError),
        ("500", AmbiguousError),
        ("503", AmbiguousError),
        ("close", AmbiguousError),
        ("lost-reply", AmbiguousError),
    ],
)
def test_what_a_refused_creation_means(sandbox: SandboxProcess, url: str, fault: str, error: type[Exception]) -> None:
    sandbox.faults({"route": "/container/", "fault": fault, "method": "POST"})
    try:
        with pytest.raises(error) as raised:
            client_at(url, annotation_container_token=SECRET).create(tag(4), name=f"refused-{fault}")
    finally:
        sandbox.faults()
    assert SECRET not in str(raised.value)


def test_an_address_that_is_no_container_is_named() -> None:
    for url in ("http://example.org/annotations", "ftp://example.org/", "annotations/"):
        with pytest.raises(CriticalError, match="ANNOTATION_CONTAINER_URL"):
            client_at(url)


def test_a_token_goes_to_no_other_host(url: str) -> None:
    with pytest.raises(CriticalError, match="another host"):
        client_at(url).is_there("http://127.0.0.1.example.org/container/1")


def test_the_container_speaks_the_protocol(url: str) -> None:
    """Sections 4 and 5 of the W3C Recommendation, as a client that we have not written would see it."""
    client_at(url).create(tag(5), name="protocol")
    whole = requests.get(url, headers={"Accept": MEDIA_TYPE}, timeout=10)
    assert {"GET", "POST", "OPTIONS", "HEAD"} == set(whole.headers["Allow"].split(","))
    assert "ldp#BasicContainer" in whole.headers["Link"] and "constrainedBy" in whole.headers["Link"] and whole.headers["ETag"]
    assert set(whole.json()["type"]) == {"BasicContainer", "AnnotationCollection"}
    assert whole.json()["first"]["type"] == "AnnotationPage" and whole.json()["first"]["items"][0]["type"] == "Annotation"
    names = 'return=representation;include="http://www.w3.org/ns/oa#PreferContainedIRIs"'
    assert all(
        isinstance(one, str) for one in requests.get(url, headers={"Prefer": names}, timeout=10).json()["first"]["items"]
    )
    least = 'return=representation;include="http://www.w3.org/ns/ldp#PreferMinimalContainer"'
    assert isinstance(requests.get(url, headers={"Prefer": least}, timeout=10).json()["first"], str)
    assert requests.post(url, json=tag(6), timeout=10).status_code == 415
    assert requests.post(url, data="{", headers={"Content-Type": MEDIA_TYPE}, timeout=10).status_code == 400
    assert (
        requests.head(url, timeout=10).status_code == 200
        and requests.options(url, timeout=10).headers["Accept-Post"] == MEDIA_TYPE
    )
