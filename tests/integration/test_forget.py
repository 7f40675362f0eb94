"""A record that is taken down: nothing of it is left but its tombstone, the others are as they were, and it stays away."""

import io
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sqlalchemy import text

from pipeline.cli.local_run import IMAGE_HOSTS
from pipeline.cli.stages import run_stage
from pipeline.database import connect, ledger, tombstones
from pipeline.database.tombstones import PROVIDER, RECORD
from pipeline.datasets.lake import Part, open_lake
from pipeline.datasets.purge import Rewritten
from pipeline.datasets.schemas import LABELS, SUGGESTIONS, features_schema
from pipeline.model.examples import load_examples, save_examples
from pipeline.publish import forget as steps
from pipeline.storage import open_store
from tests.conftest import NOW
from tests.integration.labelled import MODEL, label_rows, publish, publish_rows, release, settings_for, standing


@pytest.fixture
def platform(clean_server):
    return clean_server


@pytest.fixture
def settings(platform, tmp_path):
    hosts = ",".join(f"{host}:{platform.options.port}" for host in (*IMAGE_HOSTS, "127.0.0.1"))
    found = settings_for(platform, tmp_path, private_image_hosts=hosts, crawl_delay_longest_s=0, download_attempts=1)
    release(found, 1)
    return found


@pytest.fixture
def finished(settings, begin):
    """A run with real records and pictures, and with labels, features, suggestions and annotations of each."""
    key = begin(settings)
    for stage in ("harvest", "images"):
        run_stage(stage, key, settings)
    lake = open_lake(settings)
    run = lake.run(key)
    images = [row for row in rows(lake, run, "images") if row["outcome"] == "ok"]
    said = [(row["record_id"], "painting", "publish", 0.9) for row in images]
    common = {**MODEL, "model_version": "1", **run.columns()}
    publish_rows(lake, run, "record_labels", label_rows(run, said, settings))
    named = ("record_id", "image_id", "image_url", "provider")
    labels = [
        {name: image[name] for name in named}
        | {"concept_uri": "c", "label": "painting", "score": 0.9, "raw_score": 0.9, "threshold": 0.5}
        | {"decision": "publish", "why": "threshold", "rank": 1, **common}
        for image in images
    ]
    publish_rows(lake, run, "labels", labels, LABELS)
    vector = {"raw_scores": np.full(1, 0.9, np.float32), "embedding": np.full(4, 0.5, np.float16)}
    features = [{"record_id": one["record_id"], "image_id": one["image_id"], **vector, **common} for one in images]
    publish_rows(lake, run, "features", features, features_schema(4, 1))
    pairs = zip(images, images[1:] + images[:1], strict=True)
    related = [
        {"record_id": one["record_id"], "related_record_id": other["record_id"], "rank": 1, "score": 0.5}
        | {"visual_similarity": 0.5, "shared_concepts": [], "reasons": ["visual"], **common}
        for one, other in pairs
    ]
    publish_rows(lake, run, "suggestions", related, SUGGESTIONS)
    ids = [one["record_id"] for one in images]
    save_examples(lake.store, "models/default/1", np.eye(len(ids), dtype=np.float32), ids, [["painting"]] * len(ids))
    lake.write_json(f"{run.dataset_folder('indexes')}/records.json", {"record_ids": ids})
    publish(settings, key)
    _export(settings, run, ids)
    lake.write_json(run.finished_key, {})
    return key


def _export(settings, run, ids):
    """What people take away, in the lake and below VAR_DIR."""
    csv = '"category","ID","URI"\n' + "".join(f'"painting","{one}","http://data.europeana.eu/item{one}"\n' for one in ids)
    lines = "".join(json.dumps({"target": f"http://data.europeana.eu/item{one}"}) + "\n" for one in ids)
    objects = "".join(f'<edm:ProvidedCHO rdf:about="http://data.europeana.eu/item{one}"></edm:ProvidedCHO>\n' for one in ids)
    failures = json.dumps({"rows": [{"record_id": one, "reason": "x"} for one in ids]})
    for store in (open_lake(settings).store, open_store(settings.var_dir.as_uri())):
        store.put_bytes("exports/run=night/labels.csv", csv.encode())
        store.put_bytes("exports/run=night/annotations.jsonl", lines.encode())
        store.put_bytes("exports/run=night/enrichments.rdf", objects.encode())
        store.put_bytes("exports/run=night/failures.json", failures.encode())


def rows(lake, run, dataset):
    return [row for batch in lake.rows(run, dataset) for row in batch.to_pylist()]


def where_named(settings, words):
    """Every file below VAR_DIR, and every table of the database, that holds one of the words."""
    found = []
    for path in settings.var_dir.rglob("*"):
        if not path.is_file() or path.name.startswith("enrichment.db"):
            continue
        content = str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()
        if path.suffix == ".npz":
            content = str([value.tolist() for value in np.load(path).values()]).encode()
        if any(word in content for word in words):
            found.append(str(path.relative_to(settings.var_dir)))
    with connect(settings).connect() as connection:
        tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        for table in tables:
            content = str(connection.execute(text(f"SELECT * FROM {table}")).all()).encode()  # noqa: S608
            found += [table] if any(word in content for word in words) else []
    return found


def pictures(lake, run):
    """record → pixels, of every picture that can be read from the shards."""
    return {
        row["record_id"]: lake.store.get_range(row["shard_uri"], row["shard_offset"], row["shard_size"])
        for row in rows(lake, run, "images")
        if row["shard_uri"]
    }


def test_nothing_of_a_forgotten_record_is_left_but_its_tombstone(settings, platform, finished, begin):
    lake = open_lake(settings)
    run = lake.run(finished)
    before = pictures(lake, run)
    shown = Counter(before.values())
    victim = next(record_id for record_id, content in before.items() if shown[content] == 1)
    words = [victim.encode() + end for end in (b'"', b"'", b"|", b"<", b"&", b"\\")] + [before[victim][-300:-100]]
    assert {name.partition("/")[0] for name in where_named(settings, words)} >= {"lake", "exports", "image_links"}
    assert any(record_id == victim for record_id, _ in standing(platform).values())

    done = steps.forget(RECORD, victim, why="a letter", now=NOW, settings=settings)

    assert (done.records, done.withdrawn, done.pictures, done.elsewhere) == (1, 1, 1, 0)
    assert where_named(settings, words) == ["tombstones"]
    assert not any(record_id == victim for record_id, _ in standing(platform).values())
    left = pictures(lake, run)
    assert left == {record_id: content for record_id, content in before.items() if record_id != victim}
    assert all(Image.open(io.BytesIO(content)).size[0] > 0 for content in left.values())
    for dataset in ("records", "images", "labels", "record_labels", "features", "suggestions", "annotations"):
        manifest = lake.read_json(f"{run.dataset_folder(dataset)}/_manifest.json")
        assert manifest["rows"] == len(rows(lake, run, dataset)) > 0, dataset
    examples = load_examples(lake.store, "models/default/1")
    assert examples is not None and len(examples.record_ids) == len(left) == len(examples.embeddings)

    # Once more: there is nothing left to do.
    again = steps.forget(RECORD, victim, why="a letter", now=NOW, settings=settings)
    assert (again.withdrawn, again.parts, again.pictures) == (0, 0, 0)

    # The next runs meet the record again, and it does not come back.
    for harvest_again in (False, True):
        key = begin(settings, run_id=f"later-{harvest_again}", again=harvest_again)
        run_stage("harvest", key, settings)
        run_stage("images", key, settings)
        later = lake.run(key)
        counts = lake.read_json(f"{later.folder}/harvest.json")["counts"]
        assert victim not in {row["record_id"] for row in rows(lake, later, "records")}
        assert counts["inputs"] == counts["ok"] + sum(counts["reasons"].values())
        assert lake.read_json(f"{later.folder}/images.json")["counts"]["extra"]["records"] == counts["ok"]
        assert counts["reasons"]["taken_down"] == 1
    assert where_named(settings, words) == ["tombstones"]


def test_a_provider_is_forgotten_with_all_its_records(settings, platform, finished):
    lake = open_lake(settings)
    by_provider = Counter(row["data_provider"] for row in rows(lake, lake.run(finished), "records"))
    (provider, count), *others = by_provider.most_common()
    done = steps.forget(PROVIDER, provider, why="a letter", now=NOW, settings=settings)
    assert done.records == count
    left = Counter(row["data_provider"] for row in rows(lake, lake.run(finished), "records"))
    assert left == dict(others)
    assert ledger.tally(connect(settings), ledger.Choice(provider=provider)) == []
    assert len(standing(platform)) == sum(row["shard_uri"] is not None for row in rows(lake, lake.run(finished), "images"))
    assert tombstones.lift(connect(settings), PROVIDER, provider)
    assert tombstones.listed(connect(settings)) == []


def test_what_was_killed_in_between_is_done_by_the_same_call(settings, finished, monkeypatch):
    lake = open_lake(settings)
    victim = rows(lake, lake.run(finished), "records")[0]["record_id"]
    words = [victim.encode() + end for end in (b'"', b"'", b"|", b"\\")]
    for name in ("rename_parts", "forget_plans"):

        def dies(*_, name=name):
            raise KeyboardInterrupt(name)

        with monkeypatch.context() as patch:
            patch.setattr(steps.purge, name, dies)
            with pytest.raises(KeyboardInterrupt, match=name):
                steps.forget(RECORD, victim, why="", now=NOW, settings=settings)
        list(lake.rows(lake.run(finished), "labels"))  # readers find whole datasets all the time
    steps.forget(RECORD, victim, why="", now=NOW, settings=settings)
    assert where_named(settings, words) == ["tombstones"]


def test_a_window_counts_only_what_its_parts_still_hold():
    """Later runs take windows over with their counts, which must go on adding up."""
    piece = {"dataset": "records", "key": "a", "rows": 3, "size_bytes": 9, "sha256": "x"}
    counts = {"inputs": 5, "ok": 2, "reasons": {"no_image": 2, "moved": 1}, "extra": {}}
    lost = Rewritten(Part("a-kept-1", 1, 8, "y"), with_image=1, reasons=Counter(no_image=1, moved=1))
    assert steps._revised({"pieces": [piece], "counts": counts}, {"a": lost}) == {
        "pieces": [{"dataset": "records", "key": "a-kept-1", "rows": 1, "size_bytes": 8, "sha256": "y"}],
        "counts": {"inputs": 2, "ok": 1, "reasons": {"no_image": 1}, "extra": {}},
    }
