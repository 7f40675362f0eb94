"""What was said can be taken back: by model, concept, provider, record or run, whatever fails on the way."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import requests

from pipeline.clients.annotations import AnnotationClient
from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice
from pipeline.domain.annotation import as_request, tag_annotation
from pipeline.errors import CriticalError, TransientError
from pipeline.publish import withdraw as steps
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, paintings, publish, release, settings_for, standing

ANNOTATIONS = "^/europeana/annotation"
PAINTING = "http://www.wikidata.org/entity/Q3305213"


@pytest.fixture
def platform(clean_server):
    return clean_server


@pytest.fixture
def settings(platform, tmp_path):
    found = settings_for(platform, tmp_path, annotation_username="maker", annotation_password="sandbox")
    release(found, 1)
    return found


def states(settings, **choice):
    return Counter({row["state"]: row["statements"] for row in ledger.tally(connect(settings), Choice(**choice))})


def take_back(settings, **said):
    return steps.withdraw(steps.choice_of(settings, **said), why="a test", now=NOW, settings=settings)


def test_a_model_is_withdrawn_and_nothing_of_it_is_left(settings, platform):
    publish(settings, labelled_run(settings, paintings(30)))
    assert len(standing(platform)) == 30
    done = take_back(settings, model="default", version="1")
    assert (done.deleted, done.never_sent) == (30, 0)
    assert standing(platform) == {}
    assert states(settings, model_name="default") == {"withdrawn": 30}


def test_counting_changes_nothing(settings, platform):
    publish(settings, labelled_run(settings, paintings(3)))
    found = steps.tally(steps.choice_of(settings, provider="City Archive"), settings=settings)
    target = next(iter(found.counts))[0]
    assert found.counts == {(target, "painting", "City Archive", "sent"): 3}
    assert (found.there, found.waiting, found.elsewhere) == (3, 0, {})
    assert len(standing(platform)) == 3


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({"concept": "painting"}, {"map"}),
        ({"record": "/90402/b"}, {"painting", "map"}),
        ({"run": "one", "concept": "map"}, {"painting"}),
        ({"provider": "Aggregator"}, set()),
        ({"provider": "Nobody"}, {"painting", "map"}),
        ({"model": "default", "version": "2"}, {"painting", "map"}),
    ],
)
def test_only_the_chosen_statements_go(settings, platform, said, left):
    labels = [
        ("/90402/a", "painting", "publish", 0.9),
        ("/90402/a", "map", "publish", 0.8),
        ("/90402/b", "map", "publish", 0.8),
    ]
    publish(settings, labelled_run(settings, labels, run_id="one"))
    take_back(settings, **said)
    assert {"painting" if body == PAINTING else "map" for _, body in standing(platform).values()} == left


def test_without_a_choice_nothing_is_withdrawn(settings):
    with pytest.raises(CriticalError, match="say which statements"):
        steps.choice_of(settings)
    with pytest.raises(CriticalError, match="a version needs the name of its model"):
        steps.choice_of(settings, version="1")
    with pytest.raises(CriticalError, match="no concept 'paintng'"):
        steps.choice_of(settings, concept="paintng")


def test_a_withdrawn_statement_is_not_sent_again_unless_somebody_says_so(settings, platform):
    key = labelled_run(settings, paintings(2))
    publish(settings, key)
    take_back(settings, record="/90402/w_0000")
    report = publish(settings, key)
    assert len(standing(platform)) == 1
    assert report["counts"]["reasons"] == {"withdrawn": 1}
    assert steps.allow_again(steps.choice_of(settings, model="default"), now=NOW, settings=settings) == 1
    assert publish(settings, key)["sent_now"] == 1
    assert len(standing(platform)) == 2


def test_what_was_only_planned_is_withdrawn_without_asking_the_platform(settings, platform):
    from pipeline.publish.steps import plan_publication

    plan_publication(labelled_run(settings, paintings(2)), settings=settings, now=NOW)
    assert take_back(settings, concept="painting").never_sent == 2
    assert publish(settings, "runs/run=night/run.json")["sent_now"] == 0


def test_the_same_tag_of_somebody_else_is_left_alone(settings, platform):
    theirs = AnnotationClient(settings.model_copy(update={"annotation_username": "somebody"}))
    document = tag_annotation(
        record_id="/90402/w_0000",
        concept_uri="x",
        body_uri=PAINTING,
        target="t",
        created=NOW,
        run_page=None,
    )
    theirs.create(as_request(document))
    publish(settings, labelled_run(settings, paintings(2)))
    assert states(settings, model_name="default") == {"duplicate": 1, "sent": 1}
    take_back(settings, model="default")
    assert [record_id for record_id, _ in standing(platform).values()] == ["/90402/w_0000"]
    assert states(settings, model_name="default") == {"duplicate": 1, "withdrawn": 1}


def test_what_was_stored_although_its_reply_was_lost_is_found_and_deleted(settings, platform):
    from pipeline.publish.steps import plan_publication

    engine = connect(settings)
    (key,) = plan_publication(labelled_run(settings, paintings(2)), settings=settings, now=NOW)
    from pipeline.datasets.lake import open_lake
    from pipeline.publish.europeana import EuropeanaTarget

    batch = open_lake(settings).read_json(key)["items"]["ledger_batch"]
    arrived, _ = ledger.claim(engine, batch, after=0, limit=2, now=NOW)
    target = EuropeanaTarget(settings)
    target.send_all([arrived], lambda work, rows: [])
    target.close()  # and the worker died: both rows are in `sending`
    assert take_back(settings, concept="painting").deleted == 2
    assert standing(platform) == {}
    # The worker was only slow: what it says now comes too late.
    late = ledger.settle(engine, batch, [ledger.Settled(arrived["id"], ledger.State.SENT, "a/1", created=True)], now=NOW)
    assert len(late) == 1 and states(settings, model_name="default") == {"withdrawn": 2}


PASSING = [{"fault": fault, "rate": 0.08} for fault in ("lost-reply", "504", "500", "502-html", "reset", "truncated")]


@pytest.mark.parametrize(
    "faults",
    [
        PASSING,
        [{"fault": "429", "seconds": 0.05, "times": 3}],
        [{"fault": "423", "method": "DELETE", "times": 5}],
        [{"fault": "expired-token", "times": 2}],
    ],
    ids=lambda faults: faults[0]["fault"],
)
def test_each_is_deleted_once_whatever_fails_on_the_way(settings, platform, faults):
    publish(settings, labelled_run(settings, paintings(12)))
    platform.faults(*({"route": ANNOTATIONS, **fault} for fault in faults), seed=3)
    take_back(settings.model_copy(update={"api_attempts": 8}), model="default")
    assert sum(rule["fired"] for rule in requests.get(f"{platform.url}/_sandbox/faults", timeout=10).json()["rules"]) >= 2
    platform.faults()
    assert standing(platform) == {}  # which also says that none was deleted twice
    mine = AnnotationClient(settings)
    assert [mine.find(record_id, PAINTING) for record_id, *_ in paintings(12)] == [None] * 12
    assert states(settings, model_name="default") == {"withdrawn": 12}


def test_a_lock_that_stays_ends_with_what_is_left_and_the_same_command_goes_on(settings, platform):
    publish(settings, labelled_run(settings, paintings(5)))
    requests.post(f"{platform.url}/_sandbox/annotation", json={"locked": True}, timeout=10)
    try:
        with pytest.raises(TransientError, match="5 are left"):
            take_back(settings, model="default")
    finally:
        requests.post(f"{platform.url}/_sandbox/annotation", json={"locked": False}, timeout=10)
    assert len(standing(platform)) == 5
    assert take_back(settings, model="default").deleted == 5
    assert standing(platform) == {}


def test_an_account_that_may_not_delete_stops_at_once(settings, platform):
    publish(settings, labelled_run(settings, paintings(3)))
    with pytest.raises(CriticalError, match="403"):
        take_back(settings.model_copy(update={"annotation_username": "somebody"}), model="default")
    assert len(standing(platform)) == 3


def test_hidden_labels_come_back_from_with_too(settings, platform, tmp_path):
    both = settings.model_copy(update={"with_api_url": f"{platform.url}/with", "with_username": "sandbox"})
    from pydantic import SecretStr

    both.with_password = SecretStr("sandbox")
    labels = [(f"/7/p{number:02d}", "painting", "hidden", 0.3) for number in range(3)]
    publish(both, labelled_run(both, labels))
    assert len(standing(platform, "with")) == 3
    assert take_back(both, concept="painting").deleted == 3
    assert standing(platform, "with") == {}


def test_killed_at_random_moments_it_ends_with_nothing_left(settings, platform):
    publish(settings, labelled_run(settings, paintings(250)))
    assert len(standing(platform)) == 250
    platform.faults(
        {"route": ANNOTATIONS, "fault": "lost-reply", "rate": 0.05},
        {"route": ANNOTATIONS, "fault": "503", "rate": 0.05},
        {"route": ANNOTATIONS, "fault": "slow", "seconds": 0.15},  # so that there is something to be killed on any machine
    )
    settings = settings.model_copy(update={"publish_concurrency": 8})
    command = [sys.executable, "-m", "pipeline", "withdraw", "--model", "default", "--yes"]
    environment = {**os.environ, **_environment(settings)}
    rng, cut_off = random.Random(5), 0
    for _ in range(3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(1.5, 2.5))
        cut_off += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert cut_off >= 2
    assert standing(platform) == {}
    assert states(settings, model_name="default") == {"withdrawn": 250}


def _environment(settings):
    """The settings as environment variables, for a process of its own."""
    from pydantic import SecretStr

    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in values.items()
    }
