"""Exactly once, whatever is killed: workers and the platform itself, with lost replies, faults and a slow index.

CHAOS_KILLS says how often; `make chaos` is the long form.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice
from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port
from pipeline.settings import PROJECT_ROOT, Settings
from tests.integration.labelled import labelled_run, paintings, release, settings_for, standing, write_pictures
from tests.integration.pictures import Command

KILLS = int(os.environ.get("CHAOS_KILLS", "4"))
STATEMENTS = 80 * KILLS
INDEX_LAG_S = 0.5
FAULTS = [
    {"route": "^/europeana/annotation", "fault": "lost-reply", "rate": 0.02, "method": "POST"},
    {"route": "^/europeana/annotation", "fault": "lost-reply", "rate": 0.02, "method": "DELETE"},
    {"route": "^/europeana/annotation", "fault": "503", "rate": 0.02},
    {"route": "^/europeana/annotation", "fault": "reset", "rate": 0.01},
    {"route": "^/europeana/annotation", "fault": "slow", "seconds": 0.1},  # so that there is something to be killed
]


class Platform:
    """The stand-in server, which may be killed: a new one goes on with what was stored."""

    def __init__(self, folder: Path) -> None:
        write_pictures(folder / "collection")
        self._options = SandboxOptions(
            collection=folder / "collection",
            state_dir=folder / "state",
            vocabulary_path=PROJECT_ROOT / "vocab" / "concepts.yaml",
            port=free_port(),
            index_lag_s=INDEX_LAG_S,
        )
        self._starts = 0
        self.start()

    def start(self) -> None:
        self.running = SandboxProcess(self._options)
        self._starts += 1
        self.running.faults(*FAULTS, seed=self._starts)

    def kill(self) -> None:
        assert self.running.stop(signal.SIGKILL) == -signal.SIGKILL
        self.start()


@pytest.fixture
def platform(tmp_path: Path):
    found = Platform(tmp_path / "platform")
    yield found
    found.running.stop()


@pytest.fixture
def settings(platform: Platform, tmp_path: Path) -> Settings:
    found = settings_for(
        platform.running,
        tmp_path / "var",
        annotation_username="maker",
        annotation_password="sandbox",
        annotation_index_lag_s=INDEX_LAG_S,
        publish_concurrency=4,
        api_attempts=5,
    )
    release(found, 1)
    return found


class Chaos:
    """Runs a command again and again, and kills it or the platform meanwhile."""

    def __init__(self, platform: Platform, settings: Settings, folder: Path) -> None:
        self._platform, self._settings, self._folder = platform, settings, folder
        self._random = random.Random(20260101)
        self.killed: Counter[str] = Counter()

    def until_done(self, arguments: tuple[str, ...], kills: int) -> None:
        """Kill it so often, while it works, and then let it come to its end."""
        before = sum(self.killed.values())
        while sum(self.killed.values()) - before < kills:
            command = self._start(arguments)
            time.sleep(self._random.uniform(0.3, 1.5))
            if self._random.random() < 0.3:
                self._platform.kill()
                self.killed["platform"] += 1
                time.sleep(self._random.uniform(0, 0.5))
            self.killed["worker"] += command.kill()
        for _ in range(20):
            if self._start(arguments).end(300).code == 0:
                return
        raise AssertionError(f"{' '.join(arguments)} did not come to its end")

    def _start(self, arguments: tuple[str, ...]) -> Command:
        return Command(self._settings, *arguments, folder=self._folder)


def states(settings: Settings) -> dict[str, int]:
    return dict(
        Counter({row["state"]: row["statements"] for row in ledger.tally(connect(settings), Choice(model_name="default"))})
    )


def test_every_statement_is_there_once_and_after_its_withdrawal_none(
    platform: Platform, settings: Settings, tmp_path: Path
) -> None:
    chaos = Chaos(platform, settings, tmp_path / "processes")
    key = labelled_run(settings, paintings(STATEMENTS))
    chaos.until_done(("stage", "publish", "--run", key), KILLS)
    there = Counter(record for record, _ in standing(platform.running).values())
    assert there == Counter({record: 1 for record, *_ in paintings(STATEMENTS)})
    creations = [one["record_id"] for one in platform.running.journal() if one["operation"] == "create"]
    assert len(creations) == STATEMENTS  # none was there twice for a while, either
    assert states(settings) == {"sent": STATEMENTS}

    chaos.until_done(("withdraw", "--model", "default", "--yes"), KILLS)
    assert standing(platform.running) == {}
    assert states(settings) == {"withdrawn": STATEMENTS}
    assert sum(chaos.killed.values()) >= 2 * KILLS and min(chaos.killed.values()) >= 2
