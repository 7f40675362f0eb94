"""Bulk import of annotations into a campaign: answered at once, done later, never idempotent (WITH contract 3.6)."""

import asyncio
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator
from pipeline.sandbox.with_campaign_store import CampaignStore
from pipeline.sandbox.with_common import MOTIVATIONS, Table, WithError, created_at, json_object, needed, object_id
from pipeline.sandbox.with_records import Records
from pipeline.sandbox.with_thesauri import Thesauri

_CREATORS = ("Person", "Software")
_TERM_MOTIVATIONS = ("Tagging", "SubTagging")
# The work begins a moment after the answer, and lets other calls in between.
_GROUP = 200


class _Failed(Exception):
    """An annotation of the file that the platform cannot store."""


class Imports:
    """The call, and the work behind it."""

    def __init__(
        self,
        state: State,
        accounts: Accounts,
        records: Records,
        store: AnnotationStore,
        campaigns: CampaignStore,
        thesauri: Thesauri,
        options: SandboxOptions,
    ) -> None:
        self._state = state
        self._accounts = accounts
        self._records = records
        self._store = store
        self._campaigns = campaigns
        self._thesauri = thesauri
        self._delay_s = options.with_import_delay_s
        self._running: set[asyncio.Task[None]] = set()

    def table(self) -> Table:
        """Method, path and handler of the call."""
        return [("POST", "/campaign/{name}/importAnnotations", self._import)]

    async def stop(self) -> None:
        """End the imports that still run: their entries stay IMPORTING for ever, as after a crash there."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _import(self, request: Request) -> Response:
        """200 without a body, and without an id of the run."""
        motivation = needed(request, "motivation")
        document = await json_object(request)
        user = self._accounts.known_user(request)
        name = str(request.path_params["name"])
        campaign = self._campaigns.named(name)
        if campaign is None:
            raise WithError(500, f"Cannot retrieve campaign {name} from database")
        if motivation not in MOTIVATIONS:
            raise WithError(500, f"No enum constant model.annotations.Annotation.MotivationType.{motivation}")
        entry = {
            "uuid": str(uuid.uuid4()),
            "source": "FILE",
            "status": "IMPORTING",
            "startedAt": now_ms(),
            "uploadedAt": None,
            "successCount": 0,
            "failedCount": 0,
        }
        campaign["baseAnnotations"].append(entry)
        self._campaigns.keep(campaign)
        task = asyncio.create_task(self._work(campaign, entry, document, motivation, user))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Response(status_code=200)

    async def _work(
        self, campaign: dict[str, Any], entry: dict[str, Any], document: dict[str, Any], motivation: str, user: str
    ) -> None:
        """The campaign as it was at the start is written whole at the end: what happened to it meanwhile is lost."""
        await asyncio.sleep(self._delay_s)
        graph = document.get("@graph")
        if not isinstance(graph, list):
            return  # the worker dies over it, and the entry stays IMPORTING
        for start in range(0, len(graph), _GROUP):
            with self._state.transaction():
                for annotation in graph[start : start + _GROUP]:
                    self._import_one(campaign, entry, annotation, motivation, user)
            await asyncio.sleep(0)
        entry["status"] = "COMPLETED" if entry["successCount"] else "FAILED"
        entry["uploadedAt"] = now_ms()
        self._campaigns.keep(campaign)

    def _import_one(
        self, campaign: dict[str, Any], entry: dict[str, Any], annotation: object, motivation: str, user: str
    ) -> None:
        """Successes count bodies, failures count annotations; an array of bodies can be stored in part."""
        try:
            common, selector = self._common(campaign, annotation, user)
            assert isinstance(annotation, dict)
            given = annotation.get("body")
            for one in given if isinstance(given, list) else [given]:
                body = self._body(campaign, one, motivation)
                target = {**common["target"], **({"selector": selector} if selector else {})}
                self._store.add({"motivation": motivation, **common, "body": body, "target": target}, repeatable=True)
                entry["successCount"] += 1
        except _Failed:
            entry["failedCount"] += 1

    def _common(self, campaign: dict[str, Any], annotation: object, user: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Everything but the body; generator and owner are the platform's, whatever the file says."""
        if not isinstance(annotation, dict):
            raise _Failed
        creator, target = annotation.get("creator"), annotation.get("target")
        if not isinstance(creator, dict) or creator.get("type") not in _CREATORS or not isinstance(target, dict):
            raise _Failed
        source = target.get("source")
        db_id = self._records.db_id_of(source) if isinstance(source, str) else None
        if db_id is None:
            raise _Failed
        created = created_at(annotation.get("created"))
        annotator = {
            "withCreator": object_id("user", user),
            "generator": campaign_generator(campaign["username"]),
            "created": created,
            "generated": created,
            "lastModified": created,
            "externalCreatorId": _text(creator.get("id")),
            "externalCreatorType": creator["type"],
            "externalCreatorName": _text(creator.get("name")),
            "confidence": _confidence(annotation.get("confidence", -1)),
        }
        common: dict[str, Any] = {
            "publish": False,
            "annotators": [annotator],
            "target": {"recordId": db_id, "withURI": f"/record/{db_id}", "externalId": source},
        }
        common |= {"externalId": _text(annotation["id"])} if annotation.get("id") else {}
        common |= {"scope": _text(annotation["scope"])} if annotation.get("scope") else {}
        return common, _selector(target["selector"]) if target.get("selector") else None

    def _body(self, campaign: dict[str, Any], given: object, motivation: str) -> dict[str, Any]:
        if isinstance(given, dict):
            value, language = given.get("value"), given.get("language")
            if not isinstance(value, str) or not isinstance(language, str) or not language:
                raise _Failed
            return {"label": {language: [value], "default": [value]}}
        if not isinstance(given, str) or not given:
            raise _Failed
        if motivation == "ColorTagging":
            return {"uri": given, **_colour(campaign, given)}
        if motivation not in _TERM_MOTIVATIONS:
            return {"uri": given}
        term = self._thesauri.term(given)
        if term is None:
            return {"uri": given}
        if not term.get("description"):
            raise _Failed  # since 2024 the platform expects one (an inference of the contract)
        labels = {"label": term["label"], "description": term["description"]}
        return {"uri": given, "uriVocabulary": term["vocabulary"], **labels}


def _colour(campaign: dict[str, Any], uri: str) -> dict[str, Any]:
    colours = [one for one in campaign["colorTaggingColorsTerminology"] if isinstance(one, dict)]
    return next(({"label": one["label"]} for one in colours if one.get("uri") == uri and one.get("label")), {})


def _selector(given: object) -> dict[str, Any]:
    """A place in a metadata field: property and text are mandatory, the position is not."""
    destination = given.get("destination") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not given.get("property") or not isinstance(destination, dict):
        raise _Failed
    value, language = destination.get("value"), destination.get("language")
    if not isinstance(value, str) or not isinstance(language, str):
        raise _Failed
    position = given.get("refinedBy")
    place = position if isinstance(position, dict) else {}
    return {
        "type": "PropertyTextFragmentSelector",
        "property": str(given["property"]),
        "origValue": value,
        # A language is the name of an enum's value there.
        "origLang": language.upper(),
        **{name: place[name] for name in ("start", "end") if isinstance(place.get(name), int)},
    }


def _confidence(value: object) -> float:
    """A number, or the text of one."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _Failed
        number = float(value)
    except ValueError as error:
        raise _Failed from error
    if number != number or abs(number) == float("inf"):
        raise _Failed
    return int(number) if number == int(number) else number


def _text(value: object) -> str:
    return "" if value is None else str(value)
