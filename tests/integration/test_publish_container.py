"""Published labels in an annotation container: sent once whatever fails, updated, taken back."""

from collections import Counter

import pytest
import requests

from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice
from pipeline.publish import container
from pipeline.publish import withdraw as steps
from pipeline.publish.preview import preview_publication
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, paintings, publish, release, settings_for, standing

POSTS = {"route": "/container/", "method": "POST"}


@pytest.fixture
def platform(clean_server):
    yield clean_server
    clean_server.faults()
    for uri in standing(clean_server, "container"):
        etag = requests.get(uri, timeout=10).headers["ETag"]
        requests.delete(uri, headers={"If-Match": etag}, timeout=10)


@pytest.fixture
def settings(platform, tmp_path):
    url = f"{platform.url}/container/"
    found = settings_for(
        platform, tmp_path, annotation_container_url=url, public_base_url="https://example.org", api_timeout_s=1
    )
    release(found, 1)
    return found


def targets_of(platform):
    return Counter(target for target, _ in standing(platform, "container").values())


def states(settings):
    rows = ledger.tally(connect(settings), Choice(model_name="default"))
    found = Counter()
    for row in rows:
        if row["target"] == container.target_name(settings):
            found[row["state"]] += row["statements"]
    return found


def test_published_labels_go_to_both_and_hidden_ones_to_neither(settings, platform):
    key = labelled_run(settings, [*paintings(5), *paintings(3, decision="hidden", first=50)])
    preview = preview_publication(key, now=NOW, settings=settings)
    assert {target for target, *_ in preview.counts} == {
        container.target_name(settings),
        *(target for target, *_ in preview.counts if target.startswith("europeana")),
    }
    report = publish(settings, key)
    assert (report["sent_now"], report["container_sent_now"]) == (5, 5)
    assert targets_of(platform) == {f"http://data.europeana.eu/item/90402/w_{number:04d}": 1 for number in range(5)}
    again = publish(settings, labelled_run(settings, paintings(5), run_id="again"))
    assert (again["sent_now"], again["container_sent_now"]) == (0, 0)


def test_lost_replies_broken_connections_and_errors_send_nothing_twice(settings, platform):
    for fault in ("lost-reply", "close", "503"):
        platform.faults(
            {**POSTS, "fault": fault, "rate": 0.3}, {"route": "/container/", "method": "GET", "fault": "503", "rate": 0.1}
        )
        publish(settings, labelled_run(settings, paintings(20), run_id=fault))
    platform.faults()
    publish(settings, labelled_run(settings, paintings(20), run_id="quiet"))
    assert states(settings) == {"sent": 20}
    assert set(targets_of(platform).values()) == {1} and len(targets_of(platform)) == 20


def test_a_better_model_is_named_in_the_container_and_one_that_changes_its_mind_takes_back(settings, platform):
    publish(settings, labelled_run(settings, paintings(2), run_id="first"))
    release(settings, 2)
    labels = [*paintings(1, score=0.95), *paintings(1, decision="drop", score=0.1, first=1)]
    publish(settings, labelled_run(settings, labels, run_id="second", version=2))
    ((uri, (target, _)),) = standing(platform, "container").items()
    assert target.endswith("/w_0000")
    assert requests.get(uri, timeout=10).json()["via"] == "https://example.org/runs/second"
    assert states(settings) == {"sent": 1, "held": 1}


def test_what_somebody_removed_there_is_gone_and_a_withdrawal_leaves_nothing(settings, platform):
    publish(settings, labelled_run(settings, paintings(6)))
    removed = next(iter(standing(platform, "container")))
    requests.delete(removed, headers={"If-Match": '"1"'}, timeout=10)
    release(settings, 2)
    publish(settings, labelled_run(settings, paintings(6), run_id="second", version=2))
    assert states(settings) == {"sent": 5, "gone": 1}
    platform.faults({"route": "/container/", "method": "DELETE", "fault": "lost-reply", "rate": 0.5})
    choice = steps.choice_of(settings, model="default")
    done = steps.withdraw(choice, why="a test", now=NOW, settings=settings)
    assert done.deleted == 11  # six at Europeana, five here
    assert standing(platform, "container") == {}
