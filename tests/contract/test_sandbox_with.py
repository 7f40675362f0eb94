"""The stand-in WITH platform behaves as its contract says."""

import time
from typing import Any

import pytest
import requests

from pipeline.sandbox.process import SandboxProcess

TIMEOUT = 10

WIKIDATA = "http://www.wikidata.org/entity/"


def login(sandbox: SandboxProcess, email: str = "maker@example.org") -> requests.Session:
    session = requests.Session()
    answer = session.post(f"{sandbox.url}/with/user/login", json={"email": email, "password": "sandbox"}, timeout=TIMEOUT)
    assert answer.status_code == 200 and "PLAY_SESSION" in session.cookies
    return session


def imported(sandbox: SandboxProcess, session: requests.Session, name: str, record_ids: list[str], count: int) -> str:
    """Import records and wait until the collection has them."""
    body = {"collectionName": name, "itemIds": record_ids}
    answer = session.post(f"{sandbox.url}/with/collection/importItems", json=body, timeout=TIMEOUT)
    assert answer.status_code == 200
    identifier = str(answer.json()["dbId"])
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        collection = session.get(f"{sandbox.url}/with/collection/{identifier}", timeout=TIMEOUT).json()
        if collection["administrative"]["entryCount"] >= count:
            return identifier
        time.sleep(0.02)
    raise AssertionError("The collection does not fill.")


def first_record(sandbox: SandboxProcess, session: requests.Session, name: str, record_id: str) -> dict[str, Any]:
    identifier = imported(sandbox, session, name, [record_id], 1)
    listing = session.get(f"{sandbox.url}/with/collection/{identifier}/list", timeout=TIMEOUT).json()
    found: dict[str, Any] = listing["records"][0]
    return found


def annotate(sandbox: SandboxProcess, session: requests.Session, body: object, target: object, **more: Any) -> Any:
    document = {
        "motivation": "Tagging",
        "generator": "Enrichment hidden",
        "generated": "2026-04-01T10:00:00.000Z",
        "confidence": 0.83,
        "body": body,
        "target": target,
        **more,
    }
    return session.post(f"{sandbox.url}/with/record/annotation", json=document, timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"email": "nobody", "password": "sandbox"}, {"email": "Invalid Email Address or Username"}),
        ({"password": "sandbox"}, {"email": "Need Email or Username"}),
        ({"email": "a@b.c"}, {"password": "Password is Empty"}),
        ({"email": "a@b.c", "password": "no"}, {"password": "Invalid Password"}),
    ],
)
def test_a_wrong_login_is_400_with_an_object_as_error(
    sandbox: SandboxProcess, form: dict[str, str], error: dict[str, str]
) -> None:
    answer = requests.post(f"{sandbox.url}/with/user/login", json=form, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_session_and_token_name_the_user_and_without_them_one_is_anonymous(sandbox: SandboxProcess) -> None:
    session = login(sandbox)
    me = f"{sandbox.url}/with/user/me"
    assert session.get(me, timeout=TIMEOUT).json()["email"] == "maker@example.org"
    token = session.get(f"{sandbox.url}/with/user/token", timeout=TIMEOUT).text
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(me, headers=headers, timeout=TIMEOUT).json()["username"] == "maker"
    anonymous = requests.get(me, timeout=TIMEOUT)
    assert (anonymous.status_code, anonymous.json()) == (400, {"error": "User not logged in"})
    garbage = requests.get(me, headers={"Authorization": "Bearer garbage"}, timeout=TIMEOUT)
    assert garbage.status_code == 500


def test_an_import_answers_first_grows_later_and_skips_unknown_ids(sandbox: SandboxProcess) -> None:
    session = login(sandbox)
    wanted = [f"/90402/SK_{number:02d}" for number in range(6)]
    body = {"collectionName": "growing", "itemIds": [*wanted, "/1/unknown"]}
    answer = session.post(f"{sandbox.url}/with/collection/importItems", json=body, timeout=TIMEOUT).json()
    assert answer["administrative"]["entryCount"] == 0 and answer["myAccess"] == "OWN"
    identifier = imported(sandbox, session, "growing", wanted, 6)
    assert identifier == answer["dbId"]
    listing = session.get(
        f"{sandbox.url}/with/collection/{identifier}/list", params={"start": 2, "count": 3}, timeout=TIMEOUT
    ).json()
    assert listing["entryCount"] == 6
    assert [entry["administrative"]["externalId"] for entry in listing["records"]] == wanted[2:5]
    url = f"{sandbox.url}/with/collection/{identifier}"
    assert requests.get(url, timeout=TIMEOUT).status_code == 403


def test_missing_collections_and_records_are_500_and_an_unknown_annotation_null(sandbox: SandboxProcess) -> None:
    session = login(sandbox)
    for kind in ("collection", "record"):
        answer = session.get(f"{sandbox.url}/with/{kind}/0123", timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["error"]) == (500, "Cannot retrieve resource 0123 from database")
    unknown = session.get(f"{sandbox.url}/with/annotation/0123", timeout=TIMEOUT)
    assert (unknown.status_code, unknown.json()) == (200, None)


def test_a_record_links_its_picture_and_tells_no_truth(sandbox: SandboxProcess) -> None:
    record = first_record(sandbox, login(sandbox), "one record", "/90402/SK_06")
    assert record["provenance"][-1]["resourceId"] == "/90402/SK_06"
    assert record["media"][0]["Original"]["url"] == record["descriptiveData"]["isShownBy"]
    assert "secret" not in str(record) and "painting" not in str(record)


def test_an_annotation_needs_a_login(sandbox: SandboxProcess) -> None:
    answer = annotate(sandbox, requests.Session(), {"uri": f"{WIKIDATA}Q1"}, {"externalId": "/90402/SK_00"})
    assert (answer.status_code, answer.json()) == (400, {"error": "User not logged in"})


def test_an_annotation_is_stored_unpublished_with_days_as_dates(sandbox: SandboxProcess) -> None:
    session = login(sandbox)
    record = first_record(sandbox, session, "annotated", "/90402/SK_07")
    stored = annotate(sandbox, session, {"uri": f"{WIKIDATA}Q1"}, {"externalId": "/90402/SK_07"}).json()
    annotator = stored["annotators"][0]
    assert stored["publish"] is False and stored["target"]["recordId"] == record["dbId"]
    assert (annotator["generated"], annotator["confidence"]) == ("2026/04/01", 0.83)
    assert session.get(f"{sandbox.url}/with/annotation/{stored['dbId']}", timeout=TIMEOUT).json() == stored
    line = sandbox.journal()[-1]
    assert (line["platform"], line["operation"], line["id"]) == ("with", "create", stored["dbId"])
    assert (line["record_id"], line["body"]) == ("/90402/SK_07", f"{WIKIDATA}Q1")


def test_the_same_uri_on_a_record_is_one_annotation_with_several_annotators(sandbox: SandboxProcess) -> None:
    session, other = login(sandbox), login(sandbox, "other@example.org")
    record = first_record(sandbox, session, "shared", "/90402/SK_08")
    target, body = {"recordId": record["dbId"]}, {"uri": f"{WIKIDATA}Q11629"}
    first = annotate(sandbox, session, body, target).json()
    assert first["body"]["label"]["nl"] == ["Schilderij"] and first["body"]["uriVocabulary"] == "wikidata"
    assert annotate(sandbox, session, body, target, generator="Another").json() == first
    joined = annotate(sandbox, other, body, target).json()
    assert joined["dbId"] == first["dbId"] and len(joined["annotators"]) == 2


def test_annotations_are_listed_by_record_and_collection_and_deleted_by_their_maker(sandbox: SandboxProcess) -> None:
    session, other = login(sandbox), login(sandbox, "other@example.org")
    record = first_record(sandbox, session, "listed", "/90402/SK_05")
    target = {"recordId": record["dbId"]}
    made = annotate(sandbox, session, {"uri": f"{WIKIDATA}Q7"}, target).json()
    annotate(sandbox, session, {"label": {"en": ["nice"]}}, target, motivation="Commenting")
    listing = f"{sandbox.url}/with/record/{record['dbId']}/listAnnotations"
    assert session.get(listing, timeout=TIMEOUT).json() == [made]
    both = session.get(listing, params={"motivation": "Tagging,Commenting"}, timeout=TIMEOUT).json()
    assert len(both) == 2
    assert session.get(listing, params={"generator": "hidden"}, timeout=TIMEOUT).json() == []
    of_collection = session.get(
        f"{sandbox.url}/with/collection/{record['collectedIn'][-1]}/annotations", timeout=TIMEOUT
    ).json()
    assert made in of_collection
    url = f"{sandbox.url}/with/annotation/{made['dbId']}"
    assert other.delete(url, timeout=TIMEOUT).status_code == 403
    assert session.delete(url, timeout=TIMEOUT).status_code == 200
    assert session.delete(url, timeout=TIMEOUT).status_code == 400


def test_unknown_targets_and_motivations_are_refused_as_on_the_platform(sandbox: SandboxProcess) -> None:
    session = login(sandbox)
    unknown = annotate(sandbox, session, {"uri": f"{WIKIDATA}Q1"}, {"externalId": "/1/unknown"})
    assert (unknown.status_code, unknown.content) == (400, b"")
    wrong = annotate(sandbox, session, {"uri": f"{WIKIDATA}Q1"}, {"recordId": "0"}, motivation="Naming")
    assert wrong.status_code == 500
