"""Campaigns of the WITH stand-in (WITH contract 3.9, 5.1). Several calls have no permission check, as there."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.state import State
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore, campaign_generator, votes_of
from pipeline.sandbox.with_campaign_store import CampaignStore, checked
from pipeline.sandbox.with_common import Table, WithError, bad_request, flag, integer, json_object, needed, object_id

_STATES = ("all", "active", "inactive", "upcoming")


class Campaigns:
    """The calls under `/campaign`, but for the bulk import."""

    def __init__(self, state: State, accounts: Accounts, annotations: AnnotationStore, campaigns: CampaignStore) -> None:
        self._state = state
        self._accounts = accounts
        self._annotations = annotations
        self._campaigns = campaigns

    def table(self) -> Table:
        """Method, path and handler of each call; the more special paths first."""
        return [
            ("GET", "/campaign/getCampaignByName", self._by_name),
            ("GET", "/campaign/getCampaign", self._by_id),
            ("GET", "/campaign/campaigns", self._list),
            ("GET", "/campaign/count", self._count),
            ("GET", "/campaign/userCampaigns", self._of_user),
            ("POST", "/campaign/createEmptyCampaign", self._create_empty),
            ("POST", "/campaign/createCampaign", self._create),
            ("POST", "/campaign/initiateValidation", self._validate),
            ("GET", "/campaign/reset/{id}", self._reset),
            ("GET", "/campaign/statistics", self._statistics),
            ("GET", "/campaign/contributors", self._contributors),
            ("GET", "/campaign/popularAnnotations", self._popular),
            ("PUT", "/campaign/{id}", self._update),
            ("DELETE", "/campaign/{id}", self._delete),
        ]

    async def _by_name(self, request: Request) -> Response:
        """An unknown name is 200 with `null`."""
        return JSONResponse(self._campaigns.named(needed(request, "cname")))

    async def _by_id(self, request: Request) -> Response:
        return JSONResponse(self._campaigns.get(needed(request, "campaignId")))

    async def _list(self, request: Request) -> Response:
        return JSONResponse(self._page(request, self._public(request)))

    async def _count(self, request: Request) -> Response:
        return JSONResponse(len(self._public(request)))

    async def _of_user(self, request: Request) -> Response:
        user = object_id("user", self._accounts.known_user(request))
        mine = [campaign for campaign in self._campaigns.everything() if user in campaign["creators"]]
        return JSONResponse({"campaigns": self._page(request, mine), "count": len(mine)})

    def _public(self, request: Request) -> list[dict[str, Any]]:
        project, wanted = request.query_params.get("project", ""), request.query_params.get("state", "all")
        if wanted not in _STATES:
            raise bad_request(request, f"Cannot parse parameter state: {wanted}")
        return [
            campaign
            for campaign in self._campaigns.everything()
            if campaign["isPublic"] and project in ("", campaign["project"]) and (wanted == "all" or _state(campaign) == wanted)
        ]

    def _page(self, request: Request, campaigns: list[dict[str, Any]]) -> list[dict[str, Any]]:
        field, _, direction = request.query_params.get("sortBy", "Date_desc").partition("_")
        key = "username" if field.lower() == "alphabetical" else "startDate"
        ordered = sorted(campaigns, key=lambda campaign: str(campaign[key] or ""), reverse=direction == "desc")
        start = integer(request, "offset", 0)
        return ordered[start : start + integer(request, "count", 10)]

    async def _create_empty(self, request: Request) -> Response:
        return self._made(request, needed(request, "campaignUserName"), {})

    async def _create(self, request: Request) -> Response:
        form = await json_object(request)
        if not isinstance(form.get("username"), str) or not form["username"]:
            raise WithError(400, "Invalid JSON")
        return self._made(request, form["username"], form)

    def _made(self, request: Request, name: str, form: dict[str, Any]) -> Response:
        user = self._accounts.known_user(request)
        if not self._accounts.may_create_campaigns(user):
            raise WithError(403, "User has no campaign creation access")
        if not name or "/" in name or self._campaigns.named(name):
            raise WithError(403, f"Campaign {name} already exists")
        return JSONResponse(self._campaigns.create(name, object_id("user", user), form))

    async def _update(self, request: Request) -> Response:
        form = await json_object(request)
        user = self._accounts.known_user(request)
        campaign = self._campaigns.get(str(request.path_params["id"]))
        if object_id("user", user) not in campaign["creators"] and not self._accounts.is_superuser(user):
            raise WithError(403, "User is not a creator of the campaign")
        changed = {**campaign, **checked(form)}
        self._keep(changed, "update_campaign")
        return JSONResponse(changed)

    def _keep(self, campaign: dict[str, Any], operation: str) -> None:
        with self._state.transaction():
            self._campaigns.keep(campaign)
            self._state.log("with", operation, campaign["dbId"], None, {"name": campaign["username"]})

    async def _delete(self, request: Request) -> Response:
        """Anybody may: there is no permission check. The annotations stay."""
        campaign = self._campaigns.get(str(request.path_params["id"]))
        with self._state.transaction():
            self._campaigns.drop(campaign)
            self._state.log("with", "delete_campaign", campaign["dbId"], None, {"name": campaign["username"]})
        return Response(status_code=200)

    async def _reset(self, request: Request) -> Response:
        """Anybody may. What it resets there is unknown; here the counter."""
        campaign = self._campaigns.get(str(request.path_params["id"]))
        self._keep({**campaign, "annotationCurrent": 0}, "reset_campaign")
        return Response(status_code=200)

    async def _validate(self, request: Request) -> Response:
        """Marks for publication by the votes of all generators, and overwrites what was marked by hand (5.1, 1)."""
        campaign = self._campaigns.get(needed(request, "campaignId"))
        allows = flag(request, "allowRejected", default=False)
        least = request.query_params.get("minScore", "1")
        if not least.lstrip("-").isdecimal() or len(least) > 9:
            raise bad_request(request, f"Cannot parse parameter minScore as Int: For input string: {least}")
        with self._state.transaction():
            for stored in self._annotations.of_campaign(campaign["username"]):
                publish = is_published(stored, least=int(least), allows_rejected=allows)
                if publish != stored["publish"]:
                    self._annotations.keep({**stored, "publish": publish})
                    self._annotations.log("publish" if publish else "unpublish", stored)
            self._campaigns.keep({**campaign, "publishCriteria": {"allowRejected": allows, "minScore": int(least)}})
        return Response(status_code=200)

    async def _statistics(self, request: Request) -> Response:
        name = needed(request, "cname")
        found = self._annotations.of_campaign(name)
        generator = campaign_generator(name)
        balance = Counter[str]()
        ups = downs = rates = software = 0
        for stored in found:
            up, down = len(votes_of(stored, "approvedBy", generator)), len(votes_of(stored, "rejectedBy", generator))
            ups, downs, rates = ups + up, downs + down, rates + len(votes_of(stored, "ratedBy", generator))
            balance["accepted" if up > down else "rejected" if down > up else "open"] += 1
            software += stored["annotators"][0].get("externalCreatorType") == "Software"
        return JSONResponse(
            {
                "annotations-total": len(found),
                "annotations-software": software,
                "annotations-human": len(found) - software,
                "annotations-accepted": balance["accepted"],
                "annotations-rejected": balance["rejected"],
                "items-total": self._items_total(name),
                "items-annotated": len({stored["target"]["recordId"] for stored in found}),
                "upvotes": ups,
                "downvotes": downs,
                "rates": rates,
            }
        )

    def _items_total(self, name: str) -> int:
        campaign = self._campaigns.named(name)
        targets = [] if campaign is None else [str(target) for target in campaign["targetCollections"]]
        marks = ",".join("?" * len(targets))
        row = self._state.one(f"SELECT count(DISTINCT record_db_id) FROM with_entry WHERE collection_id IN ({marks})", targets)
        return int(row[0]) if row else 0

    async def _contributors(self, request: Request) -> Response:
        """Names and addresses of people: personal data (3.9)."""
        found = self._annotations.of_campaign(needed(request, "cname"))
        users = dict.fromkeys(other["withCreator"] for stored in found for other in stored["annotators"])
        accounts = [self._accounts.account(name) for name in filter(None, map(self._accounts.name_of, users))]
        return JSONResponse([{"username": one["username"], "email": one["email"]} for one in accounts])

    async def _popular(self, request: Request) -> Response:
        """Labels of a campaign with how often they stand there, the most frequent first."""
        wanted = request.query_params.get("term", "").casefold()
        labels: Counter[str] = Counter()
        for stored in self._annotations.of_campaign(needed(request, "campaignName")):
            texts = stored["body"].get("label")
            value = texts.get("default") if isinstance(texts, dict) else None
            label = str(value[0] if isinstance(value, list) and value else value or stored["body"].get("uri", ""))
            labels[label] += wanted in label.casefold()
        start = integer(request, "offset", 0)
        page = labels.most_common()[start : start + integer(request, "count", 10)]
        return JSONResponse([{"label": label, "count": count} for label, count in page if count])


def is_published(stored: dict[str, Any], *, least: int, allows_rejected: bool) -> bool:
    """The rule of the platform: enough net votes and, unless allowed, no rejection at all; unvoted is unmarked (5.1)."""
    up, down = len(votes_of(stored, "approvedBy")), len(votes_of(stored, "rejectedBy"))
    return bool(up + down) and up - down >= least and (allows_rejected or down == 0)


def _state(campaign: dict[str, Any]) -> str:
    """By its dates, which are days."""
    today = datetime.now(UTC).strftime("%Y/%m/%d")
    if campaign["startDate"] and today < campaign["startDate"]:
        return "upcoming"
    return "inactive" if campaign["endDate"] and today > campaign["endDate"] else "active"
