"""Europeana's Entity API over the vocabulary's concepts (Europeana contract 3.4)."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.sandbox.access import Gate, Refusal
from pipeline.sandbox.items import without_empty
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.records import fold, iso
from pipeline.vocabulary import Concept, Vocabulary

_CONTEXT = "https://www.europeana.eu/schemas/context/entity.jsonld"
_PAGE_CONTEXT = "http://www.europeana.eu/schemas/context/entity.jsonld"
_LARGEST_PAGE = 100


class Entities:
    """Look-up, search, suggestions and resolving of concepts that have a URI of Europeana."""

    def __init__(self, vocabulary: Vocabulary, gate: Gate, options: SandboxOptions) -> None:
        self._vocabulary = vocabulary
        self._gate = gate
        self._url = f"{options.public_url}/europeana/entity"
        self._concepts = {
            str(concept.europeana).rpartition("/")[2]: concept for concept in vocabulary.concepts if concept.europeana
        }

    def routes(self) -> list[Route]:
        """All routes."""
        return [
            Route("/europeana/entity/resolve", self._gate.guarded(self._resolve, self._refuse)),
            Route("/europeana/entity/search", self._gate.guarded(self._search, self._refuse)),
            Route("/europeana/entity/suggest", self._gate.guarded(self._suggest, self._refuse)),
            Route("/europeana/entity/retrieve", self._gate.guarded(self._retrieve, self._refuse), methods=["POST"]),
            Route("/europeana/entity/concept/base/{number}.json", self._gate.guarded(self._concept, self._refuse)),
            Route("/europeana/entity/concept/{number}.json", self._gate.guarded(self._concept, self._refuse)),
        ]

    def _refuse(self, request: Request, refusal: Refusal) -> Response:
        """The newer error shape (contract 1.9)."""
        body = {
            "@context": "https://api.europeana.eu/schema/context/api.jsonld",
            "type": "ErrorResponse",
            "success": False,
            "status": refusal.status,
            **refusal.fields,
            "timestamp": iso(datetime.now(UTC)),
            "path": request.url.path.removeprefix("/europeana"),
        }
        return self._gate.reply(without_empty(body), status=refusal.status)

    async def _concept(self, request: Request, key: str) -> Response:
        number = request.path_params["number"]
        concept = self._concepts.get(number)
        if concept is None:
            raise Refusal(404, f"Entity '/entity/concept/{number}.json' was not found.", code="404_not_found")
        return self._gate.reply(self._entity(concept))

    async def _resolve(self, request: Request, key: str) -> Response:
        uri = request.query_params.get("uri", "")
        concept = self._vocabulary.resolve(uri)
        if concept is None or concept.europeana is None:
            body = {
                "apikey": key,
                "action": "/entity/resolve",
                "success": False,
                "error": f"No entity found for sameAs/exactMatch URI : {uri}",
            }
            return self._gate.reply(without_empty(body) | {"success": False}, status=404)
        number = concept.europeana.rpartition("/")[2]
        return RedirectResponse(f"{self._url}/concept/{number}.json", 301)

    async def _search(self, request: Request, key: str) -> Response:
        """A page of concepts one of whose labels holds the words; pages count from 0."""
        text = request.query_params.get("query") or request.query_params.get("text")
        if not text:
            raise Refusal(400, "Required parameter 'query' missing", code="400_param_missing")
        page, size = _number(request, "page", 0), min(_number(request, "pageSize", 10), _LARGEST_PAGE)
        found = self._matching(request, "" if text.strip() in ("*", "*:*") else text)
        others = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "pageSize")]
        whole = f"{self._url}/search?{urlencode(others)}"
        return self._gate.reply(
            without_empty(
                {
                    "@context": _PAGE_CONTEXT,
                    "id": f"{whole}&page={page}&pageSize={size}",
                    "type": "ResultPage",
                    "total": len(found),
                    "partOf": {"id": whole, "type": "ResultList", "total": len(found)},
                    "items": self._listed(found[page * size : (page + 1) * size]),
                }
            )
        )

    async def _suggest(self, request: Request, key: str) -> Response:
        """The first ten concepts with a word that begins as the text does."""
        text = request.query_params.get("text")
        if not text:
            raise Refusal(400, "Required parameter 'text' missing", code="400_param_missing")
        found = self._matching(request, text, prefix=True)[:10]
        return self._gate.reply(self._page(found))

    async def _retrieve(self, request: Request, key: str) -> Response:
        """Several concepts at once, by their URIs."""
        try:
            uris = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "The body is no JSON", code="400_param_invalid") from error
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise Refusal(400, "A list of URIs was expected", code="400_param_invalid")
        found = [self._vocabulary.resolve(uri) for uri in uris]
        return self._gate.reply(self._page([concept for concept in found if concept and concept.europeana]))

    def _page(self, found: Sequence[Concept]) -> dict[str, Any]:
        fields = {"@context": _PAGE_CONTEXT, "type": "ResultPage", "total": len(found), "items": self._listed(found)}
        return without_empty(fields)

    def _matching(self, request: Request, text: str, *, prefix: bool = False) -> list[Concept]:
        if request.query_params.get("type", "concept").lower() not in ("concept", "all"):
            return []
        wanted = fold(text).rstrip() if prefix else fold(text)
        if not wanted.strip():
            return list(self._concepts.values()) if not text else []
        return [
            concept for concept in self._concepts.values() if any(wanted in fold(label) for label in concept.labels.values())
        ]

    def _listed(self, found: Sequence[Concept]) -> list[dict[str, Any]]:
        entities = map(self._entity, found)
        return [{name: value for name, value in entity.items() if name != "@context"} for entity in entities]

    def _entity(self, concept: Concept) -> dict[str, Any]:
        """A concept; a label is one string per language here, an array in the Record API."""
        parents = [self._vocabulary.by_slug[slug].europeana for slug in concept.broader]
        children = [other.europeana for other in self._concepts.values() if concept.slug in other.broader]
        return without_empty(
            {
                "@context": _CONTEXT,
                "id": concept.europeana,
                "type": "Concept",
                "prefLabel": dict(concept.labels),
                "broader": [parent for parent in parents if parent],
                "narrower": children,
                "exactMatch": [uri for uri in (concept.wikidata, concept.aat) if uri],
            }
        )


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise Refusal(400, f"Invalid value for parameter '{name}'", code="400_param_invalid")
    return int(text)
