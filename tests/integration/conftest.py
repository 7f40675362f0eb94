"""The whole pipeline without Airflow: a sandbox, a var folder with a model, settings that point at them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.cli.local_run import IMAGE_HOSTS
from pipeline.domain.harvest_rules import HarvestRules, Limits
from pipeline.domain.scope import Scope
from pipeline.harvest.steps import start_run
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from tests.conftest import NOW
from tests.integration.labelled import standing, write_pictures

STAGES = ("harvest", "images", "labels", "suggestions", "publish", "report")


@pytest.fixture
def start_platform(tmp_path: Path, small_collection: Path) -> Iterator[Callable[..., SandboxProcess]]:
    """Start fresh platforms that serve the small collection; keyword arguments change their options."""
    with ExitStack() as stack:

        def start(**changes: Any) -> SandboxProcess:
            options = SandboxOptions(
                collection=small_collection,
                state_dir=tmp_path / f"platform-{free_port()}",
                vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
                port=free_port(),
            )
            return stack.enter_context(SandboxProcess(replace(options, **changes)))

        yield start


@pytest.fixture
def platform(start_platform: Callable[..., SandboxProcess]) -> SandboxProcess:
    """A fresh platform."""
    return start_platform()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One platform with a dozen records and small pictures, for tests that clean up behind them (`clean_server`)."""
    folder = tmp_path_factory.mktemp("shared")
    write_pictures(folder / "collection")
    options = SandboxOptions(
        collection=folder / "collection",
        state_dir=folder / "state",
        vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
        port=free_port(),
    )
    with SandboxProcess(options) as running:
        yield running


@pytest.fixture
def clean_server(shared_server: SandboxProcess) -> Iterator[SandboxProcess]:
    """What a test has left there is deleted afterwards, for good; and no fault is left."""
    yield shared_server
    shared_server.faults()
    headers = {"Authorization": f"Bearer {shared_server.token('admin')}"}
    numbers = [uri.rpartition("/")[2] for uri in standing(shared_server)]
    requests.post(f"{shared_server.url}/europeana/admin/annotation/deleteset", json=numbers, headers=headers, timeout=10)


@pytest.fixture
def make_settings(
    request: pytest.FixtureRequest, trained_var: Path, small_collection: Path, tmp_path: Path
) -> Callable[..., Settings]:
    """Settings for a platform with a var folder of their own; keyword arguments change single ones."""

    def make(name: str = "var", *, platform: SandboxProcess | None = None, **changes: Any) -> Settings:
        server = platform or request.getfixturevalue("platform")
        var = tmp_path / name
        if not var.exists():
            shutil.copytree(trained_var, var)
        values: dict[str, Any] = {
            "var_dir": var,
            "europeana_api_url": f"{server.url}/europeana",
            "europeana_auth_url": f"{server.url}/auth",
            "europeana_api_key": server.key,
            "annotation_client_id": "sandbox",
            "annotation_client_secret": "sandbox",
            "with_api_url": f"{server.url}/with",
            "with_username": "sandbox",
            "with_password": "sandbox",
            "private_image_hosts": ",".join(f"{host}:{server.options.port}" for host in (*IMAGE_HOSTS, "127.0.0.1")),
            "crawl_delay_longest_s": 0,
            "truth_collection": small_collection,
            "download_attempts": 1,
            "images_per_batch": 50,
            "suggestions_per_batch": 60,
            "publications_per_batch": 2_000,
            "publish_pause_s": 0.1,
            "annotation_index_lag_s": 0,
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture
def begin() -> Callable[..., str]:
    """Start a run over everything; returns its key."""

    def start(settings: Settings, run_id: str = "night", *, max_records: int | None = None, **changes: Any) -> str:
        rules = HarvestRules(limits=Limits(max_records=max_records))
        values = {"run_id": run_id, "source": "default", "scope": Scope("full"), "created_at": NOW, "rules": rules} | changes
        return start_run(settings=settings, **values)

    return start


def created(platform: SandboxProcess, name: str = "annotation") -> list[tuple[str, str]]:
    """(record, body) of every annotation that a platform has stored, in order."""
    return [
        (entry["record_id"], entry["body"])
        for entry in platform.journal()
        if entry["platform"] == name and entry["operation"] == "create"
    ]
