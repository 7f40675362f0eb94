"""From scores to label rows: ranks, decisions of one model under one policy, and many pictures of one record."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.labels.decisions import Judge, record_rows
from pipeline.model.bundle import Bundle, ConceptHead
from pipeline.settings import Settings
from pipeline.vocabulary import Policy, Vocabulary, load_policy, load_vocabulary

PROJECT = Path(__file__).resolve().parents[2]
OPEN = frozenset({"open"})
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
    return {row["label"]: row for row in of.label_rows(IMAGE | image, values / 2, values)}


def decided(of: Judge, *scores: float, **image: str) -> dict[str, tuple[str, str]]:
    return {slug: (row["decision"], row["why"]) for slug, row in rows(of, *scores, **image).items()}


def test_every_concept_gets_a_row_ranked_by_score(vocabulary: Vocabulary) -> None:
    found = rows(judge(vocabulary), 0.2, 0.9, 0.6)
    assert list(found) == ["map", "house-style", "painting"]
    assert [row["rank"] for row in found.values()] == [1, 2, 3]
    best = found["map"]
    assert (best["score"], best["raw_score"]) == (pytest.approx(0.9), pytest.approx(0.45))
    assert (best["concept_uri"], best["record_id"], best["threshold"]) == ("http://vocab.getty.edu/aat/1", "/1/a", 0.8)


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


def test_the_best_picture_of_a_record_decides_and_the_mean_informs() -> None:
    def row(record: str, image: str, label: str, score: float, decision: str) -> dict[str, Any]:
        named = {"record_id": record, "image_id": image, "label": label, "concept_uri": f"urn:{label}"}
        return {**named, "score": score, "decision": decision, "why": f"because of {image}"}

    found = list(
        record_rows(
            [
                row("/1/a", "i1", "map", 0.2, "hidden"),
                row("/1/a", "i2", "map", 0.9, "publish"),
                row("/1/a", "i2", "painting", 0.5, "review"),
                row("/1/b", "i1", "map", 0.2, "hidden"),
            ]
        )
    )
    assert [(row["record_id"], row["label"], row["images"]) for row in found] == [
        ("/1/a", "map", 2),
        ("/1/a", "painting", 1),
        ("/1/b", "map", 1),
    ]
    first = found[0]
    assert (first["max_score"], first["mean_score"], first["image_id"]) == (0.9, pytest.approx(0.55), "i2")
    assert (first["decision"], first["why"]) == ("publish", "because of i2")
