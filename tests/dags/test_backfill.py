"""`airflow backfill create` over nights, with a real scheduler: each night harvests its own window, once."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.database import connect, windows
from pipeline.datasets.lake import open_lake
from pipeline.sandbox.process import SandboxProcess, free_port
from tests.integration.archive import environment_of, record_ids, serve_archive, settings_for, true_ids

pytestmark = pytest.mark.alone

DAG_ID = "enrich_nightly_archive"
SOURCE = """
name: archive
kind: europeana
description: All there is.
schedule: "0 0 * * *"
query: "*:*"
window_hours: 12
"""
FINISHED = ("success", "failed")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with serve_archive(tmp_path_factory.mktemp("archive"), 430) as running:
        yield running


@pytest.fixture
def airflow(airflow_environment, platform, trained_var, tmp_path):
    """Settings, a command's environment, database and log of an Airflow with one source."""
    var = tmp_path / "var"
    shutil.copytree(trained_var, var)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "archive.yaml").write_text(SOURCE)
    port, home = free_port(), tmp_path / "airflow"
    settings = settings_for(platform, var, sources_dir=tmp_path / "sources", annotation_client_id="sandbox")
    environment = airflow_environment | environment_of(settings)
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": airflow_environment["AIRFLOW__CORE__DAGS_FOLDER"],
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "PATH": airflow_environment["PATH"],
    }
    return settings, environment, home / "airflow.db", tmp_path / "standalone.log"


@contextmanager
def scheduler(environment: dict[str, str], log: Path) -> Iterator[None]:
    """Scheduler, DAG processor and API server, stopped as a group at the end."""
    with log.open("w") as file:
        group = subprocess.Popen(
            ["airflow", "standalone"], env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(group.pid, signal.SIGTERM)
        try:
            group.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(group.pid, signal.SIGKILL)
            group.wait()


def said(environment: dict[str, str], *command: str) -> str:
    """What a command of Airflow printed; it must succeed."""
    done = subprocess.run(["airflow", *command], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_backfill_harvests_each_night_once_and_again_nothing(airflow, platform):
    settings, environment, database, log = airflow
    said(environment, "db", "migrate")
    said(environment, "dags", "reserialize")
    night = ["--from-date", "2026-01-01", "--to-date", "2026-01-02"]
    command = ["backfill", "create", "--dag-id", DAG_ID, *night, "--max-active-runs", "1"]
    assert "2026-01-01" in said(environment, *command, "--dry-run")
    # Before the scheduler starts: Airflow's SQLite refuses a transaction that reads and then writes beside another writer.
    said(environment, *command)
    with scheduler(environment, log):
        query = "SELECT logical_date, state FROM dag_run WHERE run_type = 'backfill' ORDER BY logical_date"
        runs = _wait(database, query, lambda rows: len(rows) == 2 and all(row[1] in FINISHED for row in rows), log)
    assert [state for _, state in runs] == ["success", "success"], log.read_text()[-3000:]

    key = "runs/run=archive-2026-01-01T0000/run.json"
    assert set(record_ids(settings, key)) == true_ids(platform)
    known = windows.of_source(connect(settings), "archive")
    nights = [window for window in known if window.start and window.start.year == 2026 and window.start.month == 1]
    assert [(window.state, window.attempts) for window in nights] == [("success", 1)] * 4
    assert [f"{window.start:%d %H}" for window in nights] == ["01 00", "01 12", "02 00", "02 12"]
    report = open_lake(settings).read_json("runs/run=archive-2026-01-01T0000/harvest.json")
    assert report["harvest"]["state"] == "complete"
    assert "progress" in _task_logs(environment) and "eta_s" in _task_logs(environment)


def _task_logs(environment: dict[str, str]) -> str:
    folder = Path(environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])
    paths = folder.glob(f"dag_id={DAG_ID}/run_id=backfill*/task_id=harvest.batch/**/*.log")
    return "".join(path.read_text() for path in paths)


def _wait(database: Path, query: str, reached, log: Path, *, within: float = 600):
    """Ask Airflow's own database until it says so."""
    deadline = time.monotonic() + within
    rows: list = []
    while time.monotonic() < deadline:
        if database.exists():
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
                try:
                    rows = connection.execute(query).fetchall()
                except sqlite3.OperationalError:
                    rows = []
            if reached(rows):
                return rows
        time.sleep(0.5)
    raise AssertionError(f"{query}: {json.dumps(rows, default=str)}; the log ends with {log.read_text()[-3000:]}")
