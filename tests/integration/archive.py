"""A stand-in archive of a few thousand records without pictures, and the settings and commands that harvest it."""

import csv
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from pipeline.collection.reader import EXPECTED
from pipeline.datasets.lake import Lake, open_lake
from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import Scope, Selection
from pipeline.harvest.steps import harvest_window, plan_harvest, publish_records, start_run
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEXT_DAY = datetime(2026, 1, 2, tzinfo=UTC)
SEARCH = "^/europeana/record/v2/search"
EVERYTHING = Selection("query", "*:*")
COUNTER: dict[str, Any] = {"route": SEARCH, "fault": "500", "rate": 0}  # never fires, and counts
# Every way in which the API has been seen to fail for a moment (search contract §5.3, §7.1).
FAULTS: tuple[dict[str, Any], ...] = (
    *({"fault": name} for name in ("500", "502-html", "503", "503-html", "504-SA", "503-SA", "reset", "close")),
    *({"fault": name} for name in ("truncated", "truncated-gzip")),
    {"fault": "429", "seconds": 0.1},
    {"fault": "slow", "seconds": 0.05},
    {"fault": "timeout", "seconds": 3},
)


def write_archive(folder: Path, rows: int = 40) -> None:
    """A collection whose records `--records N` multiplies."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, EXPECTED, restval="")
        writer.writeheader()
        writer.writerows({"record_id": f"/7/r{number:04d}", "title": f"Record {number}"} for number in range(rows))


def serve_archive(folder: Path, records: int, **changes: Any) -> SandboxProcess:
    """Start a sandbox that serves so many records; keyword arguments change its options."""
    collection = folder / "collection"
    if not collection.exists():
        write_archive(collection)
    values: dict[str, Any] = {
        "collection": collection,
        "state_dir": folder / f"state-{free_port()}",
        "vocabulary_path": PROJECT_ROOT / "vocab" / "concepts.yaml",
        "port": free_port(),
        "records": records,
    }
    return SandboxProcess(SandboxOptions(**(values | changes)))


def settings_for(platform: SandboxProcess, var: Path, **changes: Any) -> Settings:
    """Settings that know nothing but this platform and this folder."""
    values: dict[str, Any] = {
        "var_dir": var,
        "europeana_api_url": f"{platform.url}/europeana",
        "europeana_api_key": platform.key,
        "with_api_url": f"{platform.url}/with",
        "with_username": "sandbox",
        "with_password": "sandbox",
        "harvest_pages_per_part": 4,
        "api_timeout_s": 1.0,
        "api_backoff_s": 0.05,
        "api_attempts": 8,
    }
    return Settings(_env_file=None, **(values | changes))


def start(settings: Settings, *, run_id: str = "run", scope: Scope | None = None, **changes: Any) -> str:
    """Start a run over everything, or what the keyword arguments say."""
    rules = {name: changes.pop(name) for name in list(changes) if name in HarvestRules.__dataclass_fields__}
    limits = {name: changes.pop(name) for name in list(changes) if name in Limits.__dataclass_fields__}
    values = {"source": "archive", "selection": EVERYTHING, "created_at": NEXT_DAY} | changes
    chosen = HarvestRules(**({"limits": Limits(**limits)} | rules))
    chosen_scope = scope or (None if "ids_file" in changes else Scope("full"))
    return start_run(run_id=run_id, scope=chosen_scope, settings=settings, rules=chosen, **values)


def harvest(settings: Settings, key: str) -> dict[str, Any]:
    """Plan, harvest and publish; the stage's report."""
    results = [harvest_window(batch, settings=settings) for batch in plan_harvest(key, settings=settings)]
    return open_lake(settings).read_json(publish_records(key, results, settings=settings))


def record_ids(settings: Settings, key: str) -> Counter[str]:
    """How often each id stands in a run's records."""
    lake = open_lake(settings)
    return Counter(
        row["record_id"] for batch in lake.rows(lake.run(key), "records", ["record_id"]) for row in batch.to_pylist()
    )


def outcome_rows(settings: Settings, key: str) -> list[dict[str, Any]]:
    """The rows of a run's inputs that are not ok."""
    lake: Lake = open_lake(settings)
    return [row for batch in lake.rows(lake.run(key), "outcomes/stage=harvest") for row in batch.to_pylist()]


def true_ids(platform: SandboxProcess) -> set[str]:
    """All ids that the platform has, asked of it by a loop of its own."""
    found: set[str] = set()
    cursor: str | None = "*"
    while cursor:
        parameters = {"query": "*:*", "rows": "100", "profile": "minimal", "sort": "europeana_id", "cursor": cursor}
        reply = requests.get(
            f"{platform.url}/europeana/record/v2/search.json",
            params=parameters,
            headers={"X-Api-Key": platform.key},
            timeout=30,
        ).json()
        found |= {item["id"] for item in reply["items"]}
        cursor = reply.get("nextCursor") if reply["items"] else None
    return found


def spread(rate: float, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Every fault on the search, together hitting that share of requests; some more rules behind them."""
    return [{"route": SEARCH, "rate": rate / len(FAULTS), **fault} for fault in FAULTS] + [
        {"route": SEARCH, **rule} for rule in more
    ]


def requests_counted(platform: SandboxProcess) -> int:
    """How many searches `COUNTER` has seen; it stands before all rules that fire."""
    rules = requests.get(f"{platform.url}/_sandbox/faults", timeout=10).json()["rules"]
    return int(next(rule["matched"] for rule in rules if rule["rate"] == 0))


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for a process of its own."""
    from pydantic import SecretStr

    values = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        values[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return {**os.environ, "ENV_FILE": "", **values}


def enrich(settings: Settings, *arguments: str, timeout: float = 120, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command line, as a user has it."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env=environment_of(settings) | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
