"""WITH, the platform behind CrowdHeritage: its parts put together (WITH contract 1 to 5).

A record is on the platform once it has been imported into a collection. Missing things answer 500, as there; some
unknown ids answer 200 with `null`; what the framework itself refuses is a page of HTML.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.crowd import Crowd
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State
from pipeline.sandbox.tokens import Tokens
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_annotation_store import AnnotationStore
from pipeline.sandbox.with_annotations import Annotations
from pipeline.sandbox.with_campaign_store import CampaignStore
from pipeline.sandbox.with_campaigns import Campaigns
from pipeline.sandbox.with_collections import Collections
from pipeline.sandbox.with_common import PlayPage, guarded
from pipeline.sandbox.with_exports import Exports
from pipeline.sandbox.with_filling import Filling
from pipeline.sandbox.with_imports import Imports
from pipeline.sandbox.with_records import Records
from pipeline.sandbox.with_rights import Access
from pipeline.sandbox.with_search import Search
from pipeline.sandbox.with_thesauri import Thesauri
from pipeline.vocabulary import Vocabulary

_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class WithPlatform:
    """The platform over one state and one catalogue."""

    def __init__(
        self,
        state: State,
        tokens: Tokens,
        catalogue: Catalogue,
        vocabulary: Vocabulary,
        options: SandboxOptions,
    ) -> None:
        accounts = Accounts(state, tokens, options)
        access = Access(state, accounts)
        store, campaigns = AnnotationStore(state), CampaignStore(state)
        records = Records(state, catalogue, accounts, access, store, options)
        thesauri = Thesauri(state, accounts, vocabulary)
        search = Search(catalogue, records, options)
        collections = Collections(state, accounts, access, records, store)
        self._filling = Filling(state, catalogue, accounts, access, collections, search)
        self._imports = Imports(state, accounts, records, store, campaigns, thesauri, options)
        self._crowd = Crowd(state, catalogue, vocabulary, accounts, store, campaigns)
        # The first part that has a path answers it, so special paths come before `/{id}`.
        self._tables = [
            *accounts.table(),
            *search.table(),
            *self._filling.table(),
            *collections.table(),
            *Exports(accounts, store, campaigns).table(),
            *Annotations(state, accounts, records, store, campaigns, thesauri).table(),
            *records.table(),
            *self._imports.table(),
            *Campaigns(state, accounts, store, campaigns).table(),
            *thesauri.table(),
        ]

    def routes(self) -> list[Route]:
        """All routes under `/with`, and the crowd's own."""
        routes = [Route(f"/with{path}", guarded(handler), methods=[method]) for method, path, handler in self._tables]
        unknown = Route("/with/{path:path}", guarded(_unknown), methods=_METHODS)
        return [*self._crowd.routes(), *routes, unknown]

    async def stop(self) -> None:
        """End the imports that still run."""
        await self._filling.stop()
        await self._imports.stop()


async def _unknown(request: Request) -> Response:
    path = request.url.path.removeprefix("/with")
    raise PlayPage(404, "Action not found", f"For request '{request.method} {path}'")
