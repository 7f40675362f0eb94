"""The plugin as Airflow loads and mounts it. Needs no Airflow database."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh process sees of the plugins folder, in which a stray module lies too."""
    folder = tmp_path_factory.mktemp("airflow")
    plugins = folder / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    (plugins / "stray.py").write_text(f"open({str(folder / 'stray-ran')!r}, 'w')", encoding="utf-8")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__BASE_URL": "https://example.org/airflow",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "STORAGE_URL": (folder / "no-lake").as_uri(),
        "PYTHONPATH": str(ROOT),
    }
    reported = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("report_plugin.py"))],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = next((line for line in reported.stdout.splitlines() if line.startswith("FACTS ")), None)
    assert line, reported.stderr
    found: dict[str, Any] = json.loads(line.removeprefix("FACTS "))
    return found | {"stray_ran": (folder / "stray-ran").exists()}


def test_airflow_loads_the_plugin_without_errors(facts: dict[str, Any]) -> None:
    assert facts["errors"] == {}
    assert facts["plugins"] == [["enrichment", "/enrichment"]]


def test_the_navigation_leads_to_the_portal_below_airflows_own_path(facts: dict[str, Any]) -> None:
    (view,) = facts["views"]
    assert (view["name"], view["href"], view["destination"]) == ("Enrichment", "/airflow/enrichment/", "nav")
    assert view["url_route"] == "enrichment"


def test_loading_the_plugin_loads_nothing_heavy(facts: dict[str, Any]) -> None:
    assert facts["loaded_with_the_plugin"] == []


def test_anonymous_requests_are_refused_on_every_route_but_health(facts: dict[str, Any]) -> None:
    assert len(facts["anonymous"]) == 11
    assert {path for path, status in facts["anonymous"].items() if status != 401} == {"/health"}
    assert facts["anonymous"]["/health"] == 200


def test_a_forged_token_is_refused(facts: dict[str, Any]) -> None:
    assert facts["forged"] in (401, 403)


def test_whoever_may_see_plugins_may_see_the_portal(facts: dict[str, Any]) -> None:
    assert facts["roles"] == {"viewer": 200, "admin": 200, "none": 403}


def test_airflows_users_see_hidden_labels(facts: dict[str, Any]) -> None:
    assert facts["internal"] is True


def test_only_files_named_as_plugins_are_run(facts: dict[str, Any]) -> None:
    assert facts["stray_ran"] is False
