"""Campaigns of the WITH stand-in as they are stored: one document each, read and written whole (WITH contract 3.9)."""

import json
import re
from typing import Any

from pipeline.sandbox.state import State
from pipeline.sandbox.with_common import WithError, missing, object_id

_DATE = re.compile(r"\d{4}/\d\d/\d\d")
_DEFAULTS: dict[str, Any] = {
    "title": {},
    "description": {},
    "project": "CrowdHeritage",
    "isPublic": False,
    "purpose": "ANNOTATE",
    "orientation": "METADATA",
    "contributorFeedbackMethod": "UPVOTE",
    "motivation": ["Tagging"],
    "vocabularies": [],
    "targetCollections": [],
    "creators": [],
    "userGroupIds": [],
    "startDate": None,
    "endDate": None,
    "annotationTarget": 1000,
    "annotationCurrent": 0,
    "validationErrorType": [],
    "hideRating": False,
    "hideComments": False,
    "hasPublicResults": False,
    "colorTaggingColorsTerminology": [],
    "publishCriteria": {"allowRejected": False, "minScore": 1},
    "baseAnnotations": [],
    "prizes": {},
    "badges": {},
}
_CHOICES = {
    "purpose": ("ANNOTATE", "VALIDATE"),
    "orientation": ("METADATA", "DATA"),
    "contributorFeedbackMethod": ("UPVOTE", "RATE"),
}
_DATES = ("startDate", "endDate")


class CampaignStore:
    """Reads and writes campaigns."""

    def __init__(self, state: State) -> None:
        self._state = state

    def named(self, name: str) -> dict[str, Any] | None:
        """The campaign with this name."""
        return self._one("SELECT document FROM with_campaign WHERE name = ?", name)

    def get(self, identifier: str) -> dict[str, Any]:
        """The campaign with this id; without one the platform fails."""
        campaign = self._one("SELECT document FROM with_campaign WHERE id = ?", identifier)
        if campaign is None:
            raise missing(identifier)
        return campaign

    def _one(self, sql: str, value: str) -> dict[str, Any] | None:
        row = self._state.one(sql, (value,))
        document: dict[str, Any] | None = json.loads(row[0]) if row else None
        return document

    def everything(self) -> list[dict[str, Any]]:
        """All campaigns, in the order of their making."""
        return [json.loads(row[0]) for row in self._state.all("SELECT document FROM with_campaign ORDER BY rowid")]

    def create(self, name: str, creator: str, form: dict[str, Any]) -> dict[str, Any]:
        """A new campaign with the standard values and what a client says."""
        identifier = object_id("campaign", name)
        given = checked(form)
        campaign = {"dbId": identifier, "username": name, **_DEFAULTS, "creators": [creator], **given}
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_campaign (id, name, document) VALUES (?, ?, ?)", (identifier, name, _text(campaign))
            )
            self._state.log("with", "create_campaign", identifier, None, {"name": name})
        return campaign

    def keep(self, campaign: dict[str, Any]) -> None:
        """Write the document whole: what somebody else changed meanwhile is lost (3.6)."""
        self._state.execute("UPDATE with_campaign SET document = ? WHERE id = ?", (_text(campaign), campaign["dbId"]))

    def drop(self, campaign: dict[str, Any]) -> None:
        """Remove it; its annotations stay."""
        self._state.execute("DELETE FROM with_campaign WHERE id = ?", (campaign["dbId"],))


def checked(form: dict[str, Any]) -> dict[str, Any]:
    """The known fields of a client's document; a value of the wrong kind is `Invalid JSON`."""
    given = {name: value for name, value in form.items() if name in _DEFAULTS}
    for name, value in given.items():
        if name in _DATES:
            fits = value is None or (isinstance(value, str) and _DATE.fullmatch(value) is not None)
        elif name in _CHOICES:
            fits = value in _CHOICES[name]
        else:
            fits = type(value) is type(_DEFAULTS[name])
        if not fits:
            raise WithError(400, "Invalid JSON")
    return given


def _text(campaign: dict[str, Any]) -> str:
    return json.dumps(campaign, ensure_ascii=False)
