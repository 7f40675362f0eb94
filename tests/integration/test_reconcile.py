"""Ledger and platform say the same, or it is told, and mended, on which side."""

import pytest
import requests

from pipeline.clients.annotations import AnnotationClient, Created
from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice, State
from pipeline.datasets.lake import open_lake
from pipeline.domain.annotation import as_request, tag_annotation
from pipeline.domain.identifiers import annotation_number
from pipeline.publish import europeana
from pipeline.publish import withdraw as withdrawing
from pipeline.publish.reconcile import Finding, reconcile
from pipeline.reporting.report import RECONCILIATION
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, paintings, publish, release, settings_for, standing

PAINTING = "http://www.wikidata.org/entity/Q3305213"


@pytest.fixture
def settings(clean_server, tmp_path):
    found = settings_for(clean_server, tmp_path)
    release(found, 1)
    return found


def say(settings, record_id):
    """An annotation of ours that nobody wrote down."""
    document = tag_annotation(record_id=record_id, concept_uri="x", body_uri=PAINTING, target="t", created=NOW, run_page=None)
    reply = AnnotationClient(settings).create(as_request(document))
    assert isinstance(reply, Created)
    return reply.remote_id


def test_both_sides_are_mended(settings, clean_server, monkeypatch):
    monkeypatch.setattr("pipeline.clients.annotations.LARGEST_PAGE", 3)  # so that ranges have to be halved
    publish(settings, labelled_run(settings, paintings(9)))
    engine, target = connect(settings), europeana.target_name(settings)
    rows = {row["record_id"]: row for row in ledger.with_remote(engine, target)}
    ids = [record_id for record_id, *_ in paintings(9)]
    # A moderator deletes one; the ledger forgets what became of another; one that was withdrawn stands there again;
    # and one is nobody's.
    headers = {"Authorization": f"Bearer {clean_server.token('admin')}"}
    number = annotation_number(rows[ids[0]]["remote_id"])
    requests.delete(f"{clean_server.url}/europeana/annotation/{number}", headers=headers, timeout=10)
    ledger.correct(engine, rows[ids[1]]["id"], State.PLANNED, None, before=State.SENT, why="", now=NOW)
    withdrawing.withdraw(Choice(record_id=ids[2]), why="", now=NOW, settings=settings)
    back = say(settings, ids[2])
    stranger = say(settings, "/90402/nobody")
    expected = {
        Finding.REMOVED_THERE: 1,
        Finding.NOT_KNOWN_AS_SENT: 1,
        Finding.SHOULD_BE_GONE: 1,
        Finding.UNKNOWN: 1,
    }

    told = reconcile(repair=False, now=NOW, settings=settings)
    assert (told.agree, told.findings) == (6, expected)
    assert back in standing(clean_server)

    assert reconcile(repair=True, now=NOW, settings=settings).findings == expected
    after = reconcile(repair=False, now=NOW, settings=settings)
    assert (after.agree, after.findings) == (7, {Finding.UNKNOWN: 1})
    assert after.samples == [{"finding": "unknown", "annotation": stranger, "about": f"/90402/nobody {PAINTING}"}]
    assert {row["state"] for row in ledger.tally(engine, Choice(record_id=ids[0]))} == {"gone"}
    assert back not in standing(clean_server)
    kept = open_lake(settings).read_json(RECONCILIATION)
    expected = {"target": target, "at": NOW.isoformat(), "repaired": False, "agree": 7, "findings": {"unknown": 1}}
    assert kept == expected  # and no record: a later report must not tell of one that was forgotten
    # What somebody else has removed is not sent again.
    assert publish(settings, "runs/run=night/run.json")["sent_now"] == 0
