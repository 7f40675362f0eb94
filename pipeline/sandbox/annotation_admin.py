"""Maintenance of the Annotation API: whitelist, hard deletion, index, lock (annotation contract sections 2 and 4.4).

Paths, methods, roles and effects are the contract's; the bodies of these answers are not known and kept simple.
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.annotation_access import AnnotationAccess
from pipeline.sandbox.annotation_address import ANNOTATION_URI, is_url
from pipeline.sandbox.annotation_document import read_json
from pipeline.sandbox.annotation_refusal import AnnotationRefusal, MalformedAnnotation, missing, unsupported
from pipeline.sandbox.annotation_replies import AnnotationReplies, action, instant, reply, required
from pipeline.sandbox.annotation_rules import WHITELIST
from pipeline.sandbox.annotation_store import AnnotationStore
from pipeline.sandbox.state import now_ms


class AnnotationWhitelist:
    """The hosts that a plain link may lead to; kept in the state, and in memory for the checks."""

    def __init__(self, store: AnnotationStore) -> None:
        self._store = store
        if not store.setting("whitelist", ""):
            self.load()
        self.hosts = self._hosts()

    def load(self) -> None:
        """Bring the default entries back."""
        with self._store.state.transaction():
            for host in WHITELIST:
                self._put(f"http://{host}", host.partition(".")[0], "enabled")
            self._store.set_setting("whitelist", "loaded")
        self.hosts = self._hosts()

    def add(self, url: str, name: str, status: str) -> None:
        """Add or replace an entry."""
        self._put(url, name, status)
        self.hosts = self._hosts()

    def _put(self, url: str, name: str, status: str) -> None:
        sql = "INSERT OR REPLACE INTO annotation_whitelist (url, name, status) VALUES (?, ?, ?)"
        self._store.state.execute(sql, (url, name, status))

    def delete(self, url: str | None = None) -> int:
        """Remove one entry or all; gives how many."""
        sql = "DELETE FROM annotation_whitelist WHERE ? IS NULL OR url = ?"
        count = self._store.state.execute(sql, (url, url)).rowcount
        self.hosts = self._hosts()
        return count

    def entries(self) -> list[dict[str, str]]:
        """All entries as the API writes them."""
        rows = self._store.state.all("SELECT name, url, status FROM annotation_whitelist ORDER BY url")
        return [{"name": name, "httpUrl": url, "status": status} for name, url, status in rows]

    def _hosts(self) -> tuple[str, ...]:
        return tuple(urlsplit(entry["httpUrl"]).hostname or "" for entry in self.entries() if entry["status"] == "enabled")


class AnnotationAdmin:
    """The paths under `/whitelist` and `/admin`."""

    def __init__(self, store: AnnotationStore, access: AnnotationAccess, whitelist: AnnotationWhitelist) -> None:
        self._store = store
        self._access = access
        self._whitelist = whitelist

    def routes(self, replies: AnnotationReplies, prefix: str = "/europeana") -> list[Route]:
        """All routes; the real server has them beside `/annotation`."""
        listed, admin = f"{prefix}/whitelist", f"{prefix}/admin"
        return [
            replies.route(f"{listed}/search", GET=self._find),
            replies.route(f"{listed}/view", GET=self._view),
            replies.route(f"{listed}/create", POST=self._allow),
            replies.route(f"{listed}/load", GET=self._load),
            replies.route(f"{listed}/delete", DELETE=self._forbid),
            replies.route(f"{listed}/deleteall", DELETE=self._forbid_all),
            replies.route(f"{admin}/annotation/delete", DELETE=self._erase),
            replies.route(f"{admin}/annotation/deleteset", POST=self._erase_set),
            replies.route(f"{admin}/annotation/reindex", PUT=self._reindex_one),
            replies.route(f"{admin}/annotation/reindexset", PUT=self._reindex_set),
            replies.route(f"{admin}/annotation/reindexselection", PUT=self._reindex_selection),
            replies.route(f"{admin}/annotation/reindexall", PUT=self._reindex_all),
            replies.route(f"{admin}/annotation/reindexoutdated", PUT=self._reindex_all),
            replies.route(f"{admin}/annotation/updateRecordId", POST=self._rename),
            replies.route(f"{admin}/lock", POST=self._lock, DELETE=self._unlock),
        ]

    async def _find(self, request: Request) -> Response:
        self._access.known(request, "whitelist_retrieve")
        url = required(request, "url")
        for entry in self._whitelist.entries():
            if entry["httpUrl"] == url:
                return _done(request, whitelistEntry=entry)
        raise AnnotationRefusal(f"No whitelist entry found with the given url! {url}", 404)

    async def _view(self, request: Request) -> Response:
        self._access.known(request, "whitelist_retrieve")
        entries = self._whitelist.entries()
        return _done(request, itemsCount=len(entries), totalResults=len(entries), items=entries)

    async def _allow(self, request: Request) -> Response:
        body = await request.body()
        self._access.writer(request, "whitelist_create")
        entry = read_json(body)
        url = entry.get("httpUrl")
        if not url:
            raise missing("httpUrl")
        if not is_url(url):
            raise unsupported("httpUrl", url)
        self._whitelist.add(url, str(entry.get("name", "")), str(entry.get("status", "enabled")))
        return _done(request, 201, whitelistEntry=next(one for one in self._whitelist.entries() if one["httpUrl"] == url))

    async def _load(self, request: Request) -> Response:
        self._access.writer(request, "whitelist_all")
        self._whitelist.load()
        return await self._view(request)

    async def _forbid(self, request: Request) -> Response:
        self._access.writer(request, "whitelist_delete")
        if not self._whitelist.delete(required(request, "url")):
            raise AnnotationRefusal(f"No whitelist entry found with the given url! {request.query_params['url']}", 404)
        return Response(status_code=204, headers={"Vary": "Accept"})

    async def _forbid_all(self, request: Request) -> Response:
        self._access.writer(request, "whitelist_delete")
        self._whitelist.delete()
        return Response(status_code=204, headers={"Vary": "Accept"})

    async def _erase(self, request: Request) -> Response:
        self._access.writer(request, "admin_all")
        number = _number(required(request, "identifier"))
        if not self._store.erase([number]):
            raise AnnotationRefusal(f"No annotation found with the given identifier! {ANNOTATION_URI}{number}", 404)
        return _done(request)

    async def _erase_set(self, request: Request) -> Response:
        body = await request.body()
        self._access.writer(request, "admin_all")
        numbers = _numbers(body)
        erased = self._store.erase(numbers)
        return _done(request, operationReport=_report(len(erased), set(numbers) - set(erased)))

    async def _reindex_one(self, request: Request) -> Response:
        self._access.writer(request, "admin_reindex")
        number = _number(required(request, "identifier"))
        self._store.get(number)
        return _done(request, operationReport=_report(self._store.reindex([number])))

    async def _reindex_set(self, request: Request) -> Response:
        body = await request.body()
        self._access.writer(request, "admin_reindex")
        return _done(request, operationReport=_report(self._store.reindex(_numbers(body))))

    async def _reindex_selection(self, request: Request) -> Response:
        self._access.writer(request, "admin_reindex")
        begin, end = instant(request, "startDate", 0), instant(request, "endDate", now_ms())
        return _done(request, operationReport=_report(self._store.reindex(since=begin, until=end)))

    async def _reindex_all(self, request: Request) -> Response:
        self._access.writer(request, "admin_reindex")
        return _done(request, operationReport=_report(self._store.reindex()))

    async def _rename(self, request: Request) -> Response:
        self._access.writer(request, "admin_all")
        old, new = required(request, "old"), required(request, "new")
        for name, value in (("old", old), ("new", new)):
            if not re.fullmatch(r"/[^/]+/[^/]+", value):
                raise unsupported(name, value)
        return _done(request, operationReport=_report(self._store.rename_record(old, new)))

    async def _lock(self, request: Request) -> Response:
        self._access.writer(request, "admin_all")
        self._store.lock(on=True)
        return _done(request, status="Server is now locked for changes")

    async def _unlock(self, request: Request) -> Response:
        self._access.writer(request, "write_unlock")
        self._store.lock(on=False)
        return _done(request, status="Server is now unlocked for changes")


def _done(request: Request, status_code: int = 200, **members: Any) -> Response:
    return reply(request, {"action": action(request), "success": True, **members}, status_code, {})


def _report(count: int, unknown: set[int] | None = None) -> dict[str, Any]:
    errors = {str(number): "No annotation found with the given identifier!" for number in sorted(unknown or ())}
    return {"successCount": count, "failureCount": len(errors), "errors": errors}


def _number(text: str) -> int:
    last = text.rpartition("/")[2]
    if not re.fullmatch(r"[0-9]{1,18}", last):
        raise unsupported("identifier", text)
    return int(last)


def _numbers(content: bytes) -> list[int]:
    """A JSON list of numbers or addresses."""
    try:
        listed = json.loads(content or b"[]")
    except (ValueError, RecursionError) as error:
        raise MalformedAnnotation(str(error)) from error
    if not isinstance(listed, list) or not all(isinstance(one, (str, int)) for one in listed):
        raise MalformedAnnotation("A list of identifiers is expected")
    return [_number(str(one)) for one in listed]
