"""A Web Annotation Protocol container (W3C Recommendation of 2017, sections 3 to 5) under `/container/`."""

import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State

MEDIA_TYPE = 'application/ld+json; profile="http://www.w3.org/ns/anno.jsonld"'
PATH = "/container/"
PAGE = 100
_CONTEXT = ["http://www.w3.org/ns/anno.jsonld", "http://www.w3.org/ns/ldp.jsonld"]
_KIND = (
    '<http://www.w3.org/ns/ldp#BasicContainer>; rel="type", '
    '<http://www.w3.org/TR/annotation-protocol/>; rel="http://www.w3.org/ns/ldp#constrainedBy"'
)
_RESOURCE = '<http://www.w3.org/ns/ldp#Resource>; rel="type"'
_SLUG = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ALLOW, _ALLOW_ONE = "HEAD,GET,POST,OPTIONS", "HEAD,GET,PUT,DELETE,OPTIONS"


class AnnotationContainer:
    """Keeps what is posted; a name is never given twice, so that what was deleted is answered 410."""

    def __init__(self, state: State, options: SandboxOptions) -> None:
        self._state = state
        self._url = f"{options.public_url}{PATH}"

    def routes(self) -> list[Route]:
        """The container and what is in it."""
        return [
            Route(PATH, self._container, methods=["GET", "POST", "OPTIONS"]),
            Route(f"{PATH}{{name}}", self._one, methods=["GET", "PUT", "DELETE", "OPTIONS"]),
        ]

    async def _container(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._create(request)
        if request.method == "OPTIONS":
            return Response(headers={"Allow": _ALLOW, "Accept-Post": MEDIA_TYPE, "Link": _KIND})
        return self._collection(request)

    async def _create(self, request: Request) -> Response:
        document = _read(await request.body())
        if not request.headers.get("content-type", "").startswith("application/ld+json"):
            return _refusal(415, "an annotation is application/ld+json")
        if document is None:
            return _refusal(400, "an annotation has a type and a target")
        wanted = request.headers.get("slug", "")
        with self._state.transaction():
            number = (self._state.one("SELECT count(*) FROM container_annotation") or (0,))[0] + 1
            is_free = _SLUG.fullmatch(wanted) and not self._stored(wanted)
            name = wanted if is_free else f"{number}-of-ours"
            document = {**document, "id": f"{self._url}{name}"}
            self._state.execute("INSERT INTO container_annotation VALUES (?, ?, 1, 0)", (name, json.dumps(document)))
            self._state.log("container", "create", document["id"], str(document["target"]), document.get("body"))
        return _reply(document, 201, {"Location": document["id"], "ETag": '"1"', "Link": _RESOURCE, "Allow": _ALLOW_ONE})

    def _collection(self, request: Request) -> Response:
        """The whole by pages; which kind of members is wanted is said by `Prefer`, or by `iris` on a page."""
        prefer = request.headers.get("prefer", "")
        page = request.query_params.get("page")
        total = (self._state.one("SELECT count(*) FROM container_annotation WHERE NOT deleted") or (0,))[0]
        if page is not None:
            iris = request.query_params.get("iris") == "1"
            return _reply(
                {"@context": _CONTEXT[0], **self._page(int(page), total, iris=iris)}, 200, {"Allow": "HEAD,GET,OPTIONS"}
            )
        iris = "PreferContainedIRIs" in prefer
        last = max(0, total - 1) // PAGE
        members: dict[str, Any] = {}
        if total:
            first: Any = self._page_url(0, iris=iris)
            members = {"first": first, "last": self._page_url(last, iris=iris)}
            if "PreferMinimalContainer" not in prefer:
                members["first"] = self._page(0, total, iris=iris)
        body = {
            "@context": _CONTEXT,
            "id": f"{self._url}?iris={int(iris)}",
            "type": ["BasicContainer", "AnnotationCollection"],
            "total": total,
            **members,
        }
        headers = {"ETag": f'"{total}"', "Link": _KIND, "Allow": _ALLOW, "Accept-Post": MEDIA_TYPE, "Vary": "Accept, Prefer"}
        return _reply(body, 200, headers)

    def _page(self, number: int, total: int, *, iris: bool) -> dict[str, Any]:
        rows = self._state.all(
            "SELECT document FROM container_annotation WHERE NOT deleted ORDER BY rowid LIMIT ? OFFSET ?", (PAGE, number * PAGE)
        )
        documents = [json.loads(row[0]) for row in rows]
        more = {"next": self._page_url(number + 1, iris=iris)} if (number + 1) * PAGE < total else {}
        return {
            "id": self._page_url(number, iris=iris),
            "type": "AnnotationPage",
            "partOf": f"{self._url}?iris={int(iris)}",
            "startIndex": number * PAGE,
            **more,
            "items": [document["id"] for document in documents] if iris else documents,
        }

    def _page_url(self, number: int, *, iris: bool) -> str:
        return f"{self._url}?iris={int(iris)}&page={number}"

    async def _one(self, request: Request) -> Response:
        name = request.path_params["name"]
        if (stored := self._stored(name)) is None:
            return _refusal(404, "there is no such annotation")
        document, version, is_deleted = json.loads(stored[0]), stored[1], stored[2]
        if is_deleted:
            return _refusal(410, "it was deleted")
        headers = {"ETag": f'"{version}"', "Link": _RESOURCE, "Allow": _ALLOW_ONE, "Vary": "Accept"}
        if request.method == "OPTIONS":
            return Response(headers=headers)
        if request.method == "GET":
            return _reply(document, 200, headers)
        if (wanted := request.headers.get("if-match")) is None:
            return _refusal(428, "say by If-Match which version is meant")
        if wanted != headers["ETag"]:
            return _refusal(412, f"it is {headers['ETag']} by now")
        if request.method == "DELETE":
            return self._delete(name, document)
        changed = _read(await request.body())
        if changed is None or changed.get("id") != document["id"]:
            return _refusal(400, "an annotation has a type, a target and its own id")
        return self._replace(name, changed, version + 1, headers)

    def _delete(self, name: str, document: dict[str, Any]) -> Response:
        with self._state.transaction():
            self._state.execute("UPDATE container_annotation SET deleted = 1 WHERE name = ?", (name,))
            self._state.log("container", "delete", document["id"], None, None)
        return Response(status_code=204)

    def _replace(self, name: str, document: dict[str, Any], version: int, headers: dict[str, str]) -> Response:
        with self._state.transaction():
            self._state.execute(
                "UPDATE container_annotation SET document = ?, version = ? WHERE name = ?",
                (json.dumps(document), version, name),
            )
            self._state.log("container", "update", document["id"], str(document["target"]), document.get("body"))
        return _reply(document, 200, {**headers, "ETag": f'"{version}"'})

    def _stored(self, name: str) -> tuple[Any, ...] | None:
        return self._state.one("SELECT document, version, deleted FROM container_annotation WHERE name = ?", (name,))


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    is_annotation = isinstance(document, dict) and document.get("type") == "Annotation" and document.get("target")
    return document if is_annotation else None


def _reply(document: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), status, {**headers, "Content-Type": MEDIA_TYPE})


def _refusal(status: int, message: str) -> Response:
    return Response(json.dumps({"message": message}), status, {"Content-Type": "application/json"})
