"""New thresholds from what people have decided: a proposal with before and after. Nothing changes by itself.

To apply one is a second step: it registers a version of the model with the same network and other thresholds, and only
`enrich model release` brings that into force.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.crowd.json_file import read_json
from pipeline.crowd.verdicts import decided, newest_verdicts
from pipeline.database import connect, models
from pipeline.datasets.lake import open_lake
from pipeline.domain.label import Thresholds
from pipeline.errors import CriticalError
from pipeline.feedback.precision import BINS, Judged, Population, judged_labels, measured_precision, score_bin
from pipeline.model.bundle import Bundle, bundle_folder, load_bundle, save_bundle
from pipeline.model.registry import bundle_in_force
from pipeline.reporting.thresholds import choose_thresholds
from pipeline.settings import Settings
from pipeline.storage import ObjectStore

FEWEST_DECIDED = 10  # labels of a concept; with fewer its thresholds stay
_BANDS = 10  # of the scores: in each, what was decided stands for what was not
_ADVICE = "make one with: enrich feedback thresholds --out FILE"
# Figures of a version that its thresholds decide; they do not hold for others.
_OF_THRESHOLDS = ("published_precision", "published_recall", "published_n")


@dataclass(frozen=True)
class Change:
    """A concept's thresholds before and after, and why they are so. `published` counts labels in the lake."""

    concept: str
    decided: int
    right: int
    before: Thresholds
    after: Thresholds
    published_before: int
    published_after: int
    why: str


def propose(*, settings: Settings) -> dict[str, Any]:
    """A proposal for the version in force of MODEL_NAME, as JSON values; the measured precision of all models is in it.

    A threshold is chosen as in training (`reporting.thresholds`), on the labels that people have decided on. They are an
    uneven sample, so within each tenth of the scores they stand for all labels of the concept that the lake has there.
    What is below a tenth in which nobody has decided on anything is not proposed. Raises CriticalError when nothing has
    been decided on labels of this version.
    """
    lake = open_lake(settings)
    bundle = bundle_in_force(connect(settings), lake.store, settings.model_name)
    model = f"{bundle.name}@{bundle.version}"
    rows = newest_verdicts(lake)
    judged, population = judged_labels(lake, decided(rows), model, settings=settings)
    own: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if one.model == model:
            own[one.label].append(one)
    if not own:
        raise CriticalError(
            f"people have decided on no label of {model}, the version in force; import an export about its labels first: "
            "enrich feedback import --from KIND FILE"
        )
    heads = bundle.heads
    changes = [_change(head.slug, head.thresholds, own[head.slug], population, settings) for head in heads]
    return {
        "model": bundle.name,
        "version": bundle.version,
        "imports": sorted({row["run_id"] for row in rows}),
        "target_precision": settings.target_precision,
        "review_precision": settings.review_precision,
        "confidence": settings.precision_confidence,
        "concepts": [asdict(change) for change in changes],
        "precision": [asdict(one) | {"share": round(one.share, 4)} for one in measured_precision(judged)],
    }


def _change(slug: str, before: Thresholds, judged: Sequence[Judged], population: Population, settings: Settings) -> Change:
    after, why = _chosen(slug, before, judged, population, settings)
    return Change(
        slug,
        decided=len(judged),
        right=sum(one.right for one in judged),
        before=before,
        after=after,
        published_before=population.at_least(slug, before.publish),
        published_after=population.at_least(slug, after.publish),
        why=why,
    )


def _chosen(
    slug: str, before: Thresholds, judged: Sequence[Judged], population: Population, settings: Settings
) -> tuple[Thresholds, str]:
    scores, right = np.array([one.score for one in judged]), np.array([one.right for one in judged], np.int8)
    bands = np.array([score_bin(score) * _BANDS // BINS for score in scores], np.int64)
    held = population.by_label[slug].reshape(_BANDS, -1).sum(axis=1)
    heard = np.bincount(bands, minlength=_BANDS)
    silent = np.flatnonzero((held > 0) & (heard == 0))
    lowest = int(silent.max()) + 1 if len(silent) else 0
    measured = bands >= lowest
    if measured.sum() < FEWEST_DECIDED:
        above = f" with scores of {lowest / _BANDS:.1f} and more" if 0 < lowest < _BANDS else ""
        return before, f"fewer than {FEWEST_DECIDED} labels{above} are decided on"
    weights = (np.maximum(held, heard)[bands] / heard[bands])[measured]
    scores, right = scores[measured], right[measured]
    chosen = choose_thresholds(
        scores,
        right,
        target_precision=settings.target_precision,
        review_precision=settings.review_precision,
        confidence=settings.precision_confidence,
        weights=weights,
    )
    review = chosen.review
    if before.review is not None and before.review < lowest / _BANDS:
        review = before.review  # nobody was asked there
    if chosen.publish is not None:
        return Thresholds(chosen.publish, None if review is None else min(review, chosen.publish)), "the precision is reached"
    published = scores >= (1.0 if before.publish is None else before.publish)
    if published.any() and np.average(right[published], weights=weights[published]) >= settings.target_precision:
        return before, "the precision is reached, but too few are decided on to be sure"
    return Thresholds(None, review), "no threshold reaches the precision: it abstains"


def apply(path: Path, *, settings: Settings, now: datetime) -> tuple[str, int]:
    """Register a version with a proposal's thresholds; returns its name and number. It is not released.

    Raises CriticalError when the file is no proposal, when it is for another version than that in force, or when it
    changes nothing.
    """
    proposal = read_json(path, _ADVICE)
    engine, store = connect(settings), open_lake(settings).store
    name, version, after = _read(path, proposal)
    row = models.find(engine, name)
    if row is None or row["version"] != version:
        in_force = f"version {row['version']} is" if row else "none is"
        raise CriticalError(f"{path}: it is for {name} version {version}, but {in_force} in force; {_ADVICE}")
    bundle = load_bundle(store, row["bundle_key"])
    heads = tuple(replace(head, thresholds=after.get(head.slug, head.thresholds)) for head in bundle.heads)
    if heads == bundle.heads:
        raise CriticalError(f"{path}: it changes no threshold of {name} version {version}, so there is nothing to apply")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = {name: value for name, value in bundle.metrics.items() if name not in _OF_THRESHOLDS}
    metrics["thresholds_from"] = {"version": version, "proposal_sha256": digest, "imports": proposal.get("imports", [])}
    new = replace(bundle, version=models.reserve(engine, name, now), heads=heads, metrics=metrics)
    _copy_files(store, bundle, new)
    store.put_bytes(f"{new.folder}/thresholds_proposal.json", json.dumps(proposal, indent=1).encode())
    store.put_bytes(f"{new.folder}/card.md", _card(bundle, new).encode())
    models.register(
        engine,
        name=name,
        version=new.version,
        bundle_key=save_bundle(store, new),
        sha256=new.sha256,
        dataset_id=new.dataset_id,
        metrics=metrics,
        now=now,
        gate=_gate(bundle, new),
    )
    return name, new.version


def _gate(old: Bundle, new: Bundle) -> dict[str, Any]:
    """The release gate's word, as training keeps it: the network is the same, so only lost concepts stand in the way."""
    before, after = old.published_concepts, new.published_concepts
    lost, won = sorted(before - after), sorted(after - before)
    reasons = [f"no longer sure enough to be published, unlike in version {old.version}: {', '.join(lost)}"] if lost else []
    return {"allowed": not lost, "reasons": reasons, "figures": {"against": old.version, "lost": lost, "won": won}}


def _card(old: Bundle, new: Bundle) -> str:
    """What the version is, for people."""
    rows = [
        f"| {one.slug} | " + " | ".join(_written(limit) for limit in (was.publish, one.thresholds.publish)) + " |"
        for one, was in zip(new.heads, (head.thresholds for head in old.heads), strict=True)
    ]
    return "\n".join(
        [
            f"# {new.name} {new.version}",
            "",
            f"The network and calibration of version {old.version} (its card says how good they are), with thresholds from "
            "what people have decided: `thresholds_proposal.json` has the counts behind each.",
            "",
            "| concept | published from, before | now |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _written(limit: float | None) -> str:
    return "abstains" if limit is None else f"{limit:.3f}"


def _read(path: Path, proposal: Any) -> tuple[str, int, dict[str, Thresholds]]:
    try:
        after = {one["concept"]: Thresholds(one["after"]["publish"], one["after"]["review"]) for one in proposal["concepts"]}
        limits = [limit for one in after.values() for limit in (one.publish, one.review) if limit is not None]
        if not all(isinstance(limit, float | int) and 0 <= limit <= 1 for limit in limits):
            raise ValueError("a threshold is not between 0 and 1")
        return str(proposal["model"]), int(proposal["version"]), after
    except (KeyError, TypeError, ValueError) as error:
        raise CriticalError(f"{path}: not a proposal of thresholds ({type(error).__name__}: {error}); {_ADVICE}") from error


def _copy_files(store: ObjectStore, old: Bundle, new: Bundle) -> None:
    """The network and what goes with it, but for `bundle.json`, which comes last."""
    for key in list(store.list(f"{old.folder}/")):
        if not key.endswith(("/bundle.json", "/card.md")):
            with store.local_copy(key) as file:
                store.put_file(f"{bundle_folder(new.name, new.version)}/{key.removeprefix(f'{old.folder}/')}", file)
