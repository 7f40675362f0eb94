"""The release gate: what is worse than the version in force is refused in words, and people may overrule it on record."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from pipeline.database import connect, models
from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle, ConceptHead
from pipeline.reporting.metrics import evaluate
from pipeline.settings import Settings
from pipeline.training.compare import Judged, compared
from pipeline.training.gate import Verdict, hold_against

PICTURES = 60
TRUTH = (np.random.default_rng(3).random((PICTURES, 2)) < 0.4).astype(np.int8)


def judged(version: int, noise: float, *, slugs: tuple[str, ...] = ("coin", "map"), abstains: tuple[str, ...] = ()) -> Judged:
    """A version whose scores are the truth and so much noise."""
    heads = tuple(
        ConceptHead(slug, (1.0, 0.0), Thresholds(publish=None if slug in abstains else 0.7, review=0.5)) for slug in slugs
    )
    bundle = Bundle("m", version, "sha", heads, 96, 4, "p", "v", "small", "data", {})
    random = np.random.default_rng(9)
    columns = [("coin", "map").index(slug) for slug in slugs]
    scores = (1 - noise) * TRUTH[:, columns] + noise * random.random((PICTURES, len(slugs)))
    return Judged(bundle, scores.astype(np.float32), TRUTH[:, columns])


def against(new: Judged, old: Judged) -> Verdict:
    return hold_against({"test": new}, {"test": old}, unseen_margin=0.02)


def test_a_version_that_is_better_passes() -> None:
    verdict = against(judged(2, 0.5), judged(1, 0.8))
    assert verdict.allowed and verdict.reasons == ()
    assert verdict.figures["test"]["difference"] > 0 and verdict.figures["against"] == 1


def test_a_version_whose_macro_average_precision_falls_is_refused_with_the_figures_and_their_interval() -> None:
    verdict = against(judged(2, 0.8), judged(1, 0.5))
    (reason,) = verdict.reasons
    before, after = verdict.figures["test"]["old"], verdict.figures["test"]["new"]
    assert after < before
    assert f"falls from {before:.4f}" in reason and f"to {after:.4f}" in reason and "95 % interval" in reason


def test_both_figures_of_a_comparison_are_those_of_the_versions_alone_and_the_interval_is_of_their_difference() -> None:
    better, worse = judged(2, 0.55), judged(1, 0.9)
    found = compared(better, worse)
    alone = {
        side: evaluate(["coin", "map"], one.scores.astype(np.float64), TRUTH, one.scores >= 0.7)
        for side, one in (("new", better), ("old", worse))
    }
    for name in ("macro_ap", "macro_f1"):
        for side in ("new", "old"):
            assert found[name][side] == pytest.approx(alone[side][name], abs=1e-4), (name, side)
        low, high = found[name]["interval"]
        assert 0 < low < found[name]["difference"] < high
    assert compared(better, better)["macro_f1"]["interval"] == (0.0, 0.0)  # the same draws for both


def test_the_same_version_again_passes() -> None:
    assert against(judged(2, 0.7), judged(1, 0.7)).allowed


def test_a_concept_that_can_no_longer_be_published_is_named() -> None:
    verdict = against(judged(2, 0.3, abstains=("map",)), judged(1, 0.8))
    (reason,) = verdict.reasons
    assert "map" in reason and "coin" not in reason
    assert verdict.figures["lost"] == ["map"]


def test_a_concept_that_is_missing_altogether_counts_as_lost() -> None:
    verdict = against(judged(2, 0.3, slugs=("coin",)), judged(1, 0.8))
    assert verdict.figures["lost"] == ["map"] and not verdict.allowed


def test_where_nothing_can_be_judged_nothing_is_released_by_itself() -> None:
    nobody_looked = Judged(judged(2, 0.5).bundle, judged(2, 0.5).scores[:3], np.zeros((3, 2), np.int8))
    (reason,) = against(nobody_looked, Judged(judged(1, 0.5).bundle, nobody_looked.scores, nobody_looked.truth)).reasons
    assert "cannot be told" in reason and "label more of them" in reason


@pytest.mark.parametrize(("margin", "allowed"), [(0.0, False), (0.9, True)])
def test_unseen_providers_may_become_worse_by_the_margin_only(margin: float, *, allowed: bool) -> None:
    good, bad = judged(2, 0.5), judged(2, 0.9)
    new, old = {"test": good, "unseen": bad}, {"test": judged(1, 0.5), "unseen": judged(1, 0.6)}
    verdict = hold_against(new, old, unseen_margin=margin)
    assert verdict.allowed is allowed
    if not allowed:
        assert "unseen providers" in verdict.reasons[0]


# --- What is kept of it, and who may overrule it ---


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return connect(Settings(var_dir=tmp_path))


def register(engine: Engine, version: int, gate: dict[str, object] | None = None) -> None:
    models.register(
        engine,
        name="m",
        version=version,
        bundle_key="k",
        sha256="s",
        dataset_id="d",
        metrics={},
        now=datetime(2026, 1, version, tzinfo=UTC),
        gate=gate,
    )


REFUSED = {"allowed": False, "reasons": ["macro average precision falls from 0.9000 to 0.8000"], "figures": {"against": 1}}


def test_a_refused_version_is_released_only_over_somebodys_word_which_is_kept(engine: Engine) -> None:
    register(engine, 1)
    models.release(engine, "m", 1)
    register(engine, 2, REFUSED)
    with pytest.raises(CriticalError, match=r"(?s)falls from 0\.9000.*stays in force.*--override"):
        models.release(engine, "m", 2)
    in_force = models.find(engine, "m")
    assert in_force is not None and in_force["version"] == 1
    models.release(engine, "m", 2, override={"by": "curator", "why": "checked by hand"})
    row = models.find(engine, "m")
    assert row is not None and row["version"] == 2
    assert row["gate"]["reasons"] == REFUSED["reasons"]
    assert (row["gate"]["override"]["by"], row["gate"]["override"]["why"]) == ("curator", "checked by hand")
    assert row["gate"]["override"]["at"] and row["released_at"] is not None


def test_a_rollback_goes_to_the_version_that_was_in_force_last(engine: Engine) -> None:
    for version in (1, 2, 3):
        register(engine, version)
    for version in (2, 1, 3):
        models.release(engine, "m", version)
    assert models.former(engine, "m")["version"] == 1


def test_a_version_that_was_overruled_once_needs_no_second_word_to_come_back(engine: Engine) -> None:
    register(engine, 1, REFUSED)
    register(engine, 2)
    models.release(engine, "m", 1, override={"by": "curator", "why": "the only one"})
    models.release(engine, "m", 2)
    models.release(engine, "m", models.former(engine, "m")["version"])
    row = models.find(engine, "m")
    assert row is not None and row["version"] == 1


def test_a_rollback_without_a_former_version_says_so(engine: Engine) -> None:
    register(engine, 1)
    models.release(engine, "m", 1)
    with pytest.raises(CriticalError, match="was in force before"):
        models.former(engine, "m")
