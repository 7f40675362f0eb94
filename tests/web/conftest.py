"""The app over a tiny lake of the test's own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tiny_lake import TITLES, WriteRun, write_datasets

from pipeline.datasets.lake import Lake, open_lake
from pipeline.datasets.run import Run
from pipeline.domain.scope import Scope, Selection
from pipeline.settings import Settings
from pipeline.web import create_app


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake of the test's own."""
    return Settings(_env_file=None, var_dir=tmp_path, storage_url=(tmp_path / "lake").as_uri())


@pytest.fixture
def write_run(settings: Settings) -> WriteRun:
    """Writes a run with all records, or with those asked for."""

    def write(
        run_id: str = "night-1",
        day: int = 1,
        records: tuple[str, ...] = tuple(TITLES),
        finished: bool = True,
        lake: Lake | None = None,
    ) -> Run:
        created_at = datetime(2026, 1, day, tzinfo=UTC)
        run = Run(run_id, "default", Selection("query", "*:*"), Scope("full"), created_at)
        write_datasets(lake or open_lake(settings), run, records, finished)
        return run

    return write


@pytest.fixture
def client(settings: Settings, write_run: WriteRun) -> TestClient:
    """The app for end users over one finished run."""
    write_run()
    return TestClient(create_app(settings))
