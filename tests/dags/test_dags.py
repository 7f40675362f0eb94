"""The DAGs parse fast, are wired as drawn, and hold to the house rules."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import pools
from pipeline.harvest.sources import load_sources
from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
BY_NAME = {
    "approve_publication",
    "enrich_collection",
    "import_feedback",
    "recheck_links",
    "train_model",
    "withdraw_annotations",
}
STAGES = ("harvest", "images", "labels", "suggestions", "publish")


def test_all_dags_parse_without_an_error(dag_bag):
    assert dag_bag.import_errors == {}
    nightly = {source.dag_id for source in load_sources(Settings().sources_dir).values()}
    assert set(dag_bag.dags) == nightly | BY_NAME
    assert "enrich_nightly" in nightly


def test_parsing_takes_less_than_three_seconds_and_loads_no_model_library(airflow_environment):
    code = """
import sys, time, json
from airflow.dag_processing.dagbag import DagBag
started = time.monotonic()
bag = DagBag(sys.argv[1])
heavy = [name for name in ("tensorflow", "keras", "pandas", "sklearn", "great_expectations", "faiss") if name in sys.modules]
print(json.dumps({"seconds": time.monotonic() - started, "heavy": heavy, "dags": len(bag.dags)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "dags")], env=airflow_environment, capture_output=True, text=True, timeout=60
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["heavy"] == []
    assert seen["dags"] >= 2
    assert seen["seconds"] < 3


def test_each_dag_file_is_wiring_under_80_lines():
    assert {
        path.name: len(path.read_text().splitlines()) for path in DAG_FILES if len(path.read_text().splitlines()) >= 80
    } == {}


def test_dag_files_call_the_pipeline_only_inside_tasks_except_for_light_modules():
    allowed = {"pipeline.harvest.sources", "pipeline.settings"}
    for path in DAG_FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
                assert node.module in allowed, f"{path.name} imports {node.module} when it is parsed"


def test_the_stages_follow_each_other_from_harvest_to_report(dag_bag):
    dag = dag_bag.dags["enrich_nightly"]
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    expected = {"start": sorted(f"{stage}.{step}" for stage in STAGES for step in ("plan", "publish")) + ["report"]}
    for stage in STAGES:
        expected[f"{stage}.plan"] = [f"{stage}.batch"]
        expected[f"{stage}.batch"] = [f"{stage}.publish"]
    expected["harvest.publish"] = ["images.plan"]
    expected["images.publish"] = ["labels.plan"]
    expected["labels.publish"] = ["publish.plan", "suggestions.plan"]
    expected["suggestions.publish"] = expected["publish.publish"] = ["report"]
    expected["report"] = []
    expected["start"] = sorted(expected["start"])
    assert edges == expected


def test_a_refused_model_waits_for_a_person_and_a_good_one_does_not(dag_bag):
    dag = dag_bag.dags["train_model"]
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {
        "dataset": ["follow_up", "noise", "train"],
        "noise": ["train"],
        "train": ["follow_up", "refused", "settle"],
        "follow_up": [],
        "refused": ["ask"],
        "ask": ["settle"],
        "settle": [],
    }
    ask = dag.get_task("ask")
    assert ask.defaults == [ask.options[0]] and "Leave" in ask.options[0]  # nobody answers: what is in force stays
    assert ask.response_timeout is not None and "why" in ask.params
    assert (dag.get_task("train").pool, dag.get_task("train").queue) == (pools.INFERENCE, "gpu")


def test_nothing_that_waits_is_sent_before_a_person_has_seen_it(dag_bag):
    dag = dag_bag.dags["approve_publication"]
    approve = dag.get_task("approve")
    assert dag.get_task("found_any").downstream_task_ids == {"approve"} and approve.downstream_task_ids == {"agreed"}
    assert dag.get_task("publish.plan").upstream_task_ids == {"agreed"}
    assert approve.defaults == ["Reject"] and approve.ignore_downstream_trigger_rules
    assert dag.get_task("publish.batch").pool == pools.PUBLISH
    assert "publish.publish" in dag.get_task("report").upstream_task_ids


def test_nothing_is_withdrawn_before_a_person_has_seen_the_counts(dag_bag):
    dag = dag_bag.dags["withdraw_annotations"]
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {"count": ["found_any"], "found_any": ["approve"], "approve": ["withdraw"], "withdraw": []}
    approve = dag.get_task("approve")
    assert approve.defaults == ["Reject"] and approve.response_timeout is not None  # nobody answers: nothing happens
    assert dag.get_task("withdraw").pool == pools.PUBLISH
    assert dag.params["why"] == "" and not any(dag.params[name] for name in ("model", "record", "run"))


def test_an_import_proposes_thresholds_and_applies_none(dag_bag):
    dag = dag_bag.dags["import_feedback"]
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {"read": ["wanted"], "wanted": ["propose"], "propose": []}
    assert dag.params["dry_run"] is False and dag.params["accept"] == "majority"


def test_the_recheck_is_a_stage_of_its_own_every_night(dag_bag):
    dag = dag_bag.dags["recheck_links"]
    edges = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert edges == {
        "start": ["recheck.plan", "recheck.publish"],
        "recheck.plan": ["recheck.batch"],
        "recheck.batch": ["recheck.publish"],
        "recheck.publish": [],
    }
    assert dag.get_task("recheck.batch").pool == pools.DOWNLOADS
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_only_the_reduce_task_of_a_stage_rings_the_bell(dag_bag):
    for dag in dag_bag.dags.values():
        for task in dag.tasks:
            rings = [asset.name for asset in getattr(task, "outlets", [])]
            assert bool(rings) == task.task_id.endswith(".publish"), task.task_id


def test_every_pool_in_use_is_created_by_the_platform(dag_bag):
    created = json.loads((ROOT / "docker" / "airflow" / "pools.json").read_text())
    used = {task.pool for dag in dag_bag.dags.values() for task in dag.tasks}
    assert used - {pools.DEFAULT} <= set(created)
    assert pools.INFERENCE in used


def test_every_task_may_be_retried_but_never_for_an_error_that_would_come_again(dag_bag):
    for dag in dag_bag.dags.values():
        for task in dag.tasks:
            assert task.retries >= 1
            assert {rule.exception for rule in task.retry_policy.rules} == {
                "pipeline.errors.PermanentError",
                "pipeline.errors.PoisonedResultError",
                "pipeline.errors.CriticalError",
            }


def test_nightly_dags_have_a_data_interval_and_do_not_catch_up(dag_bag):
    dag = dag_bag.dags["enrich_nightly"]
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
    assert dag.catchup is False
    assert dag.max_active_runs == 1


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_dag_files_give_the_same_dag_whenever_they_are_parsed(path, airflow_environment):
    code = """
import sys
from airflow.utils.dag_version_inflation_checker import check_dag_file_stability
print("VARYING", check_dag_file_stability(sys.argv[1]).runtime_varying_values)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=airflow_environment | {"AIRFLOW__DAG_PROCESSOR__DAG_VERSION_INFLATION_CHECK_LEVEL": "error"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1:] == ["VARYING {}"], done.stdout + done.stderr
