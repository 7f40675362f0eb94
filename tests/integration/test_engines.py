"""Engines beside Keras on a trained model: made, compared and chosen by the command, and the same scores from all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.model.bundle import load_bundle
from pipeline.model.engines.kinds import FLOAT, INT8, KERAS, KINDS, NETWORK
from pipeline.model.engines.record import load_tried
from pipeline.storage import open_store

KEY = "models/default/1/bundle.json"
HERE = [name for name, kind in KINDS.items() if kind.lacking() is None]
BESIDE_TENSORFLOW = [name for name in HERE if KINDS[name].file != NETWORK]
pytestmark = pytest.mark.skipif(
    not BESIDE_TENSORFLOW, reason="no library beside Keras is installed: pip install -e '.[engines]'"
)


@pytest.fixture(scope="module")
def tried_var(trained_var: Path, small_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A var folder with the trained model, whose engines were tried by the command; what it printed is `said.txt`."""
    var = tmp_path_factory.mktemp("tried") / "var"
    shutil.copytree(trained_var, var)
    command = [sys.executable, "-m", "pipeline", "model", "bench-engines", "--model", "default"]
    done = subprocess.run(
        [*command, "--collection", str(small_collection)],
        env={**os.environ, "VAR_DIR": str(var), "INFERENCE_BATCH": "16", "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    (var / "said.txt").write_text(done.stdout)
    return var


@pytest.fixture(scope="module")
def looked_at(tried_var: Path, small_collection: Path) -> np.ndarray:
    """Pictures as the network sees them, from all over the collection: uint8 (70, side, side, 3)."""
    from PIL import Image

    from pipeline.model.preprocessing import network_input

    side = load_bundle(open_store((tried_var / "lake").as_uri()), KEY).side_px
    files = sorted(path for path in small_collection.rglob("*.jpg"))
    pixels: list[np.ndarray] = []
    for path in files:
        try:
            pixels.append(network_input(Image.open(path).convert("RGB"), side))
        except (OSError, ValueError, SyntaxError):
            continue  # the broken records
    assert len(pixels) >= 70
    return np.stack(pixels[:70])


def predictor(var: Path, engine: str) -> Any:
    from pipeline.model.predictor import Predictor

    store = open_store((var / "lake").as_uri())
    return Predictor(store, load_bundle(store, KEY), at_once=16, engine=engine)


def test_the_command_tells_of_every_engine_and_keeps_the_choice(tried_var: Path) -> None:
    store = open_store((tried_var / "lake").as_uri())
    tried = load_tried(store, load_bundle(store, KEY))
    assert tried is not None and set(tried.trials) >= {KERAS} and tried.trials[tried.chosen].agrees
    said = (tried_var / "said.txt").read_text()
    assert said.count("chosen") == 1
    for name in (KERAS, *KINDS):
        assert name in said
        assert (name in tried.trials) != (f"{name} was not tried: " in said)
    assert all(tried.trials[tried.chosen].images_per_s >= one.images_per_s for one in tried.trials.values() if one.agrees)
    assert store.exists(f"models/default/1/{FLOAT}") and set(tried.files) <= {FLOAT, INT8, NETWORK}


@pytest.mark.parametrize("name", [name for name in HERE if KINDS[name].file != INT8 and "bf16" not in name])
def test_an_f32_engine_gives_the_scores_and_embeddings_of_keras(tried_var: Path, looked_at: np.ndarray, name: str) -> None:
    expected, found = predictor(tried_var, KERAS).predict(looked_at), predictor(tried_var, name).predict(looked_at)
    np.testing.assert_allclose(found.raw, expected.raw, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-3 * np.abs(expected.embeddings).max())


def test_a_model_is_measured_as_an_engine_runs_it(tried_var: Path, small_collection: Path) -> None:
    from pipeline.settings import Settings
    from pipeline.training.evaluate import evaluate_model

    settings = Settings(_env_file=None, var_dir=tried_var)  # type: ignore[call-arg]
    by_keras, by_engine = (
        evaluate_model("default", 1, small_collection, split=None, settings=settings, engine=name)
        for name in (KERAS, BESIDE_TENSORFLOW[0])
    )
    assert by_engine["engine"] == BESIDE_TENSORFLOW[0] and by_keras["engine"] == KERAS
    for figure in ("macro_ap", "ece", "published_precision"):
        assert by_engine[figure] == pytest.approx(by_keras[figure], abs=1e-3)


@pytest.mark.parametrize("name", [name for name in HERE if KINDS[name].file != INT8])
def test_what_a_picture_is_predicted_depends_on_no_company_with_any_engine(
    tried_var: Path, looked_at: np.ndarray, name: str
) -> None:
    together, again = predictor(tried_var, name).predict(looked_at), predictor(tried_var, name)
    for count in (3, 17, 70, 31, 1, 0):
        fewer = again.predict(looked_at[:count])
        assert (fewer.raw == together.raw[:count]).all() and (fewer.embeddings == together.embeddings[:count]).all()
    others = np.concatenate([looked_at[:8], 255 - looked_at[8:32]])
    assert (again.predict(others).raw[:8] == together.raw[:8]).all()


@pytest.mark.parametrize("name", BESIDE_TENSORFLOW)
def test_a_task_served_by_another_engine_never_imports_tensorflow(tried_var: Path, name: str) -> None:
    store = open_store((tried_var / "lake").as_uri())
    tried = load_tried(store, load_bundle(store, KEY))
    if name not in tried.trials or not tried.trials[name].agrees:
        pytest.skip(f"{name} does not serve this model")
    program = f"""
import sys, numpy as np
import pipeline.labels.steps
from pipeline.model.bundle import load_bundle
from pipeline.model.predictor import Predictor
from pipeline.storage import open_store
store = open_store({(tried_var / "lake").as_uri()!r})
bundle = load_bundle(store, {KEY!r})
found = Predictor(store, bundle, engine={name!r}).predict(np.zeros((5, bundle.side_px, bundle.side_px, 3), np.uint8))
print(found.raw.shape[0], "tensorflow" in sys.modules, "keras" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["5", "False", "False"], done.stderr[-2_000:]


def test_a_copied_file_that_lost_its_end_serves_nothing(tried_var: Path, tmp_path: Path) -> None:
    from pipeline.errors import CriticalError

    store = open_store((tried_var / "lake").as_uri())
    chosen = next(
        name
        for name, one in load_tried(store, load_bundle(store, KEY)).trials.items()
        if name != KERAS and one.agrees and KINDS[name].file != NETWORK
    )
    var = tmp_path / "var"
    shutil.copytree(tried_var / "lake" / "models", var / "lake" / "models")
    file = var / "lake" / "models" / "default" / "1" / KINDS[chosen].file
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CriticalError, match="is not the file that was tried; make it anew: enrich model bench-engines"):
        predictor(var, chosen)


def test_several_devices_share_a_batch_and_what_a_picture_gets_stays_the_same(tried_var: Path) -> None:
    model = tried_var / "lake" / "models" / "default" / "1" / NETWORK
    side = load_bundle(open_store((tried_var / "lake").as_uri()), KEY).side_px
    program = f"""
import numpy as np, tensorflow
config = tensorflow.config
config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], [config.LogicalDeviceConfiguration()] * 3)
from pipeline.model.engines.with_keras import KerasEngine
from pipeline.model.engines.with_tensorflow import TensorFlowEngine
from pipeline.model.runtime import keras
pixels = np.random.default_rng(0).integers(0, 256, (16, {side}, {side}, 3), np.uint8)
engine = TensorFlowEngine({str(model)!r}, 16, precision="f32")
expected = KerasEngine(keras().saving.load_model({str(model)!r}, compile=False)).run(pixels)
found = engine.run(pixels)
print([len(rows) for rows in engine._parts], max(float(np.abs(one - other).max()) for one, other in zip(found, expected)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    sizes, _, difference = done.stdout.rpartition(" ")
    assert sizes == "[6, 5, 5]", done.stderr[-2_000:]
    assert float(difference) < 1e-3


def test_in_bf16_is_what_has_places_and_decisions_stay_near(tried_var: Path, looked_at: np.ndarray) -> None:
    from pipeline.model.bundle import load_network
    from pipeline.model.engines.trial import equal_decisions
    from pipeline.model.engines.with_tensorflow import in_bf16

    store = open_store((tried_var / "lake").as_uri())
    bundle = load_bundle(store, KEY)
    network = load_network(store, bundle)
    quick = in_bf16(network)
    policies = {layer.__class__.__name__: layer.dtype_policy.name for layer in quick.layers}
    assert (policies["Conv2D"], policies["Dense"], policies["Rescaling"]) == ("mixed_bfloat16", "float32", "float32")
    expected, found = (one.predict_on_batch(looked_at) for one in (network, quick))
    assert np.asarray(found["scores"]).dtype == np.float32
    difference = np.abs(np.asarray(found["scores"]) - np.asarray(expected["scores"])).max()
    assert 0 < difference < 0.1  # it does calculate otherwise
    equal = equal_decisions(bundle, *(bundle.calibrated(np.asarray(one["scores"])) for one in (expected, found)), 0.05)
    assert equal > 0.95


def test_a_network_that_looks_at_the_mirror_image_can_be_calculated_in_bf16() -> None:
    from pipeline.model.engines.with_tensorflow import in_bf16
    from pipeline.model.runtime import keras

    k = keras()
    inputs = k.Input((16, 16, 3), dtype="uint8")
    scaled = k.layers.Rescaling(1 / 255)(inputs)
    look = k.layers.Conv2D(4, 3, activation="relu")
    places = k.layers.Average()([look(scaled), look(scaled[:, :, ::-1, :])])
    embedding = k.layers.GlobalAveragePooling2D(name="embedding")(places)
    network = k.Model(inputs, {"scores": k.layers.Dense(2, activation="sigmoid")(embedding), "embedding": embedding})
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    expected, found = (one.predict_on_batch(pixels)["scores"] for one in (network, in_bf16(network)))
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=0.02)
