"""Simulated voters: `POST /_sandbox/crowd` lets a crowd of given accuracy vote on a campaign, the same way every time.

The truth is the collection's own, or one that the caller names; no reply ever holds it.
"""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.state import State, now_ms
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator, same_key
from pipeline.sandbox.with_annotations import approve, reject, unscore
from pipeline.sandbox.with_campaign_store import CampaignStore
from pipeline.sandbox.with_common import WithError, guarded, json_object, object_id
from pipeline.vocabulary import Vocabulary, canonical_uri

_MOST_VOTERS = 1000


@dataclass(frozen=True)
class _Order:
    campaign: str
    voters: int
    accuracy: float
    seed: str
    truth: dict[str, list[str]] | None


class Crowd:
    """The voters of all campaigns."""

    def __init__(
        self,
        state: State,
        catalogue: Catalogue,
        vocabulary: Vocabulary,
        accounts: Accounts,
        annotations: AnnotationStore,
        campaigns: CampaignStore,
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._vocabulary = vocabulary
        self._accounts = accounts
        self._annotations = annotations
        self._campaigns = campaigns

    def routes(self) -> list[Route]:
        """Its one route, outside the platform's paths."""
        return [Route("/_sandbox/crowd", guarded(self._vote), methods=["POST"])]

    async def _vote(self, request: Request) -> Response:
        """Counts: annotations voted on, votes cast, and how many of these votes approve and reject."""
        order = _order(await json_object(request))
        if self._campaigns.named(order.campaign) is None:
            raise WithError(404, f"There is no campaign {order.campaign}")
        generator = campaign_generator(order.campaign)
        counts: Counter[str] = Counter()
        repeats: Counter[str] = Counter()
        with self._state.transaction():
            for stored in self._annotations.of_campaign(order.campaign):
                # People see what has the campaign's generator exactly, not what the suffix catches beside it.
                if not self._annotations.is_of(stored, [generator]):
                    continue
                right = self._is_right(stored, order.truth)
                if right is None:
                    continue
                place = f"{stored['target']['externalId']} {same_key(stored['body'], stored['target'].get('selector'))}"
                repeats[place] += 1
                approvals = self._cast(stored, order, generator, f"{place} {repeats[place]}", right=right)
                self._annotations.keep(stored)
                counts += Counter(annotations=1, votes=order.voters, approved=approvals, rejected=order.voters - approvals)
            self._state.log("with", "crowd", object_id("campaign", order.campaign), None, {"votes": counts["votes"]})
        return JSONResponse({name: counts[name] for name in ("annotations", "votes", "approved", "rejected")})

    def _cast(self, stored: dict[str, Any], order: _Order, generator: str, place: str, *, right: bool) -> int:
        """Every voter's vote on one annotation; a voter who voted before takes that vote back first, as the portal does."""
        approvals = 0
        now = now_ms()
        for number in range(order.voters):
            vote = {
                "withCreator": object_id("user", f"crowd-{number}"),
                "generator": generator,
                "created": now,
                "generated": now,
                "lastModified": now,
                "confidence": 0.0,
                "validationErrorType": [],
                "validationComment": "",
                "validationCorrection": "",
            }
            approves = right == (_chance(f"{order.seed} {number} {place}") < order.accuracy)
            unscore(stored, vote)
            (approve if approves else reject)(stored, vote)
            approvals += approves
        return approvals

    def _is_right(self, stored: dict[str, Any], truth: dict[str, list[str]] | None) -> bool | None:
        """Whether the annotation is true of its record; None where nobody knows."""
        record_id = stored["target"]["externalId"]
        said = self._key(_said(stored["body"]))
        if truth is not None:
            values = truth.get(record_id)
            return None if values is None else said in self._with_broader(values)
        record = self._catalogue.records.get(record_id)
        if record is None or said in {self._key(value) for value in record.row.not_annotated}:
            return None
        return said in self._with_broader(record.row.concepts) if record.row.concepts else None

    def _key(self, value: str) -> str:
        """One name for every way to name a concept: slug, URI or label."""
        concept = self._vocabulary.resolve(value)
        if concept is None:
            folded = value.strip().casefold()
            labelled = (one for one in self._vocabulary.concepts if folded in map(str.casefold, one.labels.values()))
            concept = next(labelled, None)
        if concept is not None:
            return concept.slug
        return canonical_uri(value) if value.startswith("http") else value.strip().casefold()

    def _with_broader(self, values: Any) -> set[str]:
        """What is true of a record: its concepts and what stands above them."""
        return self._vocabulary.with_broader(self._key(value) for value in values)


def _said(body: dict[str, Any]) -> str:
    if body.get("uri"):
        return str(body["uri"])
    texts = body.get("label")
    value = next(iter(texts.values()), "") if isinstance(texts, dict) else texts
    return str(value[0] if isinstance(value, list) and value else value)


def _chance(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _order(form: dict[str, Any]) -> _Order:
    campaign, voters, accuracy = form.get("campaign"), form.get("voters", 3), form.get("accuracy", 0.9)
    if not isinstance(campaign, str) or not campaign:
        raise WithError(400, "campaign: the name of a campaign is needed")
    if isinstance(voters, bool) or not isinstance(voters, int) or not 1 <= voters <= _MOST_VOTERS:
        raise WithError(400, f"voters: a whole number from 1 to {_MOST_VOTERS} is needed")
    if isinstance(accuracy, bool) or not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
        raise WithError(400, "accuracy: a number from 0 to 1 is needed")
    return _Order(campaign, voters, float(accuracy), str(form.get("seed", 1)), _truth(form.get("truth")))


def _truth(given: object) -> dict[str, list[str]] | None:
    """A mapping of record ids to concepts, or the path of a JSON file or a CSV (`record_id`, `concepts`) with one."""
    if given is None:
        return None
    if isinstance(given, str):
        given = _read(Path(given))
    if not isinstance(given, dict):
        raise WithError(400, "truth: a mapping from record ids to lists of concepts, or the path of one, is needed")
    listed = {str(record_id): [values] if isinstance(values, str) else values for record_id, values in given.items()}
    if not all(isinstance(values, list) for values in listed.values()):
        raise WithError(400, "truth: each record id needs a list of concepts")
    return {record_id: [str(value) for value in values] for record_id, values in listed.items()}


def _read(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".csv":
            return json.loads(text)
        rows = csv.DictReader(text.splitlines())
        return {row["record_id"]: [one.strip() for one in row["concepts"].split(";") if one.strip()] for row in rows}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise WithError(400, f"truth: {path.name} cannot be read as JSON or CSV") from error
