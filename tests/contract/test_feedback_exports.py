"""Votes on the stand-in of WITH come back through both models of its export, exactly as they were cast."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_with_api import Platform, crowd, item, text

from pipeline.crowd.labels import Labels
from pipeline.datasets.run import Run
from pipeline.domain.scope import Scope, Selection
from pipeline.feedback.hand_over import campaign
from pipeline.feedback.rules import SIDE_BY_SIDE, side_by_side
from pipeline.feedback.sample import Candidate
from pipeline.feedback.sources import Said, read_said
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary, load_vocabulary

RECORDS = [f"/90402/SK_{number:02d}" for number in range(6)]
RUN = Run("night", "museum", Selection("query", "*:*"), Scope("full"), datetime(2026, 4, 1, 10, tzinfo=UTC))


@pytest.fixture(scope="module")
def vocabulary(sandbox_options: SandboxOptions) -> Vocabulary:
    return load_vocabulary(sandbox_options.vocabulary_path, base_url="urn:test")


@pytest.fixture(scope="module")
def platform(sandbox: SandboxProcess) -> Platform:
    """Somebody who makes campaigns, with records to make them about."""
    maker = Platform(sandbox)
    maker.filled("feedback", RECORDS)
    return maker


def ask(sandbox: SandboxProcess, platform: Platform, name: str, slugs: Sequence[str], vocabulary: Vocabulary) -> dict[str, int]:
    """A campaign of a model's labels on all records, and the votes of three people who know that all are paintings."""
    platform.campaign(name)
    labels = [
        Candidate(record, "0" * 64, "", vocabulary.by_slug[slug].concept_uri, slug, 0.5, "A museum", "museum@3")
        for record in RECORDS
        for slug in slugs
    ]
    asked = campaign(labels, vocabulary, Settings(_env_file=None), RUN)
    assert platform.bulk(name, asked["@graph"])["successCount"] == len(labels)
    counts: dict[str, int] = crowd(sandbox, campaign=name, voters=3, accuracy=1, seed=1).json()
    return counts


def doubt(sandbox: SandboxProcess, platform: Platform, name: str, record_id: str) -> None:
    """Somebody else rejects everything that a campaign says of a record."""
    doubter = Platform(sandbox, "doubter@example.org")
    for annotation in platform.of_campaign(name, record_id):
        doubter.vote("reject", annotation, name)


def read(platform: Platform, name: str, vocabulary: Vocabulary, folder: Path, *, europeana: bool = False) -> Said:
    reply = platform.export(name, europeana=europeana)
    assert reply.status_code == 200
    path = folder / "export.json"
    path.write_text(reply.text)
    return read_said("crowdheritage", path, Labels(vocabulary), fewest=1, settings=Settings(_env_file=None))


def test_what_was_asked_comes_back_with_its_votes_its_model_and_its_score(
    sandbox: SandboxProcess, platform: Platform, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    counts = ask(sandbox, platform, "feedback", ("painting", "map"), vocabulary)
    doubt(sandbox, platform, "feedback", RECORDS[0])
    said = read(platform, "feedback", vocabulary, tmp_path)
    assert (said.problems, said.notes, dict(said.unknown)) == ([], [], {})
    assert {(one.record_id, one.slug): one.majority for one in said.tallies} == {
        (record, slug): slug == "painting" for record in RECORDS for slug in ("painting", "map")
    }
    assert {(one.maker, one.score) for one in said.tallies} == {("museum@3", 0.5)}
    assert all(one.stated_at == RUN.created_at for one in said.tallies)
    assert sum(one.up for one in said.tallies) == counts["approved"] == 18
    assert sum(one.down for one in said.tallies) == counts["rejected"] + 2 == 20
    figures = side_by_side(said.votes, SIDE_BY_SIDE, errors=0)
    accepted = {rule: figures["accepted"][rule]["machine"] for rule in SIDE_BY_SIDE}
    # The doubted painting has three for and one against: no longer enough for the platform's own rule.
    assert accepted == {"majority": 6, "net:2": 6, "platform": 5}


def test_europeanas_model_has_the_same_votes_but_knows_no_machine(
    sandbox: SandboxProcess, platform: Platform, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    ask(sandbox, platform, "paintings", ("painting",), vocabulary)  # this export fails where something was never approved
    doubt(sandbox, platform, "paintings", RECORDS[0])
    first, second = (read(platform, "paintings", vocabulary, tmp_path, europeana=way).tallies for way in (False, True))
    one, other = ({(tally.record_id, tally.slug): (tally.up, tally.down) for tally in way} for way in (first, second))
    assert one == other == {(record, "painting"): (3, record == RECORDS[0]) for record in RECORDS}
    assert ({tally.maker for tally in first}, {tally.maker for tally in second}) == ({"museum@3"}, {None})


def test_a_tie_and_a_tag_without_votes_look_the_same_in_the_first_model(
    sandbox: SandboxProcess, platform: Platform, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    platform.campaign("ties")
    platform.bulk("ties", [item(text("painting"), RECORDS[1]), item(text("map"), RECORDS[2])])
    (tied,) = platform.of_campaign("ties", RECORDS[1])
    platform.vote("approve", tied, "ties")
    doubt(sandbox, platform, "ties", RECORDS[1])
    said = read(platform, "ties", vocabulary, tmp_path)
    assert [(one.up, one.down, one.majority) for one in said.tallies] == [(0, 0, None)] * 2
