"""What people have voted down is taken back, and not said again as long as they stand by it."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import feedback as commands
from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice
from pipeline.feedback.rejected import rejected_statements
from pipeline.feedback.steps import Wish, import_feedback
from pipeline.settings import Settings
from tests.conftest import NOW
from tests.integration.labelled import labelled_run, paintings, publish, release, settings_for, standing


@pytest.fixture
def platform(clean_server):
    return clean_server


@pytest.fixture
def settings(platform, tmp_path):
    found = settings_for(platform, tmp_path / "var", annotation_username="maker", annotation_password="sandbox")
    release(found, 1)
    return found


def states(settings: Settings) -> Counter[str]:
    found = Counter[str]()
    for row in ledger.tally(connect(settings), Choice(model_name="default")):
        found[row["state"]] += row["statements"]
    return found


def votes(settings: Settings, folder: Path, day: int, **said: tuple[int, int]) -> None:
    """An export with votes on paintings by number: `_3=(up, down)`."""
    graph = [
        {
            "body": {"type": "TextualBody", "value": "painting", "language": "en"},
            "target": {"source": f"/90402/w_{int(number[1:]):04d}"},
            "review": {"upvotes": up, "downvotes": down},
        }
        for number, (up, down) in said.items()
    ]
    path = folder / f"{day}.json"
    path.write_text(json.dumps({"@graph": graph}))
    import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW.replace(day=day))


def test_rejected_statements_are_shown_first_and_withdrawn_when_it_is_said(settings, platform, tmp_path, monkeypatch):
    publish(settings, labelled_run(settings, paintings(6)))
    votes(settings, tmp_path, 3, _0=(0, 2), _1=(2, 0), _2=(1, 1), _9=(0, 5))
    (found,) = rejected_statements(settings=settings)
    assert (found.record_id, found.label, found.votes, found.there) == ("/90402/w_0000", "painting", "2 against, 0 for", 1)
    monkeypatch.setattr(commands, "Settings", lambda: settings)
    shown = CliRunner().invoke(commands.feedback, ["withdraw"])
    assert shown.exit_code == 0 and "/90402/w_0000" in shown.output and "nothing is done without --yes" in shown.output
    assert len(standing(platform)) == 6
    done = CliRunner().invoke(commands.feedback, ["withdraw", "--yes"])
    assert done.exit_code == 0 and "1 statements are withdrawn" in done.output
    assert {record for record, _ in standing(platform).values()} == {f"/90402/w_{number:04d}" for number in range(1, 6)}
    assert list(rejected_statements(settings=settings)) == []


def test_a_run_neither_sends_what_was_rejected_nor_leaves_it_standing(settings, platform, tmp_path):
    publish(settings, labelled_run(settings, paintings(3)))
    votes(settings, tmp_path, 3, _0=(0, 2), _3=(0, 1))
    publish(settings, labelled_run(settings, paintings(5), run_id="next"))
    assert {record for record, _ in standing(platform).values()} == {f"/90402/w_{number:04d}" for number in (1, 2, 4)}
    assert states(settings) == {"sent": 3, "held": 2}
    # The vote turns: what was held may go out with the next run.
    votes(settings, tmp_path, 4, _0=(3, 2), _3=(2, 1))
    publish(settings, labelled_run(settings, paintings(5), run_id="later"))
    assert states(settings) == {"sent": 5}
