"""What the forms of the DAGs turn into: a source or a free selection, a scope, limits; and broken sources are seen."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.harvest.by_form import start_from_form
from pipeline.settings import Settings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EMPTY = {"source": "", "kind": "dataset", "value": "", "ids": [], "since": None, "until": None}


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, var_dir=tmp_path)


def run_of(settings, **said):
    return open_lake(settings).run(start_from_form(form=EMPTY | said, run_id="r", created_at=NOW, settings=settings))


def test_a_source_brings_its_rules_and_the_form_its_limits(settings):
    run = run_of(
        settings, source="default", max_requests=7, dry_run=True, since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z"
    )
    assert (run.source, run.selection.filters, run.rules.limits.max_requests, run.dry_run) == (
        "default",
        ("TYPE:IMAGE",),
        7,
        True,
    )
    assert (run.scope.mode, run.scope.start.day, run.rules.revisit_days[0]) == ("window", 1, 7)


@pytest.mark.parametrize(
    ("kind", "service", "selected"),
    [
        ("dataset", "europeana", "dataset"),
        ("query", "europeana", "query"),
        ("with_collection", "with", "with_collection"),
        ("with_query", "with", "query"),
        ("gallery", "with", "gallery"),
        ("folder", "folder", "folder"),
    ],
)
def test_a_free_selection_knows_its_service(settings, kind, service, selected):
    run = run_of(settings, kind=kind, value=" 7 ")
    assert (run.rules.service, run.selection.kind, run.selection.value, run.scope.mode) == (service, selected, "7", "full")


def test_concepts_of_the_form_must_all_hold(settings):
    uris = "http://data.europeana.eu/concept/47 http://data.europeana.eu/concept/48"
    assert [len(one.all_of) for one in run_of(settings, kind="concept", value=uris).selection.concepts] == [2]


def test_ids_need_no_selection_and_may_be_addresses(settings):
    run = run_of(settings, ids=["/7/a", "http://data.europeana.eu/item/7/b"])
    assert (run.scope.mode, run.scope.ids, run.selection.value) == ("ids", ("/7/a", "/7/b"), "*:*")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "value: say which dataset"),
        ({"source": "nobody"}, "no source 'nobody'"),
        ({"value": "7", "since": "yesterday"}, "since: 'yesterday' is no time"),
        ({"value": "7", "since": "2026-01-01T00:00:00Z"}, "a window needs start < end"),
        ({"value": "7", "ids": ["/7/a"], "since": "2026-01-01T00:00:00Z"}, "say one of them, not both"),
        ({"kind": "concept", "value": "painting"}, "'painting' is not the URI of a concept"),
    ],
)
def test_a_form_that_makes_no_sense_names_the_field(settings, said, words):
    with pytest.raises(CriticalError, match=words):
        run_of(settings, **said)


def test_a_source_that_cannot_be_read_is_a_dag_that_says_so_and_takes_no_other_down(airflow_environment, tmp_path):
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    (tmp_path / "good.yaml").write_text('name: good\nkind: europeana\nschedule: "0 2 * * *"\nquery: "*:*"\n')
    (tmp_path / "bad.yaml").write_text('name: bad\nkind: europeana\nquerry: "*:*"\n')
    code = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print("SEEN", sorted(bag.dags), bag.import_errors)
try:
    bag.dags["enrich_nightly_bad"].get_task("start").python_callable()
except Exception as error:
    print("SAID", error)
"""
    environment = airflow_environment | {"SOURCES_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / "dags")], env=environment, capture_output=True, text=True, timeout=90
    )
    by_name = ["import_feedback", "recheck_links", "train_model", "withdraw_annotations"]
    names = ["approve_publication", "enrich_collection", "enrich_nightly_bad", "enrich_nightly_good", *by_name]
    assert f"SEEN {names} {{}}" in done.stdout, done.stdout + done.stderr
    assert "bad.yaml line 3: 'querry' is not a field here" in done.stdout
