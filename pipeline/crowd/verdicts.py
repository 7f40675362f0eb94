"""What people have decided, as the lake's dataset `feedback` has it: of all imports that which counts."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.datasets.lake import Lake

DATASET = "feedback"
ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", "undecided"
# What tells tags apart: exports of one campaign follow each other, those of several campaigns stand beside each other.
_TAG = ("platform", "campaign", "record_id", "label", "proposed_by", "model_name", "model_version")


def newest_verdicts(lake: Lake) -> list[dict[str, Any]]:
    """Of each tag the row of its newest import, for votes only become more: to add exports up would count them twice."""
    manifests = [
        json.loads(lake.store.get_bytes(key)) for key in lake.store.list(f"{DATASET}/") if key.endswith("/_manifest.json")
    ]
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for manifest in sorted(manifests, key=lambda one: (one["created_at"], one["run_id"])):
        for part in manifest["parts"]:
            for batch in lake.part_rows(part["key"]):
                newest |= {tuple(row[name] for name in _TAG): row for row in batch.to_pylist()}
    return list(newest.values())


def decided(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], bool | None]:
    """By record and concept (slug): is it there? None where one campaign has accepted what another one has rejected.

    Tags that nobody has decided on, and such that name no concept of the vocabulary, are left out.
    """
    said: dict[tuple[str, str], bool | None] = {}
    for row in rows:
        if row["concept_uri"] is None or row["verdict"] == UNDECIDED:
            continue
        key, right = (row["record_id"], row["label"]), row["verdict"] == ACCEPTED
        said[key] = right if said.get(key, right) is right else None
    return said
