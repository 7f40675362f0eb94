"""The check list of the WITH contract, section 7: the number in a test's name is the line of that list.

1 accounts, 2 missing things, 3 collections, 4 bulk import, 5 votes, 6 exports, 7 validation, 8 dates, limits and pages,
9 the upstream key, 10 the real export; 11 stands for what the list does not name, 12 for the simulated crowd.
"""

import csv
import itertools
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from pipeline.sandbox.process import SandboxProcess
from pipeline.sandbox.tokens import Tokens
from pipeline.sandbox.with_search import UPSTREAM_KEY

TIMEOUT = 10
PAINTING = "http://www.wikidata.org/entity/Q11629"
MAP = "http://vocab.getty.edu/aat/300028094"
STRANGE = "http://example.org/unknown-term"
SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "crowdheritage"
JAVA_DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}"
MISSING = "0" * 24
_names = itertools.count()

Item = dict[str, Any]


class Platform:
    """One user's view of the stand-in."""

    def __init__(self, sandbox: SandboxProcess, user: str = "maker@example.org") -> None:
        self.url = f"{sandbox.url}/with"
        self.session = requests.Session()
        if user:
            assert self.post("/user/login", {"email": user, "password": "sandbox"}).status_code == 200

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.session.get(self.url + path, params=query, timeout=TIMEOUT)

    def post(self, path: str, body: object = None, **query: Any) -> requests.Response:
        return self.session.post(self.url + path, json=body, params=query, timeout=TIMEOUT)

    def put(self, path: str, body: object) -> requests.Response:
        return self.session.put(self.url + path, json=body, timeout=TIMEOUT)

    def delete(self, path: str, **query: Any) -> requests.Response:
        return self.session.delete(self.url + path, params=query, timeout=TIMEOUT)

    def filled(self, label: str, record_ids: list[str]) -> str:
        answer = self.post("/collection/importItems", {"collectionName": label, "itemIds": record_ids}).json()
        return self.grown(answer["dbId"], len(record_ids))

    def grown(self, identifier: str, count: int) -> str:
        def size() -> int:
            return int(self.get(f"/collection/{identifier}").json()["administrative"]["entryCount"])

        eventually(lambda: size() >= count)
        return identifier

    def campaign(self, name: str, **fields: Any) -> Item:
        answer = self.post("/campaign/createCampaign", {"username": name, **fields})
        assert answer.status_code == 200, answer.text
        found: Item = answer.json()
        return found

    def imports(self, campaign: str) -> list[Item]:
        found: list[Item] = self.get("/campaign/getCampaignByName", cname=campaign).json()["baseAnnotations"]
        return found

    def bulk(self, campaign: str, graph: list[object], motivation: str = "Tagging") -> Item:
        """Import and wait for the end; gives the entry of this run."""
        before = {entry["uuid"] for entry in self.imports(campaign)}
        answer = self.post(f"/campaign/{campaign}/importAnnotations", {"@graph": graph}, motivation=motivation)
        assert (answer.status_code, answer.content) == (200, b"")
        eventually(lambda: all(entry["status"] != "IMPORTING" for entry in self.imports(campaign)))
        return next(entry for entry in self.imports(campaign) if entry["uuid"] not in before)

    def export(self, campaign: str, *, europeana: bool = False, published: bool = False) -> requests.Response:
        query = {"europeanaModelExport": str(europeana).lower(), "filterForPublish": str(published).lower()}
        return requests.get(
            f"{self.url}/annotation/exportCampaignAnnotations", params={"campaignName": campaign, **query}, timeout=TIMEOUT
        )

    def graph(self, campaign: str, **options: bool) -> list[Item]:
        answer = self.export(campaign, **options)
        assert answer.status_code == 200, answer.text
        found: list[Item] = answer.json()["@graph"]
        return found

    def annotations(self, record_id: str, **query: str) -> list[Item]:
        db_id = self.record(record_id)["dbId"]
        found: list[Item] = self.get(f"/record/{db_id}/listAnnotations", **query).json()
        return found

    def record(self, record_id: str) -> Item:
        identifier = self.filled(f"just {record_id}", [record_id])
        found: Item = self.get(f"/collection/{identifier}/list").json()["records"][0]
        return found

    def of_campaign(self, campaign: str, record_id: str) -> list[Item]:
        return self.annotations(record_id, generator=f"CrowdHeritage {campaign}")

    def vote(self, kind: str, annotation: Item, campaign: str, **more: Any) -> requests.Response:
        body = {"generator": f"CrowdHeritage {campaign}", "generated": "2026-04-01T10:00:00.000Z", **more}
        answer = self.post(f"/annotation/{annotation['dbId']}/{kind}Obj", body)
        assert answer.status_code == 200
        return answer

    def score(self, annotation: Item) -> dict[str, int]:
        stored = self.get(f"/annotation/{annotation['dbId']}").json()
        return {kind: len(votes) for kind, votes in stored.get("score", {}).items()}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "It does not come."
        time.sleep(0.02)


def item(body: object, record_id: str = "/90402/SK_00", **more: Any) -> Item:
    """One annotation of an import file."""
    return {
        "id": "urn:our:1",
        "type": "Annotation",
        "created": "2026-04-01T17:17:52",
        "creator": {"id": "https://example.org/model/1", "type": "Software", "name": "tagger 1"},
        "confidence": 0.83,
        "body": body,
        "target": {"source": record_id},
        "scope": "dc:subject",
        **more,
    }


def text(value: str) -> Item:
    return {"type": "TextualBody", "value": value, "language": "en"}


@pytest.fixture
def name() -> str:
    """A campaign's name that ends like no other."""
    return f"n{next(_names)}-{time.monotonic_ns()}-campaign{next(_names)}x"


@pytest.fixture
def platform(sandbox: SandboxProcess) -> Platform:
    """The platform as `maker` sees it, with all records of the collection imported."""
    found = Platform(sandbox)
    found.filled("check list", [f"/90402/SK_{number:02d}" for number in range(12)])
    return found


# --- 1: accounts ---


def test_7_01_login_gives_a_cookie_and_a_token_of_ten_minutes(sandbox: SandboxProcess) -> None:
    session = requests.Session()
    answer = session.post(f"{sandbox.url}/with/user/login", json={"email": "a@b.org", "password": "sandbox"}, timeout=TIMEOUT)
    body = answer.json()
    assert {"dbId", "username", "firstName", "lastName", "email", "campaignCreationAccess", "userToken"} <= set(body)
    claims = jwt.decode(body["userToken"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 600
    cookie = next(cookie for cookie in session.cookies if cookie.name == "PLAY_SESSION")
    assert not cookie.has_nonstandard_attr("HttpOnly") and cookie.expires is not None
    assert abs(cookie.expires - time.time() - 7 * 86_400) < 60


def test_7_01_an_expired_token_is_anonymous_and_garbage_is_500(sandbox: SandboxProcess) -> None:
    expired = Tokens(sandbox.options).sign({"typ": "With", "user": "maker"}, -5)
    me, anonymous = f"{sandbox.url}/with/user/me", {"error": "User not logged in"}
    answer = requests.get(me, headers={"Authorization": f"Bearer {expired}"}, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()) == (400, anonymous)
    public = requests.get(
        f"{sandbox.url}/with/campaign/campaigns", headers={"Authorization": f"Bearer {expired}"}, timeout=TIMEOUT
    )
    assert public.status_code == 200
    assert requests.get(me, headers={"Authorization": "Bearer x"}, timeout=TIMEOUT).status_code == 500


def test_7_01_a_token_signs_in_and_a_logout_ends_the_session(sandbox: SandboxProcess) -> None:
    token = Platform(sandbox).get("/user/token").text
    fresh = Platform(sandbox, "")
    assert fresh.get("/user/loginWithToken", token=token).json()["username"] == "maker"
    assert fresh.get("/user/me").status_code == 200
    assert fresh.get("/user/logout").status_code == 200
    assert fresh.get("/user/me").status_code == 400
    assert fresh.get("/user/token").json() == {"error": "User not logged in"}


def test_7_01_register_checks_its_fields_and_the_new_account_may_not_create_campaigns(sandbox: SandboxProcess) -> None:
    fresh = Platform(sandbox, "")
    form = {"email": "new@b.org", "firstName": "N", "lastName": "E", "username": "newcomer", "password": "secret1"}
    short = fresh.post("/user/register", {**form, "password": "short", "firstName": ""})
    assert short.status_code == 400
    assert set(short.json()["error"]) == {"password", "firstName"} and short.json()["proposal"]
    assert fresh.post("/user/register", form).json()["username"] == "newcomer"
    assert fresh.post("/user/register", form).json()["error"].keys() == {"email", "username"}
    for login in ("new@b.org", "newcomer"):
        answer = fresh.post("/user/login", {"email": login, "password": "secret1"})
        assert answer.json()["campaignCreationAccess"] is False and "password" not in answer.json()
    assert fresh.post("/user/login", {"email": "newcomer", "password": "sandbox"}).status_code == 400
    assert fresh.post("/campaign/createEmptyCampaign", campaignUserName="mine").status_code == 403
    assert fresh.get("/user/emailAvailable", email="new@b.org").status_code == 400
    assert fresh.get("/user/emailAvailable", email="free@b.org").status_code == 200
    assert fresh.get("/user/byUsername", username="newcomer").json()["lastName"] == "E"
    assert fresh.get("/user/byUsername", username="no-such-user").status_code == 500


# --- 2: what is not there ---


def test_7_02_missing_records_and_collections_are_500_and_some_ids_are_null(platform: Platform) -> None:
    for path in (f"/record/{MISSING}", f"/collection/{MISSING}", f"/record/multiple?id={MISSING}"):
        answer = platform.get(path)
        assert (answer.status_code, answer.json()["error"]) == (500, f"Cannot retrieve resource {MISSING} from database")
    assert platform.get(f"/annotation/{MISSING}").text == "null"
    assert platform.get("/campaign/getCampaignByName", cname="no such").text == "null"
    assert platform.get("/record/getRecordsByIds", id=MISSING).json() == {"records": []}
    for kind in ("approve", "reject", "unscore", "rate"):
        assert platform.post(f"/annotation/{MISSING}/{kind}Obj", {}).status_code == 500


def test_7_02_records_single_and_several(platform: Platform) -> None:
    one, two = platform.record("/90402/SK_01"), platform.record("/90402/SK_02")
    several = platform.get("/record/multiple", id=[one["dbId"], two["dbId"]]).json()
    assert [record["administrative"]["externalId"] for record in several] == ["/90402/SK_01", "/90402/SK_02"]
    by_ids = requests.get(f"{platform.url}/record/getRecordsByIds", params={"id": [two["dbId"], one["dbId"]]}, timeout=TIMEOUT)
    assert [record["dbId"] for record in by_ids.json()["records"]] == [two["dbId"], one["dbId"]]
    media = one["media"][0]["Original"]
    assert media["withRights"] == "PublicCC0" and media["originalRights"]["uri"].startswith("http://creativecommons.org/")
    picture = platform.session.get(platform.url + media["withUrl"], timeout=TIMEOUT)
    assert picture.status_code == 200 and picture.headers["content-type"].startswith("image/")
    assert platform.get("/media/byUrl", url="http://127.0.0.1:1/", version="Original").status_code == 404
    assert requests.get(f"{platform.url}/record/{one['dbId']}", timeout=TIMEOUT).status_code == 403


# --- 3: collections ---


@pytest.fixture
def large(start_sandbox: Callable[..., SandboxProcess], tmp_path: Path) -> Platform:
    """A sandbox over 130 records without pictures."""
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["record_id", "image_file", "title", "year", "data_provider"])
        for number in range(130):
            writer.writerow([f"/7/R{number:03d}", "", "even" if number % 2 == 0 else "odd", 1900 + number, "Archive"])
    return Platform(start_sandbox(collection=folder))


def test_7_03_import_search_answers_with_twenty_and_goes_on(large: Platform) -> None:
    query = {"searchTerm": "*:*", "page": "1", "pageSize": "20", "source": ["Europeana"], "filters": []}
    first = large.post("/collection/importSearch", {"collectionName": "default", "query": query}).json()
    assert first["administrative"]["entryCount"] == 20 and first["myAccess"] == "OWN"
    large.grown(first["dbId"], 100)
    time.sleep(0.2)
    assert large.get(f"/collection/{first['dbId']}").json()["administrative"]["entryCount"] == 100
    everything = large.post("/collection/importSearch", {"collectionName": "all", "limit": -1, "query": query}).json()
    large.grown(everything["dbId"], 130)
    odd = {"collectionName": "odd", "limit": 5, "query": {**query, "searchTerm": "title:odd AND YEAR:[1901 TO 1950]"}}
    identifier = large.post("/collection/importSearch", odd).json()["dbId"]
    found = large.get(f"/collection/{identifier}/list", count=100).json()
    assert found["entryCount"] == 5
    assert all(record["descriptiveData"]["label"]["default"] == ["odd"] for record in found["records"])
    nothing = {"collectionName": "no", "query": {**query, "source": ["Youtube"]}}
    assert large.post("/collection/importSearch", nothing).json()["administrative"]["entryCount"] == 0
    assert large.post("/collection/importSearch", {"collectionName": "x", "query": 1}).status_code == 400
    broken = {"collectionName": "x", "query": {**query, "searchTerm": "("}}
    assert large.post("/collection/importSearch", broken).status_code == 400


def test_7_03_a_gallery_a_dataset_and_ids_fill_collections_without_unknown_items(large: Platform) -> None:
    gallery = large.post("/collection/importGallery", userGalleryId="7", collectionName="gallery").json()
    large.grown(gallery["dbId"], 130)
    dataset = large.get("/collection/importEuropeanaCollection", id="7", limit=30).json()
    large.grown(dataset["dbId"], 30)
    ids = large.post("/collection/importIDs", cname="by ids", source="Europeana", ids="/7/R001,/7/none /7/R002").json()
    large.grown(ids["dbId"], 2)
    assert len(large.get(f"/collection/{ids['dbId']}/getCollectedRecordIds").json()["collectedRecordsIds"]) == 2


def test_7_03_an_import_finds_its_collection_by_label_across_owners(sandbox: SandboxProcess, platform: Platform) -> None:
    identifier = platform.filled("of everybody", ["/90402/SK_00"])
    other = Platform(sandbox, "other@example.org")
    answer = other.post("/collection/importItems", {"collectionName": "of everybody", "itemIds": ["/90402/SK_01"]}).json()
    assert answer["dbId"] == identifier and answer["myAccess"] == "NONE"
    platform.grown(identifier, 2)
    assert other.get(f"/collection/{identifier}").status_code == 403


def test_7_03_collections_are_made_changed_shared_and_deleted(sandbox: SandboxProcess, platform: Platform) -> None:
    other, label = Platform(sandbox, "other@example.org"), f"made {time.monotonic_ns()}"
    other.post("/record/annotation", {})
    titled = {"descriptiveData": {"label": {"default": [label], "nl": ["gemaakt"]}}}
    assert Platform(sandbox, "").post("/collection", titled).status_code == 403
    untitled = platform.post("/collection", {"descriptiveData": {}})
    assert (untitled.status_code, untitled.json()["error"]) == (400, "Missing collection title")
    made = platform.post("/collection", titled).json()
    again = platform.post("/collection", titled)
    assert (again.status_code, again.json()["error"]) == (400, "Not unique collection title")
    path = f"/collection/{made['dbId']}"
    # Without a locale only `default` and `uri` come back.
    assert set(platform.get(path).json()["descriptiveData"]["label"]) == {"default"}
    assert set(platform.get(path, locale="nl").json()["descriptiveData"]["label"]) == {"default", "nl"}
    assert set(platform.get(path, locale="ALL").json()["descriptiveData"]["label"]) == {"default", "nl"}
    assert other.put(path, titled).status_code == other.delete(path).status_code == 403
    assert platform.get(f"/rights/{made['dbId']}/WRITE", username="other").status_code == 200
    renamed = {"descriptiveData": {"label": {"default": [f"{label} anew"]}}}
    assert other.put(path, renamed).json()["descriptiveData"]["label"]["default"] == [f"{label} anew"]
    assert other.delete(path).status_code == 403
    assert other.get("/collection/listShared").json()["totalCollections"] >= 1
    before = requests.get(f"{platform.url}/collection/listPublic", params={"count": 100}, timeout=TIMEOUT).json()
    assert platform.get(f"/rights/{made['dbId']}", isPublic="true").status_code == 200
    after = requests.get(f"{platform.url}/collection/listPublic", params={"count": 100}, timeout=TIMEOUT).json()
    assert after["totalCollections"] == before["totalCollections"] + 1
    assert made["dbId"] in [one["dbId"] for one in after["collectionsOrExhibitions"]]
    assert requests.get(platform.url + path, timeout=TIMEOUT).status_code == 200
    assert len(platform.get("/collection/multiple", id=[made["dbId"], made["dbId"]]).json()) == 2
    assert platform.delete(path).status_code == 200
    assert platform.get(path).status_code == 500


def test_7_03_records_are_added_listed_and_removed(platform: Platform, name: str) -> None:
    made = platform.post("/collection", {"descriptiveData": {"label": {"default": [f"hand {time.monotonic_ns()}"]}}}).json()
    path = f"/collection/{made['dbId']}"
    record = platform.record("/90402/SK_03")
    others = [{"administrative": {"externalId": f"/90402/SK_0{number}"}} for number in (4, 4, 5)]
    assert platform.post(f"{path}/addRecord", {"dbId": record["dbId"]}).status_code == 200
    assert platform.post(f"{path}/addRecords", others).status_code == 200
    assert platform.post(f"{path}/addRecord", {}).status_code == 400
    ids = platform.get(f"{path}/listRecordIds").json()["recordIds"]
    assert len(ids) == 3 and ids[0] == record["dbId"]
    body = {
        "motivation": "Tagging",
        "generator": f"CrowdHeritage {name}",
        "body": {"uri": f"{STRANGE}-{name}"},
        "target": {"recordId": record["dbId"]},
    }
    assert platform.post("/record/annotation", body).status_code == 200
    mine = platform.get(f"{path}/listRecordIds", fetch="FILTER_ONLY_USER_CONTRIBUTIONS", cname=name).json()
    others_ids = platform.get(f"{path}/listRecordIds", fetch="HIDE_USER_CONTRIBUTIONS", cname=name).json()
    assert mine["recordIds"] == [record["dbId"]] and record["dbId"] not in others_ids["recordIds"]
    assert platform.delete(f"{path}/removeRecord", recId=record["dbId"]).status_code == 200
    assert platform.get(f"{path}/list").json()["entryCount"] == 2
    assert platform.delete(f"{path}/removeRecord", recId=MISSING).status_code == 500


# --- 4: bulk import ---


def test_7_04_import_answers_empty_at_once_and_its_status_comes_later(platform: Platform, name: str) -> None:
    platform.campaign(name)
    answer = platform.post(f"/campaign/{name}/importAnnotations", {"@graph": [item(PAINTING)]}, motivation="Tagging")
    assert (answer.status_code, answer.content) == (200, b"")
    (entry,) = platform.imports(name)
    assert entry["status"] == "IMPORTING" and entry["source"] == "FILE" and entry["successCount"] == 0
    eventually(lambda: platform.imports(name)[0]["status"] == "COMPLETED")
    (done,) = platform.imports(name)
    assert (done["uuid"], done["successCount"], done["failedCount"]) == (entry["uuid"], 1, 0)
    for moment in (done["startedAt"], done["uploadedAt"]):
        assert isinstance(moment, int) and abs(moment / 1000 - time.time()) < 60
    (stored,) = platform.of_campaign(name, "/90402/SK_00")
    annotator = stored["annotators"][0]
    assert (annotator["generator"], annotator["created"]) == (f"CrowdHeritage {name}", "2026/04/01")
    assert (annotator["externalCreatorType"], annotator["externalCreatorName"]) == ("Software", "tagger 1")
    assert (stored["externalId"], stored["scope"], stored["publish"]) == ("urn:our:1", "dc:subject", False)
    assert stored["body"]["label"]["nl"] == ["Schilderij"]


def test_7_04_import_is_not_idempotent(platform: Platform, name: str) -> None:
    platform.campaign(name)
    for _ in range(2):
        assert platform.bulk(name, [item(PAINTING), item(text("boat"))])["successCount"] == 2
    assert len(platform.graph(name)) == 4 and len(platform.imports(name)) == 2
    # A single annotation with the same URI joins one of them instead.
    record = platform.record("/90402/SK_00")
    single = {"motivation": "Tagging", "generator": "x", "body": {"uri": PAINTING}, "target": {"recordId": record["dbId"]}}
    platform.post("/record/annotation", single)
    assert len(platform.graph(name)) == 4


def test_7_04_counts_are_of_bodies_and_of_failed_annotations(platform: Platform, name: str) -> None:
    platform.campaign(name)
    wrong_source = item(PAINTING, "http://data.europeana.eu/item/90402/SK_00")
    place = {
        "property": "dc:title",
        "destination": {"value": "Nachtwacht", "language": "nl"},
        "refinedBy": {"start": 0, "end": 5},
    }
    graph: list[object] = [
        item([PAINTING, MAP, {"value": "no language"}]),  # two stored, then it fails
        item(text("boat")),
        item(PAINTING, confidence="0.5", target={"source": "/90402/SK_01", "selector": place}),
        wrong_source,
        item(PAINTING, creator={"type": "Robot"}),
        item(PAINTING, confidence="high"),
        item(PAINTING, target={"source": "/90402/SK_01", "selector": {"property": "dc:title"}}),
        "nothing",
    ]
    entry = platform.bulk(name, graph)
    assert (entry["status"], entry["successCount"], entry["failedCount"]) == ("COMPLETED", 4, 6)
    (selected,) = platform.of_campaign(name, "/90402/SK_01")
    assert selected["target"]["selector"]["origLang"] == "NL" and selected["annotators"][0]["confidence"] == 0.5
    assert platform.bulk(name, [wrong_source])["status"] == "FAILED"


def test_7_04_without_a_graph_the_import_stays_importing(platform: Platform, name: str) -> None:
    platform.campaign(name)
    answer = platform.post(f"/campaign/{name}/importAnnotations", {"graph": []}, motivation="Tagging")
    assert answer.status_code == 200
    time.sleep(0.5)
    assert [entry["status"] for entry in platform.imports(name)] == ["IMPORTING"]


def test_7_04_what_happens_to_the_campaign_during_an_import_is_lost(platform: Platform, name: str) -> None:
    campaign = platform.campaign(name, title={"en": "before"})
    platform.post(f"/campaign/{name}/importAnnotations", {"@graph": [item(PAINTING)]}, motivation="Tagging")
    platform.put(f"/campaign/{campaign['dbId']}", {"title": {"en": "after"}})
    eventually(lambda: platform.imports(name)[0]["status"] == "COMPLETED")
    assert platform.get("/campaign/getCampaignByName", cname=name).json()["title"] == {"en": "before"}


def test_7_04_terms_unknown_and_without_description(platform: Platform, name: str) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(STRANGE)])
    (stored,) = platform.of_campaign(name, "/90402/SK_00")
    assert stored["body"] == {"uri": STRANGE}
    bare = f"http://www.wikidata.org/entity/Q{time.monotonic_ns()}"
    query = {"name": name, "version": "1", "label": name, "vocType": "thesaurus"}
    assert platform.post("/thesaurus/createEmptyThesaurus", **query).status_code == 200
    loaded = platform.session.post(
        f"{platform.url}/thesaurus/populateCustomThesaurus",
        params={"thesaurusName": name, "thesaurusVersion": "1"},
        files={"file": ("terms.csv", f"{bare}\n{bare}0,Ship,A vessel\n")},
        timeout=TIMEOUT,
    )
    assert loaded.text == "Added 2/2 terms"
    assert platform.bulk(name, [item(bare)])["status"] == "FAILED"
    assert platform.bulk(name, [item(f"{bare}0")])["status"] == "COMPLETED"


def test_7_04_refusals(sandbox: SandboxProcess, platform: Platform, name: str) -> None:
    platform.campaign(name)
    path = f"/campaign/{name}/importAnnotations"
    anonymous = Platform(sandbox, "").post(path, {"@graph": []}, motivation="Tagging")
    assert (anonymous.status_code, anonymous.json()) == (400, {"error": "User not logged in"})
    broken = platform.session.post(f"{platform.url}{path}?motivation=Tagging", data=b"{", timeout=TIMEOUT)
    assert (broken.status_code, broken.json()) == (400, {"error": "Invalid JSON"})
    assert platform.post("/campaign/none/importAnnotations", {"@graph": []}, motivation="Tagging").status_code == 500
    assert platform.post(path, {"@graph": []}, motivation="Naming").status_code == 500
    page = platform.post(path, {"@graph": []})
    assert page.status_code == 400 and page.headers["content-type"].startswith("text/html")


# --- 5: votes ---


@pytest.fixture
def voted(platform: Platform, name: str) -> Item:
    """One imported annotation to vote on."""
    platform.campaign(name, endDate="2020/01/01")  # no longer active, and nothing checks it
    platform.bulk(name, [item(text(f"to vote {name}"))])
    return platform.of_campaign(name, "/90402/SK_00")[0]


def test_7_05_opposite_vote_stays_unless_its_confidence_is_not_given(platform: Platform, name: str, voted: Item) -> None:
    platform.vote("approve", voted, name, confidence=0.0)
    platform.vote("reject", voted, name, confidence=0.0)
    assert platform.score(voted) == {"approvedBy": 1, "rejectedBy": 1}
    platform.vote("unscore", voted, name, confidence=0.0)
    assert platform.score(voted) == {"approvedBy": 0, "rejectedBy": 0}
    platform.vote("approve", voted, name)
    platform.vote("reject", voted, name)
    assert platform.score(voted) == {"approvedBy": 0, "rejectedBy": 1}


def test_7_05_repeated_approvals_stack(platform: Platform, name: str, voted: Item) -> None:
    for _ in range(2):
        assert platform.vote("approve", voted, name, confidence=0.0).content == b""
    assert platform.score(voted) == {"approvedBy": 2}
    platform.vote("unscore", voted, "another", confidence=0.0)
    platform.vote("unscore", voted, name, confidence=1)
    assert platform.score(voted) == {"approvedBy": 2}
    vote = platform.get(f"/annotation/{voted['dbId']}").json()["score"]["approvedBy"][0]
    assert vote["generated"] == "2026/04/01" and {"withCreator", "validationErrorType"} <= set(vote)


def test_7_05_a_rating_replaces_the_earlier_one_and_the_score_comes_back(
    sandbox: SandboxProcess, platform: Platform, name: str, voted: Item
) -> None:
    platform.vote("rate", voted, name, confidence=20)
    score = platform.vote("rate", voted, name, confidence=80).json()
    assert [vote["confidence"] for vote in score["ratedBy"]] == [80]
    Platform(sandbox, "other@example.org").vote("rate", voted, name, confidence=40)
    campaign = platform.get("/campaign/getCampaignByName", cname=name).json()
    platform.put(f"/campaign/{campaign['dbId']}", {"contributorFeedbackMethod": "RATE"})
    (exported,) = platform.graph(name)
    assert exported["review"] == {"type": "Rating", "score": 60}
    anonymous = Platform(sandbox, "").post(f"/annotation/{voted['dbId']}/rateObj", {})
    assert (anonymous.status_code, anonymous.json()) == (400, {"error": "User not logged in"})


def test_7_05_rejected_annotations_of_a_record_are_deleted_by_get(platform: Platform, name: str) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(text("right"), "/90402/SK_09"), item(text("wrong"), "/90402/SK_09")])
    right, wrong = platform.of_campaign(name, "/90402/SK_09")
    platform.vote("approve", right, name)
    platform.vote("reject", wrong, name)
    assert platform.get(f"/record/{right['target']['recordId']}/deleteRejectedAnnotations").status_code == 200
    assert [one["dbId"] for one in platform.of_campaign(name, "/90402/SK_09")] == [right["dbId"]]


# --- 6: exports ---


def test_7_06_ntua_export_has_java_dates_and_reviews_of_this_campaign_only(platform: Platform, name: str) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(PAINTING), item(text("tied")), item(text("bad")), item(text("open"), confidence=-1)])
    accepted, tied, rejected, _ = platform.of_campaign(name, "/90402/SK_00")
    platform.vote("approve", accepted, name)
    platform.vote("reject", accepted, f"other-{name}-end", confidence=0.0)
    for kind in ("approve", "reject"):
        platform.vote(kind, tied, name, confidence=0.0)
    platform.vote("reject", rejected, name)
    graph = platform.graph(name)
    assert [one.get("review", {}).get("recommendation") for one in graph] == ["accept", None, "reject", None]
    assert ["review" in one for one in graph] == [True, False, True, False]
    assert graph[0]["review"] == {"type": "Validation", "upvotes": 1, "downvotes": 0, "recommendation": "accept"}
    assert graph[0]["created"] == "Wed Apr 01 17:17:52 UTC 2026" and graph[0]["body"] == PAINTING
    assert "confidence" not in graph[3] and not any("id" in one for one in graph)


def test_7_06_people_of_the_portal_have_an_empty_creator(platform: Platform, name: str) -> None:
    platform.campaign(name)
    record = platform.record("/90402/SK_10")
    body = {"label": {"en": [f"mine {name}"]}}
    made = {"generator": f"CrowdHeritage {name}", "body": body, "target": {"recordId": record["dbId"]}}
    assert platform.post("/record/annotation", {"motivation": "Commenting", **made}).status_code == 200
    (exported,) = platform.graph(name)
    assert exported["creator"] == {} and re.fullmatch(JAVA_DATE, exported["created"])


def test_7_06_suffixes_mix_campaigns_and_the_ntua_export_fails(platform: Platform, name: str) -> None:
    folk = f"folk-{name}"
    for campaign in (name, folk):
        platform.campaign(campaign)
    platform.bulk(folk, [item(text("folk art"))])
    assert len(platform.graph(folk)) == 1
    assert platform.export(name).status_code == 500
    (caught,) = platform.of_campaign(folk, "/90402/SK_00")
    platform.vote("approve", caught, folk)
    assert len(platform.export(name, europeana=True).json()) == 1


def test_7_06_europeana_export_has_instants_and_loses_the_machine(
    sandbox: SandboxProcess, platform: Platform, name: str
) -> None:
    platform.campaign(name)
    platform.bulk(name, [item("https://www.wikidata.org/wiki/Q11629"), item(text("boat"))])
    platform.bulk(name, [item(STRANGE)], motivation="Linking")
    motivations = "Tagging,Linking"
    annotations = platform.annotations("/90402/SK_00", motivation=motivations, generator=f"CrowdHeritage {name}")
    assert platform.export(name, europeana=True).status_code == 500  # nobody voted yet
    for annotation in annotations:
        platform.vote("approve", annotation, name)
    Platform(sandbox, "other@example.org").vote("reject", annotations[0], "elsewhere", confidence=0.0)
    Platform(sandbox, "third@example.org").vote("approve", annotations[0], "elsewhere", confidence=0.0)
    first, second, third = platform.export(name, europeana=True).json()
    assert first == {
        "type": "Annotation",
        "created": "2026-04-01T17:17:52Z",
        "creator": {"type": "Person", "name": "maker"},
        "generator": {"type": "Software", "name": "CrowdHeritage", "homepage": "https://crowdheritage.eu"},
        "motivation": "tagging",
        "body": PAINTING,
        "score": {"upvotes": 2, "downvotes": 1, "confidence": 0.667},
        "target": "http://data.europeana.eu/item/90402/SK_00",
    }
    assert second["body"] == ["boat"] and "body" not in third


def test_7_06_only_rejected_annotations_break_the_europeana_export(platform: Platform, name: str, voted: Item) -> None:
    platform.vote("reject", voted, name)
    assert platform.export(name, europeana=True).status_code == 500
    assert platform.export(name, europeana=True, published=True).json() == []


def test_7_06_property_selectors_and_votes_without_generator_break_the_ntua_export(platform: Platform, name: str) -> None:
    platform.campaign(name)
    record = platform.record("/90402/SK_08")
    target = {"recordId": record["dbId"], "selector": {"type": "PropertySelector", "property": "dc:title"}}
    body = {"motivation": "Tagging", "generator": f"CrowdHeritage {name}", "body": {"uri": STRANGE + name}, "target": target}
    stored = platform.post("/record/annotation", body).json()
    assert platform.export(name).status_code == 500
    assert platform.delete(f"/annotation/{stored['dbId']}").status_code == 200
    platform.bulk(name, [item(text("x"))])
    (annotation,) = platform.of_campaign(name, "/90402/SK_00")
    platform.vote("approve", annotation, name, generator=None)
    assert platform.export(name).status_code == 500


def test_7_06_the_default_export_needs_no_login_and_gives_what_is_marked(platform: Platform, name: str, voted: Item) -> None:
    url = f"{platform.url}/annotation/exportCampaignAnnotations"
    assert requests.get(url, params={"campaignName": name}, timeout=TIMEOUT).json() == []
    platform.vote("approve", voted, name)
    marked = requests.get(f"{platform.url}/annotation/{voted['dbId']}/markForPublish?publish=true", timeout=TIMEOUT)
    assert marked.status_code == 200  # nobody checks who asks
    assert len(requests.get(url, params={"campaignName": name}, timeout=TIMEOUT).json()) == 1


def test_7_06_hidden_single_annotations_are_in_no_export_and_no_campaign_listing(platform: Platform, name: str) -> None:
    platform.campaign(name)
    uri = f"{STRANGE}/{name}"
    record = platform.record("/90402/SK_07")
    hidden = {
        "motivation": "Tagging",
        "generator": f"hidden {name}y",
        "body": {"uri": uri},
        "target": {"recordId": record["dbId"]},
    }
    stored = platform.post("/record/annotation", hidden).json()
    platform.bulk(name, [item(PAINTING, "/90402/SK_07")])
    visible = platform.of_campaign(name, "/90402/SK_07")
    platform.vote("approve", visible[0], name)
    for campaign in (name, f"{name}z", "hidden"):
        for europeana, published in itertools.product((True, False), repeat=2):
            assert uri not in platform.export(campaign, europeana=europeana, published=published).text
        for path in ("statistics", "contributors"):
            assert uri not in platform.get(f"/campaign/{path}", cname=campaign).text
        assert uri not in platform.get("/campaign/popularAnnotations", campaignName=campaign, count=100).text
    assert platform.get("/campaign/statistics", cname=name).json()["annotations-total"] == 1
    assert [one["dbId"] for one in visible] != [stored["dbId"]] and len(visible) == 1
    # It is out of sight, not away: without a generator it is listed, and a campaign that is its suffix gets it.
    assert stored["dbId"] in [one["dbId"] for one in platform.annotations("/90402/SK_07")]
    platform.campaign(f"{name}y")
    assert platform.export(f"{name}y").status_code == 500


# --- 7: validation ---


def test_7_07_validation_wants_one_net_vote_and_no_rejection_and_overwrites_marks(platform: Platform, name: str) -> None:
    campaign = platform.campaign(name)
    platform.bulk(name, [item(text(word)) for word in ("good", "disputed", "open", "marked")])
    good, disputed, _, marked = platform.of_campaign(name, "/90402/SK_00")
    platform.vote("approve", good, "elsewhere")  # votes of all generators count
    for _ in range(3):
        platform.vote("approve", disputed, name, confidence=0.0)
    platform.vote("reject", disputed, name, confidence=0.5)
    platform.get(f"/annotation/{marked['dbId']}/markForPublish", publish="true")

    def validated(**query: str) -> list[str]:
        answer = requests.post(
            f"{platform.url}/campaign/initiateValidation", params={"campaignId": campaign["dbId"], **query}, timeout=TIMEOUT
        )
        assert answer.status_code == 200  # also without a login
        return [one["body"]["value"] for one in platform.graph(name, published=True)]

    assert validated() == ["good"]
    assert validated(allowRejected="true") == ["good", "disputed"]
    assert validated(allowRejected="true", minScore="2") == ["disputed"]
    assert validated(minScore="2") == []
    stored = platform.get("/campaign/getCampaignByName", cname=name).json()
    assert stored["publishCriteria"] == {"allowRejected": False, "minScore": 2}
    assert platform.post("/campaign/initiateValidation", campaignId=MISSING).status_code == 500


# --- 8: dates, limits, pages ---


def test_7_08_campaign_days_and_texts_keep_their_form(platform: Platform, name: str) -> None:
    fields = {"startDate": "2026/01/31", "endDate": "2026/12/01", "title": {"en": "T", "nl": "T"}, "isPublic": True}
    campaign = platform.campaign(name, **fields)
    assert {key: campaign[key] for key in fields} == fields
    assert platform.put(f"/campaign/{campaign['dbId']}", {"startDate": "2026-01-31"}).status_code == 400
    assert platform.get("/campaign/getCampaign", campaignId=campaign["dbId"]).json() == campaign
    assert platform.get("/campaign/getCampaign", campaignId=MISSING).status_code == 500


def test_7_08_bodies_above_ten_megabytes_are_invalid_json(platform: Platform, name: str) -> None:
    platform.campaign(name)
    document = json.dumps({"@graph": [], "filling": "x" * (10 * 1024 * 1024)})
    answer = platform.session.post(
        f"{platform.url}/campaign/{name}/importAnnotations?motivation=Tagging", data=document, timeout=30
    )
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON"})
    assert platform.imports(name) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/annotation/exportCampaignAnnotations", 400),
        ("/campaign/getCampaignByName", 400),
        ("/collection/list?count=many", 400),
        ("/thesaurus/suggestions", 400),
        ("/no/such/page", 404),
    ],
)
def test_7_08_the_framework_answers_with_pages_of_html(platform: Platform, path: str, status: int) -> None:
    answer = platform.get(path)
    assert answer.status_code == status and answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"body": NaN}', b'"\\ud800"', b"[" * 100_000, b"\xff"])
def test_7_08_no_document_is_more_than_invalid(platform: Platform, body: bytes) -> None:
    for path in ("/record/annotation", "/collection/importItems", "/api/search", "/campaign/createCampaign"):
        answer = platform.session.post(platform.url + path, data=body, timeout=TIMEOUT)
        assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON"})


# --- 9: search, and the key in it ---


def common_query(**more: Any) -> Item:
    return {"searchTerm": "nachtwacht", "page": "1", "pageSize": "4", "source": ["Europeana"], "filters": [], **more}


def test_7_09_the_upstream_key_stands_in_the_old_search_and_nowhere_else(sandbox: SandboxProcess, platform: Platform) -> None:
    (answer,) = platform.post("/api/search", common_query(tail="&qf=YEAR:1642")).json()
    assert UPSTREAM_KEY in answer["query"] and answer["query"].endswith("&qf=YEAR:1642")
    collection = platform.post("/collection/importSearch", {"collectionName": "canary", "query": common_query()})
    new = platform.post("/api/search2", {"sources": ["Europeana"], "filters": [[{"fieldId": "anywhere", "value": "a"}]]})
    assert UPSTREAM_KEY not in collection.text + new.text + str(sandbox.journal())


def test_7_09_old_search_pages_filters_and_fails_by_source(platform: Platform) -> None:
    sources = {source["id"]: source for source in platform.get("/api/searchsources").json()}
    assert {"Europeana", "Youtube", "WITHin"} <= set(sources) and "anywhere" in sources["Europeana"]["supportedFields"]
    (first,) = platform.post("/api/search", common_query()).json()
    (second,) = platform.post("/api/search", common_query(page="2")).json()
    assert (first["totalCount"], first["startIndex"], second["startIndex"], first["count"]) == (12, 0, 4, 4)
    ids = [one["administrative"]["externalId"] for answer in (first, second) for one in answer["items"]["culturalCHO"]]
    assert len(set(ids)) == 8 and first["filters"]
    provider = [{"filterID": "provenance.dataprovider", "values": ["City Archive"]}]
    (filtered,) = platform.post("/api/search", common_query(filters=provider, facetsMode="NONE")).json()
    assert (filtered["totalCount"], filtered["filters"]) == (6, [])
    (tailed,) = platform.post("/api/search", common_query(tail="&qf=DATA_PROVIDER:Rijksmuseum", hasMedia=True)).json()
    assert tailed["totalCount"] == 6
    failing = platform.post("/api/search", common_query(source=["Historypin", "DigitalNZ"])).json()
    assert [one["error"] for one in failing] == ["TIMEOUT", "SERVER_ERROR"]
    nobody = platform.post("/api/search", common_query(source=["Youtube"]))
    assert (nobody.status_code, nobody.content) == (204, b"")
    for wrong in ({"page": 1}, {"page": "x"}, {"searchTerm": "("}, {"facetsMode": "MORE"}):
        assert platform.post("/api/search", common_query(**wrong)).status_code == 400
    assert set(platform.post("/api/advancedsearch", common_query()).json()) == {"responses", "filters"}
    assert "PublicCC0" in platform.get("/api/getrightsbycategory", category="FREE").json()


def test_7_09_new_search_is_a_conjunction_of_disjunctions_that_goes_on(platform: Platform) -> None:
    def asked(*filters: object, **more: Any) -> requests.Response:
        return platform.post("/api/search2", {"sources": ["Europeana"], "filters": filters, **more})

    years = [{"fieldId": "descriptiveData.dcdate.year", "from": "1641", "to": "1643"}]
    either = [{"fieldId": "provenance.dataprovider", "value": name} for name in ("Rijksmuseum", "City Archive")]
    (result,) = asked(years, either, facets=["provenance.dataprovider"]).json()["results"]
    assert result["totalCount"] == 2 and result["facets"]["provenance.dataprovider"] == [{"value": "Rijksmuseum", "count": 2}]
    free = [[{"fieldId": "anywhere", "value": word}] for word in ("nachtwacht", "nosuchword")]
    assert asked(*free).json()["results"][0]["totalCount"] == 12  # only the first one counts
    assert asked([{"fieldId": "nofield", "value": "x"}]).json()["results"] == []  # nothing is left to ask
    licence = [{"fieldId": "media.withRights", "value": "PublicCC0"}]
    assert asked(licence).json()["results"][0]["totalCount"] == 8
    assert asked(free[0], count=0).status_code == 500
    begun = asked(free[0], count=5, continuation=True).json()
    more = platform.post("/api/search2", {"continuationId": begun["continuationId"]}).json()["results"][0]
    assert (more["start"], more["count"]) == (5, 5)
    gone = platform.post("/api/search2", {"continuationId": "11111111-1111-1111-1111-111111111111"})
    assert (gone.status_code, gone.json()["error"]) == (400, "Unknown UUID for request. Probably expired!")


# --- 10: the real export ---


def shapes(value: object, path: str = "") -> set[tuple[str, str]]:
    """Every field with its place and kind."""
    if isinstance(value, dict):
        inner = (shapes(one, f"{path}.{key}") for key, one in value.items())
        return {(path, "object")}.union(*inner)
    if isinstance(value, list):
        return {(path, "array")}.union(*(shapes(one, f"{path}[]") for one in value))
    kind = "number" if isinstance(value, int | float) else type(value).__name__
    if isinstance(value, str) and re.fullmatch(JAVA_DATE, value):
        kind = "Java date"
    return {(path, kind)}


@pytest.mark.parametrize("file", ["aister_export_slice.json", "1_ukrainian-folkart_annotations.json"])
def test_7_10_the_export_has_the_form_of_the_real_one(platform: Platform, name: str, file: str) -> None:
    if not (SAMPLES / file).is_file():
        pytest.skip("The samples are not here.")
    real = json.loads((SAMPLES / file).read_text())
    platform.campaign(name)
    record = platform.record("/90402/SK_02")
    # The same annotations as there, on one of our records; people make theirs in the portal, one at a time.
    software = [one for one in real["@graph"] if one["creator"]][:20]
    people = [one for one in real["@graph"] if not one["creator"]][:20]
    for number, one in enumerate(people):
        body = {"label": {one["body"]["language"]: [f"{one['body']['value']} {number} {name}"]}}
        made = {"generator": f"CrowdHeritage {name}", "confidence": 0, "body": body, "target": {"recordId": record["dbId"]}}
        assert platform.post("/record/annotation", {"motivation": "Tagging", **made}).status_code == 200
    platform.bulk(name, [{**one, "target": {"source": "/90402/SK_02"}} for one in software])
    for number, annotation in enumerate(platform.of_campaign(name, "/90402/SK_02")):
        if number % 3:
            platform.vote("approve" if number % 3 == 1 else "reject", annotation, name)
    ours = platform.export(name).json()
    assert ours["@context"] == real["@context"]
    assert shapes(ours["@graph"]) == shapes(real["@graph"])
    order = list(real["@graph"][0])
    assert all([key for key in one if key in order] == [key for key in order if key in one] for one in ours["@graph"])
    assert {tuple(sorted(one)) for one in ours["@graph"]} >= {tuple(sorted(one)) for one in software + people}


# --- 11: what the list does not name ---


def test_7_11_campaigns_need_a_right_a_free_name_and_their_creator(
    sandbox: SandboxProcess, platform: Platform, name: str
) -> None:
    assert Platform(sandbox, "visitor").post("/campaign/createEmptyCampaign", campaignUserName=name).status_code == 403
    campaign = platform.post("/campaign/createEmptyCampaign", campaignUserName=name).json()
    assert (campaign["username"], campaign["annotationTarget"], campaign["isPublic"]) == (name, 1000, False)
    assert platform.post("/campaign/createEmptyCampaign", campaignUserName=name).status_code == 403
    path = f"/campaign/{campaign['dbId']}"
    other = Platform(sandbox, "other@example.org")
    assert other.put(path, {"isPublic": True}).status_code == 403
    assert platform.put(path, {"isPublic": True, "project": name, "endDate": "2020/01/01"}).json()["isPublic"] is True
    anyone = Platform(sandbox, "")
    assert [one["username"] for one in anyone.get("/campaign/campaigns", project=name).json()] == [name]
    assert anyone.get("/campaign/campaigns", project=name, state="active").json() == []
    assert anyone.get("/campaign/count", project=name, state="inactive").json() == 1
    assert platform.get("/campaign/userCampaigns").json()["count"] >= 1
    assert anyone.get(f"/campaign/reset/{campaign['dbId']}").status_code == 200
    assert anyone.delete(path).status_code == 200  # no permission check
    assert anyone.get("/campaign/getCampaignByName", cname=name).json() is None


def test_7_11_a_campaigns_creator_may_delete_its_annotations(sandbox: SandboxProcess, platform: Platform, name: str) -> None:
    platform.campaign(name)
    other = Platform(sandbox, "other@example.org")
    other.bulk(name, [item(text("by another"))])
    (stored,) = platform.of_campaign(name, "/90402/SK_00")
    assert Platform(sandbox, "third@example.org").delete(f"/annotation/{stored['dbId']}").status_code == 403
    assert platform.delete(f"/annotation/{stored['dbId']}").status_code == 200


def test_7_11_listings_by_motivation_generator_and_label(platform: Platform, name: str) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(text(f"Word {name}"), "/90402/SK_11"), item(text("other"), "/90402/SK_11")], "Commenting")
    generator = f"CrowdHeritage {name}"
    assert platform.annotations("/90402/SK_11", generator=generator) == []  # Tagging only
    listed = platform.annotations("/90402/SK_11", generator=f"x,{generator}", motivation="Commenting,Tagging")
    assert len(listed) == 2
    found = platform.get("/record/annotationLabel", label=f"word {name}", generator=generator).json()
    assert found == [listed[0]["target"]["recordId"]]
    popular = platform.get("/campaign/popularAnnotations", campaignName=name).json()
    assert {one["label"] for one in popular} == {f"Word {name}", "other"}
    statistics = platform.get("/campaign/statistics", cname=name).json()
    assert (statistics["annotations-software"], statistics["items-annotated"]) == (2, 1)


def test_7_11_thesauri_suggest_terms_and_take_new_ones(sandbox: SandboxProcess, platform: Platform, name: str) -> None:
    found = platform.get("/thesaurus/suggestions", word="schil", namespaces="wikidata").json()
    assert [(one["uri"], one["matchedLabel"], one["exact"]) for one in found["results"]] == [(PAINTING, "Schilderij", False)]
    assert platform.get("/thesaurus/suggestions", word="sc").json()["results"] == []
    assert len(platform.get("/thesaurus/suggestions", word="").json()["results"]) >= 3
    assert platform.get("/thesaurus/getTerm", uri=MAP).json()["label"]["en"] == ["Map"]
    assert platform.get("/thesaurus/getTerm", uri=STRANGE).status_code == 500
    query = {"name": name, "version": "1", "label": name, "vocType": "thesaurus"}
    assert Platform(sandbox, "visitor").post("/thesaurus/createEmptyThesaurus", **query).status_code == 403
    made = platform.post("/thesaurus/createEmptyThesaurus", **query).json()
    terms = {"thesaurusName": name, "thesaurusVersion": "1", "uris": [PAINTING, STRANGE]}
    assert platform.post("/thesaurus/addTerms", terms).text == "Added 1/2 terms"
    assert Platform(sandbox, "other").post("/thesaurus/addTerms", terms).status_code == 403
    (term,) = platform.get("/thesaurus/listTerms", thesaurusName=name).json()
    assert platform.get(f"/thesaurus/{name}").json() == [term]
    assert name in [one["name"] for one in platform.get("/thesaurus/listVocabularies").json()]
    assert platform.delete(f"/thesaurus/term/{term['dbId']}").status_code == 200
    assert platform.delete(f"/thesaurus/{made['dbId']}").status_code == 200
    assert platform.get(f"/thesaurus/{name}").status_code == 500


def test_7_11_everything_stays_over_a_restart_and_an_import_that_was_cut_off_stays_importing(
    start_sandbox: Callable[..., SandboxProcess],
) -> None:
    first = start_sandbox()
    platform = Platform(first)
    platform.filled("kept", ["/90402/SK_00"])
    platform.campaign("kept")
    platform.bulk("kept", [item(PAINTING)])
    platform.post("/campaign/kept/importAnnotations", {"@graph": [item(MAP)] * 5000}, motivation="Tagging")
    first.stop(signal.SIGKILL)
    again = Platform(start_sandbox())
    assert [entry["status"] for entry in again.imports("kept")] == ["COMPLETED", "IMPORTING"]
    assert 1 <= len(again.graph("kept")) < 5001


# --- 12: the simulated crowd ---


def crowd(sandbox: SandboxProcess, **order: Any) -> requests.Response:
    return requests.post(f"{sandbox.url}/_sandbox/crowd", json=order, timeout=TIMEOUT)


def test_7_12_a_perfect_crowd_accepts_what_is_true(sandbox: SandboxProcess, platform: Platform, name: str) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(PAINTING), item(MAP), item(text("painting"), "/90402/SK_01")])
    answer = crowd(sandbox, campaign=name, voters=3, accuracy=1, seed=1)
    assert answer.json() == {"annotations": 3, "votes": 9, "approved": 6, "rejected": 3}
    assert "secret" not in answer.text
    reviews = [one["review"] for one in platform.graph(name)]
    assert [review["recommendation"] for review in reviews] == ["accept", "reject", "accept"]
    assert (reviews[0]["upvotes"], reviews[1]["downvotes"]) == (3, 3)
    # The same voters again take their earlier votes back first.
    wrong = crowd(sandbox, campaign=name, voters=3, accuracy=0, seed=1).json()
    assert (wrong["approved"], wrong["rejected"]) == (3, 6)
    assert [one["review"]["recommendation"] for one in platform.graph(name)] == ["reject", "accept", "reject"]


def test_7_12_the_crowd_votes_the_same_way_for_the_same_seed(
    sandbox: SandboxProcess, start_sandbox: Callable[..., SandboxProcess], name: str
) -> None:
    graph: list[object] = [item(uri, f"/90402/SK_{number:02d}") for number in range(12) for uri in (PAINTING, MAP)]

    def reviews(running: SandboxProcess, seed: int) -> list[object]:
        own = Platform(running)
        campaign = f"{seed}-{time.monotonic_ns()}-{name}"
        own.filled("check list", [f"/90402/SK_{number:02d}" for number in range(12)])
        own.campaign(campaign)
        own.bulk(campaign, graph)
        counts = crowd(running, campaign=campaign, voters=5, accuracy=0.7, seed=seed).json()
        assert counts["annotations"] == 24 and counts["votes"] == 120 == counts["approved"] + counts["rejected"]
        return [one.get("review") for one in own.graph(campaign)]

    first = reviews(sandbox, 7)
    assert reviews(sandbox, 7) == first == reviews(start_sandbox(), 7)
    assert reviews(sandbox, 8) != first


def test_7_12_the_truth_can_be_given_and_who_is_not_in_it_gets_no_votes(
    sandbox: SandboxProcess, platform: Platform, name: str, tmp_path: Path
) -> None:
    platform.campaign(name)
    platform.bulk(name, [item(MAP), item(PAINTING), item(MAP, "/90402/SK_01")])
    truth = {"/90402/SK_00": ["map"]}
    expected = {"annotations": 2, "votes": 4, "approved": 4, "rejected": 0}  # a map is below painting in this vocabulary
    assert crowd(sandbox, campaign=name, voters=2, accuracy=1, truth=truth).json() == expected
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "truth.csv").write_text("record_id,concepts\n/90402/SK_00,map;x\n")
    for file in ("truth.json", "truth.csv"):
        assert crowd(sandbox, campaign=name, voters=2, accuracy=1, truth=str(tmp_path / file)).json() == expected


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ({"campaign": "no such campaign"}, 404),
        ({}, 400),
        ({"campaign": "x", "voters": 0}, 400),
        ({"campaign": "x", "accuracy": 1.5}, 400),
        ({"campaign": "x", "truth": "/no/such/file"}, 400),
        ({"campaign": "x", "truth": [1]}, 400),
    ],
)
def test_7_12_a_crowd_that_cannot_vote_says_why(sandbox: SandboxProcess, order: Item, status: int) -> None:
    answer = crowd(sandbox, **order)
    assert answer.status_code == status and answer.json()["error"]
