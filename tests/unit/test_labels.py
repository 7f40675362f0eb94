"""From scores to label rows: ranks, decisions of one model under one policy, and many pictures of one record."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.label import ConceptRule, Thresholds, decide
from pipeline.domain.outcome import KEPT_IN_HOUSE, Reason
from pipeline.errors import CriticalError
from pipeline.labels import held
from pipeline.labels.decisions import Judge
from pipeline.labels.held import PICTURES
from pipeline.labels.predictions import keys_of_images, keys_of_records
from pipeline.model.bundle import Bundle, ConceptHead
from pipeline.settings import Settings
from pipeline.vocabulary import Concept, Policy, Vocabulary, load_policy, load_vocabulary

PROJECT = Path(__file__).resolve().parents[2]
OPEN = frozenset({"open"})
COLUMNS = {
    "model_name": "default",
    "model_version": "1",
    "model_sha256": "0" * 64,
    "preprocessing_version": "1",
    "vocabulary_version": "v",
    "run_id": "r1",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}
VOCABULARY = """
concepts:
  - {slug: painting, kind: type, labels: {en: Painting}, europeana: "http://data.europeana.eu/concept/47", wikidata: "http://www.wikidata.org/entity/Q1"}
  - {slug: map, kind: type, labels: {en: Map}, aat: "http://vocab.getty.edu/aat/1"}
  - {slug: house-style, kind: subject, labels: {en: House style}}
"""
IMAGE = {
    "record_id": "/1/a",
    "image_id": "0" * 64,
    "image_url": "http://x.org/a.jpg",
    "provider": "P",
    "rights_category": "open",
}


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    (tmp_path / "concepts.yaml").write_text(VOCABULARY)
    return load_vocabulary(tmp_path / "concepts.yaml", base_url="urn:test")


def judge(
    vocabulary: Vocabulary, policy: Policy | None = None, slugs: tuple[str, ...] = ("painting", "map", "house-style")
) -> Judge:
    bundle = Bundle(
        name="default",
        version=1,
        sha256="0" * 64,
        heads=tuple(ConceptHead(slug, (1.0, 0.0), Thresholds(0.8, 0.5)) for slug in slugs),
        side_px=96,
        embedding_width=4,
        preprocessing_version="1",
        vocabulary_version=vocabulary.version,
        recipe="r",
        dataset_id="d",
        metrics={},
    )
    policy = policy or Policy(frozenset(), frozenset(), OPEN)
    return Judge.of(bundle, vocabulary, policy, Settings(_env_file=None, hidden_top=2))


def rows(of: Judge, *scores: float, **image: str) -> dict[str, dict[str, Any]]:
    values = np.array(scores, dtype=np.float32)
    return {row["label"]: row for row in table(of, [IMAGE | image], values[None], dropped=True).to_pylist()}


def table(of: Judge, images: list[dict[str, str]], scores: Any, **options: Any) -> pa.Table:
    return of.label_table(images, scores / 2, scores, of.decide(images, scores), COLUMNS, **options)


def decided(of: Judge, *scores: float, **image: str) -> dict[str, tuple[str, str]]:
    return {slug: (row["decision"], row["why"]) for slug, row in rows(of, *scores, **image).items()}


def test_every_concept_gets_a_row_ranked_by_score(vocabulary: Vocabulary) -> None:
    found = rows(judge(vocabulary), 0.2, 0.9, 0.6)
    assert list(found) == ["map", "house-style", "painting"]
    assert [row["rank"] for row in found.values()] == [1, 2, 3]
    best = found["map"]
    assert (best["score"], best["raw_score"]) == (pytest.approx(0.9), pytest.approx(0.45))
    assert (best["concept_uri"], best["record_id"]) == ("http://vocab.getty.edu/aat/1", "/1/a")
    assert best["threshold"] == pytest.approx(0.8)


def test_equal_scores_keep_the_order_of_the_model(vocabulary: Vocabulary) -> None:
    assert list(rows(judge(vocabulary), 0.5, 0.5, 0.5)) == ["painting", "map", "house-style"]


def test_a_concept_without_a_public_uri_is_at_most_hidden(vocabulary: Vocabulary) -> None:
    assert decided(judge(vocabulary), 0.9, 0.6, 0.99) == {
        "house-style": ("hidden", "no_public_uri"),
        "painting": ("publish", "threshold"),
        "map": ("review", "review_threshold"),
    }


def test_what_is_neither_above_the_floor_nor_among_the_best_is_dropped(vocabulary: Vocabulary) -> None:
    found = decided(judge(vocabulary), 0.03, 0.02, 0.01)
    assert found["painting"] == ("hidden", "top") and found["house-style"] == ("drop", "below_floor")


def test_the_policy_can_only_hold_back(vocabulary: Vocabulary) -> None:
    excluding = judge(vocabulary, Policy(frozenset({"painting"}), frozenset({"map"}), OPEN))
    found = decided(excluding, 0.99, 0.99, 0.0)
    assert found["painting"] == ("hidden", "excluded") and found["map"] == ("review", "abstains")


@pytest.mark.parametrize("category", ["restricted", "permission", "unknown"])
def test_rights_outside_the_policy_hold_back_publication(vocabulary: Vocabulary, category: str) -> None:
    found = decided(judge(vocabulary), 0.99, 0.6, 0.0, rights_category=category)
    assert found["painting"] == ("hidden", "rights_restricted") and found["map"] == ("review", "review_threshold")


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ("review", {"painting": ("review", "provider_review"), "map": ("review", "review_threshold")}),
        ("hidden", {"painting": ("hidden", "provider_hidden"), "map": ("hidden", "provider_hidden")}),
    ],
)
def test_what_labels_of_a_record_may_become_at_most_is_for_that_record_alone(
    vocabulary: Vocabulary, most: str, expected: dict[str, tuple[str, str]]
) -> None:
    limited = replace(judge(vocabulary), held={most: keys_of_records(["/1/held"])})
    held = decided(limited, 0.99, 0.6, 0.01, record_id="/1/held")
    assert {name: held[name] for name in expected} == expected and held["house-style"] == ("drop", "below_floor")
    assert decided(limited, 0.99, 0.6, 0.01)["painting"] == ("publish", "threshold")


def test_hidden_labels_of_an_institution_or_of_a_shared_picture_leave_for_nobody(vocabulary: Vocabulary) -> None:
    of_institution = replace(judge(vocabulary), held={"hidden": keys_of_records([IMAGE["record_id"]])})
    found = decided(of_institution, 0.3, 0.6, 0.99)
    crowded = replace(judge(vocabulary), held={PICTURES: keys_of_images([IMAGE["image_id"]])})
    for decision, why in (*found.values(), *decided(crowded, 0.3, 0.6, 0.99).values()):
        assert decision == "hidden" and Reason(why) in KEPT_IN_HOUSE


@pytest.mark.parametrize(
    ("records", "each", "most", "crowded"),
    [(30, 2, 20, 60), (100, 3, 20, 300), (200, 1, 41, 200), (200, 1, 199, 200), (20, 2, 20, 0)],
)
def test_a_crowd_is_counted_whole_however_many_pictures_and_records_it_has(
    monkeypatch: pytest.MonkeyPatch, records: int, each: int, most: int, crowded: int
) -> None:
    """All with one hash but for one picture more, which is plain: of that hashes say nothing."""
    count = records * each
    keys = np.arange(1, count + 2, dtype=np.uint64)
    of = np.append(np.repeat(np.arange(records), each), 0).astype(np.uint64)
    looks = np.array([(True, 0x0F0F0F0F0F0F0F0F)] * count + [(False, count + 1)], held._LOOK)
    monkeypatch.setattr(held, "_standing", lambda *_: (keys, of, looks))
    found = held.crowded_keys(None, [], most, bits=3)  # type: ignore[arg-type]
    assert found.tolist() == list(range(1, crowded + 1))


def test_pictures_whose_hashes_differ_in_a_few_bits_are_one_crowd_and_those_of_a_chain_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = 0x0F0F0F0F0F0F0F0F
    chain = [first ^ (2 ** (3 * step) - 1) for step in range(6)]  # each three bits from the one before
    looks = np.array([(True, look) for look in chain], held._LOOK)
    own = np.arange(6, dtype=np.uint64)
    monkeypatch.setattr(held, "_standing", lambda *_: (own, own, looks))
    assert held.crowded_keys(None, [], 2, bits=3).tolist() == [1, 2, 3, 4]  # type: ignore[arg-type]
    assert held.crowded_keys(None, [], 3, bits=3).tolist() == []  # type: ignore[arg-type]


def test_a_record_s_own_picture_decides_before_one_of_many_records(vocabulary: Vocabulary) -> None:
    images = [IMAGE, IMAGE | {"image_id": "ff" * 32}]
    of = replace(judge(vocabulary), held={PICTURES: keys_of_images([IMAGE["image_id"]])})
    scores = np.array([[0.95, 0.0, 0.0], [0.85, 0.0, 0.0]], dtype=np.float32)
    row = of.record_table(images, scores, of.decide(images, scores), COLUMNS).to_pylist()[0]
    assert (row["image_id"], row["decision"], row["why"]) == ("ff" * 32, "publish", "threshold")


def test_a_vocabulary_that_has_lost_a_concept_of_the_model_stops_the_run(vocabulary: Vocabulary) -> None:
    with pytest.raises(CriticalError, match="sculpture"):
        judge(vocabulary, slugs=("painting", "sculpture"))


def test_the_policy_of_the_project_can_be_read() -> None:
    assert "open" in load_policy(PROJECT / "vocab" / "policy.yaml").publishable_rights


@pytest.mark.parametrize("content", ["", "[]", "excluded_concepts: []", "a: ["])
def test_a_policy_that_cannot_be_read_names_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "policy.yaml").write_text(content)
    with pytest.raises(CriticalError, match="policy.yaml"):
        load_policy(tmp_path / "policy.yaml")


def test_what_is_dropped_is_not_stored_unless_it_is_asked_for(vocabulary: Vocabulary) -> None:
    scores = np.array([[0.9, 0.02, 0.01]], dtype=np.float32)
    assert table(judge(vocabulary), [IMAGE], scores)["label"].to_pylist() == ["painting", "map"]
    assert table(judge(vocabulary), [IMAGE], scores, dropped=True).num_rows == 3


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.04, 0.05, 0.3, 0.5, 0.79, 0.8, 1.0]), min_size=3, max_size=3), max_size=8),
    st.sampled_from(["open", "unknown"]),
)
def test_whole_arrays_are_decided_as_single_scores_are(scores: list[list[float]], category: str) -> None:
    of = Judge(
        concepts=[Concept(slug, "type", {}, f"urn:{slug}", None, None, (), "") for slug in "abc"],
        rules=[
            ConceptRule(Thresholds(0.8, 0.5), has_public_uri=True),
            ConceptRule(Thresholds(None, 0.3), has_public_uri=True),
            ConceptRule(Thresholds(0.8, None), has_public_uri=True, held_back=Reason.EXCLUDED),
        ],
        rights=OPEN,
        floor=0.05,
        top=2,
    )
    images = [IMAGE | {"record_id": f"/1/{number}", "rights_category": category} for number in range(len(scores))]
    values = np.array(scores, dtype=np.float32).reshape(-1, 3)
    for row in table(of, images, values, dropped=True).to_pylist():
        rule = of.rules["abc".index(row["label"])]
        expected = decide(row["score"], row["rank"], rule, floor=0.05, top=2, rights_ok=category == "open")
        assert (row["decision"], row["why"]) == expected


def test_the_best_picture_of_a_record_decides_and_the_mean_informs(vocabulary: Vocabulary) -> None:
    of = judge(vocabulary)
    images = [
        IMAGE | {"record_id": record, "image_id": image} for record, image in (("/1/a", "i1"), ("/1/b", "i1"), ("/1/a", "i2"))
    ]
    scores = np.array([[0.5, 0.2, 0.0], [0.9, 0.6, 0.0], [0.5, 0.9, 0.01]], dtype=np.float32)
    found = of.record_table(images, scores, of.decide(images, scores), COLUMNS).to_pylist()
    assert [(row["record_id"], row["label"], row["images"]) for row in found] == [
        ("/1/a", "map", 2),
        ("/1/a", "painting", 2),
        ("/1/a", "house-style", 2),
        ("/1/b", "painting", 1),
        ("/1/b", "map", 1),
        ("/1/b", "house-style", 1),
    ]
    first, second = found[:2]
    assert (first["max_score"], first["mean_score"], first["image_id"]) == (pytest.approx(0.9), pytest.approx(0.55), "i2")
    assert (first["decision"], first["why"], second["image_id"]) == ("publish", "threshold", "i1")


def test_of_equal_scores_of_a_record_the_stronger_decision_counts(vocabulary: Vocabulary) -> None:
    of = judge(vocabulary)
    images = [IMAGE | {"image_id": "held", "rights_category": "unknown"}, IMAGE | {"image_id": "free"}]
    scores = np.array([[0.9, 0.0, 0.0]] * 2, dtype=np.float32)
    row = of.record_table(images, scores, of.decide(images, scores), COLUMNS).to_pylist()[0]
    assert (row["image_id"], row["decision"]) == ("free", "publish")


def test_two_heads_that_are_one_concept_to_the_outside_make_one_label(vocabulary: Vocabulary) -> None:
    twin = replace(vocabulary.by_slug["painting"], slug="material:painting")
    both = replace(vocabulary, concepts=(*vocabulary.concepts, twin))
    of = judge(both, slugs=("painting", "map", "material:painting"))
    of = replace(of, rules=[*of.rules[:2], replace(of.rules[2], thresholds=Thresholds(0.95, 0.5))])
    images = [IMAGE, IMAGE | {"record_id": "/1/b", "image_id": "i2"}]
    # The stronger decision, and of equal ones the higher score.
    scores = np.array([[0.85, 0.1, 0.9], [0.6, 0.1, 0.7]], dtype=np.float32)
    labels = table(of, images, scores).to_pylist()
    found = {(row["record_id"], row["label"]): row["decision"] for row in labels if row["label"] != "map"}
    assert found == {("/1/a", "painting"): "publish", ("/1/b", "material:painting"): "review"}
    rows = of.record_table(images, scores, of.decide(images, scores), COLUMNS).to_pylist()
    assert [(row["record_id"], row["label"], row["decision"]) for row in rows if row["label"] != "map"] == [
        ("/1/a", "painting", "publish"),
        ("/1/b", "material:painting", "review"),
    ]
    keys = [(row["record_id"], row["concept_uri"]) for row in rows]
    assert len(set(keys)) == len(keys) == 4
    dropped = table(of, images, scores, dropped=True).to_pylist()
    assert {row["why"] for row in dropped if (row["record_id"], row["label"]) == ("/1/a", "material:painting")} == {
        "same_concept"
    }


def test_no_pictures_make_empty_tables(vocabulary: Vocabulary) -> None:
    of, scores = judge(vocabulary), np.zeros((0, 3), np.float32)
    assert table(of, [], scores).num_rows == 0
    assert of.record_table([], scores, of.decide([], scores), COLUMNS).num_rows == 0
