"""Try every engine on a version: is it faster than Keras on this machine, and does it decide as Keras does?"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle, load_network
from pipeline.model.engines.convert import write_tflite
from pipeline.model.engines.kinds import INT8, KERAS, KINDS, NETWORK
from pipeline.model.engines.port import Engine, Floats, run_in_batches
from pipeline.model.engines.record import EQUAL_OF_SAID, Trial, Tried, digest, load_tried, open_file, save_tried
from pipeline.model.engines.with_keras import KerasEngine
from pipeline.model.preprocessing import Pixels
from pipeline.storage import ObjectStore

ROUNDS = 3  # in turn, so that a busy moment of the machine meets all
ROUND_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Outcome:
    """What was tried, and why the other engines were not."""

    tried: Tried
    skipped: Mapping[str, str]
    pictures: int  # that decisions were compared on


def try_engines(
    store: ObjectStore, bundle: Bundle, pictures: Pixels, *, calibration: Pixels, at_once: int, floor: float
) -> Outcome:
    """Make the files that are missing, try all engines that this machine has, and keep the choice beside the version.

    `pictures`: uint8 pixels (n, side, side, 3) that decisions are compared on, at least `at_once` of them; `calibration`:
    others, for the ranges of 8-bit numbers; `floor`: the score below which a label is no hidden one either.
    Raises CriticalError for too few pictures.
    """
    if len(pictures) < at_once:
        raise CriticalError(f"{len(pictures)} pictures are too few to try engines with; {at_once} are needed at least")
    network = load_network(store, bundle)
    engines: dict[str, Engine] = {KERAS: KerasEngine(network)}
    skipped = {name: lack for name, kind in KINDS.items() if (lack := kind.lacking())}
    before = load_tried(store, bundle) or Tried(KERAS, {}, {})
    files = {**before.files, NETWORK: bundle.sha256}
    for name, kind in KINDS.items():
        if name in skipped:
            continue
        try:
            if kind.file not in files or not store.exists(f"{bundle.folder}/{kind.file}"):
                files[kind.file] = _made(store, bundle, network, kind.file, calibration if kind.file == INT8 else None)
                # Kept at once: making a file may take minutes, and a start that is cut off need not be for nothing.
                save_tried(store, bundle, Tried(before.chosen, before.trials, files))
            engines[name] = open_file(store, bundle, kind, files[kind.file], at_once)
        except CriticalError:
            raise
        except Exception as error:  # noqa: BLE001  each library has its own; a network that it cannot do is no fault here
            skipped[name] = _cannot(error)
    trials = _trials(bundle, engines, pictures, at_once, floor, skipped)
    serving = {name: trial.images_per_s for name, trial in trials.items() if trial.agrees}
    tried = Tried(max(serving, key=serving.__getitem__), trials, files)
    save_tried(store, bundle, tried)
    return Outcome(tried, skipped, len(pictures))


def _made(store: ObjectStore, bundle: Bundle, network: Any, name: str, calibration: Pixels | None) -> str:
    """Make a version's file of this name and return its SHA-256."""
    started = time.monotonic()
    log.info("making_engine_file", file=name)
    with tempfile.TemporaryDirectory(prefix="enrich-") as temporary:
        path = Path(temporary) / name
        write_tflite(network, path, calibration=calibration)
        store.put_file(f"{bundle.folder}/{name}", path)
        log.info("engine_file_made", file=name, bytes=path.stat().st_size, seconds=round(time.monotonic() - started, 1))
        return digest(path)


def _trials(
    bundle: Bundle, engines: Mapping[str, Engine], pictures: Pixels, at_once: int, floor: float, skipped: dict[str, str]
) -> dict[str, Trial]:
    """Of the engines that can run the network; the others are added to `skipped`."""
    scores = {}
    for name, engine in engines.items():
        log.info("comparing_decisions", engine=name, pictures=len(pictures))
        try:
            scores[name] = bundle.calibrated(run_in_batches(engine, pictures, at_once)[0])
        except Exception as error:
            if name == KERAS:
                raise
            skipped[name] = _cannot(error)
    rates = _rates({name: engines[name] for name in scores}, pictures[:at_once])
    trials = {}
    for name, found in scores.items():
        equal, of_said = equal_decisions(bundle, scores[KERAS], found, floor), equal_of_said(bundle, scores[KERAS], found)
        trials[name] = Trial(
            images_per_s=round(rates[name], 1),
            equal_decisions=equal,
            largest_difference=round(float(np.nan_to_num(np.abs(found - scores[KERAS]), nan=1.0).max()), 6),
            agrees=name == KERAS or (equal >= KINDS[name].least_equal and of_said >= EQUAL_OF_SAID),
            equal_of_said=of_said,
        )
    return trials


def _cannot(error: Exception) -> str:
    return f"it cannot run this network: {' '.join(str(error).split())[:300]}"


def equal_decisions(bundle: Bundle, expected: Floats, found: Floats, floor: float) -> float:
    """The share of calibrated scores (n, concepts) that lie between the same thresholds; one that is no number never does."""
    return float((_levels(bundle, expected, floor) == _levels(bundle, found, floor))[np.isfinite(found)].sum() / found.size)


def equal_of_said(bundle: Bundle, expected: Floats, found: Floats) -> float:
    """As `equal_decisions`, of the pairs that either would publish or review; 1 where there is none. Most pairs are plain
    noes, and an engine that says no to everything would be right of them."""
    first, second = _levels(bundle, expected, np.inf), _levels(bundle, np.nan_to_num(found), np.inf)
    said = (first > 0) | (second > 0)
    return round(float((first == second)[said].mean()), 4) if said.any() else 1.0


def _levels(bundle: Bundle, scores: Floats, floor: float) -> npt.NDArray[np.int64]:
    """How many limits each score reaches: the floor of hidden labels, its concept's for review and for publication."""
    limits = [
        [floor, *(np.inf if limit is None else limit for limit in (head.thresholds.review, head.thresholds.publish))]
        for head in bundle.heads
    ]
    return np.asarray((scores[:, :, None] >= np.array(limits)).sum(axis=2))


def _rates(engines: Mapping[str, Engine], batch: Pixels) -> dict[str, float]:
    """Images a second of each engine on one batch in memory: the median of some rounds, the engines in turn."""
    rounds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            done, started = 0, time.perf_counter()
            while (seconds := time.perf_counter() - started) < ROUND_S:
                engine.run(batch)
                done += len(batch)
            rounds[name].append(done / seconds)
    return {name: statistics.median(found) for name, found in rounds.items()}
