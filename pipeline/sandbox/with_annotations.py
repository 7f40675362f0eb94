"""Single annotations and votes on the WITH stand-in, with their quirks (WITH contract 3.3 to 3.5)."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator, same_key, shown, votes_of
from pipeline.sandbox.with_campaign_store import CampaignStore
from pipeline.sandbox.with_common import (
    MOTIVATIONS,
    Handler,
    Table,
    WithError,
    flag,
    generated_at,
    json_object,
    missing,
    needed,
    object_id,
)
from pipeline.sandbox.with_records import Records
from pipeline.sandbox.with_thesauri import Thesauri

# The stored confidence of a vote that was sent without one; only such a vote is withdrawn by the opposite one.
NOT_GIVEN = -1


class Annotations:
    """The calls about one annotation, and about the annotations of one record."""

    def __init__(
        self,
        state: State,
        accounts: Accounts,
        records: Records,
        store: AnnotationStore,
        campaigns: CampaignStore,
        thesauri: Thesauri,
    ) -> None:
        self._state = state
        self._accounts = accounts
        self._records = records
        self._store = store
        self._campaigns = campaigns
        self._thesauri = thesauri

    def table(self) -> Table:
        """Method, path and handler of each call."""
        return [
            ("POST", "/record/annotation", self._annotate),
            ("GET", "/record/{id}/listAnnotations", self._of_record),
            ("GET", "/record/{id}/deleteRejectedAnnotations", self._delete_rejected),
            ("POST", "/annotation/{id}/approveObj", self._voting("approve")),
            ("POST", "/annotation/{id}/rejectObj", self._voting("reject")),
            ("POST", "/annotation/{id}/unscoreObj", self._voting("unscore")),
            ("POST", "/annotation/{id}/rateObj", self._voting("rate")),
            ("GET", "/annotation/{id}/markForPublish", self._mark),
            ("GET", "/annotation/{id}", self._single),
            ("DELETE", "/annotation/{id}", self._delete),
        ]

    async def _annotate(self, request: Request) -> Response:
        """One annotation. The same URI on the same record is one annotation with several annotators (3.3)."""
        form = await json_object(request)
        user = self._accounts.known_user(request)
        motivation, body, target = form.get("motivation"), form.get("body"), form.get("target")
        if not isinstance(body, dict) or not isinstance(target, dict):
            raise WithError(400, "Invalid JSON")
        if motivation not in MOTIVATIONS:
            raise WithError(500, f"No enum constant model.annotations.Annotation.MotivationType.{motivation}")
        db_id, record_id = self._annotated_record(target)
        annotator = _annotator(form, user)
        stored = self._store.same(db_id, same_key(body, target.get("selector")))
        if stored is not None:
            return JSONResponse(shown(self._joined(stored, annotator)))
        place = {"recordId": db_id, "withURI": f"/record/{db_id}", "externalId": record_id}
        if target.get("selector"):
            place["selector"] = target["selector"]
        new = {
            "motivation": motivation,
            "publish": False,
            "annotators": [annotator],
            "body": self._thesauri.labelled(body),
            "target": place,
        }
        with self._state.transaction():
            return JSONResponse(shown(self._store.add(new)))

    def _annotated_record(self, target: dict[str, Any]) -> tuple[str, str]:
        if external := target.get("externalId"):
            found = self._records.db_id_of(str(external))
            if found is None:
                raise WithError(400, "")
            return found, str(external)
        db_id = str(target.get("recordId"))
        record_id = self._records.record_id_of(db_id)
        if record_id is None:
            raise missing(db_id)
        return db_id, record_id

    def _joined(self, stored: dict[str, Any], annotator: dict[str, Any]) -> dict[str, Any]:
        """The same user changes nothing; another one is added as a further annotator."""
        if any(other["withCreator"] == annotator["withCreator"] for other in stored["annotators"]):
            return stored
        stored["annotators"].append(annotator)
        with self._state.transaction():
            self._store.keep(stored)
            self._store.log("join", stored)
        return stored

    async def _single(self, request: Request) -> Response:
        """An unknown id is 200 with `null` (3.4)."""
        stored = self._store.get(str(request.path_params["id"]))
        return JSONResponse(None if stored is None else shown(stored))

    async def _delete(self, request: Request) -> Response:
        """Takes one's own contribution back; the annotation ends with its last annotator, or with its campaign's creator."""
        user = self._accounts.known_user(request)
        stored = self._store.get(str(request.path_params["id"]))
        if stored is None:
            raise WithError(400, "")
        others = [other for other in stored["annotators"] if other["withCreator"] != object_id("user", user)]
        if len(others) == len(stored["annotators"]):
            if not self._owns_campaign(user, stored):
                raise WithError(403, "User not allowed to delete annotation")
            others = []
        with self._state.transaction():
            if others:
                self._store.keep({**stored, "annotators": others})
            else:
                self._store.drop(stored)
            self._store.log("delete", stored)
        return Response(status_code=200)

    def _owns_campaign(self, user: str, stored: dict[str, Any]) -> bool:
        generators = {other["generator"] for other in stored["annotators"]}
        campaigns = [one for one in self._campaigns.everything() if campaign_generator(one["username"]) in generators]
        return any(object_id("user", user) in one["creators"] for one in campaigns)

    async def _of_record(self, request: Request) -> Response:
        """Only Tagging unless motivations are named; generators match exactly (3.4)."""
        motivations = request.query_params.get("motivation", "Tagging").split(",")
        generators = [word for word in request.query_params.get("generator", "").split(",") if word]
        found = [
            stored
            for stored in self._store.of_record(str(request.path_params["id"]))
            if stored["motivation"] in motivations and self._store.is_of(stored, generators)
        ]
        return JSONResponse([shown(stored) for stored in found])

    async def _delete_rejected(self, request: Request) -> Response:
        """Deletes by GET what more voters rejected than approved; never crawl these routes (3.4)."""
        self._accounts.known_user(request)
        with self._state.transaction():
            for stored in self._store.of_record(str(request.path_params["id"])):
                if len(votes_of(stored, "rejectedBy")) > len(votes_of(stored, "approvedBy")):
                    self._store.drop(stored)
                    self._store.log("delete", stored)
        return Response(status_code=200)

    async def _mark(self, request: Request) -> Response:
        """Anybody may: there is no permission check (3.9)."""
        needed(request, "publish")
        publish = flag(request, "publish", default=False)
        stored = self._existing(request)
        with self._state.transaction():
            self._store.keep({**stored, "publish": publish})
            self._store.log("publish" if publish else "unpublish", stored)
        return Response(status_code=200)

    def _existing(self, request: Request) -> dict[str, Any]:
        identifier = str(request.path_params["id"])
        stored = self._store.get(identifier)
        if stored is None:
            raise missing(identifier)
        return stored

    def _voting(self, kind: str) -> Handler:
        """No check that the campaign is active, and no one vote per user (3.5)."""

        async def vote(request: Request) -> Response:
            form = await json_object(request)
            user = self._accounts.known_user(request)
            stored = self._existing(request)
            admin = _vote(form, user)
            with self._state.transaction():
                VOTES[kind](stored, admin)
                self._store.keep(stored)
                self._store.log(kind, stored)
            return JSONResponse(shown(stored)["score"]) if kind == "rate" else Response(status_code=200)

        return vote


def approve(stored: dict[str, Any], vote: dict[str, Any]) -> None:
    """Add an approval; a rejection of the same voter goes only if it was stored without a confidence."""
    _withdraw(stored, "rejectedBy", {**vote, "confidence": NOT_GIVEN})
    stored.setdefault("score", {}).setdefault("approvedBy", []).append(vote)


def reject(stored: dict[str, Any], vote: dict[str, Any]) -> None:
    """Add a rejection; an approval of the same voter goes only if it was stored without a confidence."""
    _withdraw(stored, "approvedBy", {**vote, "confidence": NOT_GIVEN})
    stored.setdefault("score", {}).setdefault("rejectedBy", []).append(vote)


def unscore(stored: dict[str, Any], vote: dict[str, Any]) -> None:
    """Take back the voter's votes that have the same generator and the same confidence."""
    for kind in ("approvedBy", "rejectedBy"):
        _withdraw(stored, kind, vote)


def rate(stored: dict[str, Any], vote: dict[str, Any]) -> None:
    """The rating is the vote's confidence; it replaces the voter's earlier one within the generator."""
    ratings = [other for other in stored.setdefault("score", {}).get("ratedBy", []) if not _same_voter(other, vote)]
    stored["score"]["ratedBy"] = [*ratings, vote]


VOTES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "approve": approve,
    "reject": reject,
    "unscore": unscore,
    "rate": rate,
}


def _withdraw(stored: dict[str, Any], kind: str, vote: dict[str, Any]) -> None:
    votes = stored.get("score", {}).get(kind)
    if votes:
        confidence = vote["confidence"]
        kept = [other for other in votes if not (_same_voter(other, vote) and other["confidence"] == confidence)]
        stored["score"][kind] = kept


def _same_voter(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["withCreator"] == other["withCreator"] and one["generator"] == other["generator"])


def _vote(form: dict[str, Any], user: str) -> dict[str, Any]:
    """A vote as it is stored: who, for which campaign, and what was said about an error (3.1, 3.5)."""
    confidence = form.get("confidence", NOT_GIVEN)
    generator, types = form.get("generator"), form.get("validationErrorType", [])
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not isinstance(types, list):
        raise WithError(400, "Invalid JSON")
    now = now_ms()
    return {
        "withCreator": object_id("user", user),
        # A vote without a generator is stored; the export of its campaign fails over it (3.7).
        "generator": generator if isinstance(generator, str) else None,
        "created": now,
        "generated": generated_at(form.get("generated")),
        "lastModified": now,
        "confidence": confidence,
        "validationErrorType": types,
        "validationComment": str(form.get("validationComment") or ""),
        "validationCorrection": str(form.get("validationCorrection") or ""),
    }


def _annotator(form: dict[str, Any], user: str) -> dict[str, Any]:
    """One contribution; dates are kept exactly and shown as days (3.2)."""
    now = now_ms()
    return {
        "withCreator": object_id("user", user),
        "generator": str(form.get("generator", "")),
        "created": now,
        "generated": generated_at(form.get("generated")),
        "lastModified": now,
        "confidence": form.get("confidence", NOT_GIVEN),
    }
