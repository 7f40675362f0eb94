"""Figures of a whole run that expectations are about: sizes, shares, and how far scores have moved from the reference."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.stage import Counts

FEWEST_IMAGES = 200  # with fewer, chance alone moves the index by a tenth
FEWEST_THAT_DIFFER = 20  # fewer may be copies of one picture
EVERY = "(all)"  # providers together

Bins = Counter[float]  # images by the lower edge of their score's interval
Figures = dict[str, list[dict[str, Any]]]


@dataclass
class Histograms:
    """What `score_histograms` holds: of each (provider, label), and its smallest and largest score of all."""

    model: dict[str, str] = field(default_factory=dict)
    bins: dict[tuple[str, str], Bins] = field(default_factory=lambda: defaultdict(Counter))
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The concepts, in order of their names."""
        return sorted(self.ranges)

    @property
    def providers(self) -> list[str]:
        """All together, then each that has enough images."""
        return [provider for provider in sorted({one for one, _ in self.bins}) if self.images(provider) >= FEWEST_IMAGES]

    def images(self, provider: str = EVERY) -> int:
        """How many images there are of a provider: each has a score for every concept."""
        return max((self.bins[provider, label].total() for label in self.labels), default=0)


def read_histograms(lake: Lake, parts: Sequence[Part]) -> Histograms:
    """The dataset's parts as one; memory grows with providers and concepts, not with images."""
    found = Histograms()
    for part in parts:
        for batch in lake.part_rows(part.key):
            for row in batch.to_pylist():
                label, low, high = row["label"], row["lowest"], row["highest"]
                for provider in (EVERY, row["provider"]):
                    found.bins[provider, label][round(row["score_from"], 6)] += row["images"]
                least, most = found.ranges.get(label, (low, high))
                found.ranges[label] = (min(low, least), max(high, most))
                found.model = found.model or {name: row[name] for name in ("model_name", "model_version", "model_sha256")}
    return found


def label_figures(lake: Lake, histograms: Histograms, counts: Counts) -> Figures:
    """The tables `run`, `concepts` and `drift` of a run's labels."""
    images = histograms.images()
    widest = max((high - low for low, high in histograms.ranges.values()), default=None)
    return {
        "run": [
            {
                "failed_share": _share(counts.reasons.total(), counts.inputs),
                "score_range": widest if images >= FEWEST_THAT_DIFFER else None,
            }
        ],
        "concepts": [
            {"label": label, "images": images, "score_range": high - low if images >= FEWEST_IMAGES else None}
            for label, (low, high) in sorted(histograms.ranges.items())
        ],
        "drift": _drift(histograms, _reference(lake, histograms)),
    }


def _drift(now: Histograms, reference: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The largest first. A provider is held against itself; one that the reference does not know is part of all."""
    if reference is None:
        return []
    rows = []
    for provider in now.providers:
        for label, before in reference["bins"].get(provider, {}).items():
            bins = now.bins.get((provider, label))
            if bins:
                index = stability_index({float(low): count for low, count in before.items()}, bins)
                rows.append({"provider": provider, "label": label, "images": bins.total(), "psi": round(index, 4)})
    return sorted(rows, key=lambda row: (-row["psi"], row["provider"], row["label"]))


def stability_index(before: Mapping[float, int], now: Mapping[float, int]) -> float:
    """The population stability index of two histograms: Σ (q − p) · ln(q / p) over the shares p before and q now.

    Half an observation is added to each interval, so that an empty one weighs what it is worth.
    """
    intervals = before.keys() | now.keys()
    sizes = [sum(counts.values()) + len(intervals) / 2 for counts in (before, now)]
    total = 0.0
    for interval in intervals:
        p, q = ((counts.get(interval, 0) + 0.5) / size for counts, size in zip((before, now), sizes, strict=True))
        total += (q - p) * math.log(q / p)
    return total


def _reference_key(histograms: Histograms) -> str:
    return f"models/{histograms.model['model_name']}/{histograms.model['model_version']}/score_reference.json"


def _reference(lake: Lake, histograms: Histograms) -> dict[str, Any] | None:
    """How the version's scores were spread in its first published run; None when there was none of this very network."""
    if not histograms.model or not lake.store.exists(_reference_key(histograms)):
        return None
    value: dict[str, Any] = lake.read_json(_reference_key(histograms))
    return value if value["model_sha256"] == histograms.model["model_sha256"] else None


def keep_reference(lake: Lake, run: Run, histograms: Histograms) -> None:
    """Make a published run the model's reference if it has none and the run has enough images."""
    if histograms.images() < FEWEST_IMAGES or _reference(lake, histograms) is not None:
        return
    bins = {
        provider: {
            label: {str(low): count for low, count in sorted(histograms.bins[provider, label].items())}
            for label in histograms.labels
        }
        for provider in histograms.providers
    }
    lake.write_json(_reference_key(histograms), {**histograms.model, "run_id": run.run_id, "bins": bins})


def rows_to_previous(lake: Lake, run: Run, dataset: str, rows: int) -> float | None:
    """Rows of a run ÷ those of the last published run of the same source, selection and kind of scope; None without one."""
    keys = lake.store.list(f"{dataset}/source={run.source}/")
    manifests = [lake.read_json(key) for key in keys if key.endswith("/_manifest.json")]
    before = [one for one in manifests if one["run_id"] != run.run_id and one["created_at"] <= run.created_at.isoformat()]
    for manifest in sorted(before, key=lambda one: (one["created_at"], one["rows"]), reverse=True):
        key = f"runs/run={manifest['run_id']}/run.json"
        known = lake.run(key) if lake.store.exists(key) else None
        if known and (known.selection, known.scope.mode) == (run.selection, run.scope.mode):
            return _share(rows, manifest["rows"])
    return None


def failed_share(lake: Lake, parts: Sequence[Part]) -> float | None:
    """Share of the rows whose outcome is not ok, of a dataset that has outcomes."""
    total = failed = 0
    for part in parts:
        for batch in lake.part_rows(part.key, ("outcome",)):
            outcomes = Counter(batch["outcome"].to_pylist())
            total, failed = total + outcomes.total(), failed + outcomes.total() - outcomes["ok"]
    return _share(failed, total)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
