"""Europeana's Annotation API: its paths, and the writing of single annotations (annotation contract sections 2 to 7).

The server modelled is the contract's A373: the public code with highlighting merged in.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.annotation_access import AnnotationAccess, Writer, check_owner
from pipeline.sandbox.annotation_admin import AnnotationAdmin, AnnotationWhitelist
from pipeline.sandbox.annotation_batch import store_batch
from pipeline.sandbox.annotation_document import read_annotation
from pipeline.sandbox.annotation_duplicates import check_unique
from pipeline.sandbox.annotation_refusal import DENIED, AnnotationRefusal, unsupported
from pipeline.sandbox.annotation_replies import RESOURCE_LINK, AnnotationReplies, flag, identifier, reply
from pipeline.sandbox.annotation_rules import Provides, Rules
from pipeline.sandbox.annotation_search import PAGE_MEMBERS, AnnotationSearch
from pipeline.sandbox.annotation_store import AnnotationStore, Stored
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.quota import Quota
from pipeline.sandbox.state import State
from pipeline.sandbox.tokens import Tokens
from pipeline.vocabulary import Vocabulary

# `unknown` is a type of the server's that no annotation can have (2).
_PATH_TYPES = {"tag": "tagging", "link": "linking", "unknown": "unknown"}


class Annotations:
    """The API over one state. `provides` says whether an affiliation provides a record (6.3)."""

    def __init__(
        self,
        state: State,
        tokens: Tokens,
        vocabulary: Vocabulary,
        options: SandboxOptions,
        provides: Provides | None = None,
    ) -> None:
        self._store = AnnotationStore(state, int(options.index_lag_s * 1000))
        auth_disabled = options.auth_disabled
        self._access = AnnotationAccess(self._store, tokens, options.key, auth_disabled=auth_disabled, provides=provides)
        self.quota = Quota(options.annotation_quota, options.quota_window_s)
        self._replies = AnnotationReplies(options.error_format, self.quota)
        url = f"{options.public_url}/europeana/annotation"
        self._searching = AnnotationSearch(self._store, self._access, vocabulary, url)
        self.set_page_member(options.page_member)
        self._whitelist = AnnotationWhitelist(self._store)

    # Switches

    def set_error_format(self, name: str) -> None:
        """`2024` (7.1) or `2026` (7.2), from the next answer on."""
        self._replies.set_error_format(name)

    def set_page_member(self, name: str) -> None:
        """`isPartOf`, as the code writes it, or `partOf`, as the documentation has it (8.3)."""
        if name not in PAGE_MEMBERS:
            raise ValueError(f"No page member '{name}'; there are {' and '.join(PAGE_MEMBERS)}.")
        self._searching.page_member = name

    def set_index_reachable(self, reachable: bool) -> None:
        """While the search engine is away, searches and checks on duplicates are answered 504 (7.3)."""
        self._searching.is_reachable = reachable

    def set_index_lag(self, seconds: float) -> None:
        """How long after its writing an annotation is found by search and by the check on duplicates."""
        self._store.lag_ms = int(seconds * 1000)

    def set_locked(self, locked: bool) -> None:
        """The maintenance lock, as an admin sets it (4.4)."""
        self._store.lock(on=locked)

    def routes(self) -> list[Route]:
        """All routes. Without its last slash a container is not found (2)."""
        base, route = "/europeana/annotation", self._replies.route
        return [
            route(f"{base}/", POST=self._create),
            *(route(f"{base}/search{ending}", GET=self._searching.search) for ending in ("", ".json", ".jsonld")),
            route(f"{base}/stats", GET=self._searching.statistics),
            route(f"{base}/{{id}}/report", POST=self._report),
            route(f"{base}/{{id}}/moderationsummary", GET=self._moderation),
            route(f"{base}/{{id}}", GET=self._get, POST=self._post, PUT=self._put, DELETE=self._delete),
            route("/europeana/annotations/", POST=self._batch),
            route("/europeana/annotations/deleted", GET=self._searching.deleted),
            *(route(path, GET=_not_found, POST=_not_found) for path in (base, "/europeana/annotations")),
            *AnnotationAdmin(self._store, self._access, self._whitelist).routes(self._replies),
        ]

    # Creating

    async def _create(self, request: Request) -> Response:
        return self._created(request, await request.body(), None)

    async def _post(self, request: Request) -> Response:
        """`/annotation/{tag|link}` creates; with a plain text body the same path brings a deleted one back."""
        if request.headers.get("content-type", "").startswith("text/plain"):
            return self._enabled(request)
        name = request.path_params["id"].removesuffix(".jsonld")
        body = await request.body()
        if name not in _PATH_TYPES:
            self._access.writer(request, "create")
            raise unsupported("annoType", name)
        return self._created(request, body, _PATH_TYPES[name])

    def _created(self, request: Request, body: bytes, path_type: str | None) -> Response:
        """The order of 6.1: lock, token, reading, validation, duplicates, storing."""
        writer = self._access.writer(request, "create")
        indexed = flag(request, "indexOnCreate", default=True)
        annotation = read_annotation(body, path_type=path_type, rules=self._rules(writer))
        self._searching.check_reachable(f"motivation:{annotation.motivation}")
        # No await between the check and the insert: the two are one step for every other request.
        check_unique(self._store.state, annotation)
        stored = self._store.insert(annotation, writer.creator, writer.generator, indexed=indexed)
        return reply(request, stored.document, 201, {"ETag": stored.etag, "Link": RESOURCE_LINK, "Allow": "POST"})

    def _rules(self, writer: Writer) -> Rules:
        return self._access.rules(writer, self._whitelist.hosts)

    async def _batch(self, request: Request) -> Response:
        body = await request.body()
        writer = self._access.writer(request, "create")
        page = store_batch(self._store, body, writer, self._rules(writer))
        return reply(request, page, 201, {"Link": RESOURCE_LINK, "Allow": "POST"})

    # Changing

    async def _put(self, request: Request) -> Response:
        body = await request.body()
        writer = self._access.writer(request, "update")
        old = self._own(request, writer)
        annotation = read_annotation(body, rules=self._rules(writer), is_new=False)
        self._searching.check_reachable(f"motivation:{annotation.motivation}")
        check_unique(self._store.state, annotation, besides=old.id)
        stored = self._store.update(old, annotation)
        headers = {"ETag": stored.etag, "Link": RESOURCE_LINK, "Allow": "GET,PUT,DELETE"}
        return reply(request, stored.document, 200, headers)

    async def _delete(self, request: Request) -> Response:
        self._store.set_disabled(self._own(request, self._access.writer(request, "delete")), disabled=True)
        return Response(status_code=204, headers={"Vary": "Accept"})

    def _enabled(self, request: Request) -> Response:
        stored = self._own(request, self._access.writer(request, "update"), disabled_too=True)
        self._store.set_disabled(stored, disabled=False)
        return reply(request, stored.document, 200, {})

    def _own(self, request: Request, writer: Writer, *, disabled_too: bool = False) -> Stored:
        """The annotation of the path, if the writer may change it and means its current state."""
        stored = self._store.get(identifier(request), disabled_too=disabled_too)
        check_owner(stored, writer)
        # Compared as plain text, so that `*` never matches (3).
        wanted = request.headers.get("if-match")
        if wanted is not None and wanted != stored.etag:
            raise unsupported("If-Match", wanted, 412)
        return stored

    # Feedback

    async def _report(self, request: Request) -> Response:
        """One report of each user (2); an unknown annotation is 400 here, and not 404 (7.3)."""
        writer = self._access.writer(request, "create")
        try:
            number = self._store.get(identifier(request)).id
        except AnnotationRefusal as refusal:
            if refusal.status != 404:
                raise
            raise AnnotationRefusal("An error occurred during annotation validation! identifier") from refusal
        user = writer.creator["id"]
        if not self._store.report(number, user):
            raise AnnotationRefusal(f"{DENIED} {user}", 405)
        return Response(status_code=201, headers={"Vary": "Accept"})

    async def _moderation(self, request: Request) -> Response:
        self._access.check_reader(request)
        number = self._store.get(identifier(request)).id
        reports = (self._store.state.one("SELECT count(*) FROM annotation_report WHERE annotation_id = ?", (number,)) or (0,))[
            0
        ]
        return reply(request, {"endorseSum": 0, "reportSum": reports, "score": -reports}, 200, {"Allow": "GET"})

    # Reading

    async def _get(self, request: Request) -> Response:
        self._access.check_reader(request)
        stored = self._store.get(identifier(request))
        document = stored.document
        if "dereference" in request.query_params.get("profile", "").split(","):
            document = self._searching.dereferenced(document, request.query_params.get("language", ""))
        headers = {"ETag": stored.etag, "Link": RESOURCE_LINK, "Allow": "GET,PUT,DELETE,OPTIONS,HEAD"}
        return reply(request, document, 200, headers)


async def _not_found(request: Request) -> Response:
    raise AnnotationRefusal(f" No handler found for {request.method} {request.url.path.removeprefix('/europeana')}", 404)
