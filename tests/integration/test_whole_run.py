"""From harvest to annotation over real HTTP, without Airflow: what a run leaves behind, and what a second one does."""

import csv
import hashlib
import json
import re
import sqlite3
from collections import Counter

import duckdb
import pyarrow.parquet as pq
import pytest
import requests

from pipeline.cli.stages import run_stage
from pipeline.datasets.lake import open_lake
from pipeline.domain.annotation import annotation_errors
from pipeline.domain.scope import Scope
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.settings import PROJECT_ROOT
from tests.conftest import NOW
from tests.integration.conftest import STAGES, created


def run_all(key, settings):
    for stage in STAGES:
        run_stage(stage, key, settings)
    return json.loads((settings.var_dir / "latest" / "run_report.json").read_text())


def rows_of(settings, run_id, dataset):
    lake = open_lake(settings)
    run = lake.run(f"runs/run={run_id}/run.json")
    return [row for batch in lake.rows(run, dataset) for row in batch.to_pylist()]


@pytest.fixture
def finished(make_settings, begin):
    settings = make_settings()
    return settings, run_all(begin(settings), settings)


def test_every_record_is_accounted_for_and_every_broken_one_has_its_reason(finished, small_collection):
    settings, report = finished
    assert all(check["adds_up"] for check in report["accounting"])
    with (small_collection / "metadata.csv").open() as handle:
        assert report["summary"]["records"] == len(list(csv.DictReader(handle)))
    assert report["failures"]["by_reason"] == {
        "gone": 4,
        "not_an_image": 4,
        "truncated": 4,
        "no_image": 4,
        "too_small": 2,
        "near_blank": 2,
    }
    assert len({row["record_id"] for row in report["failures"]["rows"]}) == 20
    by_provider = report["failures"]["by_provider_and_reason"]
    assert sum(sum(reasons.values()) for reasons in by_provider.values()) == sum(report["failures"]["by_provider"].values())
    assert sum(report["rights_of_images"].values()) == report["summary"]["images"]
    _shows_scores_and_expectations_and_tells_where_its_files_come_from(settings.var_dir / "latest", report)
    _answers_every_query(settings, report)


def test_what_was_published_is_on_the_platform_exactly_once(finished, platform):
    settings, report = finished
    sent = created(platform)
    assert len(sent) == report["summary"]["annotations_sent_now"] > 0
    assert max(Counter(sent).values()) == 1
    rows = [row for batch in open_lake(settings).rows(_run(settings), "annotations") for row in batch.to_pylist()]
    assert {(row["record_id"], row["body_uri"]) for row in rows} == set(sent)
    assert {row["state"] for row in rows} == {"sent"}


def test_hidden_labels_reach_with_unpublished_and_never_the_annotation_api(finished, platform):
    _, report = finished
    hidden = created(platform, "with")
    assert len(hidden) == report["stages"]["publish"]["hidden_sent_now"] > 0
    assert not set(hidden) & set(created(platform))
    stored = requests.post(
        f"{platform.url}/with/user/login", json={"email": "sandbox", "password": "sandbox"}, timeout=10
    ).cookies
    some = [entry["id"] for entry in platform.journal() if entry["platform"] == "with" and entry["operation"] == "create"][:20]
    for identifier in some:
        annotation = requests.get(f"{platform.url}/with/annotation/{identifier}", cookies=stored, timeout=10).json()
        assert annotation["publish"] is False
        assert annotation["annotators"][0]["generator"] == "enrichment hidden labels"


def test_a_second_run_of_the_same_night_sends_nothing_and_writes_the_same_bytes(finished, platform, begin):
    settings, _ = finished
    before, files = created(platform), _data_files(settings)
    report = run_all(begin(settings), settings)
    assert report["summary"]["annotations_sent_now"] == 0
    assert report["summary"]["annotations_on_platform"] == len(before)
    assert created(platform) == before
    assert _data_files(settings) == files


def test_the_label_csv_has_the_columns_that_were_agreed(finished):
    settings, report = finished
    with (settings.var_dir / "latest" / "labels.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["category", "skos_concept", "URI", "ID", "URL", "score", "decision", "model", "label_en"]
    assert {row["decision"] for row in rows} <= {"publish", "review", "hidden"}
    assert sum(row["decision"] == "publish" for row in rows) == report["summary"]["labels_by_decision"]["publish"]
    assert all(row["URI"] == f"http://data.europeana.eu/item{row['ID']}" for row in rows)
    table = pq.read_table(settings.var_dir / "latest" / "labels.parquet")
    assert table.num_rows == report["summary"]["labels"]
    assert b"licence" in table.schema.metadata


def test_every_exported_annotation_is_a_web_annotation_with_its_remote_id(finished):
    settings, report = finished
    documents = [json.loads(line) for line in (settings.var_dir / "latest" / "annotations.jsonl").read_text().splitlines()]
    assert len(documents) == report["summary"]["annotations"]
    assert [error for document in documents for error in annotation_errors(document)] == []
    assert all(document["id"].startswith("http://data.europeana.eu/annotation/") for document in documents)


def test_suggestions_name_other_records_with_rank_and_reasons(finished):
    settings, _ = finished
    rows = pq.read_table(settings.var_dir / "latest" / "suggestions.parquet").to_pylist()
    for row in rows:
        assert row["record_id"] != row["related_record_id"]
        assert 1 <= row["rank"] <= 10
        assert row["reasons"][0] == "visual"
    assert max(Counter(row["record_id"] for row in rows).values()) == 10


def test_no_secret_and_no_truth_is_found_in_what_a_run_leaves_behind(make_settings, begin, start_platform, capfd):
    secret = "k3y-0f-th3-pl4tf0rm"
    platform = start_platform(key=secret)
    settings = make_settings(platform=platform, europeana_api_key=secret)
    run_all(begin(settings), settings)
    kept = [path for path in settings.var_dir.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []
    said = capfd.readouterr()
    assert secret not in said.out + said.err
    rows = [row for batch in open_lake(settings).rows(_run(settings), "records") for row in batch.to_pylist()]
    assert rows and not [row for row in rows if secret in json.dumps(row, default=str) or row["concept_uris"]]


def test_ids_that_are_asked_for_and_not_there_become_rows(make_settings, begin):
    settings = make_settings()
    key = begin(settings, scope=Scope("ids", ids=("/2026001/object_00000", "/1/nowhere", "nonsense", "/1/nowhere")))
    run_stage("harvest", key, settings)
    counts = open_lake(settings).read_json("runs/run=night/harvest.json")["counts"]
    assert counts["reasons"]["gone"] == 3 - counts["ok"]
    assert counts["inputs"] == 3


def test_a_run_sends_its_own_statements_only(make_settings, begin, platform):
    settings = make_settings()
    for run_id, limit in (("first", None), ("second", 5)):
        for stage in STAGES[:4]:
            run_stage(stage, begin(settings, run_id=run_id, max_records=limit), settings)
    from pipeline.publish import steps

    first = "runs/run=first/run.json"
    steps.plan_publication(first, settings=settings, now=NOW)  # planned, and then the worker was gone for good
    run_stage("publish", "runs/run=second/run.json", settings)
    second = {row["record_id"] for row in rows_of(settings, "second", "records")}
    assert {record_id for record_id, _ in created(platform)} <= second
    run_stage("publish", first, settings)
    assert len(created(platform)) == open_lake(settings).read_json("runs/run=first/publish.json")["counts"]["inputs"]


def test_a_dry_run_sends_nothing_and_leaves_no_ledger_row(make_settings, begin, platform):
    settings = make_settings()
    report = run_all(begin(settings, dry_run=True), settings)
    assert report["summary"]["annotations"] > 0
    assert report["summary"]["annotations_on_platform"] == 0
    assert platform.journal() == []
    assert (
        run_all(begin(settings, run_id="real"), settings)["summary"]["annotations_sent_now"] == report["summary"]["annotations"]
    )


def test_a_limit_cuts_the_run_short(make_settings, begin):
    settings = make_settings()
    assert run_all(begin(settings, max_records=7), settings)["summary"]["records"] == 7


def test_a_wrong_key_stops_the_run_with_one_message_that_does_not_show_it(make_settings, begin):
    settings = make_settings(europeana_api_key="not-the-key")
    with pytest.raises(CriticalError) as caught:
        run_stage("harvest", begin(settings), settings)
    assert "401" in str(caught.value) or "API key" in str(caught.value)
    assert "not-the-key" not in str(caught.value)


def test_a_model_that_gives_nan_is_caught_and_nothing_of_its_labels_becomes_visible(make_settings, begin):
    settings = make_settings()
    key = begin(settings)
    run_stage("harvest", key, settings)
    run_stage("images", key, settings)
    _poison(settings)
    with pytest.raises(PoisonedResultError, match="not finite"):
        run_stage("labels", key, settings)
    with pytest.raises(CriticalError, match="no published labels"):
        list(open_lake(settings).rows(_run(settings), "labels"))


def test_private_addresses_are_refused_unless_they_are_the_sandboxs(make_settings, begin):
    settings = make_settings(private_image_hosts="")
    key = begin(settings, max_records=10)
    run_stage("harvest", key, settings)
    with pytest.raises(CriticalError, match="ssrf_refused"):
        run_stage("images", key, settings)


def _shows_scores_and_expectations_and_tells_where_its_files_come_from(folder, report):
    for bins in report["score_histograms"].values():
        assert sum(one["images"] for one in bins) == report["summary"]["images"]
    checked = json.loads((folder / "quality.json").read_text())
    assert {one["dataset"] for one in checked} == {"records", "images", "labels", "record_labels", "suggestions"}
    assert all(one["passed"] for one in checked)
    assert sum(len(one["results"]) for one in checked) == report["quality"]["expectations"]
    pages = [(folder / name).read_text() for name in ("run_report.html", "quality.html")]
    assert "<svg" in pages[0] and "ExpectCompoundColumnsToBeUnique" in pages[1]
    assert not [page for page in pages if re.search(r"""(src|href)=["']?(https?:)?//(?!creativecommons)""", page)]
    graph = {one["@id"].rpartition(":")[2]: one for one in json.loads((folder / "provenance.jsonld").read_text())["@graph"]}
    labels = graph["night/labels.csv"]
    assert labels["spdx:checksum"] == "sha256:" + hashlib.sha256((folder / "labels.csv").read_bytes()).hexdigest()
    made = graph[labels["prov:wasDerivedFrom"]["@id"].rpartition(":")[2]]
    stage = graph[made["prov:wasGeneratedBy"]["@id"].rpartition(":")[2]]
    used = {one["@id"].rpartition("#")[2] for one in stage["prov:used"]}
    assert used == {"images", "model", "vocabulary"}
    assert graph["night#model"]["spdx:checksum"] == f"sha256:{report['model']['model_sha256']}"


def _answers_every_query(settings, report):
    """The SQL in `sql/reports`, as people run it by hand."""
    queries = {path.stem: path.read_text() for path in (PROJECT_ROOT / "sql" / "reports").glob("*.sql")}
    with sqlite3.connect(settings.var_dir / "enrichment.db") as database:
        states = database.execute(queries.pop("ledger_states")).fetchall()
    assert sum(row[2] for row in states if row[0].startswith("europeana")) == report["summary"]["annotations"]
    with duckdb.connect() as connection:
        connection.execute(f"SET VARIABLE lake = '{settings.var_dir / 'lake'}'; SET VARIABLE run = 'night'")
        found = {name: connection.execute(query).fetchall() for name, query in queries.items()}
    assert [name for name, rows in found.items() if not rows] == []
    published = {row[0]: row[2] for row in found["labels_by_concept"]}
    assert published == {label: counts["publish"] for label, counts in report["labels_per_concept"].items()}
    scored = Counter()
    for label, _, images, *_ in found["scores_by_provider"]:
        scored[label] += images
    assert set(scored.values()) == {report["summary"]["images"]}


def _run(settings):
    return open_lake(settings).run("runs/run=night/run.json")


def _data_files(settings):
    """The bytes of every file that a manifest lists, and of every shard; a new attempt has new file names."""
    lake = settings.var_dir / "lake"
    files = {}
    for manifest in sorted(lake.rglob("_manifest.json")):
        for part in json.loads(manifest.read_text())["parts"]:
            files[re.sub(r"part-\d", "part-", part["key"])] = _without_file_names(lake / part["key"])
    shards = [path.read_bytes() for path in sorted(lake.rglob("shard-*.tar"))]
    return files, shards


def _without_file_names(path):
    """The images name their shard, and the predictions the part that they lie in: those have new names too."""
    if path.suffix == ".tar":
        return path.read_bytes()
    table = pq.read_table(path)
    names = [name for name in ("shard_uri", "part") if name in table.column_names]
    return table.drop_columns(names) if names else path.read_bytes()


def _poison(settings):
    """Overwrite the registered network's last layer with NaN, as a broken training would have left it."""
    import numpy as np
    from sqlalchemy import update

    from pipeline.database import connect, models
    from pipeline.database.tables import model_versions
    from pipeline.model.bundle import Bundle, load_bundle, load_network, save_bundle, save_network

    store = open_lake(settings).store
    bundle = load_bundle(store, models.find(connect(settings), "default")["bundle_key"])
    network = load_network(store, bundle)
    head = network.get_layer("scores")
    head.set_weights([np.full_like(weights, np.nan) for weights in head.get_weights()])
    digest = save_network(store, bundle.folder, network)
    save_bundle(store, Bundle(**(bundle.__dict__ | {"sha256": digest})))
    with connect(settings).begin() as connection:
        connection.execute(update(model_versions).values(sha256=digest))
