"""Whatever the API does, and whatever is killed when: every record, once."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pipeline.sandbox.process import SandboxProcess
from tests.integration.archive import (
    COUNTER,
    SEARCH,
    environment_of,
    harvest,
    record_ids,
    requests_counted,
    serve_archive,
    settings_for,
    spread,
    start,
    true_ids,
)

RECORDS = 3_030
SEEDS = 3  # twenty of them in the benchmark `harvest`
KILLS = 4


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with serve_archive(tmp_path_factory.mktemp("archive"), RECORDS) as platform:
        yield platform


@pytest.fixture(scope="module")
def truth(platform: SandboxProcess) -> set[str]:
    platform.faults()
    return true_ids(platform)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_with_faults_of_every_kind_the_ids_are_exactly_the_true_ones(platform, truth, tmp_path, seed):
    settings = settings_for(platform, tmp_path / "var")
    platform.faults(*spread(0.2, {"fault": "repeated-id", "rate": 0.1}, {"fault": "drift", "rate": 0.1}), seed=seed)
    key = start(settings)
    report = harvest(settings, key)
    platform.faults()
    found = record_ids(settings, key)
    assert set(found) == truth and max(found.values()) == 1
    assert report["harvest"]["state"] in ("complete", "short")  # short where the last total was the drifted one
    assert report["counts"]["inputs"] == RECORDS


def test_repeated_ids_are_dropped_and_counted(platform, truth, tmp_path):
    settings = settings_for(platform, tmp_path / "var")
    platform.faults({"route": SEARCH, "fault": "repeated-id", "rate": 1})
    key = start(settings)
    report = harvest(settings, key)
    platform.faults()
    assert report["counts"]["extra"]["duplicate_ids"] == -(-RECORDS // 100)  # on every page but the first, the empty one too
    assert set(record_ids(settings, key)) == truth and report["harvest"]["state"] == "complete"


def test_killed_at_random_moments_it_ends_whole_and_no_page_far_back_is_fetched_twice(platform, truth, tmp_path):
    settings = settings_for(platform, tmp_path / "var")
    slow = {"route": SEARCH, "fault": "slow", "seconds": 0.15}
    platform.faults(COUNTER, slow)
    command = [sys.executable, "-m", "pipeline", "harvest", "--query", "*:*", "--full", "--run-id", "killed"]
    rng, cut_off = random.Random(5), 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environment_of(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_a_search(platform, process)
        time.sleep(rng.uniform(0.1, 1.5))
        cut_off += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert cut_off >= 2
    done = subprocess.run(command, env=environment_of(settings), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    asked = requests_counted(platform)
    platform.faults()
    found = record_ids(settings, "runs/run=killed/run.json")
    assert set(found) == truth and max(found.values()) == 1
    pages = -(-RECORDS // 100) + 1
    lost_at_a_kill = settings.harvest_pages_per_part + 4  # what lies behind the last checkpoint, and the pages fetched ahead
    assert asked <= pages + (KILLS + 1) * lost_at_a_kill


def test_a_cursor_that_the_server_does_not_understand_any_more_begins_the_listing_anew(platform, truth, tmp_path):
    settings = settings_for(platform, tmp_path / "var")
    key = start(settings, max_requests=12)
    platform.faults()
    harvest(settings, key)
    _break_cursor(settings)
    report = harvest(settings, start(settings))
    found = record_ids(settings, key)
    assert set(found) == truth and max(found.values()) == 1
    assert (report["harvest"]["state"], report["counts"]["extra"]["duplicate_ids"]) == ("complete", 0)


def _wait_for_a_search(platform: SandboxProcess, process: "subprocess.Popen[bytes]") -> None:
    before = requests_counted(platform)
    deadline = time.monotonic() + 60
    while requests_counted(platform) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def _break_cursor(settings) -> None:
    from sqlalchemy import update

    from pipeline.database import connect
    from pipeline.database.tables import harvest_windows

    with connect(settings).begin() as connection:
        connection.execute(update(harvest_windows).values(cursor="bm90IGEgY3Vyc29y"))
