"""Thesauri of the WITH stand-in: the vocabulary under the platform's names, and those that users make (contract 4)."""

import csv
import io
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipeline.sandbox.state import State
from pipeline.sandbox.with_accounts import Accounts
from pipeline.sandbox.with_common import Table, WithError, json_object, missing, needed, object_id
from pipeline.vocabulary import Concept, Vocabulary, canonical_uri

_BUILT_IN = {"http://www.wikidata.org/entity/": "wikidata", "http://vocab.getty.edu/aat/": "aat"}
_MOST_SUGGESTIONS = 100
_SHORTEST_WORD = 3

Term = dict[str, Any]


class Thesauri:
    """Terms by their URI, and the calls under `/thesaurus`."""

    def __init__(self, state: State, accounts: Accounts, vocabulary: Vocabulary) -> None:
        self._state = state
        self._accounts = accounts
        self._vocabulary = vocabulary
        self._built_in = {term["uri"]: term for concept in vocabulary.concepts for term in _terms(concept)}

    def table(self) -> Table:
        """Method, path and handler of each call; the more special paths first."""
        return [
            ("GET", "/thesaurus/suggestions", self._suggestions),
            ("GET", "/thesaurus/getTerm", self._get_term),
            ("GET", "/thesaurus/listTerms", self._list_terms),
            ("GET", "/thesaurus/listVocabularies", self._list),
            ("POST", "/thesaurus/createEmptyThesaurus", self._create),
            ("POST", "/thesaurus/addTerms", self._add_terms),
            ("POST", "/thesaurus/populateCustomThesaurus", self._populate),
            ("DELETE", "/thesaurus/deleteThesaurus/{name}", self._delete_named),
            ("DELETE", "/thesaurus/term/{id}", self._delete_term),
            ("DELETE", "/thesaurus/{id}", self._delete),
            ("GET", "/thesaurus/{name}", self._single),
        ]

    def term(self, uri: object) -> Term | None:
        """The term of a URI, in a user's thesaurus or in one that comes with the platform."""
        if not isinstance(uri, str):
            return None
        row = self._state.one("SELECT document FROM with_term WHERE uri = ? ORDER BY rowid LIMIT 1", (canonical_uri(uri),))
        if row:
            own: Term = json.loads(row[0])
            return own
        return self._built_in.get(canonical_uri(uri))

    def labelled(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body with a known URI gets the thesaurus's labels and name (3.3)."""
        term = self.term(body.get("uri"))
        if term is None:
            return self._labelled_otherwise(body)
        return {**body, "uriVocabulary": term["vocabulary"], "label": term["label"]}

    def _labelled_otherwise(self, body: dict[str, Any]) -> dict[str, Any]:
        """URIs of the vocabulary that stand in none of the platform's thesauri still have labels."""
        concept = self._vocabulary.resolve(body["uri"]) if isinstance(body.get("uri"), str) else None
        return body if concept is None else {**body, "label": _labels(concept)}

    async def _suggestions(self, request: Request) -> Response:
        """At most 100; a word needs three characters, none at all lists the vocabulary."""
        word = needed(request, "word")
        names = [name for name in request.query_params.get("namespaces", "").split(",") if name]
        language = request.query_params.get("language", "all")
        results = []
        if not word or len(word) >= _SHORTEST_WORD:
            found = (
                _suggestion(term, word, language) for term in self._everything() if not names or term["vocabulary"] in names
            )
            results = [one for one in found if one is not None][:_MOST_SUGGESTIONS]
        return JSONResponse({"request": word, "results": results})

    def _everything(self) -> list[Term]:
        own = [json.loads(row[0]) for row in self._state.all("SELECT document FROM with_term ORDER BY rowid")]
        return [*self._built_in.values(), *own]

    async def _get_term(self, request: Request) -> Response:
        uri = needed(request, "uri")
        term = self.term(uri)
        if term is None:
            raise missing(uri)
        return JSONResponse(term)

    async def _list_terms(self, request: Request) -> Response:
        return JSONResponse(self._of(needed(request, "thesaurusName")))

    async def _single(self, request: Request) -> Response:
        return JSONResponse(self._of(str(request.path_params["name"])))

    def _of(self, name: str) -> list[Term]:
        if name in _BUILT_IN.values() or self._row(name):
            return [term for term in self._everything() if term["vocabulary"] == name]
        raise missing(name)

    def _row(self, name: str) -> tuple[Any, ...] | None:
        return self._state.one("SELECT id, owner FROM with_thesaurus WHERE name = ?", (name,))

    async def _list(self, request: Request) -> Response:
        self._accounts.known_user(request)
        built_in = [{"name": name, "version": "", "label": name, "type": "thesaurus"} for name in _BUILT_IN.values()]
        rows = self._state.all("SELECT id, name, version, label, kind FROM with_thesaurus ORDER BY rowid")
        own = [dict(zip(("dbId", "name", "version", "label", "type"), row, strict=True)) for row in rows]
        return JSONResponse([*built_in, *own])

    async def _create(self, request: Request) -> Response:
        user = self._accounts.known_user(request)
        if not self._accounts.may_create_campaigns(user):
            raise WithError(403, "User has no campaign creation access")
        name = needed(request, "name")
        values = [needed(request, field) for field in ("version", "label", "vocType")]
        if self._row(name) or name in _BUILT_IN.values():
            raise WithError(400, f"Thesaurus {name} already exists")
        identifier = object_id("thesaurus", name)
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_thesaurus (id, name, version, label, kind, owner) VALUES (?, ?, ?, ?, ?, ?)",
                (identifier, name, *values, user),
            )
            self._state.log("with", "create_thesaurus", identifier, None, {"name": name})
        return JSONResponse({"dbId": identifier, "name": name, "version": values[0], "label": values[1], "type": values[2]})

    async def _add_terms(self, request: Request) -> Response:
        """The server looks each URI up; here it finds those of the vocabulary."""
        form = await json_object(request)
        uris, name = form.get("uris"), str(form.get("thesaurusName"))
        thesaurus_id = self._own(request, name)
        if not isinstance(uris, list):
            raise WithError(400, "Invalid JSON")
        terms = [self._built_in.get(canonical_uri(uri)) for uri in uris if isinstance(uri, str)]
        found = [{**term, "vocabulary": name} for term in terms if term]
        self._put(thesaurus_id, found)
        return PlainTextResponse(f"Added {len(found)}/{len(uris)} terms")

    async def _populate(self, request: Request) -> Response:
        """A CSV of `uri` or `uri,label,description`; a term without description fails bulk imports (3.6)."""
        name = needed(request, "thesaurusName")
        needed(request, "thesaurusVersion")
        thesaurus_id = self._own(request, name)
        form = await request.form()
        files = [value for value in form.values() if not isinstance(value, str)]
        if not files:
            raise WithError(400, "Missing file")
        try:
            rows = [
                row for row in csv.reader(io.StringIO((await files[0].read()).decode("utf-8-sig"))) if row and row[0].strip()
            ]
        except (UnicodeDecodeError, csv.Error) as error:
            raise WithError(400, "Invalid CSV") from error
        terms = [_own_term(name, *(cell.strip() for cell in (*row, "", "")[:3])) for row in rows]
        self._put(thesaurus_id, terms)
        return PlainTextResponse(f"Added {len(terms)}/{len(rows)} terms")

    def _own(self, request: Request, name: str) -> str:
        user, row = self._accounts.known_user(request), self._row(name)
        if row is None:
            raise missing(name)
        if row[1] != user and not self._accounts.is_superuser(user):
            raise WithError(403, f"User does not have WRITE access for thesaurus {name}")
        return str(row[0])

    def _put(self, thesaurus_id: str, terms: list[Term]) -> None:
        with self._state.transaction():
            for term in terms:
                identifier = object_id("term", f"{thesaurus_id} {term['uri']}")
                document = json.dumps({**term, "dbId": identifier}, ensure_ascii=False)
                self._state.execute(
                    "INSERT OR REPLACE INTO with_term (id, thesaurus_id, uri, document) VALUES (?, ?, ?, ?)",
                    (identifier, thesaurus_id, canonical_uri(term["uri"]), document),
                )
            self._state.log("with", "add_terms", thesaurus_id, None, {"terms": len(terms)})

    async def _delete_named(self, request: Request) -> Response:
        return self._remove(request, str(request.path_params["name"]))

    async def _delete(self, request: Request) -> Response:
        identifier = str(request.path_params["id"])
        row = self._state.one("SELECT name FROM with_thesaurus WHERE id = ?", (identifier,))
        if row is None:
            raise missing(identifier)
        return self._remove(request, str(row[0]))

    def _remove(self, request: Request, name: str) -> Response:
        thesaurus_id = self._own(request, name)
        with self._state.transaction():
            self._state.execute("DELETE FROM with_term WHERE thesaurus_id = ?", (thesaurus_id,))
            self._state.execute("DELETE FROM with_thesaurus WHERE id = ?", (thesaurus_id,))
            self._state.log("with", "delete_thesaurus", thesaurus_id, None, {"name": name})
        return Response(status_code=200)

    async def _delete_term(self, request: Request) -> Response:
        identifier = str(request.path_params["id"])
        sql = "SELECT t.name FROM with_term e JOIN with_thesaurus t ON t.id = e.thesaurus_id WHERE e.id = ?"
        row = self._state.one(sql, (identifier,))
        if row is None:
            raise missing(identifier)
        self._own(request, str(row[0]))
        self._state.execute("DELETE FROM with_term WHERE id = ?", (identifier,))
        return Response(status_code=200)


def _terms(concept: Concept) -> list[Term]:
    """A concept once for each of its URIs that a thesaurus of the platform holds."""
    found = []
    for uri in (concept.wikidata, concept.aat):
        name = _BUILT_IN.get(uri.rpartition("/")[0] + "/") if uri else None
        if uri and name:
            description = f"{concept.label('en')} ({concept.kind})"
            about = {"en": [description], "default": [description]}
            found.append({"uri": uri, "vocabulary": name, "label": _labels(concept), "description": about})
    return found


def _labels(concept: Concept) -> dict[str, list[str]]:
    return {**{language: [text] for language, text in concept.labels.items()}, "default": [concept.label("en")]}


def _own_term(vocabulary: str, uri: str, label: str, description: str) -> Term:
    term: Term = {"uri": uri, "vocabulary": vocabulary, "label": {"en": [label or uri], "default": [label or uri]}}
    return {**term, "description": {"en": [description], "default": [description]}} if description else term


def _suggestion(term: Term, word: str, language: str) -> dict[str, Any] | None:
    wanted = word.casefold()
    for one, texts in term["label"].items():
        if language not in ("all", one):
            continue
        for text in texts:
            if wanted in text.casefold():
                return {
                    "id": term["uri"],
                    "label": term["label"]["default"][0],
                    "matchedLabel": text,
                    "uri": term["uri"],
                    "vocabulary": term["vocabulary"],
                    "description": (term.get("description") or {"default": [""]})["default"][0],
                    "categories": [],
                    "exact": text.casefold() == wanted,
                }
    return None
