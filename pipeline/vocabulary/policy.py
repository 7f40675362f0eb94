"""What may leave the house (`vocab/policy.yaml`): scores decide first, the policy can only hold back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.domain.label import CEILINGS
from pipeline.domain.outcome import Reason
from pipeline.errors import CriticalError
from pipeline.vocabulary.concepts import Concept


@dataclass(frozen=True)
class Policy:
    """`allowed_concepts` None: all. `blocked_terms`: kind → language → words that no published label may hold.

    `most_per_record` bounds our annotations on one record, `most_per_provider` the new ones of one institution in one
    run; None: no bound. `provider_ceilings` is what labels on an institution's records may become at most: review or hidden.
    Labels of a picture that stands at more records than `most_records_per_picture` stay hidden; None: no bound.
    """

    excluded_concepts: frozenset[str]
    abstain: frozenset[str]
    publishable_rights: frozenset[str]
    allowed_concepts: frozenset[str] | None = None
    blocked_terms: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    most_per_record: int | None = None
    most_per_provider: int | None = None
    provider_ceilings: Mapping[str, str] = field(default_factory=dict)
    most_records_per_picture: int | None = None

    def ceiling(self, *providers: str) -> tuple[str, str] | None:
        """Of a record's institution and aggregator the one with the lowest ceiling, and that: `hidden` is below `review`."""
        found = [(name, self.provider_ceilings[name]) for name in providers if name in self.provider_ceilings]
        return min(found, key=lambda one: CEILINGS[one[1]].most.strength, default=None)

    def held_back(self, concept: Concept) -> tuple[Reason, str] | None:
        """Why no label of this concept leaves: the reason and it in words; None when the policy lets it pass."""
        if concept.slug in self.excluded_concepts:
            return Reason.EXCLUDED, f"{concept.slug} is among excluded_concepts"
        if self.allowed_concepts is not None and concept.slug not in self.allowed_concepts:
            return Reason.NOT_ALLOWED, f"{concept.slug} is not among allowed_concepts"
        for kind, languages in self.blocked_terms.items():
            for language, terms in languages.items():
                label = concept.labels.get(language, "").casefold()
                if found := next((term for term in terms if _holds(label, term.casefold())), None):
                    return Reason.BLOCKED_TERM, f"its label in {language} holds the {kind} term {found!r}"
        return None


def load_policy(path: Path) -> Policy:
    """Read the policy; CriticalError that names the file."""
    try:
        value: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        if unknown := set(value) - {*Policy.__dataclass_fields__}:
            raise ValueError(f"{', '.join(sorted(unknown))} is not a field here")
        return Policy(
            excluded_concepts=frozenset(value["excluded_concepts"] or ()),
            abstain=frozenset(value["abstain"] or ()),
            publishable_rights=frozenset(value["publishable_rights"] or ()),
            allowed_concepts=None if value.get("allowed_concepts") is None else frozenset(value["allowed_concepts"]),
            blocked_terms=_terms(value.get("blocked_terms") or {}),
            most_per_record=_bound(value, "most_per_record"),
            most_per_provider=_bound(value, "most_per_provider"),
            provider_ceilings=_by_provider(value.get("provider_ceilings") or {}),
            most_records_per_picture=_bound(value, "most_records_per_picture"),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CriticalError(f"{path}: not a usable policy ({type(error).__name__}: {error})") from error


def _terms(value: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    found = {kind: {language: tuple(terms) for language, terms in languages.items()} for kind, languages in value.items()}
    words = [word for languages in found.values() for terms in languages.values() for word in terms]
    if wrong := [word for word in words if not isinstance(word, str) or not word.strip()]:
        raise ValueError(f"blocked_terms: {wrong[0]!r} is not a word; write it in quotes")
    return found


def _by_provider(value: Mapping[str, Any]) -> dict[str, str]:
    if wrong := {name: most for name, most in value.items() if most not in CEILINGS}:
        raise ValueError(f"provider_ceilings: {wrong} is none of {', '.join(CEILINGS)}")
    return {str(name): most for name, most in value.items()}


def _bound(value: Mapping[str, Any], name: str) -> int | None:
    number = value.get(name)
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
        raise ValueError(f"{name}: {number!r} is not a number; leave it empty for no bound")
    return number


def _holds(label: str, term: str) -> bool:
    """Does the label hold the term as whole words?"""
    return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", label) is not None
