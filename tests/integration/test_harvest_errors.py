"""What goes wrong gives one clear message, an exit code, and a state from which saying it again completes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.database import connect, windows
from pipeline.sandbox.process import SandboxProcess, free_port
from tests.integration.archive import (
    COUNTER,
    SEARCH,
    enrich,
    record_ids,
    serve_archive,
    settings_for,
    true_ids,
)

RECORDS = 1_230
EVERYTHING = ("harvest", "--query", "*:*", "--full", "--run-id", "run")
KEY = "runs/run=run/run.json"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with serve_archive(tmp_path_factory.mktemp("archive"), RECORDS, key="the-right-key") as running:
        yield running


@pytest.fixture
def settings(platform, tmp_path):
    platform.faults()
    return settings_for(platform, tmp_path / "var", api_attempts=2)


def refused(settings, *arguments: str, **environment: str) -> str:
    """The one message of a command that fails."""
    done = enrich(settings, *arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "the-right-key" not in done.stderr + done.stdout
    messages = [line for line in done.stderr.splitlines() if "Error: " in line]
    assert len(messages) == 1, done.stderr
    return messages[0]


def completes(settings, platform) -> None:
    done = enrich(settings, *EVERYTHING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete" in done.stdout and f"{RECORDS:,}" in done.stdout
    assert set(record_ids(settings, KEY)) == true_ids(platform)


def test_a_wrong_key(settings, platform):
    message = refused(settings, *EVERYTHING, EUROPEANA_API_KEY="a-wrong-key")
    assert "401" in message and "API key is invalid" in message and "a-wrong-key" not in message
    completes(settings, platform)


def test_no_key_at_all(settings, platform):
    assert "EUROPEANA_API_KEY is not set" in refused(settings, *EVERYTHING, EUROPEANA_API_KEY="")


def test_a_wrong_query(settings):
    message = refused(settings, "harvest", "--query", "title:(", "--full")
    assert "400-SA" in message and "title:(" in message


def test_an_unreachable_host(settings, platform):
    address = f"http://127.0.0.1:{free_port()}/europeana"
    message = refused(settings, *EVERYTHING, EUROPEANA_API_URL=address)
    assert address in message and "no connection to the server" in message
    completes(settings, platform)


def test_an_empty_result(settings, platform):
    message = refused(settings, "harvest", "--query", "title:nothing_has_this_word", "--full")
    assert "nothing was found for query title:nothing_has_this_word" in message


def test_a_key_that_is_revoked_in_the_middle(settings, platform):
    platform.faults(COUNTER, {"route": SEARCH, "fault": "401", "after": 6})
    message = refused(settings, *EVERYTHING)
    assert "401" in message
    (window,) = windows.of_source(connect(settings), _source(settings))
    assert (window.state, window.counts["inputs"]) == ("failed", 600) and "401" in window.last_error
    platform.faults()
    completes(settings, platform)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no small disk can be mounted here (it takes root on Linux)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(settings, platform, small_disk):
    """The lake's disk is full; after some room was made the same command completes."""
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 990_000)
    full = settings.model_copy(update={"storage_url": (small_disk / "lake").as_uri()})
    full.model_fields_set.add("storage_url")
    message = refused(full, *EVERYTHING)
    assert "no room left to write" in message and "lake" in message
    filler.unlink()
    completes(full, platform)


def test_a_full_disk_under_the_database(settings, platform, small_disk):
    small = settings.model_copy(update={"database_url": f"sqlite:///{small_disk / 'state.db'}"})
    small.model_fields_set.add("database_url")
    enrich(small, "source", "windows", "default")  # the tables are made
    free = 1_048_576 - sum(path.stat().st_size for path in small_disk.iterdir())
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * max(0, free - 8_192))
    message = refused(small, *EVERYTHING)
    assert "the database (DATABASE_URL) cannot be written: " in message and "free some space" in message
    filler.unlink()
    completes(small, platform)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("harvest",), "say exactly one of: --since with --until"),
        (("harvest", "--full", "--id", "/7/a"), "say exactly one of"),
        (("harvest", "--query", "x", "--dataset", "1", "--full"), "say one of them, not several: --query, --dataset"),
        (("harvest", "--source", "default", "--query", "x", "--full"), "say one of them, not several: --source, --query"),
        (("harvest", "--source", "nobody", "--full"), "no source 'nobody'"),
        (("harvest", "--since", "2026-01-02", "--until", "2026-01-01"), "a window needs start < end"),
        (("harvest", "--since", "2026-01-02"), "a window needs start < end"),
        (("harvest", "--concept", "painting", "--full"), "'painting' is not the URI of a concept"),
        (("harvest", "--query", "x", "--full", "--max-records", "0"), "max_records is 0"),
        (("harvest", "--query", "x", "--full", "--images", "some"), "images 'some' is not one of first, all"),
        (("harvest", "--folder", "/nowhere/at/all"), "metadata.csv: not found"),
        (("harvest", "--ids-file", "/nowhere/ids.txt"), "/nowhere/ids.txt: cannot be read"),
        (("source", "new", "Bad Name"), "'Bad Name' cannot be a source's name"),
        (("source", "new", "default"), "is there already"),
        (("source", "new", "x", "--kind", "ftp"), "kind 'ftp' is not one of"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(settings, arguments, words):
    assert words in refused(settings, *arguments)


def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(settings, platform):
    platform.faults(COUNTER)
    done = enrich(settings, "harvest", "--query", "*:*", "--full", "--dry-run")
    assert done.returncode == 0, done.stderr
    for words in ("1,230", "14", "to the API", "GB to download", "image requests to", "the server tells no limit"):
        assert words in done.stdout or words == "image requests to", done.stdout
    assert not (settings.var_dir / "lake").exists()


def test_a_dry_run_tells_the_hours_at_the_rate_limit(tmp_path):
    with serve_archive(tmp_path, 100_000, quota=100, quota_window_s=3600) as platform:
        settings = settings_for(platform, tmp_path / "var")
        done = enrich(settings, "harvest", "--query", "*:*", "--full", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "1,001" in done.stdout and "10.01" in done.stdout and "100 requests in 1:00:00" in done.stdout


def test_a_new_source_is_scaffolded_checked_and_harvested(settings, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    place = {"SOURCES_DIR": str(sources)}
    for kind, way in (("europeana", "query"), ("europeana", "concepts"), ("with", "collection"), ("folder", "folder")):
        done = enrich(settings, "source", "new", f"{kind}-{way}", "--kind", kind, "--by", way, **place)
        assert done.returncode == 0 and f"{kind}-{way}.yaml is written" in done.stdout, done.stderr
    done = enrich(settings, "source", "check", "--offline", **place)
    assert done.returncode == 0 and done.stdout.count("the file is right") == 4
    done = enrich(settings, "source", "check", "europeana-query", **place)
    assert done.returncode == 0 and "1,230" in done.stdout, done.stderr
    done = enrich(settings, "harvest", "--source", "europeana-query", "--full", **place)
    assert done.returncode == 0 and "complete" in done.stdout
    listed = enrich(settings, "source", "windows", "europeana-query", COLUMNS="200")
    assert "success" in listed.stdout and "full" in listed.stdout


def _source(settings) -> str:
    return open_run(settings).source


def open_run(settings):
    from pipeline.datasets.lake import open_lake

    return open_lake(settings).run(KEY)
