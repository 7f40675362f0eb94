"""A run: what it works on, when it was planned, and where its datasets lie."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pipeline.domain.harvest_rules import HarvestRules, rules_from_json
from pipeline.domain.identifiers import run_key
from pipeline.domain.scope import Scope, Selection, scope_from_json, scope_hash, scope_to_json, selection_from_json

PARTS_PER_ATTEMPT = 10_000  # more than a stage may have batches


@dataclass(frozen=True)
class Run:
    """One pass of the pipeline. `created_at` is its planned time (UTC): no step below reads a clock for data.

    `attempt` counts how often a finished run was started again; within an attempt nothing that is done is repeated.
    `starts` counts every start: each has the whole budget of the rules' limits. `again` harvests windows anew that are done.
    """

    run_id: str
    source: str
    selection: Selection
    scope: Scope
    created_at: datetime
    rules: HarvestRules = field(default_factory=HarvestRules)
    dry_run: bool = False
    again: bool = False
    attempt: int = 1
    starts: int = 1

    @property
    def key(self) -> str:
        """Where the run's own manifest lies; this is what tasks hand to each other."""
        return f"runs/run={self.run_id}/run.json"

    @property
    def finished_key(self) -> str:
        """Lies there once an attempt has come to its end."""
        return f"{self.folder}/finished-{self.attempt}.json"

    @property
    def ids_key(self) -> str:
        """Where a long list of ids lies, one a line."""
        return f"{self.folder}/ids-{self.scope.ids_sha256[:12]}.txt"

    @property
    def folder(self) -> str:
        """Plans, results and reports of the run."""
        return f"runs/run={self.run_id}"

    def part_number(self, batch: int) -> int:
        """The number in the name of a batch's files.

        Each attempt has numbers of its own: what readers see of a finished attempt is not overwritten under their
        eyes, it goes when the manifest of the new one is there.
        """
        return (self.attempt - 1) % 9 * PARTS_PER_ATTEMPT + batch

    def dataset_folder(self, dataset: str) -> str:
        """`<dataset>/source=<source>/scope=<hash>/run=<run_id>`: follows from source, scope and run id alone."""
        return f"{dataset}/source={self.source}/scope={scope_hash(self.selection, self.scope)}/run={self.run_id}"

    def columns(self) -> dict[str, Any]:
        """The provenance columns that every row of the run carries."""
        return {"run_id": self.run_id, "created_at": self.created_at}

    def to_json(self) -> bytes:
        """The manifest's bytes."""
        value = asdict(self) | {"scope": scope_to_json(self.scope), "created_at": self.created_at.isoformat()}
        return json.dumps(value, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Run":
        """Read back what `to_json` wrote."""
        value: Mapping[str, Any] = json.loads(content)
        return cls(
            run_id=value["run_id"],
            source=value["source"],
            selection=selection_from_json(value["selection"]),
            scope=scope_from_json(value["scope"]),
            created_at=datetime.fromisoformat(value["created_at"]),
            rules=rules_from_json(value["rules"]),
            dry_run=value["dry_run"],
            again=value["again"],
            attempt=value["attempt"],
            starts=value["starts"],
        )


def named_run_id(text: str) -> str:
    """A run id made of any name, as it may stand in keys: `[A-Za-z0-9_-]` only."""
    return run_key(text)
