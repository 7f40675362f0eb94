"""The Annotation API against its contract's check list (11); the numbers in the names are the list's.

The API runs inside the test, over an empty state for each test.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pipeline.sandbox import SandboxOptions, tokens
from pipeline.sandbox.annotations import Annotations
from pipeline.sandbox.state import State
from pipeline.vocabulary import Vocabulary, load_vocabulary

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "annotation"
WIKIDATA = "http://www.wikidata.org/entity/"
BASE = "/europeana/annotation/"
KEY = {"X-Api-Key": "sandbox"}
RIGHTS = "http://creativecommons.org/licenses/by-sa/4.0/"
DUPLICATE = "Found duplicate annotations with the ids: "


def item(name: str) -> str:
    return f"http://data.europeana.eu/item/90402/{name}"


def tag(record: str, body: object, **more: object) -> dict[str, Any]:
    return {"motivation": "tagging", "body": body, "target": item(record), **more}


def full_text(motivation: str, source: str = "http://m.example/1", **body: object) -> dict[str, Any]:
    formats = {"subtitling": "text/vtt", "captioning": "text/vtt"}
    written = {"type": "FullTextResource", "language": "nl", "value": "WEBVTT\n\n00:01.000 --> 00:02.000\nHoi"}
    written |= {"format": formats.get(motivation, "text/plain"), "edmRights": RIGHTS}
    return {"motivation": motivation, "body": {**written, **body}, "target": {"scope": item("text"), "source": source}}


def highlight(predicate: str = "dc:title", **selector: object) -> dict[str, Any]:
    quote = {"type": "TextQuoteSelector", "exact": {"@value": "word", "@language": "en"}, "prefix": "a "}
    chosen = {"type": "RDFStatementSelector", "hasPredicate": predicate, "refinedBy": quote, **selector}
    target = {"source": item("high"), "selector": chosen}
    return {"motivation": "highlighting", "body": "http://terms.example/1", "target": target}


@dataclass
class Api:
    """The API in this process."""

    http: TestClient
    annotations: Annotations
    tokens: tokens.Tokens
    state: State

    def token(self, user: str = "maker", scope: str = "annotations") -> str:
        form = {"grant_type": "password", "username": user, "password": "sandbox", "scope": scope}
        return str(self.tokens.grant(form)["access_token"])

    def call(self, method: str, path: str, document: object = None, *, user: str = "maker", **more: Any) -> Any:
        url = path if path.startswith("/") else BASE + path
        headers = {"Authorization": f"Bearer {self.token(user)}", **more.pop("headers", {})}
        content = more.pop("content", None if document is None else json.dumps(document))
        return self.http.request(method, url, content=content, headers=headers, **more)

    def send(self, document: object, path: str = "", **more: Any) -> Any:
        return self.call("POST", path, document, **more)

    def made(self, document: object, **more: Any) -> str:
        answer = self.send(document, **more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"]).rpartition("/")[2]

    def search(self, query: str, **parameters: Any) -> Any:
        return self.http.get(f"{BASE}search", params={"query": query, **parameters}, headers=KEY)

    def found(self, query: str, **parameters: Any) -> set[str]:
        answer = self.search(query, **{"profile": "minimal", "pageSize": 1000, **parameters})
        assert answer.status_code == 200, answer.text
        return {uri.rpartition("/")[2] for uri in answer.json().get("items", [])}


@pytest.fixture(scope="module")
def vocabulary(sandbox_options: SandboxOptions) -> Vocabulary:
    return load_vocabulary(sandbox_options.vocabulary_path, base_url=sandbox_options.public_url)


@pytest.fixture(scope="module")
def signing(sandbox_options: SandboxOptions) -> tokens.Tokens:
    return tokens.Tokens(replace(sandbox_options, state_dir=sandbox_options.state_dir / "keys"))


@pytest.fixture
def start(
    sandbox_options: SandboxOptions, vocabulary: Vocabulary, signing: tokens.Tokens, tmp_path: Path
) -> Iterator[Callable[..., Api]]:
    """Start the API with options changed; the same state unless another name is given."""
    states = []

    def starter(*, provides: Any = None, name: str = "state", keys: tokens.Tokens = signing, **changes: Any) -> Api:
        options = replace(sandbox_options)
        for option, value in changes.items():
            object.__setattr__(options, option, value)
        state = State(tmp_path / f"{name}.sqlite")
        states.append(state)
        annotations = Annotations(state, keys, vocabulary, options, provides)
        app = Starlette(routes=[*annotations.routes(), *tokens.routes(keys)])
        return Api(TestClient(app, follow_redirects=False), annotations, keys, state)

    yield starter
    for state in states:
        state.close()


@pytest.fixture
def api(start: Callable[..., Api]) -> Api:
    return start()


# The samples of the contract


def samples(folder: str) -> list[Any]:
    files = sorted((SAMPLES / folder).glob("*.json"))
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip(reason="the shared samples are not here"), id="none")]
    return [pytest.param(path, id=path.stem) for path in files]


ACCEPTED_ELSEWHERE = ("whitelist_entry", "transcription_transcription-coypright")
NOT_REFUSED = (
    "link_standard_jsonld",
    "semantictag_simple_standard_jsonld",
    "semantictag_specific_minimal_jsonld",
    "semantictag_specific_standard_jsonld",
    "transcription_minimal-duplicate-update",
)
REASONS = {
    "caption_caption_inconsistent_mime_type": "(body.edmRights|Invalid content for the media format)",
    "describing_web_resource_without_body_language": "Missing mandatory field! tag.body.language$",
    "linkforcontributing_link_for_contributing_target_specific": "^Invalid request.* target",
    "linkforcontributing_link_for_contributing_target_specific_id": "^Invalid request.* target",
    "pr373_highlighting_without_exact": r"Missing mandatory field! .*refinedBy\.exact$",
    "pr373_highlighting_without_predicate": r"Missing mandatory field! .*hasPredicate$",
    "tag_agent_wrong_id_not_url": "^Cannot parse body to annotation! .*value_is_not_a_url",
    "tag_body_address_no_street_address": r"Missing mandatory field! tag\.body\.address\.streetAddress$",
    "tag_body_address_no_type": "Cannot find appropriate body type with MotivationType: TAGGING:tagging:tag$",
    "tag_geotag_wrong_lat": "^Cannot parse body to annotation! Invalid values in annotation body!.*8,853415",
    "tag_geotag_wrong_long": "^Cannot parse body to annotation! Invalid values in annotation body!.*-182.348800",
    "tag_minimal_wrong": 'Invalid representation body="trombone". Text bodies must be formated using TextualBody types!body$',
    "tag_without_body": "^Missing mandatory field! body$",
    "transcription_transcription-with-alto-body-wrong": r"^Invalid content for the media format: .*\.$",
    "transcription_transcription-with-page-xml-body-wrong": r"^Invalid content for the media format: .*\.$",
    "transcription_transcription-without-language": r"^Missing mandatory field! transcription\.body\.language$",
    "transcription_transcription-without-rights": r"^Missing mandatory field! body\.edmRights$",
    "transcription_transcription-without-value": r"^Missing mandatory field! transcription\.body\.value$",
}


@pytest.mark.parametrize("path", samples("requests"))
def test_11_04_a_sample_request_is_accepted_by_an_empty_server(api: Api, path: Path) -> None:
    answer = api.call("POST", "", content=path.read_bytes())
    if path.stem in ACCEPTED_ELSEWHERE:
        assert answer.status_code == 400, "not an annotation, or only for a publisher"
        return
    assert answer.status_code == 201, answer.text
    sent, stored = json.loads(path.read_bytes()), answer.json()
    assert stored["motivation"] == sent["motivation"] and set(stored) >= {"@context", "id", "type", "creator", "target"}
    assert api.http.get(BASE + stored["id"].rpartition("/")[2], headers=KEY).json() == stored


@pytest.mark.parametrize("path", samples("requests_wrong"))
def test_11_06_a_wrong_sample_request_is_refused_for_its_reason(api: Api, path: Path) -> None:
    answer = api.call("POST", "", content=path.read_bytes())
    if path.stem in NOT_REFUSED:
        assert answer.status_code == 201, answer.text
        return
    assert answer.status_code == 400
    assert re.search(REASONS[path.stem], answer.json()["error"], re.DOTALL), answer.text


def sample(name: str) -> Any:
    if not SAMPLES.is_dir():
        pytest.skip("the shared samples are not here")
    return json.loads((SAMPLES / name).read_bytes())


def test_11_06_the_samples_that_need_more_than_one_request(api: Api) -> None:
    assert api.send(sample("requests/transcription_transcription-coypright.json"), user="publisher").status_code == 201
    whitelisted = api.send(sample("requests/whitelist_entry.json"), "/europeana/whitelist/create", user="admin")
    assert whitelisted.status_code == 201
    wrong = sample("requests_wrong/transcription_minimal-duplicate-update.json")
    taken = api.made(wrong)
    number = api.made(sample("requests/transcription_minimal.json"))
    refused = api.call("PUT", number, wrong)
    assert (refused.status_code, refused.json()["error"]) == (400, DUPLICATE + taken)


# (1) tokens


def test_11_01_a_write_demands_every_claim(api: Api) -> None:
    good = {
        "typ": "Bearer",
        "azp": "c",
        "sub": "s",
        "preferred_username": "n",
        "client_public_id": "p",
        "scope": "openid annotations",
        "aud": "annotations",
        "resource_access": {"annotations": {"roles": ["other", "user"]}},
    }

    def status(claims: dict[str, Any], lifetime_s: float = 60) -> int:
        headers = {"Authorization": f"Bearer {api.tokens.sign(claims, lifetime_s)}"}
        return int(api.call("POST", "", tag("c", {"value": "x"}), headers=headers).status_code)

    for name in ("azp", "sub", "preferred_username"):
        assert status({key: value for key, value in good.items() if key != name}) == 401, name
    for name in ("scope", "aud", "resource_access"):
        assert status({key: value for key, value in good.items() if key != name}) == 403, name
    assert status({**good, "aud": ["account"]}) == 403
    assert status({**good, "resource_access": {"annotations": {"roles": ["other"]}}}) == 403
    assert status(good, lifetime_s=-5) == 401
    assert status(good) == 201
    for header in ("", "bearer x", "Basic x", f"Bearer {api.tokens.sign(good, 60)[:-3]}xx"):
        refused = api.call("POST", "", tag("c", {"value": "x"}), headers={"Authorization": header})
        assert refused.status_code == 401 and "Invalid token or ApiKey" in refused.json()["error"]


@pytest.mark.parametrize(
    ("role", "creates", "locks"),
    [("user", 201, 403), ("tester", 201, 403), ("publisher", 201, 403), ("admin", 201, 200), ("moderator", 403, 403)]
    + [("anonimous", 403, 403)],
)
def test_11_01_a_role_allows_its_operations(api: Api, role: str, creates: int, locks: int) -> None:
    answer = api.send(tag("role", {"value": "x"}), user=role)
    assert answer.status_code == creates
    if creates == 403:
        text = "Operation not permitted or not GrantedAuthority found for operation:create"
        assert answer.json()["error"] == f"The user is not authorized to perform the given operation! {text}"
    assert api.call("POST", "/europeana/admin/lock", user=role).status_code == locks


def test_11_01_a_token_expired_in_the_middle_of_a_run_is_401_and_a_new_one_works(
    sandbox_options: SandboxOptions, start: Callable[..., Api]
) -> None:
    own = tokens.Tokens(sandbox_options)
    api = start(keys=own)
    old = {"Authorization": f"Bearer {api.token()}"}
    assert api.call("POST", "", tag("mid", {"value": "a"}), headers=old).status_code == 201
    own.expire_issued()
    refused = api.call("POST", "", tag("mid", {"value": "b"}), headers=old)
    assert refused.status_code == 401 and "Expired JWT token. Please refresh the token." in refused.json()["error"]
    assert api.send(tag("mid", {"value": "b"})).status_code == 201


def test_11_01_in_the_test_mode_a_fake_token_or_none_will_do(start: Callable[..., Api]) -> None:
    api = start(auth_disabled=True)
    answer = api.http.post(BASE, json=tag("f", {"value": "a"}), headers={"Authorization": "Bearer u1:Ann:user"})
    assert answer.status_code == 201 and answer.json()["creator"]["id"].endswith("/user/u1")
    assert answer.json()["generator"]["id"].endswith("/apikey/test-client-id")
    number = answer.json()["id"].rpartition("/")[2]
    assert api.http.post(BASE, json=tag("f", {"value": "b"})).status_code == 201
    other, admin = {"Authorization": "Bearer u2:Ben:user"}, {"Authorization": "Bearer u3:Eva:admin:key:museum"}
    assert api.http.delete(BASE + number, headers=other).status_code == 403
    assert api.http.delete(BASE + number, headers=admin).status_code == 204
    for wrong in ("Bearer u1", "Bearer a:b:moderator", "Bearer ::", "Basic u1:Ann:user"):
        assert api.http.post(BASE, json=tag("f", {}), headers={"Authorization": wrong}).status_code in (401, 403)


# (2) to (4): what is stored


def test_11_02_creator_and_generator_come_from_the_token(api: Api) -> None:
    claimed = {"creator": {"id": "http://x.example/me", "name": "me"}, "generator": "http://x.example/software"}
    stored = api.send(tag("who", {"value": "a"}, **claimed)).json()
    assert stored["creator"]["id"].startswith("http://data.europeana.eu/user/") and stored["creator"]["type"] == "Person"
    assert stored["generator"]["id"].startswith("https://api.europeana.eu/apikey/")
    assert stored["generator"]["type"] == "Software" and len(stored["creator"]) == 2
    refused = api.send(tag("who", {"value": "b"}, creator={"id": "me"}))
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2026-09-01T10:00:00+02:00", "2026-09-01T10:00:00"),
        ("2026-09-01T10:00:00.123Z", "2026-09-01T10:00:00"),
        ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
        ("2026-09-01", None),
        ("yesterday", None),
        (17, None),
    ],
)
def test_11_03_created_is_kept_without_zone_and_an_unreadable_one_is_now(api: Api, written: object, kept: str | None) -> None:
    stored = api.send(tag("when", {"value": "a"}, created=written, generated="1999-01-01T00:00:00Z")).json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", stored["generated"]) and stored["generated"] > "2020"
    assert stored["created"] == (kept or stored["generated"])


def test_11_04_unknown_members_go_and_the_order_is_the_servers(api: Api) -> None:
    extras = {"canonical": "urn:x:1", "via": ["http://v.example/1"], "equivalentTo": "http://e.example/"}
    unknown = {"modified": "x", "rights": "x", "confidence": 0.9, "audience": "x", "oa:equivalentTo": "x"}
    stored = api.send(tag("m", {"type": "TextualBody", "value": ' "Kaart" ', "score": 1}, **unknown, **extras)).json()
    order = ["@context", "id", "type", "motivation", "created", "creator", "generated", "generator", "body", "target"]
    assert list(stored) == [*order, "via", "canonical", "equivalentTo"]
    assert stored["@context"] == "http://www.w3.org/ns/anno.jsonld" and stored["type"] == "Annotation"
    assert stored["body"] == {"type": "TextualBody", "value": "Kaart", "format": "text/plain"}
    expanded = api.send({"bodyValue": "woodcut", "motivation": "tagging", "target": item("m")}).json()
    assert expanded["body"] == {"value": "woodcut", "format": "text/plain"} and "bodyValue" not in expanded


def test_11_04_a_target_keeps_its_known_members_and_only_one_type_of_selector(api: Api) -> None:
    target = {"type": "SpecificResource", "scope": item("s"), "source": "http://h.example/1.jpg", "state": 1}
    stored = api.send({**tag("s", {"value": "a"}), "target": {**target, "selector": {}}}).json()
    assert stored["target"] == {"source": "http://h.example/1.jpg", "scope": item("s")}
    fragment = {**target, "selector": {"type": "FragmentSelector", "value": "xywh=1,2,3,4"}}
    refused = api.send({**tag("s", {"value": "b"}), "target": fragment})
    assert refused.status_code == 400 and "FragmentSelector" in refused.json()["error"]
    answer = api.send(highlight(hasObject="dropped"))
    assert answer.status_code == 201 and "hasObject" not in answer.json()["target"]["selector"]
    assert answer.json()["target"]["selector"]["refinedBy"]["exact"] == {"@value": "word", "@language": "en"}


def test_11_04_of_two_bodies_the_later_stays_and_a_prefixed_motivation_is_kept_verbatim(api: Api) -> None:
    both = {"motivation": "oa:Tagging", "body": {"value": "first"}, "bodyValue": "second", "target": item("two")}
    stored = api.send(both).json()
    assert stored["body"]["value"] == "second" and stored["motivation"] == "oa:Tagging"
    assert api.found("motivation:tagging") == set() and api.send(both).status_code == 201


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (tag("x", {"value": "a"}, type=["Annotation"]), 500),
        (tag("x", {"value": "a"}, id="http://data.europeana.eu/annotation/abc"), 500),
        (tag("x", ["a text", "another"]), 500),
        (tag("x", {"value": "a"}, type="Note"), 400),
        (tag("x", {"value": "a"}, type=7), 400),
        (tag("x", {"value": "a"}, id="http://data.europeana.eu/annotation/7"), 400),
        (tag("x", {"value": "a"}, id="http://data.europeana.eu/annotation/0"), 201),
        (tag("x", [{"value": "a"}]), 400),
        (tag("x", [f"{WIKIDATA}Q1", f"{WIKIDATA}Q2"]), 201),
        (tag("x", {"value": ["a"]}), 400),
        (tag("x", {"value": 5}), 201),
        (tag("x", {"value": "ftp://x.example/"}), 201),
        (tag("x", {"value": ""}), 201),
        (tag("x", {"value": "a" * 64}), 201),
        (tag("x", {"value": "\U0001f5bc" * 33}), 400),
        (tag("x", {"value": "a", "id": "not-a-url"}), 400),
        (tag("x", {"value": "a" * 99, "id": "http://x.example/"}), 201),
        (tag("x", {"value": "a"}, motivation=["tagging"]), 400),
        (tag("x", {"value": "a", "@context": "http://x.example/"}), 400),
        ({**tag("x", {"value": "a"}), "target": [{"source": item("x")}]}, 400),
        ({**tag("x", {"value": "a"}), "target": {"scope": item("x"), "source": ["a"]}}, 400),
        (highlight(predicate=""), 400),
        (highlight(hasSubject="no url"), 400),
        ({**highlight(), "target": {"source": "http://other.example/1"}}, 400),
        ({"motivation": "linking", "target": [item("a"), "http://data.europeana.eu.evil.example/item/1/2"]}, 400),
    ],
)
def test_11_04_a_document_is_read_by_the_servers_rules(api: Api, document: object, status: int) -> None:
    answer = api.send(document)
    assert answer.status_code == status, answer.text
    if status == 500:
        assert answer.json()["error"].startswith("An unexpected server exception occurred! ")


@pytest.mark.parametrize(
    ("motivation", "body", "status", "text"),
    [
        ("transcribing", {"format": "application/pdf"}, 415, "when validating transcription content: application/pdf."),
        ("subtitling", {"format": "text/plain"}, 415, "when validating transcription content: text/plain."),
        ("subtitling", {"value": "00:01.000 --> 00:02.000\nHoi"}, 400, "Invalid content for the media format: "),
        ("captioning", {"value": "WEBVTT\n\n00:02.000 --> 00:01.000\nHoi"}, 400, "Invalid content for the media format: "),
        ("captioning", {"format": "application/x-subrip"}, 400, "Invalid content for the media format: "),
        ("subtitling", {"format": "application/x-subrip", "value": "1\n00:00:01,000 --> 00:00:02,000\nHoi"}, 201, ""),
        ("subtitling", {"format": "application/ttml+xml", "value": "<tt xmlns='http://www.w3.org/ns/ttml'/>"}, 201, ""),
        ("subtitling", {"format": "application/ttml+xml", "value": "<html/>"}, 400, "Invalid content"),
        ("transcribing", {"format": "application/alto+xml", "value": "<alto/>"}, 201, ""),
        ("transcribing", {"format": "application/alto+xml", "value": "<PcGts/>"}, 400, "Invalid content"),
        ("transcribing", {"format": 'application/vnd.prima.page+xml;version="2019-07-15"', "value": "<PcGts/>"}, 201, ""),
        ("transcribing", {"format": "application/alto+xml", "value": "<!DOCTYPE a [<!ENTITY e 'x'>]><alto/>"}, 400, "entity"),
        ("translating", {"edmRights": "https://creativecommons.org/licenses/by/4.0/"}, 400, "body.edmRights:https://"),
        ("translating", {"edmRights": "http://creativecommons.org/licenses/by/4.0"}, 400, "body.edmRights:http://"),
        ("translating", {"edmRights": "http://creativecommons.org/licenses/by-nc/4.0/"}, 400, "body.edmRights:http://"),
        ("translating", {"edmRights": "http://rightsstatements.org/vocab/NoC-NC/1.0/"}, 201, ""),
        ("translating", {"edmRights": None}, 400, "Missing mandatory field! body.edmRights"),
    ],
)
def test_11_06_full_texts_are_checked_for_format_and_licence(
    api: Api, motivation: str, body: dict[str, object], status: int, text: str
) -> None:
    answer = api.send(full_text(motivation, **body))
    assert answer.status_code == status and text in answer.text, answer.text


def test_11_06_another_licence_is_for_publishers_and_for_the_records_provider(start: Callable[..., Api]) -> None:
    known = {"sandbox": True}
    api = start(provides=lambda affiliation, record: known.get(affiliation))
    assert api.send(full_text("transcribing", "http://m.example/a", edmRights="http://own.example/")).status_code == 201
    known["sandbox"] = False
    assert api.send(full_text("transcribing", "http://m.example/b", edmRights="http://own.example/")).status_code == 400
    known.clear()
    assert api.send(full_text("transcribing", "http://m.example/b", edmRights="http://own.example/")).status_code == 502
    licensed = full_text("transcribing", "http://m.example/b", edmRights="http://own.example/")
    assert api.send(licensed, user="publisher").status_code == 201


# (5) duplicates


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("painting", "paintings", True),
        ("oil painting", "Painting", True),
        ("painting", "oil painting", False),
        ("red oil painting", "red painting", False),
        ("Horses", "horse", True),
        ("maps", "mapped", True),
        ("boat", "coat", False),
    ],
)
def test_11_05_a_text_tag_is_a_stemmed_phrase_of_another(api: Api, first: str, second: str, is_same: bool) -> None:
    number = api.made(tag("stem", {"value": first, "language": "en"}))
    answer = api.send(tag("stem", {"value": second, "language": "en"}), user="other")
    assert answer.status_code == (400 if is_same else 201)
    assert not is_same or answer.json()["error"] == DUPLICATE + number
    assert api.send(tag("stem", {"value": second})).status_code == 201
    assert api.send(tag("stem", {"value": second, "language": "nl"})).status_code == 201


def test_11_05_a_tag_is_unique_per_record_across_users(api: Api) -> None:
    number = api.made(tag("one", f"{WIKIDATA}Q1"))
    picture = {"scope": item("one"), "source": "http://h.example/2.jpg"}
    for target in (item("one"), [item("one")], picture):
        refused = api.send({**tag("one", f"{WIKIDATA}Q1"), "target": target}, user="other")
        assert (refused.status_code, refused.json()["error"]) == (400, DUPLICATE + number)
    assert api.send({**tag("one", f"{WIKIDATA}Q1"), "target": [item("one"), item("two")]}).status_code == 201
    both = api.send({**tag("one", f"{WIKIDATA}Q1"), "target": item("two")})
    assert both.status_code == 400, "the annotation of both records has this one"
    assert api.send(tag("one", {"id": f"{WIKIDATA}Q1"})).json()["error"] == DUPLICATE + "1,2"
    assert api.send(tag("one", [f"{WIKIDATA}Q1", f"{WIKIDATA}Q2"])).status_code == 201


def test_11_05_kinds_that_are_never_checked(api: Api) -> None:
    place = {"type": "Place", "lat": 52, "long": "4.9"}
    agent = {"type": "Agent", "id": "http://a.example/1", "prefLabel": {"en": "Jane"}}
    address = {"type": "Address", "streetAddress": "a", "locality": "b", "countryName": "c"}
    link = {"motivation": "linking", "target": [item("a"), item("b")]}
    description = {"motivation": "describing", "body": {"value": "A ship"}, "target": item("a")}
    for document in (tag("n", place), tag("n", agent), tag("n", address), link, description):
        assert [api.send(document).status_code for _ in range(2)] == [201, 201]


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (full_text("transcribing"), full_text("transcribing", value="else"), True),
        (full_text("transcribing"), full_text("transcribing", language="de"), False),
        (full_text("transcribing"), full_text("translating"), False),
        (full_text("transcribing"), full_text("transcribing", "http://m.example/2"), False),
        (full_text("captioning"), full_text("captioning", language="de"), True),
        (full_text("subtitling"), full_text("captioning"), True),
        (full_text("subtitling"), full_text("captioning", language="de"), False),
        (full_text("captioning"), full_text("subtitling"), True),
        (full_text("subtitling"), full_text("subtitling", language="de"), False),
        (highlight(), highlight("dc:description"), True),
        (highlight(), {**highlight(), "body": "http://terms.example/2"}, False),
    ],
)
def test_11_05_full_texts_and_highlights_are_unique_by_their_own_rules(
    api: Api, first: object, second: object, is_same: bool
) -> None:
    api.made(first)
    assert api.send(second, user="other").status_code == (400 if is_same else 201)


def test_11_05_one_link_for_contributing_per_record(api: Api) -> None:
    link = {"motivation": "linkForContributing", "body": "https://t.example/1", "target": item("lc")}
    api.made(link)
    assert api.send({**link, "body": {"id": "https://t.example/2"}, "target": {"id": item("lc")}}).status_code == 400
    assert api.send({**link, "body": "http://t.example/1", "target": item("lc2")}).status_code == 400
    assert api.send({**link, "target": item("lc2")}).status_code == 201


def test_11_05_a_quotation_mark_in_a_text_tag_breaks_the_query(api: Api) -> None:
    for text in ('a "b" c', "a\\"):
        answer = api.send(tag("q", {"value": text}))
        assert answer.status_code == 400 and answer.json()["error"].startswith("Malformed solr query: ")
    assert api.send(tag("q", {"value": '"quoted"'})).status_code == 201


def test_11_05_what_is_not_indexed_is_not_seen(api: Api) -> None:
    hidden = api.made(tag("h", f"{WIKIDATA}Q1"), params={"indexOnCreate": "false"})
    assert api.found("*:*") == set() and api.made(tag("h", f"{WIKIDATA}Q1")) != hidden
    assert api.send(tag("h", {"value": "a"}), params={"indexOnCreate": "maybe"}).json()["type"] == "ErrorResponse"


# (6) errors, (7) headers, (8) deletion


def test_11_06_both_error_formats_say_the_same(start: Callable[..., Api]) -> None:
    api = start()
    api.made(tag("e", f"{WIKIDATA}Q1"))
    old = api.send(tag("e", f"{WIKIDATA}Q1"))
    assert old.json() == {"action": "/annotation/", "success": False, "error": DUPLICATE + "1"}
    assert old.headers["Vary"] == "Accept" and old.headers["Content-Type"] == "application/json;charset=utf-8"
    api.annotations.set_error_format("2026")
    new = api.send(tag("e", f"{WIKIDATA}Q1")).json()
    assert (new["type"], new["status"], new["success"], new["message"]) == ("ErrorResponse", 400, False, DUPLICATE + "1")
    assert new["path"] == "/annotation/" and "code" not in new and new["timestamp"].endswith("Z")
    key = api.http.get(f"{BASE}search", params={"query": "*:*", "wskey": "no"}).json()
    assert (key["status"], key["code"], key["error"]) == (401, "401_key_invalid", "API key is invalid")
    with pytest.raises(ValueError, match="2024 and 2026"):
        api.annotations.set_error_format("2030")
    assert start(error_format="2026", name="other").send({}).json()["type"] == "ErrorResponse"


def test_11_06_the_error_body_has_key_and_stack_only_when_asked(api: Api) -> None:
    plain = api.http.get(f"{BASE}7", headers=KEY).json()
    assert plain == {
        "action": "/annotation/7",
        "success": False,
        "error": "No annotation found with the given identifier! http://data.europeana.eu/annotation/7",
    }
    full = api.http.get(f"{BASE}7", params={"wskey": "sandbox", "includeErrorStack": "true"}).json()
    assert full["apikey"] == "sandbox" and full["stackTrace"]
    assert api.http.get(f"{BASE}7", params={"wskey": ""}).json()["error"] == "Empty apiKey!"
    assert api.http.get(f"{BASE}7").json()["error"].startswith("Invalid apiKey: No authentication information provided")
    assert api.http.get(f"{BASE}7", headers={"Authorization": "APIKEY sandbox"}).status_code == 404
    wrong = api.http.get(f"{BASE}abc", headers=KEY)
    assert (wrong.status_code, wrong.json()["error"]) == (400, "Error in parsing request parameter (wrong type).")
    empty = api.call("POST", "", content=b"")
    assert empty.status_code == 400 and empty.json()["error"].startswith(" ")


def test_11_06_methods_paths_and_accept_headers(api: Api) -> None:
    number = api.made(tag("p", {"value": "a"}))
    patched = api.call("PATCH", number, {})
    assert patched.status_code == 405 and "GET" in patched.headers["Allow"]
    assert api.call("GET", "").status_code == 405
    assert api.send(tag("p", {"value": "b"}), "/europeana/annotation").status_code == 404
    assert api.http.options(BASE + number).status_code == 200
    cors = {"Origin": "http://x.example", "Access-Control-Request-Method": "DELETE"}
    assert api.http.options(BASE + number, headers=cors).status_code == 403
    assert api.http.get(BASE + number, headers={**KEY, "Origin": "x"}).headers["Access-Control-Allow-Origin"] == "*"
    assert api.http.head(BASE + number, headers=KEY).headers["ETag"]
    assert api.http.get(BASE + number, headers={**KEY, "Accept": "text/html"}).status_code == 406
    plain = api.http.get(BASE + number, headers={**KEY, "Accept": "application/json"})
    assert plain.headers["Content-Type"] == "application/json;charset=utf-8"
    linked = api.http.get(f"{BASE}{number}.jsonld", headers=KEY)
    assert linked.headers["Content-Type"] == "application/ld+json;charset=utf-8" and linked.json() == plain.json()
    for path, status in (("tag", 201), ("tag.jsonld", 201), ("unknown", 400), ("tagging", 400)):
        answer = api.send({"bodyValue": path, "target": item("path")}, path)
        assert answer.status_code == status, answer.text
    assert api.send({**tag("path", {"value": "z"}), "motivation": "describing"}, "tag").json()["motivation"] == "describing"


def test_11_07_no_location_and_the_etag_decides_on_changes(api: Api) -> None:
    created = api.send(tag("etag", f"{WIKIDATA}Q1"))
    assert "Location" not in created.headers and re.fullmatch(r'"[0-9a-f]+"', created.headers["ETag"])
    assert created.headers["Allow"] == "POST" and created.headers["Link"].startswith("<http://www.w3.org/ns/ldp#Resource>")
    changed = tag("etag", f"{WIKIDATA}Q2", id="http://data.europeana.eu/annotation/99", via="http://v.example/")
    for wrong in ("*", created.headers["ETag"].strip('"'), 'W/"1"'):
        for method in ("PUT", "DELETE"):
            refused = api.call(method, "1", changed, headers={"If-Match": wrong})
            assert refused.status_code == 412 and refused.json()["error"].endswith(f"If-Match:{wrong}")
    updated = api.call("PUT", "1", changed, headers={"If-Match": created.headers["ETag"]})
    assert updated.status_code == 200 and updated.headers["Allow"] == "GET,PUT,DELETE"
    assert updated.headers["ETag"] not in ("", created.headers["ETag"]) and updated.json()["id"].endswith("/1")
    assert api.call("PUT", "1", {"body": "http://x.example/", "target": item("etag")}).status_code == 400
    assert api.call("DELETE", "1", headers={"If-Match": updated.headers["ETag"]}).status_code == 204


def test_11_08_deleted_is_410_may_be_made_again_and_brought_back(api: Api) -> None:
    number = api.made(tag("d", f"{WIKIDATA}Q1"))
    assert api.call("DELETE", number).status_code == 204
    for method in ("GET", "PUT", "DELETE"):
        gone = api.call(method, number, tag("d", f"{WIKIDATA}Q2"))
        assert gone.status_code == 410
        assert gone.json()["error"].endswith("state! null Annotation is not accessible! DISABLED")
    assert api.found("*:*") == set()
    again = api.made(tag("d", f"{WIKIDATA}Q1"))
    assert again != number
    text = {"Content-Type": "text/plain"}
    assert api.call("POST", number, headers=text, user="other").status_code == 403
    back = api.call("POST", number, headers=text)
    assert back.status_code == 200 and "ETag" not in back.headers and back.json()["id"].endswith(number)
    assert api.found("*:*") == {number, again}


def test_11_08_the_list_of_deleted_ones_has_filters_and_pages(api: Api) -> None:
    numbers = [api.made(tag(f"l{number}", {"value": "a"})) for number in range(4)]
    link = api.made({"motivation": "linking", "target": [item("a"), item("b")]})
    for number in (*numbers, link):
        api.call("DELETE", number)
    url = "/europeana/annotations/deleted"

    def listed(**parameters: object) -> list[str]:
        answer = api.http.get(url, params=parameters, headers=KEY)
        assert answer.status_code == 200 and answer.headers["Allow"] == "GET"
        return [uri.rpartition("/")[2] for uri in answer.json()]

    assert listed() == [link, *reversed(numbers)] and listed(motivation="tagging") == numbers[::-1]
    assert listed(limit=2, page=1) == [numbers[2], numbers[1]] and len(listed(limit=5000)) == 5
    assert listed(**{"from": "2099-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}) == []
    for wrong in ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"from": "today"}, {"page": "x"}):
        assert api.http.get(url, params=wrong, headers=KEY).status_code == 400
    assert api.http.get(url).status_code == 401


# (9) search


def test_11_09_every_index_field_is_searched(api: Api) -> None:
    one = api.made(tag("f", {"source": f"{WIKIDATA}Q1", "type": "SpecificResource"}))
    graph = {"@context": "http://www.europeana.eu/schemas/context/edm.jsonld", "id": item("f")}
    graph["isSimilarTo"] = {"id": "https://x.example/1", "title": "X"}  # type: ignore[assignment]
    two = api.made({"motivation": "linking", "body": {"@graph": graph}, "target": item("f")})
    three = api.made(tag("g", {"value": "Oil paintings", "language": "en"}))
    creator = api.http.get(BASE + one, headers=KEY).json()["creator"]["id"]
    expected = {
        f'anno_uri:"http://data.europeana.eu/annotation/{one}"': {one},
        f"anno_id:({one} OR {two})": {one, two},
        f"anno_id:[{two} TO *]": {two, three},
        f'target_uri:"{item("f")}"': {one, two},
        'target_record_id:"/90402/f"': {one, two},
        "target_record_id:[* TO *]": {one, two, three},
        f'body_uri:"{WIKIDATA}Q1"': {one},
        "body_uri:*": {one},
        "link_relation:isSimilarTo": {two},
        'link_resource_uri:"https://x.example/1"': {two},
        "scenario:(semanticTag OR simpleTag)": {one, three},
        "scenario:objectLink": {two},
        "motivation:tagging NOT scenario:simpleTag": {one},
        f'creator_uri:"{creator}"': {one, two, three},
        "generator_uri:*": {one, two, three},
        "creator_name:*": set(),
        "body_value:painting": {three},
        'body_value.en:"oil painting"': {three},
        "body_value.nl:painting": set(),
        "oil": {three},
        "paint*": {three},
        "created:[NOW-1DAY TO NOW]": {one, two, three},
        "generated:[2099-01-01T00:00:00Z TO *]": set(),
        "motivation:TAGGING": set(),
        "moderation_score:*": set(),
    }
    for query, numbers in expected.items():
        assert api.found(query) == numbers, query
    assert api.found("*:*", qf=["motivation:tagging", "scenario:simpleTag"]) == {three}
    assert api.found("*:*", qf="motivation:tagging,scenario:simpleTag") == {three}, "one value is split at its commas"


@pytest.mark.parametrize(
    "query",
    ["target_uri:http://x", "undefined:1", '"open', "a AND", "(a", "anno_id:x", "created:[today TO NOW]", "a^2"]
    + ["(" * 3000 + "a" + ")" * 3000, f"anno_id:({' OR '.join(map(str, range(1025)))})", "motivation:[a TO"],
)
def test_11_09_a_malformed_query_is_400(api: Api, query: str) -> None:
    answer = api.search(query)
    assert answer.status_code == 400 and answer.json()["error"].startswith("Malformed solr query: ")


@pytest.mark.parametrize(
    ("parameters", "is_newer"),
    [
        ({"query": " "}, False),
        ({"profile": "minimal,standard"}, False),
        ({"profile": "mini"}, False),
        ({"page": "-1"}, False),
        ({"facet": "nothing", "profile": "facets"}, False),
        ({"page": "x"}, True),
        ({"pageSize": "99999999999"}, True),
        ({"sort": "id"}, True),
        ({"sortOrder": "up"}, True),
    ],
)
def test_11_09_a_wrong_parameter_is_400(api: Api, parameters: dict[str, str], is_newer: bool) -> None:
    answer = api.search(**{"query": "*:*", **parameters})
    assert answer.status_code == 400 and (answer.json().get("type") == "ErrorResponse") == is_newer, answer.text


def test_11_09_caps_pages_and_the_order_inside_a_page(api: Api) -> None:
    for number in range(105):
        api.made(tag(f"c{number}", {"value": "a"}))
    standard = api.search("*:*", pageSize=5000, sort="created", sortOrder="asc").json()
    assert standard["total"] == len(standard["items"]) == 100 and standard["isPartOf"]["total"] == 105
    numbers = [int(one["id"].rpartition("/")[2]) for one in standard["items"]]
    assert sorted(numbers) == list(range(1, 101)) and numbers != sorted(numbers) and numbers != sorted(numbers)[::-1]
    minimal = api.search("*:*", pageSize=5000, profile="minimal", sort="created").json()
    assert [uri.rpartition("/")[2] for uri in minimal["items"]] == [str(number) for number in range(105, 0, -1)]
    last = api.http.get(f"{BASE}search", params={"query": "*:*", "wskey": "sandbox", "page": 10}).json()
    assert last["total"] == 5 and "next" not in last and "wskey=sandbox" in last["prev"]
    beyond = api.search("*:*", page=50).json()
    assert beyond["total"] == 0 and "items" not in beyond
    api.annotations.set_page_member("partOf")
    assert api.search("*:*").json()["partOf"]["total"] == 105
    with pytest.raises(ValueError, match="isPartOf and partOf"):
        api.annotations.set_page_member("part")


def test_11_09_headers_and_the_prefer_header(api: Api) -> None:
    api.made(tag("h", {"value": "a"}))
    prefer = 'return=representation; include="http://www.w3.org/ns/oa#PreferContainedIRIs"'
    answer = api.http.get(f"{BASE}search.jsonld", params={"query": "*:*"}, headers={**KEY, "Prefer": prefer})
    assert answer.json()["items"] == ["http://data.europeana.eu/annotation/1"]
    assert answer.headers["Vary"] == "Accept, Prefer" and answer.headers["Allow"] == "GET"
    assert "Preference-Applied" not in answer.headers and len(answer.headers.get_list("Link")) == 2
    assert answer.headers["Content-Type"].endswith('profile="http://www.w3.org/ns/anno.jsonld"')
    own = api.http.get(f"{BASE}search", params={"query": "*:*", "profile": "standard"}, headers={**KEY, "Prefer": prefer})
    assert isinstance(own.json()["items"][0], dict)


def test_11_09_facets_count_and_are_capped(api: Api) -> None:
    for number in range(102):
        api.made(tag(f"r{number}", {"value": "a"}))
    api.made(tag("r1", f"{WIKIDATA}Q1"))
    facet = api.search("*:*", profile="facets", facet=["target_record_id", "scenario", "body_uri"]).json()["facets"]
    records, scenarios, uris = (entry["values"] for entry in facet)
    assert len(records) == 100 and records[0] == {"label": "/90402/r1", "count": 2}
    assert scenarios == [{"label": "simpleTag", "count": 102}, {"label": "semanticTag", "count": 1}]
    assert uris == [{"label": f"{WIKIDATA}Q1", "count": 1}]
    assert "facets" not in api.search("*:*", facet="scenario").json()


def test_11_09_dereferencing_describes_plain_uris_only(api: Api) -> None:
    concept = f"{WIKIDATA}Q11629"
    plain = api.made(tag("a", concept))
    api.made(tag("b", {"id": concept}))
    api.made(tag("c", f"{WIKIDATA}Q999999"))
    items = api.search("*:*", profile="dereference", language="nl,fr").json()["items"]
    bodies = {one["id"].rpartition("/")[2]: one["body"] for one in items}
    assert bodies[plain]["prefLabel"] == {"nl": "Schilderij"} and bodies[plain]["id"] == concept
    assert bodies["2"] == {"id": concept} and bodies["3"] == f"{WIKIDATA}Q999999"
    api.made({"motivation": "linking", "target": [item("a"), item("b")]})
    assert api.search("*:*", profile="dereference").status_code == 500, "a link without a body beside a semantic tag (8.3)"
    assert api.search("*:*").status_code == 200


# (10) batch


def batch(*items: object, **more: object) -> dict[str, object]:
    return {"@context": "http://www.w3.org/ns/anno.jsonld", "type": "AnnotationPage", "items": [*items], **more}


BATCH = "/europeana/annotations/"


def test_11_10_a_batch_is_stored_in_order_without_index_or_duplicate_check(api: Api) -> None:
    mine = api.made(tag("b", {"value": "first"}), user="other")
    creator = {"id": "https://c.example/1", "type": "Person", "name": "John"}
    items = (
        tag("b", {"value": "first"}, creator=creator, created="2015-01-01T00:00:00Z", generator="http://g.example"),
        tag("b", {"value": "changed"}, id=f"http://data.europeana.eu/annotation/{mine}"),
        tag("b", {"value": "first"}),
    )
    answer = api.send(batch(*items), BATCH)
    page = answer.json()
    assert answer.status_code == 201 and "ETag" not in answer.headers and answer.headers["Allow"] == "POST"
    assert page["type"] == "AnnotationPage" and page["total"] == 3
    assert [one["id"].rpartition("/")[2] for one in page["items"]] == ["2", mine, "3"]
    assert [one["body"]["value"] for one in page["items"]] == ["first", "changed", "first"]
    first, _, third = page["items"]
    assert first["creator"] == creator and first["generator"] == "http://g.example" and first["created"] > "2020"
    assert third["creator"]["id"].startswith("http://data.europeana.eu/user/")
    assert api.found("*:*") == set()
    reindexed = api.call("PUT", "/europeana/admin/annotation/reindexoutdated", user="admin").json()
    assert reindexed["operationReport"]["successCount"] == 3 and api.found("*:*") == {"1", "2", "3"}
    assert api.found("creator_name:John") == {"2"}


def test_11_10_a_failing_batch_stores_nothing_and_reports_inserts_under_key_0(api: Api) -> None:
    mine = api.made(tag("b", {"value": "first"}))
    long = {"value": "x" * 70}
    items = (tag("b", {"value": "ok"}), tag("b", long), tag("b", {"value": "y" * 80}), tag("b", long, id=f"x/{mine}"))
    answer = api.send(batch(*items), BATCH)
    report = answer.json()["operationReport"]
    assert answer.status_code == 400 and answer.json()["error"] == "Batch upload failed!"
    assert (report["successCount"], report["failureCount"], set(report["errors"])) == (1, 3, {"0", mine})
    assert report["errors"]["0"].endswith("tag.size: 80") and report["errors"][mine].endswith("tag.size: 70")
    unknown = api.send(batch(tag("b", {"value": "ok"}), tag("b", {"value": "ok"}, id="-1")), BATCH)
    assert unknown.status_code == 404 and set(unknown.json()["operationReport"]["errors"]) == {"-1"}
    assert api.state.one("SELECT count(*) FROM annotation") == (1,)


@pytest.mark.parametrize(
    ("page", "status"),
    [
        (batch(tag("b", {"value": "a"}, motivation="shouting")), 500),
        (batch("text"), 500),
        (batch(tag("b", {"value": "a"}, id="x/y")), 500),
        (batch(tag("b", {"value": "a"}, type=["Annotation"])), 500),
        (batch(unknown=1), 500),
        (batch(id="http://x.example/?page=1", total=0, isPartOf={}, next="x", prev="x", facets=[]), 201),
        (batch(id="http://x.example/"), 400),
        (batch(tag("b", {})), 500),
        (batch({"motivation": "tagging", "target": item("b")}), 400),
        ([], 400),
        ({"type": "AnnotationPage", "items": {}}, 400),
    ],
)
def test_11_10_a_malformed_batch(api: Api, page: object, status: int) -> None:
    answer = api.send(page, BATCH)
    assert answer.status_code == status, answer.text
    assert status != 500 or answer.json()["error"].startswith("An unexpected server exception occurred! ")


def numbered(value: object, numbers: list[str]) -> Any:
    text = json.dumps(value)
    for place, number in enumerate(numbers, start=1):
        text = text.replace(f"%httpurl{place}%", f"http://data.europeana.eu/annotation/{number}")
    return json.loads(text)


def test_11_10_the_sample_batches(api: Api) -> None:
    own = [api.made(tag("b", {"value": name})) for name in ("a", "b")]
    good = api.send(numbered(sample("batch/annotation_page.json"), own), BATCH)
    assert good.status_code == 201 and good.json()["total"] == 5 and good.json()["items"][2]["id"].endswith(f"/{own[0]}")
    missing = api.send(numbered(sample("batch/annotation_page_nonexisting_ids.json"), own), BATCH)
    assert missing.status_code == 404 and missing.json()["operationReport"]["failureCount"] == 3
    assert set(missing.json()["operationReport"]["errors"]) == {"-1", "-2", "-3"}
    invalid = api.send(sample("batch/annotation_page_validation_error.json"), BATCH)
    assert invalid.status_code == 400 and set(invalid.json()["operationReport"]["errors"]) == {"1", "2"}
    via = api.send(sample("batch/annotation_page_via.json"), BATCH).json()["items"][0]
    assert via["via"] and via["creator"]["name"] == "John Smith"


# (11) what goes wrong, and the paths for admins


def test_11_11_a_lock_stops_writes_before_the_token_is_looked_at(start: Callable[..., Api]) -> None:
    api = start()
    number = api.made(tag("lock", {"value": "a"}))
    lock = "/europeana/admin/lock"
    assert api.call("POST", lock).status_code == 403 and api.call("POST", lock, user="admin").status_code == 200
    restarted = start()
    for one in (api, restarted):
        for method, path in (("POST", ""), ("PUT", number), ("DELETE", number), ("POST", BATCH), ("POST", lock)):
            refused = one.call(method, path, tag("lock", {"value": "b"}), headers={"Authorization": "Bearer none"})
            assert (refused.status_code, refused.json()["error"]) == (423, "error.userset_lock_maintenance")
    assert api.http.get(BASE + number, headers=KEY).status_code == 200
    assert api.call("PUT", "/europeana/admin/annotation/reindexall", user="admin").status_code == 200
    assert api.call("DELETE", lock).status_code == 403 and api.call("DELETE", lock, user="admin").status_code == 200
    assert api.send(tag("lock", {"value": "b"})).status_code == 201
    api.annotations.set_locked(True)
    assert api.send(tag("lock", {"value": "c"})).status_code == 423


def test_11_11_without_the_search_engine_searches_and_creations_are_504(api: Api) -> None:
    api.annotations.set_index_reachable(False)
    for answer in (api.search("*:*"), api.send(tag("s", {"value": "a"}))):
        assert answer.status_code == 504 and answer.json()["error"].startswith("Unexpected error on solr search with query: ")
    assert api.send(batch(tag("s", {"value": "a"})), BATCH).status_code == 201
    api.annotations.set_index_reachable(True)
    assert api.send(tag("s", {"value": "a"})).status_code == 201


def test_11_11_search_lags_behind_when_told(api: Api) -> None:
    api.annotations.set_index_lag(60)
    api.made(tag("s", {"value": "a"}))
    assert api.found("*:*") == set() and api.send(tag("s", {"value": "a"})).status_code == 201


def test_11_11_reports_are_one_for_each_user(api: Api) -> None:
    number = api.made(tag("rep", {"value": "a"}))
    first = api.call("POST", f"{number}/report")
    assert (first.status_code, first.content) == (201, b"")
    again = api.call("POST", f"{number}/report")
    assert again.status_code == 405 and "http://data.europeana.eu/user/" in again.json()["error"]
    assert api.call("POST", f"{number}/report", user="other").status_code == 201
    summary = api.http.get(f"{BASE}{number}/moderationsummary", headers=KEY).json()
    assert summary == {"endorseSum": 0, "reportSum": 2, "score": -2} and api.found("moderation_score:[* TO -1]") == {number}
    unknown = api.call("POST", "99/report")
    assert (unknown.status_code, unknown.json()["error"]) == (400, "An error occurred during annotation validation! identifier")


def test_11_11_statistics_need_the_key_in_the_query(api: Api) -> None:
    api.made(tag("st", {"value": "a"}))
    assert api.http.get(f"{BASE}stats", headers=KEY).status_code == 400
    assert api.http.get(f"{BASE}stats", params={"wskey": "sandbox"}).json()["annotations"] == {"tagging": 1}


def test_11_11_the_whitelist_rules_links(api: Api) -> None:
    url = "/europeana/whitelist"
    target = "http://new.example/?x=http://data.europeana.eu/item/1/2"
    link = {"motivation": "linking", "target": [target, item("b")]}
    refused = api.send(link)
    assert refused.status_code == 400 and refused.json()["error"].endswith(f"target.value:{target}")
    entry = {"name": "new", "httpUrl": "http://new.example", "status": "enabled"}
    assert api.send(entry, f"{url}/create").status_code == 403
    assert api.send(entry, f"{url}/create", user="admin").status_code == 201 and api.send(link).status_code == 201
    found = api.call("GET", f"{url}/search", params={"url": entry["httpUrl"]}, user="admin").json()
    assert found["whitelistEntry"] == entry
    assert api.call("GET", f"{url}/view", user="admin").json()["totalResults"] == 4
    assert api.call("DELETE", f"{url}/delete", params={"url": entry["httpUrl"]}, user="admin").status_code == 204
    assert api.call("DELETE", f"{url}/delete", params={"url": entry["httpUrl"]}, user="admin").status_code == 404
    assert api.send(link).status_code == 400
    assert api.call("DELETE", f"{url}/deleteall", user="admin").status_code == 204
    plain = {"motivation": "linking", "target": [item("a"), item("b")]}
    assert api.send(plain).status_code == 400
    assert api.call("GET", f"{url}/load", user="admin").json()["totalResults"] == 3
    assert api.send(plain).status_code == 201 and api.call("GET", f"{url}/view").status_code == 403


def test_11_11_admins_erase_reindex_and_rename(start: Callable[..., Api]) -> None:
    api, admin = start(), "/europeana/admin/annotation"
    numbers = [api.made(tag("adm", {"value": name}), params={"indexOnCreate": "false"}) for name in "abcd"]
    one = api.call("PUT", f"{admin}/reindex", params={"identifier": numbers[0]}, user="admin")
    assert one.status_code == 200 and api.found("*:*") == {numbers[0]}
    assert api.call("PUT", f"{admin}/reindexset", [numbers[1]], user="admin").status_code == 200
    assert api.call("PUT", f"{admin}/reindexselection", params={"startDate": "2099-01-01T00:00:00Z"}, user="admin").is_success
    assert api.found("*:*") == set(numbers[:2])
    assert api.call("PUT", f"{admin}/reindexall", user="admin").is_success and api.found("*:*") == set(numbers)
    moved = api.call("POST", f"{admin}/updateRecordId", params={"old": "/90402/adm", "new": "/90402/new"}, user="admin")
    assert moved.status_code == 200 and api.found('target_record_id:"/90402/new"') == set(numbers)
    assert api.http.get(BASE + numbers[0], headers=KEY).json()["target"] == item("new")
    gone = api.call("DELETE", f"{admin}/delete", params={"identifier": numbers[3]}, user="admin")
    assert gone.status_code == 200 and api.http.get(BASE + numbers[3], headers=KEY).status_code == 404
    report = api.send([numbers[2], "http://data.europeana.eu/annotation/99"], f"{admin}/deleteset", user="admin").json()
    assert report["operationReport"]["successCount"] == 1 and set(report["operationReport"]["errors"]) == {"99"}
    assert api.found("*:*") == set(numbers[:2])
    assert start().made(tag("adm", {"value": "new"})) == "5", "numbers are not used again"
    for method, path in (("DELETE", "delete"), ("POST", "deleteset"), ("PUT", "reindexall"), ("POST", "updateRecordId")):
        assert api.call(method, f"{admin}/{path}").status_code == 403


# (12) targets of tags


def test_11_12_a_tags_target_is_not_checked_and_not_indexed_when_it_is_no_item(api: Api) -> None:
    for target in ("https://data.europeana.eu/item/90402/x", "nonsense", {"source": "http://m.example/1.jpg"}):
        for _ in range(2):
            assert api.send({**tag("t", f"{WIKIDATA}Q1"), "target": target}).status_code == 201
    assert api.found("*:*") == set()
    described = {"motivation": "describing", "body": {"value": "A ship"}, "target": "https://data.europeana.eu/item/1/2"}
    answer = api.send(described)
    assert answer.status_code == 400
    text = "Invalid annotation target base url, which should contain: http://data.europeana.eu/item."
    assert answer.json()["error"] == text
    assert api.call("PUT", "/europeana/admin/annotation/reindexall", user="admin").is_success and api.found("*:*") == set()
