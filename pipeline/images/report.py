"""What the image stage reports beside its counts: each host, each provider."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.datasets.lake import Lake, Part
from pipeline.domain.outcome import Outcome
from pipeline.images.hosts import HostStats

COLUMNS = ("provider", "outcome", "reason", "size_bytes")


def hosts_of_batches(lake: Lake, result_keys: Sequence[str]) -> dict[str, HostStats]:
    """What the batches with these results saw of each host, the most visited first."""
    hosts: dict[str, HostStats] = {}
    for key in result_keys:
        folder, _, name = key.rpartition("/")
        for host, value in lake.read_json(f"{folder}/{name.replace('result-', 'pieces-')}")["hosts"].items():
            hosts.setdefault(host, HostStats()).merge(HostStats.from_json(value))
    return dict(sorted(hosts.items(), key=lambda item: (-item[1].visits, item[0])))


def count_pictures(lake: Lake, parts: Sequence[Part], hosts: dict[str, HostStats]) -> None:
    """Add pictures and reasons to each host from the rows themselves: tries that were repeated count once."""
    for part in parts:
        for batch in lake.part_rows(part.key, ("host", "reason")):
            for row in batch.to_pylist():
                stats = hosts.setdefault(row["host"], HostStats())
                if row["reason"]:
                    stats.reasons[row["reason"]] += 1
                else:
                    stats.ok += 1


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
