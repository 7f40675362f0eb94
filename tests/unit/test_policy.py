"""The policy: which concepts never leave the house, and that a file which cannot be meant is refused."""

from pathlib import Path

import pytest

from pipeline.domain.outcome import Reason
from pipeline.errors import CriticalError
from pipeline.settings import PROJECT_ROOT
from pipeline.vocabulary import Concept, Policy, load_policy, load_vocabulary

BASE = {"excluded_concepts": frozenset[str](), "abstain": frozenset[str](), "publishable_rights": frozenset({"open"})}
FILE = "excluded_concepts: []\nabstain: []\npublishable_rights: [open]\n"


def concept(slug: str = "painting", **labels: str) -> Concept:
    return Concept(slug, "type", labels or {"en": "painting"}, None, "http://www.wikidata.org/entity/Q1", None, (), "urn:x")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({}, None),
        ({"excluded_concepts": frozenset({"painting"})}, Reason.EXCLUDED),
        ({"allowed_concepts": frozenset({"map"})}, Reason.NOT_ALLOWED),
        ({"allowed_concepts": frozenset[str]()}, Reason.NOT_ALLOWED),
        ({"allowed_concepts": frozenset({"painting"})}, None),
        ({"blocked_terms": {"contested": {"en": ("Painting",)}}}, Reason.BLOCKED_TERM),
        ({"blocked_terms": {"contested": {"de": ("painting",)}}}, None),
    ],
)
def test_a_concept_is_held_back_by_the_first_rule_that_names_it(policy: dict[str, object], reason: Reason | None) -> None:
    found = Policy(**(BASE | policy)).held_back(concept())  # type: ignore[arg-type]
    assert (found[0] if found else None) is reason


@pytest.mark.parametrize(
    ("label", "is_blocked"),
    [("old MAN with a hat", True), ("man", True), ("manuscript", False), ("woman", False), ("a man's coat", True)],
)
def test_a_term_is_found_as_a_whole_word_in_any_case(label: str, is_blocked: bool) -> None:
    policy = Policy(**BASE, blocked_terms={"demographic": {"en": ("man",)}})  # type: ignore[arg-type]
    found = policy.held_back(concept("x", en=label))
    assert (found is not None) is is_blocked
    assert found is None or "demographic term 'man'" in found[1]


def test_a_term_is_looked_for_in_its_own_language_alone() -> None:
    policy = Policy(**BASE, blocked_terms={"contested": {"fr": ("nain",)}})  # type: ignore[arg-type]
    assert policy.held_back(concept("x", en="nain", fr="portrait")) is None
    assert policy.held_back(concept("x", en="portrait", fr="le nain")) is not None


def test_the_shipped_lists_block_terms_in_all_languages_and_none_of_the_shipped_concepts() -> None:
    policy = load_policy(PROJECT_ROOT / "vocab" / "policy.yaml")
    vocabulary = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
    languages = {language for one in vocabulary.concepts for language in one.labels}
    assert {kind: set(terms) for kind, terms in policy.blocked_terms.items()} == {
        "demographic": languages,
        "contested": languages,
    }
    assert {one.slug: policy.held_back(one) for one in vocabulary.concepts if policy.held_back(one)} == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("blocked_words: {}", "blocked_words is not a field here"),
        ("blocked_terms: {contested: {en: [no]}}", "False is not a word"),
        ("blocked_terms: [negro]", "policy.yaml"),
        ("most_per_record: many", "most_per_record: 'many'"),
        ("most_per_provider: -1", "most_per_provider: -1"),
        ("most_records_per_picture: few", "most_records_per_picture: 'few'"),
        ("provider_ceilings: {Museum: public}", "'Museum': 'public'} is none of review, hidden"),
    ],
)
def test_a_policy_that_cannot_be_meant_names_file_and_field(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "policy.yaml").write_text(f"{FILE}{line}\n")
    with pytest.raises(CriticalError, match="policy.yaml") as caught:
        load_policy(tmp_path / "policy.yaml")
    assert words in str(caught.value)


def test_of_institution_and_aggregator_the_lower_ceiling_holds_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(f"{FILE}provider_ceilings: {{Museum: review, Aggregator: hidden}}\n")
    policy = load_policy(tmp_path / "policy.yaml")
    assert policy.ceiling("Museum", "Other") == ("Museum", "review")
    assert policy.ceiling("Museum", "Aggregator") == ("Aggregator", "hidden")
    assert policy.ceiling("Archive", "") is None


def test_what_a_policy_does_not_name_it_does_not_bound(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(FILE)
    policy = load_policy(tmp_path / "policy.yaml")
    assert (policy.allowed_concepts, policy.most_per_record, policy.most_per_provider) == (None, None, None)
    assert (policy.most_records_per_picture, policy.provider_ceilings) == (None, {})
