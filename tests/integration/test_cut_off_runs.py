"""A run that is killed at any moment loses nothing and repeats nothing; storage may be a folder or S3."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import boto3  # noqa: TID253  processes of tests may take long to start
import pytest
from moto.server import ThreadedMotoServer

from pipeline.cli.stages import run_stage
from pipeline.database import connect, ledger
from pipeline.datasets.lake import open_lake
from pipeline.publish.europeana import EuropeanaTarget
from tests.conftest import NOW
from tests.integration.conftest import STAGES, created

pytestmark = pytest.mark.alone

KILLS = 6


def data_files(settings):
    lake = settings.var_dir / "lake"
    return {
        str(path.relative_to(lake)): path.read_bytes()
        for path in sorted(lake.rglob("*"))
        # What became of the sending differs: one run was dry, the other met the platform.
        if path.suffix in (".parquet", ".tar")
        and not str(path.relative_to(lake)).startswith(("annotations/", "outcomes/stage=publish/"))
    }


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(make_settings, begin, platform):
    """Six SIGKILLs, then to the end: same bytes, and every annotation stored exactly once."""
    undisturbed = make_settings("undisturbed")
    key = begin(undisturbed, dry_run=True)
    for stage in STAGES:
        run_stage(stage, key, undisturbed)

    killed = make_settings("killed", api_timeout_s=10)  # a lost reply is waited for so long
    key = begin(killed)
    environment = _environment(killed)
    command = [sys.executable, "-m", "pipeline", "stage", "all", "--run", key]
    rng, cut_off = random.Random(11), 0
    for number in range(KILLS):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1.0, 5.0 if number < KILLS // 2 else 9.0))  # a quick machine is done after three long ones
        cut_off += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert cut_off >= 3
    subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    assert data_files(killed) == data_files(undisturbed)
    sent = created(platform)
    assert sent and max(Counter(sent).values()) == 1
    report = json.loads((killed.var_dir / "latest" / "run_report.json").read_text())
    assert report["summary"]["annotations_on_platform"] == report["summary"]["annotations"] == len(sent)


def sent_by(target, row):
    """What became of one row."""
    (settled,) = target.send_all([row], lambda work, rows: [work(one) for one in rows])
    return settled


def test_a_row_left_in_sending_is_asked_about_and_not_sent_again(make_settings, begin, platform):
    """The annotation was stored, the reply was lost, the worker died."""
    settings = make_settings(api_timeout_s=5)
    key = begin(settings)
    for stage in STAGES[:4]:
        run_stage(stage, key, settings)
    from pipeline.publish import steps

    engine, target = connect(settings), EuropeanaTarget(settings)
    batch = _europeana_batch(steps.plan_publication(key, settings=settings, now=NOW), settings)
    arrived, lost = ledger.claim(engine, batch, after=0, limit=2, now=NOW)
    sent_by(target, arrived)  # the platform has it, the ledger does not know
    target.close()
    run_stage("publish", key, settings)
    sent = Counter(created(platform))
    assert sent[(arrived["record_id"], arrived["body_uri"])] == 1
    assert sent[(lost["record_id"], lost["body_uri"])] == 1
    assert ledger.open_records(engine, batch) == []


def test_a_tag_that_somebody_else_has_set_counts_as_said_and_is_left_alone(make_settings, begin, platform):
    settings = make_settings()
    key = begin(settings)
    for stage in STAGES[:4]:
        run_stage(stage, key, settings)
    from pipeline.publish import steps

    engine = connect(settings)
    batch = _europeana_batch(steps.plan_publication(key, settings=settings, now=NOW), settings)
    row = ledger.claim(engine, batch, after=0, limit=1, now=NOW)[0]
    somebody = EuropeanaTarget(make_settings(annotation_username="somebody", annotation_password="sandbox"))
    theirs = sent_by(somebody, row)
    somebody.close()
    ledger.settle(engine, batch, [ledger.Settled(row["id"], ledger.State.PLANNED)], now=NOW)
    run_stage("publish", key, settings)
    mine = next(entry for entry in ledger.find(engine, row["target"], [row["record_id"]]) if entry["id"] == row["id"])
    assert (mine["state"], mine["remote_id"]) == ("duplicate", theirs.remote_id)


def test_a_batch_that_is_done_is_not_done_again(make_settings, begin):
    settings = make_settings()
    key = begin(settings)
    run_stage("harvest", key, settings)
    run_stage("images", key, settings)
    lake = open_lake(settings)
    run = lake.run(key)
    folder = settings.var_dir / "lake" / run.dataset_folder("shards")
    shards = sorted(folder.glob("*.tar"))
    written = [shard.stat().st_mtime_ns for shard in shards]
    run_stage("images", key, settings)
    assert sorted(folder.glob("*.tar")) == shards and [shard.stat().st_mtime_ns for shard in shards] == written
    changed = settings.model_copy(update={"derivative_quality": 60})
    run_stage("images", key, changed)
    # Other settings, other pictures: in shards of their own, for no shard is overwritten; the old ones go.
    anew = sorted(folder.glob("*.tar"))
    assert len(anew) == len(shards) and not set(anew) & set(shards)


@pytest.fixture
def s3(monkeypatch):
    """A real S3 server on loopback with an empty bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="enrichment")
    yield endpoint
    server.stop()


def test_a_run_on_s3_writes_the_same_data_as_one_in_a_folder(make_settings, begin, s3):
    folder, bucket = make_settings("folder"), make_settings("bucket", storage_url="s3://enrichment/lake", s3_endpoint_url=s3)
    local = open_lake(folder).store
    remote = open_lake(bucket).store
    for key in list(local.list("models/")):
        remote.put_bytes(key, local.get_bytes(key))
    for settings in (folder, bucket):
        run = begin(settings, max_records=60, dry_run=True)
        for stage in STAGES:
            run_stage(stage, run, settings)
    keys = [key for key in local.list("") if key.endswith((".parquet", ".tar")) and not key.startswith("exports/")]
    assert keys
    for key in keys:
        assert remote.get_bytes(key) == local.get_bytes(key), key
    assert (bucket.var_dir / "latest" / "labels.csv").read_bytes() == (folder.var_dir / "latest" / "labels.csv").read_bytes()


def _europeana_batch(keys, settings):
    batches = [open_lake(settings).read_json(key)["items"] for key in keys]
    return next(items["ledger_batch"] for items in batches if items["kind"] == "europeana")


def _environment(settings):
    """The settings as environment variables, for a process of its own."""
    from pydantic import SecretStr

    values = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        values[name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return {**os.environ, **values}
