"""Every DAG of the repository, parsed once, with an Airflow home of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs to see our DAGs and nothing else."""
    home = tmp_path_factory.mktemp("airflow")
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "none"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT / "dags"),  # the runtime puts it there, a plain DagBag does not
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture(scope="session")
def dag_bag(airflow_environment: dict[str, str]) -> Iterator[object]:
    """The DagBag of `dags/`; needs no database."""
    before = dict(os.environ)
    os.environ.update(airflow_environment)
    try:
        from airflow.dag_processing.dagbag import DagBag

        yield DagBag(str(ROOT / "dags"))
    finally:
        os.environ.clear()
        os.environ.update(before)
