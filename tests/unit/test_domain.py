"""The pure ideas: names, scopes, outcomes, rights, decisions, and our statement as a W3C annotation."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.annotation import annotation_errors, as_request, tag_annotation
from pipeline.domain.identifiers import (
    annotation_canonical,
    annotation_number,
    dataset_id,
    image_id,
    item_uri,
    run_key,
)
from pipeline.domain.label import Ceiling, ConceptRule, Decision, Thresholds, decide
from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.rights import rights_category
from pipeline.domain.scope import Scope, Selection, scope_from_json, scope_hash, scope_to_json
from pipeline.domain.suggestion import concept_agreement, relatedness, shared_concepts
from pipeline.errors import CriticalError, PermanentError

PAINTING = "http://data.europeana.eu/concept/47"
Q_PAINTING = "http://www.wikidata.org/entity/Q3305213"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# --- Names ---


def test_a_record_id_becomes_the_uri_of_its_item() -> None:
    assert item_uri("/2021650/abc_1") == "http://data.europeana.eu/item/2021650/abc_1"
    assert dataset_id("/2021650/abc_1") == "2021650"


@pytest.mark.parametrize(
    "record_id",
    [
        "/with/6560c0ffee",
        "2021650/abc",
        "/2021650",
        "/2021650/",
        "//abc",
        "/a/b/c",
        "/a/b c",
        "/a/b\tc",
        '/a/b"c',
        "",
        "/",
        " /a/b",
    ],
)
def test_an_id_that_cannot_be_a_target_is_refused(record_id: str) -> None:
    with pytest.raises(PermanentError):
        item_uri(record_id)


def test_an_image_is_named_by_the_sha256_of_its_bytes() -> None:
    assert image_id(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.text())
def test_a_run_id_reaches_keys_only_as_letters_digits_underscore_and_hyphen(text: str) -> None:
    key = run_key(text)
    assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    assert run_key(key) == key


def test_the_canonical_name_of_a_statement_is_stable_over_time_and_versions() -> None:
    # Changing it would orphan every annotation that has been sent: the value is fixed here on purpose.
    known = annotation_canonical("/90402/SK_A_1", PAINTING, "europeana")
    assert known == "urn:uuid:b97580cf-34da-58f0-beb4-d2ec67b5c94d"
    assert uuid.UUID(known.removeprefix("urn:uuid:")).version == 5


def test_each_part_of_a_statement_changes_its_canonical_name() -> None:
    names = {
        annotation_canonical("/1/a", PAINTING, "europeana"),
        annotation_canonical("/1/b", PAINTING, "europeana"),
        annotation_canonical("/1/a", Q_PAINTING, "europeana"),
        annotation_canonical("/1/a", PAINTING, "with"),
    }
    assert len(names) == 4


@pytest.mark.parametrize("uri", ["http://data.europeana.eu/annotation/123", "http://data.europeana.eu/annotation/123/", "123"])
def test_the_number_of_an_annotation_is_the_end_of_its_uri(uri: str) -> None:
    assert annotation_number(uri) == "123"


# --- Scope ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": ""},
        {"mode": "everything"},
        {"mode": "ids"},
        {"mode": "pending", "ids": ("/1/a",)},
        {"mode": "full", "ids": ("/1/a",)},
        {"mode": "window", "ids": ("/1/a",), "start": NOON, "end": NOON + timedelta(1)},
        {"mode": "window"},
        {"mode": "window", "start": NOON},
        {"mode": "window", "start": NOON, "end": NOON},
        {"mode": "window", "start": NOON + timedelta(1), "end": NOON},
        {"mode": "window", "start": NOON.replace(tzinfo=None), "end": (NOON + timedelta(1)).replace(tzinfo=None)},
        {"mode": "pending", "start": NOON},
        {"mode": "full", "end": NOON},
        {"mode": "ids", "ids": ("/1/a",), "start": NOON},
    ],
)
def test_a_scope_is_exactly_one_of_pending_ids_window_and_full(wrong: dict[str, Any]) -> None:
    with pytest.raises(CriticalError):
        Scope(**wrong)


@pytest.mark.parametrize("wrong", [{"kind": "", "value": "x"}, {"kind": "query", "value": ""}, {"kind": "sql", "value": "x"}])
def test_a_selection_needs_a_known_kind_and_a_value(wrong: dict[str, str]) -> None:
    with pytest.raises(CriticalError):
        Selection(**wrong)


_TIMES = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=9, minutes=30))]),
)
_WINDOWS = st.tuples(_TIMES, _TIMES).filter(lambda pair: pair[0] != pair[1]).map(sorted)
_SCOPES = st.one_of(
    st.sampled_from([Scope("pending"), Scope("full")]),
    st.lists(st.text(min_size=1), min_size=1, max_size=4).map(lambda ids: Scope("ids", ids=tuple(ids))),
    _WINDOWS.map(lambda pair: Scope("window", start=pair[0], end=pair[1])),
)


@given(_SCOPES)
def test_a_scope_survives_the_way_through_json(scope: Scope) -> None:
    assert scope_from_json(scope_to_json(scope)) == scope


def test_the_place_of_a_run_changes_with_selection_and_with_scope() -> None:
    one, other = Selection("query", "*:*"), Selection("dataset", "*:*")
    places = {scope_hash(one, Scope("full")), scope_hash(one, Scope("pending")), scope_hash(other, Scope("full"))}
    assert len(places) == 3
    assert scope_hash(Selection("query", "*:*"), Scope("full")) == scope_hash(one, Scope("full"))


# --- Outcomes ---


def test_the_detail_of_an_outcome_is_one_line_of_at_most_500_characters() -> None:
    row = OutcomeRow("images", "x", "/1/a", Outcome.FAILED, Reason.TIMEOUT, detail="a \n\t b " + "c" * 1000)
    assert row.detail.startswith("a b c") and len(row.detail) == 500


# --- Rights ---

_RIGHTS = {
    "creativecommons.org/publicdomain/mark/1.0/": "open",
    "creativecommons.org/publicdomain/zero/1.0/": "open",
    "creativecommons.org/licenses/by/4.0/": "open",
    "creativecommons.org/licenses/by-sa/4.0/": "open",
    "creativecommons.org/licenses/by-nc/4.0/": "restricted",
    "creativecommons.org/licenses/by-nc-sa/4.0/": "restricted",
    "creativecommons.org/licenses/by-nc-nd/4.0/": "restricted",
    "creativecommons.org/licenses/by-nd/4.0/": "restricted",
    "rightsstatements.org/vocab/NoC-NC/1.0/": "restricted",
    "rightsstatements.org/vocab/NoC-OKLR/1.0/": "restricted",
    "rightsstatements.org/vocab/InC-EDU/1.0/": "restricted",
    "rightsstatements.org/vocab/InC/1.0/": "permission",
    "rightsstatements.org/vocab/InC-OW-EU/1.0/": "permission",
    "rightsstatements.org/vocab/CNE/1.0/": "permission",
    # Older statements that records still carry.
    "www.europeana.eu/rights/out-of-copyright-non-commercial/": "restricted",
    "www.europeana.eu/rights/rr-f/": "permission",
    "www.europeana.eu/rights/rr-p/": "permission",
    "www.europeana.eu/rights/rr-r/": "permission",
    "www.europeana.eu/rights/unknown/": "permission",
    "www.europeana.eu/rights/test-orphan-work-test/": "permission",
    # Other versions and national ports.
    "creativecommons.org/licenses/by/3.0/nl/": "open",
    "creativecommons.org/licenses/by-sa/2.5": "open",
    "creativecommons.org/licenses/by-nc-nd/3.0/de/": "restricted",
}


@pytest.mark.parametrize("scheme", ["http://", "https://"])
@pytest.mark.parametrize(("statement", "category"), _RIGHTS.items())
def test_every_rights_statement_has_its_category_whatever_scheme_and_version(
    statement: str, category: str, scheme: str
) -> None:
    assert rights_category(scheme + statement) == category
    assert rights_category(f"  {scheme}{statement.upper()} ") == category


@pytest.mark.parametrize("statement", [None, "", "CC BY 4.0", "http://example.org/creativecommons.org/licenses/by/4.0/"])
def test_a_statement_that_is_not_in_the_table_is_unknown(statement: str | None) -> None:
    assert rights_category(statement) == "unknown"


@given(st.text())
def test_any_text_has_a_rights_category(text: str) -> None:
    assert rights_category(text) in {"open", "restricted", "permission", "unknown"}


# --- Decisions ---


def rule(
    publish: float | None = 0.8, review: float | None = 0.5, *, public: bool = True, excluded: bool = False
) -> ConceptRule:
    held_back = Reason.EXCLUDED if excluded else None
    return ConceptRule(Thresholds(publish, review), has_public_uri=public, held_back=held_back)


@pytest.mark.parametrize(
    ("score", "rank", "of", "rights_ok", "expected"),
    [
        (0.8, 1, rule(), True, (Decision.PUBLISH, "threshold")),
        (0.7999, 1, rule(), True, (Decision.REVIEW, "review_threshold")),
        (0.5, 1, rule(), True, (Decision.REVIEW, "review_threshold")),
        (0.4999, 1, rule(), True, (Decision.HIDDEN, "floor")),
        (0.05, 99, rule(), True, (Decision.HIDDEN, "floor")),
        (0.0499, 5, rule(), True, (Decision.HIDDEN, "top")),
        (0.0499, 6, rule(), True, (Decision.DROP, "below_floor")),
        # A concept that never reaches the wanted precision abstains: at most review.
        (0.99, 1, rule(publish=None), True, (Decision.REVIEW, "abstains")),
        (0.99, 1, rule(publish=None, review=None), True, (Decision.HIDDEN, "floor")),
        # Rights hold back what would be published, and nothing else.
        (0.9, 1, rule(), False, (Decision.HIDDEN, "rights_restricted")),
        (0.6, 1, rule(), False, (Decision.REVIEW, "review_threshold")),
        # The order: floor, exclusion, public URI, thresholds.
        (0.9, 1, rule(public=False), True, (Decision.HIDDEN, "no_public_uri")),
        (0.9, 1, rule(excluded=True), True, (Decision.HIDDEN, "excluded")),
        (0.9, 1, rule(public=False, excluded=True), False, (Decision.HIDDEN, "excluded")),
        (0.9, 1, rule(public=False), False, (Decision.HIDDEN, "no_public_uri")),
        (0.01, 9, rule(public=False, excluded=True), False, (Decision.DROP, "below_floor")),
    ],
)
def test_a_label_is_decided_by_the_first_rule_that_applies(
    score: float, rank: int, of: ConceptRule, rights_ok: bool, expected: tuple[Decision, str]
) -> None:
    assert decide(score, rank, of, floor=0.05, top=5, rights_ok=rights_ok) == expected


@given(st.floats(0, 1), st.integers(1, 9), st.sampled_from([Decision.HIDDEN, Decision.REVIEW]))
def test_a_picture_s_ceiling_only_ever_lowers_a_decision_and_says_why(score: float, rank: int, most: Decision) -> None:
    found, why = decide(score, rank, rule(), floor=0.05, top=5)
    lowered = decide(score, rank, rule(), floor=0.05, top=5, ceiling=Ceiling(most, "because"))
    is_held = found.strength > most.strength or (found is most is Decision.HIDDEN)
    assert lowered == ((most, "because") if is_held else (found, why))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40), st.booleans())
def test_a_higher_score_never_gets_a_weaker_decision(one: float, other: float, rank: int, rights_ok: bool) -> None:
    strength = [Decision.DROP, Decision.HIDDEN, Decision.REVIEW, Decision.PUBLISH]
    low, high = sorted((one, other))
    decided = [decide(score, rank, rule(), floor=0.05, top=5)[0] for score in (low, high)]
    assert strength.index(decided[0]) <= strength.index(decided[1])
    assert decide(high, rank, rule(), floor=0.05, top=5, rights_ok=False)[0] is not Decision.PUBLISH


# --- Annotations ---


def document(**changes: Any) -> dict[str, Any]:
    """Our own document with some members changed; None takes one out."""
    ours = tag_annotation(
        record_id="/90402/SK_A_1",
        concept_uri=PAINTING,
        body_uri=Q_PAINTING,
        target="europeana",
        created=datetime(2026, 1, 1, 13, 0, 0, 999_000, tzinfo=timezone(timedelta(hours=1))),
        run_page="http://127.0.0.1:8080/runs/r1",
    )
    return {name: value for name, value in (ours | changes).items() if value is not None}


def test_our_own_document_is_a_web_annotation_with_its_dates_in_utc() -> None:
    ours = document()
    assert annotation_errors(ours) == []
    assert ours["created"] == "2026-01-01T12:00:00Z"
    assert ours["id"] == ours["canonical"]
    assert (ours["target"], ours["body"]) == ("http://data.europeana.eu/item/90402/SK_A_1", Q_PAINTING)


def test_a_known_remote_id_takes_the_place_of_our_own_and_canonical_stays() -> None:
    arguments: dict[str, Any] = {"record_id": "/1/a", "concept_uri": PAINTING, "body_uri": Q_PAINTING, "target": "europeana"}
    new = tag_annotation(**arguments, created=NOON, run_page=None)
    known = tag_annotation(**arguments, created=NOON, run_page=None, remote_id="http://data.europeana.eu/annotation/7")
    assert known["id"] == "http://data.europeana.eu/annotation/7"
    assert known["canonical"] == new["canonical"] and "via" not in known
    assert annotation_errors(known) == []


def test_what_is_posted_has_no_id_and_everything_else() -> None:
    ours = document()
    assert as_request(ours) == {name: value for name, value in ours.items() if name != "id"}


def test_a_record_of_the_crowd_platform_cannot_be_annotated_on_europeana() -> None:
    with pytest.raises(PermanentError):
        tag_annotation(
            record_id="/with/1", concept_uri=PAINTING, body_uri=Q_PAINTING, target="europeana", created=NOON, run_page=None
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"body": None},
        {"body": None, "bodyValue": "painting"},
        {"body": {"type": "TextualBody", "value": "painting", "language": "en"}},
        {"body": [Q_PAINTING, {"type": "TextualBody", "value": "x"}]},
        {"target": ["http://data.europeana.eu/item/1/a", "http://data.europeana.eu/item/1/b"]},
        {"target": {"type": "SpecificResource", "source": "http://data.europeana.eu/item/1/a"}},
        {"type": ["Annotation", "http://example.org/Tag"]},
        {"@context": ["http://www.w3.org/ns/anno.jsonld", {"x": "http://example.org/"}]},
        {"creator": {"id": "http://data.europeana.eu/user/1", "type": "Software"}},
        {"motivation": None, "created": None, "canonical": None, "via": None},
        {"created": "2026-01-01T12:00:00.123Z"},
    ],
)
def test_other_forms_of_a_web_annotation_pass_too(changes: dict[str, Any]) -> None:
    assert annotation_errors(document(**changes)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": ["urn:x:1", "urn:x:2"]},
        {"id": "not an iri"},
        {"id": "a-number-1"},
        {"@context": None},
        {"@context": "http://example.org/context"},
        {"@context": ["http://example.org/context"]},
        {"type": None},
        {"type": "Tag"},
        {"type": ["Tag"]},
        {"type": 1},
        {"target": None},
        {"target": []},
        {"target": ""},
        {"target": "90402/SK_A_1"},
        {"target": {"type": "SpecificResource", "source": ["http://x.org/1", "http://x.org/2"]}},
        {"target": {"type": "Image"}},
        {"body": []},
        {"body": "painting"},
        {"body": {"type": "TextualBody"}},
        {"body": {"type": "TextualBody", "value": ["a", "b"]}},
        {"bodyValue": "painting"},
        {"body": None, "bodyValue": {"@value": "painting", "@language": "en"}},
        {"created": "2026-01-01T12:00:00"},
        {"created": "2026-01-01T12:00:00+00:00"},
        {"created": "2026-13-01T12:00:00Z"},
        {"created": "yesterday Z"},
        {"created": ["2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z"]},
        {"generated": "2026-01-01T12:00:00"},
        {"modified": "2026-01-01"},
        {"motivation": "guessing"},
        {"motivation": ["tagging", "describing"]},
        {"canonical": "x y"},
        {"via": []},
        {"rights": "CC0"},
        {"creator": "the machine"},
    ],
)
def test_a_document_that_breaks_one_rule_is_refused(changes: dict[str, Any]) -> None:
    assert annotation_errors(document(**changes)) != []


@pytest.mark.parametrize("value", [None, [], "text", 1, {}])
def test_what_is_no_object_with_the_required_members_is_refused(value: Any) -> None:
    assert annotation_errors(value) != []


# --- Suggestions ---

_SCORES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), max_size=6)


@given(_SCORES, _SCORES)
def test_concept_agreement_is_symmetric_and_within_bounds(one: dict[str, float], other: dict[str, float]) -> None:
    agreement = concept_agreement(one, other)
    assert 0 <= agreement <= 1
    assert agreement == pytest.approx(concept_agreement(other, one))


def test_equal_labels_agree_fully_and_disjoint_ones_not_at_all() -> None:
    assert concept_agreement({"a": 0.3, "b": 0.9}, {"a": 0.3, "b": 0.9}) == 1
    assert concept_agreement({"a": 0.9}, {"b": 0.9}) == 0
    assert concept_agreement({}, {}) == 0


@given(st.floats(-1, 1), st.floats(0, 1))
def test_relatedness_stays_within_bounds_and_grows_with_both(visual: float, agreement: float) -> None:
    assert 0 <= relatedness(visual, agreement) <= 1
    assert relatedness(1.0, agreement) >= relatedness(visual, agreement)
    assert relatedness(visual, 1.0) >= relatedness(visual, agreement)


def test_shared_concepts_are_those_that_both_surely_have_the_surest_first() -> None:
    one = {"a": 0.3, "b": 0.9, "c": 0.9, "d": 0.24, "e": 0.8}
    other = {"a": 0.9, "b": 0.9, "c": 0.5, "d": 0.9}
    assert shared_concepts(one, other) == ["b", "c", "a"]
    many = {name: 0.9 for name in "hgfedcba"}
    assert shared_concepts(many, many) == list("abcde")
