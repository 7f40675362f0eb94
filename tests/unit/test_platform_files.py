"""The platform's files agree with the code: compose, images, pools, queues, settings, reports."""

import json
import re
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from pipeline.cli.main import app
from pipeline.database.tables import ledger
from pipeline.datasets.schemas import SCHEMAS
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OUTSIDE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}  # read by boto3 itself
LAKE_REPORTS = sorted(path for path in (ROOT / "sql" / "reports").glob("*.sql") if path.stem != "ledger_states")


def words(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    return shlex.split(command) if isinstance(command, str) else [str(word) for word in command]


def names_in(path: Path) -> set[str]:
    return set(re.findall(r"^([A-Z][A-Z0-9_]*)=", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def pins(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def variables(value: str) -> set[str]:
    return set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", value))


def test_every_service_has_an_image_a_restart_policy_and_a_healthcheck() -> None:
    for name, service in SERVICES.items():
        assert service["image"], name
        assert service["restart"], name
        assert "healthcheck" in service or name == "airflow-init", name


def test_services_wait_only_for_services_that_can_tell_that_they_are_ready() -> None:
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            assert other in SERVICES, (name, other)
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    for dockerfile in ROOT.glob("docker/*/Dockerfile"):
        images += re.findall(r"^FROM (\S+)", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for image in images:
        assert re.search(r":\d+\.\d+", image), image


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"(PASSWORD|SECRET|KEY|AUTH)$", key):
                assert re.fullmatch(r"\$\{[A-Z0-9_]+(:-|:\?[^}]*)\}", value), (name, key)
    assert re.findall(r"://[^\s/]*:[^$\s/@]+@", TEXT) == []


def test_secrets_that_a_service_cannot_do_without_are_asked_for() -> None:
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_API_SECRET_KEY"):
        assert f"${{{name}:?" in TEXT


def test_ports_are_published_on_loopback_only() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), (name, port)


def test_every_variable_of_the_file_is_listed_in_the_example() -> None:
    assert variables(TEXT) - names_in(ROOT / ".env.example") == set()


def test_the_sandbox_settings_reach_the_services() -> None:
    assert names_in(ROOT / "docker" / "sandbox.env") <= variables(TEXT)


def test_the_settings_of_the_services_are_settings_of_the_pipeline() -> None:
    known = {name.upper() for name in Settings.model_fields} | OUTSIDE
    assert set(COMPOSE["x-settings"]) <= known
    assert set(SERVICES["web"]["environment"]) <= known
    assert set(SERVICES["sandbox"]["environment"]) <= known


def test_the_settings_of_airflow_are_settings_that_airflow_has() -> None:
    from airflow.configuration import conf

    for key in COMPOSE["x-airflow-settings"]:
        if key.startswith("AIRFLOW__") and not key.startswith("AIRFLOW__CELERY__"):  # Celery's come with its provider
            _, section, option = key.lower().split("__")
            assert option in conf.configuration_description[section]["options"], key


def test_every_component_gets_the_same_secrets_and_the_same_code() -> None:
    components = [service for service in SERVICES.values() if words(service)[:1] == ["airflow"]]
    assert len(components) >= 6
    assert SERVICES["worker-gpu"]["environment"]["INFERENCE_DEVICE"] == "gpu"
    own = {"INFERENCE_DEVICE", "INFERENCE_ENGINE", "INFERENCE_BATCH"}  # of the worker with a GPU
    for service in components:
        environment = service["environment"]
        assert {name: environment[name] for name in environment.keys() - own} == COMPOSE["x-airflow-settings"]
        assert service["image"].rpartition(":")[2] == COMPOSE["x-image"]["image"].rpartition(":")[2]


def test_every_pool_of_the_dags_is_imported() -> None:
    from orchestration import pools

    used = {value for name, value in vars(pools).items() if name.isupper()} - {pools.DEFAULT}
    imported = json.loads((ROOT / "docker" / "airflow" / "pools.json").read_text(encoding="utf-8"))
    assert set(imported) == used
    assert all(pool["slots"] > 0 and pool["description"] for pool in imported.values())


def test_every_queue_of_the_dags_has_a_worker() -> None:
    dags = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "dags").rglob("*.py"))
    used = {"default", *re.findall(r"queue(?:: str)? ?= ?\"(\w+)\"", dags)}
    served = set()
    for service in SERVICES.values():
        command = words(service)
        if command[:3] == ["airflow", "celery", "worker"] and "profiles" not in service:
            served |= set(command[command.index("--queues") + 1].split(","))
    assert used == served


@pytest.mark.parametrize("name", ["web", "sandbox"])
def test_our_own_services_run_commands_that_exist(name: str) -> None:
    _, *rest = words(SERVICES[name])
    command: Any = typer.main.get_command(app)
    while rest and not rest[0].startswith("--"):
        assert rest[0] in command.commands, rest
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def test_scripts_that_services_run_can_be_run() -> None:
    for path in (ROOT / "docker").rglob("*.sh"):
        assert path.stat().st_mode & 0o111, path
    for service in SERVICES.values():
        for word in [*words(service), *service.get("healthcheck", {}).get("test", [])]:
            if word.startswith("docker/"):
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("image", ["airflow", "worker-gpu"])
def test_the_lock_files_of_the_images_add_to_the_main_one_and_change_nothing(image: str) -> None:
    path = ROOT / "docker" / image / "requirements.lock"
    text, main = path.read_text(encoding="utf-8"), pins(ROOT / "requirements.lock")
    assert "://" not in text
    for name, versions in pins(path).items():
        assert versions <= main.get(name, versions), name
    for entry in re.findall(r"^[a-z0-9].*\n(?:    .*\n)*", text, flags=re.MULTILINE):
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("path", LAKE_REPORTS, ids=lambda path: path.stem)
def test_a_report_names_columns_that_its_datasets_have(path: Path) -> None:
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    datasets = re.findall(r"'/(\w+)/", text)
    assert datasets
    columns = {column for dataset in datasets for column in SCHEMAS[dataset].names}
    own = set(re.findall(r"\bAS (\w+)", text)) | set(re.findall(r"(\w+) AS \(", text))
    # Keywords are written in capitals, and a function has its bracket: what is left are names.
    used = set(re.findall(r"\b[a-z]\w*\b(?!\()", re.sub(r"'[^']*'", "", text)))
    assert used - columns - own == set()


def test_the_report_on_the_ledger_runs_on_the_ledger() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute(str(CreateTable(ledger).compile(dialect=sqlite.dialect())))
        rows = database.execute((ROOT / "sql" / "reports" / "ledger_states.sql").read_text(encoding="utf-8"))
        assert [column[0] for column in rows.description][:3] == ["target", "state", "statements"]
