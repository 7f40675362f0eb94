"""Which engine serves a version: the fastest one that decides as Keras does, from the very file that was tried."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle, ConceptHead
from pipeline.model.engines import kinds, record, trial
from pipeline.model.engines.kinds import FLOAT, INT8, KERAS, Kind
from pipeline.model.engines.port import run_in_batches
from pipeline.model.engines.record import FILE, Trial, Tried, digest, load_tried, open_engine, save_tried
from pipeline.model.engines.trial import equal_decisions, equal_of_said, try_engines
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.storage import LocalStore

SIDE, AT_ONCE, FLOOR = 4, 8, 0.05
BUNDLE = Bundle(
    name="museum",
    version=2,
    sha256="a" * 64,
    heads=(ConceptHead("map", (1.0, 0.0), Thresholds(0.9, 0.6)), ConceptHead("coin", (1.0, 0.0), Thresholds(None, None))),
    side_px=SIDE,
    embedding_width=3,
    preprocessing_version=PREPROCESSING_VERSION,
    vocabulary_version="v",
    recipe="r",
    dataset_id="d",
    metrics={},
)
PICTURES = np.random.default_rng(0).integers(0, 256, (50, SIDE, SIDE, 3), np.uint8)


def scores_of(pixels: np.ndarray) -> np.ndarray:
    """Two scores of a picture, from its mean."""
    mean = pixels.mean(axis=(1, 2, 3))[:, None] / 255
    return np.concatenate([mean, 1 - mean], axis=1).astype(np.float32)


class Clock:
    """Time that passes only while engines work, so that no busy machine changes who is the fastest."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


CLOCK = Clock()


class Fake:
    """An engine that takes its time and may be wrong by `error`; it keeps what it was asked for."""

    def __init__(self, *, seconds: float = 0.001, error: float = 0.0) -> None:
        self.seconds, self.error, self.asked = seconds, error, []

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        CLOCK.now += self.seconds
        self.asked.append(pixels)
        return np.clip(scores_of(pixels) + np.float32(self.error), 0, 1), np.ones((len(pixels), 3), np.float32)


class FakeNetwork:
    """A Keras network to all appearances."""

    def predict_on_batch(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        scores, embedding = Fake(seconds=0.004).run(pixels)
        return {"scores": scores, "embedding": embedding}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake | Exception]:
    """The engines that there are beside Keras, in place of the real ones; a test fills it."""
    there: dict[str, Any] = {}

    def opened(name: str) -> Any:
        def open_file(path: Path, at_once: int) -> Fake:
            assert path.is_file() and at_once == AT_ONCE
            if isinstance(there[name], Exception):
                raise there[name]
            return there[name]

        return open_file

    found = {
        "quick": Kind(FLOAT, "json", "quick-engine", 0.995, opened("quick")),
        "small": Kind(INT8, "json", "small-engine", 0.98, opened("small")),
    }
    for module in (kinds, record, trial):
        monkeypatch.setattr(module, "KINDS", found)
    for module in (record, trial):
        monkeypatch.setattr(module, "load_network", lambda store, bundle: FakeNetwork())
    monkeypatch.setattr(trial, "write_tflite", lambda network, path, calibration: path.write_text(str(calibration is None)))
    monkeypatch.setattr(trial, "time", CLOCK)
    monkeypatch.setattr(trial, "ROUND_S", 0.1)
    there.update(quick=Fake(), small=Fake())
    return there


def tried(store: LocalStore, pictures: np.ndarray = PICTURES) -> trial.Outcome:
    return try_engines(store, BUNDLE, pictures, calibration=PICTURES[:5], at_once=AT_ONCE, floor=FLOOR)


def test_the_fastest_engine_that_agrees_is_chosen_and_serves(store: LocalStore, engines: dict[str, Any]) -> None:
    engines["small"].seconds = 0.002
    outcome = tried(store)
    assert outcome.tried.chosen == "quick" and outcome.skipped == {}
    assert outcome.tried.trials["quick"].equal_decisions == 1
    assert outcome.tried.trials["quick"].images_per_s > outcome.tried.trials["small"].images_per_s
    assert outcome.tried.trials["small"].images_per_s > outcome.tried.trials[KERAS].images_per_s
    assert load_tried(store, BUNDLE) == outcome.tried
    assert open_engine(store, BUNDLE, "auto", AT_ONCE) is engines["quick"]
    assert open_engine(store, BUNDLE, "small", AT_ONCE) is engines["small"]


def test_an_engine_that_disagrees_is_never_chosen_and_never_serves(store: LocalStore, engines: dict[str, Any]) -> None:
    engines["quick"].error, engines["small"].seconds = 0.2, 0.05
    outcome = tried(store)
    assert outcome.tried.chosen == KERAS
    assert not outcome.tried.trials["quick"].agrees
    assert outcome.tried.trials["quick"].largest_difference == pytest.approx(0.2, abs=1e-3)
    with pytest.raises(CriticalError, match="decides as Keras does in .*99.5% and 80% are needed"):
        open_engine(store, BUNDLE, "quick", AT_ONCE)


def test_an_engine_that_answers_with_no_numbers_does_not_agree(store: LocalStore, engines: dict[str, Any]) -> None:
    engines["quick"].error = np.nan
    outcome = tried(store)
    assert outcome.tried.trials["quick"].equal_decisions == 0 and not outcome.tried.trials["quick"].agrees
    assert json.loads(store.get_bytes(f"{BUNDLE.folder}/{FILE}"))["chosen"] == "small"


def test_an_engine_that_cannot_run_the_network_is_passed_over_with_its_own_words(
    store: LocalStore, engines: dict[str, Any]
) -> None:
    engines["quick"] = RuntimeError("unsupported operation: Einsum")
    outcome = tried(store)
    assert outcome.tried.chosen == "small"
    assert "unsupported operation: Einsum" in outcome.skipped["quick"]


def test_an_absent_library_is_passed_over_when_trying_and_named_when_asked_for(
    store: LocalStore, engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kinds.KINDS, "quick", replace(kinds.KINDS["quick"], module="no_such_library"))
    outcome = tried(store)
    assert outcome.skipped == {"quick": "the library quick-engine is not installed: pip install quick-engine"}
    assert set(outcome.tried.trials) == {KERAS, "small"}
    with pytest.raises(
        CriticalError, match="INFERENCE_ENGINE quick cannot run here: the library quick-engine is not installed"
    ):
        open_engine(store, BUNDLE, "quick", AT_ONCE)


def test_where_the_chosen_engines_library_is_absent_keras_serves(
    store: LocalStore, engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["small"].seconds = 0.01
    assert tried(store).tried.chosen == "quick"
    monkeypatch.setitem(kinds.KINDS, "quick", replace(kinds.KINDS["quick"], module="no_such_library"))
    assert open_engine(store, BUNDLE, "auto", AT_ONCE).network.__class__ is FakeNetwork


def test_where_the_chosen_engine_cannot_run_the_next_fastest_that_agrees_serves(
    store: LocalStore, engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["small"].seconds = 0.002  # slower than `quick`, faster than Keras
    assert tried(store).tried.chosen == "quick"
    monkeypatch.setitem(kinds.KINDS, "quick", replace(kinds.KINDS["quick"], hindrance=lambda: "it takes a GPU"))
    assert open_engine(store, BUNDLE, "auto", AT_ONCE) is engines["small"]
    with pytest.raises(CriticalError, match="INFERENCE_ENGINE quick cannot run here: it takes a GPU"):
        open_engine(store, BUNDLE, "quick", AT_ONCE)


def test_what_was_chosen_for_gpus_leaves_cpus_the_engine_that_is_made_for_them(
    store: LocalStore, engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines["small"].seconds = 0.01  # on the machine with a GPU Keras is faster than it
    monkeypatch.setitem(kinds.KINDS, "quick", replace(kinds.KINDS["quick"], on_gpu=True))
    assert tried(store).tried.chosen == "quick"
    assert open_engine(store, BUNDLE, "auto", AT_ONCE, "gpu") is engines["quick"]
    monkeypatch.setitem(kinds.KINDS, "quick", replace(kinds.KINDS["quick"], hindrance=lambda: "no GPU"))
    assert open_engine(store, BUNDLE, "auto", AT_ONCE) is engines["small"]


def test_where_a_gpu_is_demanded_an_engine_for_cpus_never_serves(store: LocalStore, engines: dict[str, Any]) -> None:
    assert tried(store).tried.chosen == "quick"
    assert open_engine(store, BUNDLE, "auto", AT_ONCE, "gpu").network.__class__ is FakeNetwork
    with pytest.raises(CriticalError, match="INFERENCE_ENGINE quick is for CPUs, and INFERENCE_DEVICE=gpu: take one of keras"):
        open_engine(store, BUNDLE, "quick", AT_ONCE, "gpu")


def test_an_engine_that_fails_at_its_first_picture_is_passed_over_with_its_own_words(
    store: LocalStore, engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Any) -> Any:
        raise RuntimeError("out of memory while compiling")

    monkeypatch.setattr(engines["quick"], "run", failing)
    outcome = tried(store)
    assert outcome.tried.chosen == "small" and "quick" not in outcome.tried.trials
    assert "out of memory while compiling" in outcome.skipped["quick"]


def test_an_engine_that_says_no_to_everything_does_not_agree_though_most_pairs_are_noes(store: LocalStore) -> None:
    expected = np.full((1_000, 2), 0.01, np.float32)
    expected[:4, 0] = 0.95  # what is published
    nothing = np.full((1_000, 2), 0.01, np.float32)
    assert equal_decisions(BUNDLE, expected, nothing, FLOOR) == 0.998
    assert equal_of_said(BUNDLE, expected, nothing) == 0.0
    assert equal_of_said(BUNDLE, expected, expected) == 1.0 == equal_of_said(BUNDLE, nothing, nothing)


def test_files_are_made_once_and_made_again_for_another_network(store: LocalStore, engines: dict[str, Any]) -> None:
    tried(store)
    places = {name: store.address(f"{BUNDLE.folder}/{name}").removeprefix("file://") for name in (FLOAT, INT8)}
    assert {name: Path(place).read_text() for name, place in places.items()} == {FLOAT: "True", INT8: "False"}
    made = {name: Path(place).stat().st_mtime_ns for name, place in places.items()}
    tried(store)
    assert {name: Path(place).stat().st_mtime_ns for name, place in places.items()} == made
    other = replace(BUNDLE, sha256="b" * 64)
    assert load_tried(store, other) is None
    try_engines(store, other, PICTURES, calibration=PICTURES, at_once=AT_ONCE, floor=FLOOR)
    assert all(Path(place).stat().st_mtime_ns > made[name] for name, place in places.items())


@pytest.mark.parametrize("harm", ["another", "gone"])
def test_a_file_that_is_not_the_one_that_was_tried_serves_nothing(
    store: LocalStore, engines: dict[str, Any], harm: str
) -> None:
    tried(store)
    key = f"{BUNDLE.folder}/{FLOAT}"
    if harm == "gone":
        store.delete(key)
    else:
        store.put_bytes(key, b"another network")
    words = "is missing" if harm == "gone" else "is not the file that was tried"
    with pytest.raises(CriticalError, match=f"{FLOAT} {words}.*enrich model bench-engines --model museum@2"):
        open_engine(store, BUNDLE, "quick", AT_ONCE)


@pytest.mark.parametrize("name", ["quick", "auto", "openvino-int4"])
def test_what_was_never_tried_is_an_error_by_name_and_keras_by_itself(
    store: LocalStore, engines: dict[str, Any], name: str
) -> None:
    if name == "auto":
        assert open_engine(store, BUNDLE, name, AT_ONCE).network.__class__ is FakeNetwork
        return
    words = "was not tried on model museum 2" if name == "quick" else "is none of auto, keras, quick, small"
    with pytest.raises(CriticalError, match=words):
        open_engine(store, BUNDLE, name, AT_ONCE)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"model_sha256": "%s"}', '{"model_sha256": "%s", "chosen": "x", "trials": {}}']
)
def test_a_damaged_record_is_named(store: LocalStore, content: str) -> None:
    store.put_bytes(f"{BUNDLE.folder}/{FILE}", content.replace("%s", BUNDLE.sha256).encode())
    with pytest.raises(CriticalError, match="engines.json is damaged"):
        load_tried(store, BUNDLE)


def test_too_few_pictures_are_refused(store: LocalStore, engines: dict[str, Any]) -> None:
    with pytest.raises(CriticalError, match="7 pictures are too few"):
        tried(store, PICTURES[:7])


def test_decisions_are_equal_between_the_same_thresholds() -> None:
    expected = np.array([[0.95, 0.5], [0.7, 0.04], [0.5, 0.5], [0.01, 0.9]], np.float32)
    assert equal_decisions(BUNDLE, expected, expected, FLOOR) == 1
    moved = np.array([[0.91, 0.99], [0.61, 0.0], [0.1, 0.06], [0.04, 0.06]], np.float32)  # none over a limit
    assert equal_decisions(BUNDLE, expected, moved, FLOOR) == 1
    moved = np.array([[0.89, 0.99], [0.59, 0.06], [0.61, 0.06], [0.06, 0.04]], np.float32)  # all but two
    assert equal_decisions(BUNDLE, expected, moved, FLOOR) == 2 / 8


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 50])
def test_an_engine_is_always_asked_for_the_same_number_and_every_picture_gets_its_own_scores(count: int) -> None:
    engine = Fake()
    scores, embeddings = run_in_batches(engine, PICTURES[:count], AT_ONCE)
    assert (scores == scores_of(PICTURES[:count])).all() and embeddings.shape == (count, 3)
    assert {len(asked) for asked in engine.asked} == {AT_ONCE}


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x").startswith("ba7816bf")


def test_what_was_tried_comes_back_as_it_was(store: LocalStore) -> None:
    said = Tried(KERAS, {KERAS: Trial(75.5, 1.0, 0.0, True), "openvino": Trial(9.0, 0.5, 0.4, False)}, {FLOAT: "c" * 64})
    save_tried(store, BUNDLE, said)
    assert load_tried(store, BUNDLE) == said
