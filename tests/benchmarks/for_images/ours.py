"""Our side: the images task by itself, from addresses to shards and Parquet, in a process of its own."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.settings import PROJECT_ROOT, Settings
from tests.benchmarks.for_images.watch import Watched, run_watched

CONCURRENCY = 20  # of downloads, all from one host
FIRST_NIGHT, SECOND_NIGHT = "2026-01-02", "2026-01-03"  # a run's name and planned time
# What the caller's environment may say of other places: empty means below VAR_DIR.
_DEFAULTS = {"STORAGE_URL": "", "DATABASE_URL": "", "S3_ENDPOINT_URL": "", "PROGRESS_FILE": ""}


@dataclass(frozen=True)
class Task:
    """A lake and a database of its own below `folder`; `environment` says where the lake is if not there."""

    folder: Path
    port: int
    side_px: int
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, urls: Sequence[str], night: str = FIRST_NIGHT) -> Watched:
        """Plan and download: what is measured, interpreter's start and imports included. All pictures must come out well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        addresses = self.folder / "addresses.txt"
        addresses.write_text("\n".join(urls))
        key = self._child("prepare", night, str(addresses))[1]["run"]
        watched, answer = self._child("download", key)
        told = self._child("publish", key, json.dumps(answer["results"]))[1]
        if told["rows"] != len(urls) or told["wrong"]:
            raise RuntimeError(f"{len(urls)} pictures were to come out well: {told['rows']} rows, wrong {told['wrong']}")
        self._told.write_text(json.dumps(told | {"run": key}))
        return watched

    def shards(self) -> set[str]:
        """Keys of all shards in the lake as the last run has left it."""
        return set(json.loads(self._told.read_text())["shards"])

    def run_key(self) -> str:
        """The last run's key."""
        return str(json.loads(self._told.read_text())["run"])

    @property
    def settings(self) -> Settings:
        """The settings of the task, to read its lake; only of a lake below `folder`."""
        return Settings(_env_file=None, var_dir=self.folder / "var", storage_url="", database_url="")  # type: ignore[call-arg]

    @property
    def _told(self) -> Path:
        return self.folder / "told.json"

    def _child(self, *command: str) -> tuple[Watched, dict[str, Any]]:
        """One command of `child`: how it went and what it answered."""
        name, *arguments = command
        answer = self.folder / "answer.json"
        module = "tests.benchmarks.for_images.child"
        watched = run_watched(
            [sys.executable, "-m", module, name, str(answer), *arguments],
            environment={
                **os.environ,
                **_DEFAULTS,
                "PYTHONPATH": str(PROJECT_ROOT),
                "VAR_DIR": str(self.folder / "var"),
                "PRIVATE_IMAGE_HOSTS": f"127.0.0.1:{self.port}",
                "DERIVATIVE_SIDE_PX": str(self.side_px),
                "DOWNLOAD_CONCURRENCY": str(CONCURRENCY),
                "DOWNLOAD_PER_HOST": str(CONCURRENCY),
                **self.environment,
            },
            log=self.folder / f"{name}.log",
        )
        return watched, json.loads(answer.read_text())
