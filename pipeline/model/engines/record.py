"""Which engine serves a version: `engines.json` beside its `bundle.json`, and the files that were made for engines.

A version is immutable; what is tried on it is not part of it, and may be tried again on another machine.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from pipeline.errors import CriticalError
from pipeline.model.bundle import Bundle, load_network
from pipeline.model.engines.kinds import AUTO, KERAS, KINDS, Kind
from pipeline.model.engines.port import Engine
from pipeline.model.engines.with_keras import KerasEngine
from pipeline.storage import ObjectStore

FILE = "engines.json"
EQUAL_OF_SAID = 0.8  # of what is published or asked about: at least so many equal decisions, of every engine

log = structlog.get_logger()


@dataclass(frozen=True)
class Trial:
    """How an engine did on a version: its rate, the share of (picture, concept) pairs that it decides as Keras does, the
    largest difference of a calibrated score, whether that is near enough for it to serve, and the share of equal decisions
    among the pairs that either of the two publishes or asks people about."""

    images_per_s: float
    equal_decisions: float
    largest_difference: float
    agrees: bool
    equal_of_said: float = 1.0


@dataclass(frozen=True)
class Tried:
    """What `engines.json` says: the fastest engine that agrees, the trials, and the SHA-256 of each file made."""

    chosen: str
    trials: Mapping[str, Trial]
    files: Mapping[str, str]


def load_tried(store: ObjectStore, bundle: Bundle) -> Tried | None:
    """What was tried on a version; None when nothing was, or another `model.keras` lay there. CriticalError when damaged."""
    key = f"{bundle.folder}/{FILE}"
    if not store.exists(key):
        return None
    try:
        value = json.loads(store.get_bytes(key))
        if value["model_sha256"] != bundle.sha256:
            return None
        trials = {name: Trial(**trial) for name, trial in value["trials"].items() if name in (KERAS, *KINDS)}
        if value["chosen"] not in (KERAS, *trials):
            raise ValueError(f"it chooses {value['chosen']}, which is no engine")
        return Tried(value["chosen"], trials, value["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CriticalError(f"{store.address(key)} is damaged ({error}); make it anew: {_command(bundle)}") from error


def save_tried(store: ObjectStore, bundle: Bundle, tried: Tried) -> str:
    """Write `engines.json` and return its key."""
    key = f"{bundle.folder}/{FILE}"
    store.put_bytes(key, json.dumps({"model_sha256": bundle.sha256, **asdict(tried)}, indent=1).encode())
    return key


def open_engine(
    store: ObjectStore, bundle: Bundle, name: str, at_once: int, device: str = "any", *, to_measure: bool = False
) -> Engine:
    """The engine of this name for `at_once` pictures; `auto` is the one that was chosen for the version, else Keras.

    `device`: with `gpu` only engines that use one. `to_measure`: also one that does not agree.
    Raises CriticalError that says what to do when the engine is unknown or for CPUs alone, its library is absent, it was not
    tried on this version, it does not agree with Keras, or its file is not the one that was tried.
    """
    name, tried = serving(store, bundle, name, device)
    if name == KERAS:
        return KerasEngine(load_network(store, bundle))
    kind = KINDS.get(name)
    if kind is None:
        raise CriticalError(f"INFERENCE_ENGINE {name} is none of {', '.join((AUTO, KERAS, *KINDS))}")
    if device == "gpu" and not kind.on_gpu:
        able = ", ".join((KERAS, *(other for other, one in KINDS.items() if one.on_gpu)))
        raise CriticalError(f"INFERENCE_ENGINE {name} is for CPUs, and INFERENCE_DEVICE=gpu: take one of {able}")
    if lack := kind.lacking():
        raise CriticalError(f"INFERENCE_ENGINE {name} cannot run here: {lack}")
    if tried is None or name not in tried.trials:
        raise CriticalError(
            f"engine {name} was not tried on model {bundle.name} {bundle.version}; do so with: {_command(bundle)}"
        )
    if not (trial := tried.trials[name]).agrees and not to_measure:
        raise CriticalError(
            f"engine {name} decides as Keras does in {trial.equal_decisions:.2%} of all cases on model {bundle.name} "
            f"{bundle.version} and {trial.equal_of_said:.1%} of those that either publishes or reviews; {kind.least_equal:.1%} "
            f"and {EQUAL_OF_SAID:.0%} are needed: take another INFERENCE_ENGINE, or auto"
        )
    return open_file(store, bundle, kind, tried.files[kind.file], at_once)


def serving(store: ObjectStore, bundle: Bundle, name: str, device: str = "any") -> tuple[str, Tried | None]:
    """The engine that this name means here, `auto` being no engine, and what was tried on the version."""
    tried = None if name == KERAS else load_tried(store, bundle)
    return (_chosen(tried, device) if name == AUTO else name), tried


def open_file(store: ObjectStore, bundle: Bundle, kind: Kind, sha256: str, at_once: int) -> Engine:
    """An engine on its file; CriticalError when the file is absent or not the one with this hash."""
    key = f"{bundle.folder}/{kind.file}"
    try:
        with store.local_copy(key) as path:
            if digest(path) != sha256:
                raise CriticalError(f"{store.address(key)} is not the file that was tried; make it anew: {_command(bundle)}")
            return kind.open(path, at_once)
    except FileNotFoundError as error:
        raise CriticalError(f"{store.address(key)} is missing; make it anew: {_command(bundle)}") from error


def digest(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _chosen(tried: Tried | None, device: str) -> str:
    """The engine that was chosen, or where this machine cannot run it the fastest of the others that agree.

    What was chosen for GPUs was also timed on a machine with them: of the others those for CPUs come first then.
    """
    if tried is None or tried.chosen == KERAS:
        return KERAS
    rates = {name: trial.images_per_s for name, trial in tried.trials.items() if trial.agrees and name != tried.chosen}
    for_cpus_first = KINDS[tried.chosen].on_gpu
    others = sorted(rates, key=lambda one: (for_cpus_first and (one == KERAS or KINDS[one].on_gpu), -rates[one]))
    for name in (tried.chosen, *others, KERAS):
        if name == KERAS or ((KINDS[name].on_gpu or device != "gpu") and KINDS[name].lacking() is None):
            break
    if name != tried.chosen:
        log.warning(
            "engine_absent", engine=tried.chosen, problem=KINDS[tried.chosen].lacking() or "it is for CPUs", instead=name
        )
    return name


def _command(bundle: Bundle) -> str:
    return f"enrich model bench-engines --model {bundle.name}@{bundle.version} --collection DIR"
