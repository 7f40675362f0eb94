"""A campaign's annotations in both export models, with their documented faults (WITH contract 3.7)."""

from statistics import median
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator, votes_of
from pipeline.sandbox.with_campaign_store import CampaignStore
from pipeline.sandbox.with_common import Table, WithError, flag, instant, java_date, needed
from pipeline.vocabulary import canonical_uri

_CONTEXT: dict[str, Any] = {
    "as": "https://www.w3.org/ns/activitystreams#",
    "dc": "http://purl.org/dc/terms/",
    "dce": "http://purl.org/dc/elements/1.1/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "oa": "http://www.w3.org/ns/oa#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "soa": "http://sw.islab.ntua.gr/annotation/",
    "id": {"@id": "@id", "@type": "@id"},
    "type": {"@id": "@type", "@type": "@id"},
    "value": "rdf:value",
    "created": {"@id": "dc:created", "@type": "xsd:dateTime"},
    "creator": {"@id": "dc:creator", "@type": "@id"},
    "language": "dc:language",
    "Software": "as:Application",
    "name": "foaf:name",
    "Annotation": "oa:Annotation",
    "TextPositionSelector": "oa:TextPositionSelector",
    "TextualBody": "oa:TextualBody",
    "body": {"@id": "oa:hasBody", "@type": "@id"},
    "scope": {"@id": "oa:hasScope", "@type": "@id"},
    "selector": {"@id": "oa:hasSelector", "@type": "@id"},
    "source": {"@id": "oa:hasSource", "@type": "@id"},
    "target": {"@id": "oa:hasTarget", "@type": "@id"},
    "Literal": "soa:Literal",
}
_HOMEPAGE = "https://crowdheritage.eu"


class Exports:
    """The export call; nobody needs to be logged in for it."""

    def __init__(self, accounts: Accounts, store: AnnotationStore, campaigns: CampaignStore) -> None:
        self._accounts = accounts
        self._store = store
        self._campaigns = campaigns

    def table(self) -> Table:
        """Method, path and handler of the call."""
        return [("GET", "/annotation/exportCampaignAnnotations", self._export)]

    async def _export(self, request: Request) -> Response:
        name = needed(request, "campaignName")
        is_europeana = flag(request, "europeanaModelExport", default=True)
        found = self._store.of_campaign(name)
        if flag(request, "filterForPublish", default=True):
            found = [stored for stored in found if stored["publish"]]
        if is_europeana:
            return JSONResponse([self._europeana(stored) for stored in found])
        campaign = self._campaigns.named(name)
        rates = campaign is not None and campaign["contributorFeedbackMethod"] == "RATE"
        return JSONResponse({"@context": _CONTEXT, "@graph": [ntua(stored, name, rates=rates) for stored in found]})

    def _europeana(self, stored: dict[str, Any]) -> dict[str, Any]:
        """The creator is always the uploading user as a person; votes of all campaigns count."""
        if "approvedBy" not in stored.get("score", {}):
            raise _null_pointer()  # never voted on, or only ever rejected
        first = stored["annotators"][0]
        up, down = len(votes_of(stored, "approvedBy")), len(votes_of(stored, "rejectedBy"))
        confidence = round(up / (up + down), 3) if up + down else 0.0
        body = _europeana_body(stored)
        kind = stored["body"].get("tagType")
        return {
            "type": "Annotation",
            "created": instant(first["created"]),
            "creator": {"type": "Person", "name": self._accounts.name_of(first["withCreator"])},
            "generator": {"type": "Software", "name": "CrowdHeritage", "homepage": _HOMEPAGE},
            "motivation": str(stored["motivation"]).lower(),
            **({} if body is None else {"body": body}),
            "score": {"upvotes": up, "downvotes": down, "confidence": confidence},
            **({"tagCategory": kind} if kind else {}),
            "target": f"http://data.europeana.eu/item{stored['target']['externalId']}",
        }


def ntua(stored: dict[str, Any], campaign: str, *, rates: bool) -> dict[str, Any]:
    """One annotation in the NTUA model; votes count for this campaign only. No id is given out."""
    generator = campaign_generator(campaign)
    own = next((other for other in stored["annotators"] if other["generator"] == generator), None)
    if own is None:
        raise _null_pointer()  # another campaign's, whose name ends the same
    if any(vote["generator"] is None for votes in stored.get("score", {}).values() for vote in votes):
        raise _null_pointer()
    confidence = own["confidence"]
    review = _rating(stored, generator) if rates else _validation(stored, generator)
    return {
        "type": "Annotation",
        "created": java_date(own["created"]),
        "creator": _creator(own),
        **({} if confidence == -1 else {"confidence": confidence}),
        "body": _ntua_body(stored["body"]),
        "target": {"source": stored["target"]["externalId"], **_selector(stored["target"].get("selector"))},
        **({"scope": stored["scope"]} if stored.get("scope") else {}),
        **({"review": review} if review else {}),
    }


def _creator(annotator: dict[str, Any]) -> dict[str, Any]:
    """Empty for people of the portal: only what was imported names its maker."""
    if "externalCreatorType" not in annotator:
        return {}
    fields = {"id": "externalCreatorId", "name": "externalCreatorName", "type": "externalCreatorType"}
    return {name: annotator[field] for name, field in fields.items() if annotator.get(field)}


def _validation(stored: dict[str, Any], generator: str) -> dict[str, Any]:
    """Absent without votes and on a tie: the votes of tied annotations are lost."""
    up, down = len(votes_of(stored, "approvedBy", generator)), len(votes_of(stored, "rejectedBy", generator))
    if up == down:
        return {}
    return {"type": "Validation", "upvotes": up, "downvotes": down, "recommendation": "accept" if up > down else "reject"}


def _rating(stored: dict[str, Any], generator: str) -> dict[str, Any]:
    ratings = [vote["confidence"] for vote in votes_of(stored, "ratedBy", generator)]
    return {"type": "Rating", "score": median(ratings)} if ratings else {}


def _selector(selector: Any) -> dict[str, Any]:
    if not isinstance(selector, dict):
        return {}
    if selector.get("type") == "PropertySelector" or set(selector) <= {"type", "property"}:
        raise _null_pointer()
    if "origValue" not in selector:
        return {"selector": selector}
    place = {name: selector[name] for name in ("start", "end") if name in selector}
    language = str(selector.get("origLang", "")).lower()
    shown = {
        "type": "RDFPropertySelector",
        "property": selector.get("property"),
        "destination": {"type": "Literal", "value": selector["origValue"], "language": language},
    }
    return {"selector": {**shown, **({"refinedBy": {"type": "TextPositionSelector", **place}} if place else {})}}


def _ntua_body(body: dict[str, Any]) -> Any:
    if body.get("uri"):
        return body["uri"]
    language, value = _text(body)
    return {"type": "TextualBody", "value": value, "language": language}


def _text(body: dict[str, Any]) -> tuple[str, str]:
    """The first language's first text."""
    texts = body.get("label")
    if not isinstance(texts, dict) or not texts:
        raise _null_pointer()
    language = next((name for name in texts if name != "default"), "default")
    value = texts[language]
    return language, str(value[0] if isinstance(value, list) and value else value)


def _europeana_body(stored: dict[str, Any]) -> Any:
    """A URI, or the texts of a comment; colours, places, sub tags and image tags are left without a body."""
    body = stored["body"]
    if not body.get("uri"):
        return [_text(body)[1]] if body.get("label") else None
    if stored["motivation"] != "Tagging":
        return None
    uri = str(body["uri"])
    return canonical_uri(uri) if "wikidata.org/" in uri else uri


def _null_pointer() -> WithError:
    """The whole export fails over one annotation."""
    return WithError(500, "java.lang.NullPointerException")
