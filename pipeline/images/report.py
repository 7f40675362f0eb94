"""What the image stage reports beside its counts: each host, each provider."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.domain.outcome import Outcome
from pipeline.images.hosts import HostStats

COLUMNS = ("provider", "outcome", "reason", "size_bytes")


def hosts_of_batches(lake: Lake, run: Run) -> dict[str, HostStats]:
    """What all batches of the run saw of each host, the most visited first."""
    hosts: dict[str, HostStats] = {}
    for key in lake.store.list(f"{run.folder}/images/pieces-"):
        for name, value in lake.read_json(key)["hosts"].items():
            hosts.setdefault(name, HostStats()).merge(HostStats.from_json(value))
    return dict(sorted(hosts.items(), key=lambda item: (-item[1].visits, item[0])))


def providers_of(lake: Lake, parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Images, pictures, bytes and reasons by provider, the largest first."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for batch in lake.part_rows(part.key, COLUMNS):
            for row in batch.to_pylist():
                one = found.setdefault(row["provider"], {"images": 0, "ok": 0, "bytes": 0, "reasons": Counter()})
                one["images"] += 1
                one["ok"] += row["outcome"] == Outcome.OK
                one["bytes"] += row["size_bytes"] or 0
                if row["reason"]:
                    one["reasons"][row["reason"]] += 1
    return dict(sorted(found.items(), key=lambda item: (-item[1]["images"], item[0])))
