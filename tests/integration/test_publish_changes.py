"""What a run does with statements: send, leave, change, take back, hold back; and the dry run that shows it beforehand."""

import json
from collections import Counter

import pytest
import requests

from pipeline.cli.stages import run_stage
from pipeline.database import connect, ledger, tables, tombstones
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.publish import europeana
from pipeline.publish import preview as approval
from pipeline.publish.preview import preview_publication
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, publish, release, settings_for, standing

PAINTING = "http://www.wikidata.org/entity/Q3305213"
FILE = "excluded_concepts: []\nabstain: []\npublishable_rights: [open]\n"


@pytest.fixture
def server(clean_server):
    return clean_server


@pytest.fixture
def settings(server, tmp_path):
    (tmp_path / "policy.yaml").write_text(FILE)
    found = settings_for(server, tmp_path, policy_file=tmp_path / "policy.yaml", public_base_url="https://example.org")
    release(found, 1)
    return found


@pytest.fixture
def ids():
    return [f"/90402/c_{number}" for number in range(8)]


def ledger_of(settings):
    """(record, body) → (state, why) of every row."""
    with connect(settings).connect() as connection:
        rows = connection.execute(tables.ledger.select()).mappings().all()
    return {(row["record_id"], row["body_uri"]): (row["state"], row["last_error"]) for row in rows}


def there(server, ids):
    return sorted((record_id, body) for record_id, body in standing(server).values() if record_id in ids)


def policy(settings, line):
    settings.policy_file.write_text(f"{FILE}{line}\n")


def test_the_dry_run_names_every_document_and_leaves_no_trace(settings, server, ids, tmp_path):
    labels = [(one, "painting", "publish", 0.9) for one in ids[:5]] + [(ids[5], "map", "publish", 0.8)]
    key = labelled_run(settings, labels, dry_run=True)
    policy(settings, "allowed_concepts: [painting]")
    found = preview_publication(key, now=NOW, settings=settings, every_document=tmp_path / "all.jsonl", samples=3)
    assert {(concept, provider, action, why): count for (_, concept, provider, action, why), count in found.counts.items()} == {
        ("painting", "City Archive", "send", ""): 5,
        ("map", "City Archive", "hold", "not_allowed"): 1,
    }
    assert (found.documents, len(found.samples)) == (5, 3)
    documents = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [one["target"] for one in documents] == [f"http://data.europeana.eu/item{one}" for one in ids[:5]]
    assert documents[0]["body"] == PAINTING and documents[0]["via"] == "https://example.org/runs/night"
    assert ledger_of(settings) == {} and there(server, ids) == []
    # And these very documents are what is sent.
    publish(settings, labelled_run(settings, labels, run_id="real"))
    assert there(server, ids) == [(one, PAINTING) for one in ids[:5]]


def test_a_better_model_that_says_the_same_is_named_on_the_platform(settings, server, ids):
    publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.9)], run_id="first"))
    release(settings, 2)
    report = publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.97)], run_id="second", version=2))
    assert report["sending"]["extra"]["updated"] == 1 and report["sent_now"] == 0
    (uri,) = [uri for uri, (record_id, _) in standing(server).items() if record_id == ids[0]]
    address = f"{server.url}/europeana/annotation/{uri.rpartition('/')[2]}"
    kept = requests.get(address, headers={"X-Api-Key": server.key}, timeout=10).json()
    assert kept["via"] == "https://example.org/runs/second"
    (row,) = ledger.find(connect(settings), europeana.target_name(settings), [ids[0]])
    assert (row["state"], row["model_version"], row["run_id"]) == ("sent", "2", "second")
    assert row["score"] == pytest.approx(0.97)
    assert publish(settings, "runs/run=second/run.json")["sending"]["extra"].get("updated", 0) == 0


def test_what_falls_below_its_threshold_is_deleted_and_comes_back_when_it_rises(settings, server, ids):
    publish(settings, labelled_run(settings, [(one, "painting", "publish", 0.9) for one in ids[:2]], run_id="first"))
    release(settings, 2)
    changed = [(ids[0], "painting", "review", 0.6), (ids[1], "painting", "publish", 0.95)]
    report = publish(settings, labelled_run(settings, changed, run_id="second", version=2))
    assert report["sending"]["extra"]["retracted"] == 1
    assert there(server, ids) == [(ids[1], PAINTING)]
    state, why = ledger_of(settings)[ids[0], PAINTING]
    assert state == "held" and "default 2 gives 0.600, review" in why
    release(settings, 3)
    publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.96)], run_id="third", version=3))
    assert there(server, ids) == [(ids[0], PAINTING), (ids[1], PAINTING)]


def test_a_model_that_is_not_in_force_takes_nothing_back(settings, server, ids):
    publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.9)], run_id="first"))
    publish(settings, labelled_run(settings, [(ids[0], "painting", "hidden", 0.1)], run_id="trial", version=7))
    assert there(server, ids) == [(ids[0], PAINTING)]


def test_what_stands_on_a_record_that_is_gone_is_deleted(settings, server, ids):
    publish(settings, labelled_run(settings, [(one, "painting", "publish", 0.9) for one in ids[:2]], run_id="first"))
    publish(settings, labelled_run(settings, [(ids[1], "painting", "publish", 0.9)], run_id="second", gone=[ids[0]]))
    assert there(server, ids) == [(ids[1], PAINTING)]
    assert ledger_of(settings)[ids[0], PAINTING][1].startswith("gone: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("allowed_concepts: [map]", "not_allowed"),
        ("blocked_terms: {contested: {en: [painting]}}", "blocked_term"),
        ("provider_ceilings: {City Archive: hidden}", "provider_hidden"),
        ("provider_ceilings: {City Archive: review}", "held_back"),
    ],
)
def test_the_policy_of_today_stops_at_the_door_and_takes_back_what_stands(settings, server, ids, line, reason):
    publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.9)], run_id="first"))
    policy(settings, line)
    both = [(one, "painting", "publish", 0.9) for one in ids[:2]]
    report = publish(settings, labelled_run(settings, both, run_id="second"))
    assert there(server, ids) == []
    assert report["counts"]["reasons"] == {"held_back": 2}
    assert {state for state, _ in ledger_of(settings).values()} == {"held"}
    assert all(why.startswith(f"{reason}: ") for _, why in ledger_of(settings).values())
    policy(settings, "")
    publish(settings, "runs/run=second/run.json")
    assert len(there(server, ids)) == 2


def test_rights_that_change_take_back_what_stands(settings, server, ids):
    publish(settings, labelled_run(settings, [(ids[0], "painting", "publish", 0.9)], run_id="first"))
    key = labelled_run(settings, [(ids[0], "painting", "hidden", 0.9)], run_id="second", why="rights_restricted")
    publish(settings, key)
    assert there(server, ids) == []


def test_bounds_let_the_surest_of_a_record_and_some_of_a_provider_pass(settings, server, ids):
    policy(settings, "most_per_record: 1\nmost_per_provider: 3")
    labels = [(one, slug, "publish", 0.9) for one in ids[:5] for slug in ("painting", "map")]
    report = publish(settings, labelled_run(settings, labels, run_id="first"))
    assert there(server, ids) == [(one, PAINTING) for one in ids[:3]]
    assert report["counts"]["reasons"] == {"held_back": 7}
    whys = Counter(why.partition(":")[0] for state, why in ledger_of(settings).values() if state == "held")
    assert whys == {"most_per_record": 3, "most_per_provider": 4}
    # What stands counts for its record, and another run may send as many again.
    publish(settings, labelled_run(settings, labels, run_id="second"))
    assert there(server, ids) == [(one, PAINTING) for one in ids[:5]]


def test_nothing_is_published_about_what_was_taken_down(settings, server, ids):
    tombstones.put(connect(settings), tombstones.RECORD, ids[0], why="a letter", now=NOW)
    publish(settings, labelled_run(settings, [(one, "painting", "publish", 0.9) for one in ids[:2]]))
    assert there(server, ids) == [(ids[1], PAINTING)]


def test_a_lost_reply_under_index_lag_is_no_second_annotation(settings, server, ids):
    slow = settings.model_copy(update={"annotation_index_lag_s": 1.0, "api_timeout_s": 1.0})
    server.faults(
        {"route": "/", "fault": "index-lag", "seconds": 1.0},
        {"route": "^/europeana/annotation/$", "method": "POST", "fault": "lost-reply", "rate": 0.5},
        seed=4,
    )
    try:
        report = publish(slow, labelled_run(slow, [(one, "painting", "publish", 0.9) for one in ids]))
    finally:
        server.faults({"route": "/", "fault": "index-lag", "seconds": 0})
        server.faults()
    assert report["sending"]["extra"]["recovered"] >= 2
    assert there(server, ids) == [(one, PAINTING) for one in ids]
    assert {state for state, _ in ledger_of(settings).values()} == {"sent"}


def test_many_new_statements_wait_for_a_person_and_what_stands_there_does_not(settings, server, ids, tmp_path):
    settings.publish_approval_above = 3
    publish(settings, labelled_run(settings, [(one, "painting", "publish", 0.9) for one in ids[:3]], run_id="first"))
    assert len(there(server, ids)) == 3  # not more than may go
    release(settings, 2)
    labels = [(ids[0], "painting", "drop", 0.1)] + [(one, "painting", "publish", 0.9) for one in ids[1:]]
    key = labelled_run(settings, labels, run_id="second", version=2)
    report = publish(settings, key)
    assert (report["sent_now"], report["sending"]["extra"]["retracted"], report["sending"]["extra"]["updated"]) == (0, 1, 2)
    assert there(server, ids) == [(one, PAINTING) for one in ids[1:3]]
    waiting = [why for state, why in ledger_of(settings).values() if state == "held" and why.startswith("approval: 5 new")]
    assert len(waiting) == 5 and "PUBLISH_APPROVAL_ABOVE = 3" in waiting[0]

    # What is shown is what is sent once somebody agrees.
    form = {"run": "second", "samples": 2}
    assert approval.key_of(form=form, settings=settings) == key
    asked = approval.ask_for_approval(form=form, now=NOW, settings=settings)
    assert (
        asked["documents"] == 5 and "| send | painting | City Archive | 5 |" in asked["text"] and "2 of them" in asked["text"]
    )
    assert there(server, ids) == [(one, PAINTING) for one in ids[1:3]]
    assert json.loads(open_lake(settings).store.get_bytes(run_stage("publish", key, settings, approved=True)))["sent_now"] == 5
    assert there(server, ids) == [(one, PAINTING) for one in ids[1:]]
    with pytest.raises(CriticalError, match="no run 'third'"):
        approval.key_of(form={"run": "third"}, settings=settings)


def test_the_samples_are_drawn_from_all_documents_and_are_the_same_each_time(settings, server):
    ids = [f"/90402/s_{number:03d}" for number in range(200)]
    key = labelled_run(settings, [(one, "painting", "publish", 0.9) for one in ids], dry_run=True)
    found = [preview_publication(key, now=NOW, settings=settings, samples=20) for _ in range(2)]
    targets = [one["target"] for one in found[0].samples]
    assert targets == [one["target"] for one in found[1].samples] and len(set(targets)) == 20
    assert sum(int(target[-3:]) >= 100 for target in targets) in range(4, 17)
