"""The gates between stages: what is impossible is not published, and too many failures stop the run."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.lake import Lake, Part, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.datasets.stage import Counts
from pipeline.domain.outcome import Reason
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.quality.gates import check_failures, check_parts
from pipeline.settings import Settings

RUN = Run("r1", "default", Selection("query", "*:*"), Scope("full"), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(Settings(_env_file=None, var_dir=tmp_path))


def labels(lake: Lake, changes: list[dict[str, Any]]) -> Part:
    model = ("model_name", "model_version", "model_sha256", "preprocessing_version", "vocabulary_version")
    rows = [
        {
            "record_id": f"/1/{number}",
            "image_id": "0" * 64,
            "image_url": "http://x.org/a.jpg",
            "concept_uri": "urn:map",
            "label": "map",
            "score": 0.1 * number,
            "raw_score": 0.1 * number,
            "threshold": None,
            "decision": "hidden",
            "why": "floor",
            "rank": 1,
            "provider": "P",
            **dict.fromkeys(model, "x"),
            **RUN.columns(),
        }
        | change
        for number, change in enumerate(changes)
    ]
    return lake.write_part(RUN, "labels", 0, [as_table("labels", rows)], SCHEMAS["labels"])


def test_sound_labels_pass_and_the_check_tells_what_it_saw(lake: Lake) -> None:
    checked = check_parts(lake, RUN, "labels", [labels(lake, [{}, {}, {}])])
    assert (checked["rows"], checked["passed"]) == (3, True)


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ([{}, {"score": 1.5}], "score"),
        ([{}, {"raw_score": -0.1}], "raw_score"),
        ([{}, {"decision": "perhaps"}], "decision"),
        ([{"record_id": "/1/a"}, {"record_id": "/1/a"}], r"record_id\+image_id\+concept_uri"),
        # A model that says the same of every picture has not looked at them.
        ([{"score": 0.5}] * 3, "score"),
    ],
)
def test_impossible_labels_block_the_run_with_the_rule_they_break(
    lake: Lake, changes: list[dict[str, Any]], column: str
) -> None:
    changes = [{"record_id": f"/1/{number}"} | change for number, change in enumerate(changes)]
    with pytest.raises(PoisonedResultError, match=rf"r1 is blocked: labels part .* on {column} fails"):
        check_parts(lake, RUN, "labels", [labels(lake, changes)])


@pytest.mark.parametrize(
    ("reasons", "inputs", "stops"),
    [
        ({Reason.TIMEOUT: 6}, 10, True),
        ({Reason.TIMEOUT: 2, Reason.HTTP_5XX: 2, Reason.CONNECTION: 2}, 10, True),
        ({Reason.SSRF_REFUSED: 10}, 10, True),
        ({Reason.TIMEOUT: 5}, 10, False),
        ({Reason.GONE: 10}, 10, False),
        ({Reason.NOT_AN_IMAGE: 9}, 10, True),
        ({Reason.TOO_SMALL: 9}, 10, False),
        ({}, 0, False),
    ],
)
def test_the_run_stops_when_more_than_the_allowed_share_failed(reasons: dict[Reason, int], inputs: int, stops: bool) -> None:
    counts = Counts(
        inputs, inputs - sum(reasons.values()), Counter({str(reason): number for reason, number in reasons.items()})
    )
    settings = Settings(_env_file=None, max_failed_share=0.5)
    if stops:
        with pytest.raises(CriticalError, match="MAX_FAILED_SHARE"):
            check_failures("images", counts, settings)
    else:
        check_failures("images", counts, settings)
