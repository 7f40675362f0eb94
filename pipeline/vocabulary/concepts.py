"""Concepts and the rules that choose their URIs (which URI names a concept, which one an annotation carries)."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from pipeline.errors import CriticalError

KINDS = ("type", "subject", "material")


@dataclass(frozen=True)
class Concept:
    """One concept. The three public URIs are None where no public URI is known."""

    slug: str
    kind: str
    labels: Mapping[str, str]
    europeana: str | None
    wikidata: str | None
    aat: str | None
    broader: tuple[str, ...]
    fallback_uri: str

    @property
    def concept_uri(self) -> str:
        """Names the concept in our data: Europeana's URI, else Wikidata's, else AAT's, else our own."""
        return self.europeana or self.wikidata or self.aat or self.fallback_uri

    @property
    def body_uri(self) -> str | None:
        """What an annotation carries (the form that Europeana dereferences); None: it cannot be published."""
        return self.wikidata or self.aat or self.europeana

    def label(self, language: str) -> str:
        """The label in a language, else in English, else the slug."""
        return self.labels.get(language) or self.labels.get("en") or self.slug


@dataclass(frozen=True)
class Vocabulary:
    """All concepts, by slug, in the order of the file. `version` changes with every byte of the file."""

    version: str
    concepts: tuple[Concept, ...]
    by_slug: Mapping[str, Concept] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_slug", {concept.slug: concept for concept in self.concepts})

    @cached_property
    def by_uri(self) -> Mapping[str, Concept]:
        """Every URI under which a concept is known."""
        return {
            uri: concept
            for concept in self.concepts
            for uri in (concept.fallback_uri, concept.aat, concept.wikidata, concept.europeana)
            if uri
        }

    def resolve(self, value: str) -> Concept | None:
        """The concept of a CSV value or API URI; a value that starts with http is a URI, anything else a slug."""
        text = value.strip()
        if text.startswith(("http://", "https://")):
            return self.by_uri.get(canonical_uri(text))
        return self.by_slug.get(text)

    def broader_of(self, slug: str) -> set[str]:
        """The slugs of all concepts that this one is a kind of."""
        return self.with_broader([slug]) - {slug}

    def with_broader(self, slugs: Iterable[str]) -> set[str]:
        """The slugs and those of all concepts that they are a kind of."""
        found: set[str] = set()
        left = list(slugs)
        while left:
            if (slug := left.pop()) not in found:
                found.add(slug)
                left += self.by_slug[slug].broader if slug in self.by_slug else ()
        return found


def canonical_uri(uri: str) -> str:
    """The one spelling of a concept URI: http, no `/concept/base/`, no `/page/`, no trailing slash."""
    uri = re.sub(r"^https?://(?:www\.)?wikidata\.org/(?:wiki|entity)/", "http://www.wikidata.org/entity/", uri.strip())
    uri = re.sub(r"^https?://vocab\.getty\.edu/(?:page/)?aat/", "http://vocab.getty.edu/aat/", uri)
    uri = re.sub(r"^https?://data\.europeana\.eu/concept/(?:base/)?", "http://data.europeana.eu/concept/", uri)
    return uri.rstrip("/")


def load_vocabulary(path: Path, *, base_url: str) -> Vocabulary:
    """Read `concepts.yaml`; `base_url` prefixes the URIs of concepts that have no public one.

    Raises CriticalError that names the file and the entry when an entry is not usable.
    """
    try:
        content = path.read_bytes()
        entries = yaml.safe_load(content)["concepts"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CriticalError(f"{path}: cannot be read as a list of concepts ({error}).") from error
    concepts = tuple(_concept(path, entry, base_url) for entry in entries)
    slugs = [concept.slug for concept in concepts]
    if repeated := {slug for slug in slugs if slugs.count(slug) > 1}:
        raise CriticalError(f"{path}: the slug {', '.join(sorted(repeated))} stands twice.")
    if unknown := {parent for concept in concepts for parent in concept.broader} - set(slugs):
        raise CriticalError(f"{path}: the broader concept {', '.join(sorted(unknown))} is not in the file.")
    return Vocabulary(version=hashlib.sha256(content).hexdigest()[:12], concepts=concepts)


def _concept(path: Path, entry: object, base_url: str) -> Concept:
    entry = entry if isinstance(entry, dict) else {"entry": entry}
    slug, kind, labels = entry.get("slug"), entry.get("kind"), entry.get("labels")
    if not isinstance(slug, str) or kind not in KINDS or not isinstance(labels, dict) or not labels.get("en"):
        raise CriticalError(f"{path}: the entry {entry!r} needs slug, kind ({'|'.join(KINDS)}) and labels with en.")
    uris = {name: canonical_uri(str(entry[name])) if entry.get(name) else None for name in ("europeana", "wikidata", "aat")}
    broader = entry.get("broader") or []
    return Concept(
        slug=slug,
        kind=str(kind),
        labels={str(language): str(text) for language, text in labels.items()},
        broader=tuple(str(parent) for parent in broader) if isinstance(broader, list) else (str(broader),),
        fallback_uri=f"{base_url.rstrip('/')}/concept/{slug}",
        **uris,
    )
