"""The gates between stages: what is impossible is not published, what is odd is said, and the file of rules is checked."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.datasets.lake import Lake, Part, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.datasets.stage import Counts
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.quality import gates
from pipeline.quality.expectations import load_expectations
from pipeline.quality.figures import EVERY, Figures, keep_reference, label_figures, read_histograms, stability_index
from pipeline.quality.gates import check_parts
from pipeline.settings import PROJECT_ROOT, Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = Run("r1", "default", Selection("query", "*:*"), Scope("full"), NOON)
MODEL = dict.fromkeys(("model_name", "model_version", "model_sha256", "preprocessing_version", "vocabulary_version"), "x")
# Of each dataset a row that everything holds for; `{}` is the row's number.
ROWS: dict[str, dict[str, Any]] = {
    "records": {
        "record_id": "/1/{}",
        **dict.fromkeys(("titles", "descriptions", "creator_names", "subjects", "types", "concept_labels"), []),
        **dict.fromkeys(("creators", "concept_uris", "languages", "image_urls", "media"), []),
        **dict.fromkeys(("dataset_id", "title", "media_type", "provider", "data_provider", "dataset_name", "country"), ""),
        **dict.fromkeys(("rights", "record_rights"), ""),
        "year": 1900,
        "rights_category": "open",
    },
    "images": {
        "record_id": "/1/{}",
        "image_url": "http://x.org/a.jpg",
        "image_id": "0" * 64,
        "outcome": "ok",
        "reason": None,
        "width_px": 40,
        "height_px": 30,
        "position": 0,
        "attempts": 1,
        **dict.fromkeys(("fetched_as", "host", "detail", "provider", "rights", "rights_category"), ""),
    },
    "link_checks": {
        "record_id": "/1/{}",
        "image_url": "http://x.org/a.jpg",
        "changed": False,
        **dict.fromkeys(("host", "state_before", "state", "detail"), ""),
    },
    "labels": {
        "record_id": "/1/{}",
        "image_id": "0" * 64,
        "image_url": "http://x.org/a.jpg",
        "concept_uri": "urn:map",
        "label": "map",
        "score": 0.1,
        "raw_score": 0.1,
        "threshold": None,
        "decision": "hidden",
        "why": "floor",
        "rank": 1,
        "provider": "P",
        **MODEL,
    },
    "record_labels": {
        "record_id": "/1/{}",
        "concept_uri": "urn:map",
        "label": "map",
        "max_score": 0.1,
        "mean_score": 0.1,
        "image_id": "0" * 64,
        "images": 1,
        "decision": "hidden",
        "why": "floor",
        **MODEL,
    },
    "suggestions": {
        "record_id": "/1/{}",
        "related_record_id": "/1/z",
        "rank": 1,
        "score": 0.5,
        "visual_similarity": 0.5,
        "shared_concepts": [],
        "reasons": ["visual"],
        **MODEL,
    },
}
TWICE: list[dict[str, Any]] = [{"record_id": "/1/a"}, {"record_id": "/1/a"}]
# What breaks each expectation of rows: dataset, changes of the rows, columns.
BROKEN: list[tuple[str, list[dict[str, Any]], str]] = [
    ("records", [{}, {"record_id": "no id"}], "record_id"),
    ("records", TWICE, "record_id"),
    ("records", [{}, {"year": 19000}], "year"),
    ("records", [{}, {"rights_category": "free"}], "rights_category"),
    ("images", TWICE, "record_id+image_url"),
    ("images", [{}, {"outcome": "fine"}], "outcome"),
    ("images", [{}, {"reason": "bad luck"}], "reason"),
    ("images", [{}, {"image_id": "123"}], "image_id"),
    ("images", [{}, {"width_px": 0}], "width_px"),
    ("images", [{}, {"height_px": 0}], "height_px"),
    ("link_checks", TWICE, "record_id+image_url"),
    ("link_checks", [{}, {"reason": "bad luck"}], "reason"),
    ("labels", TWICE, "record_id+image_id+concept_uri"),
    ("labels", [{}, {"score": 1.5}], "score"),
    ("labels", [{}, {"raw_score": -0.1}], "raw_score"),
    ("labels", [{}, {"decision": "perhaps"}], "decision"),
    ("record_labels", TWICE, "record_id+concept_uri+label"),
    ("record_labels", [{}, {"max_score": 2.0}], "max_score"),
    ("record_labels", [{}, {"decision": "perhaps"}], "decision"),
    ("suggestions", TWICE, "record_id+related_record_id"),
    ("suggestions", [{}, {"score": 1.5}], "score"),
    ("suggestions", [{}, {"rank": 0}], "rank"),
]
# What breaks each expectation of figures: dataset, table, its row, column, whether it blocks.
ODD: list[tuple[str, str, dict[str, Any], str, bool]] = [
    ("records", "run", {"rows_to_previous": 0.1}, "rows_to_previous", False),
    ("images", "run", {"failed_share": 0.6}, "failed_share", False),
    ("images", "run", {"rows_to_previous": 6.0}, "rows_to_previous", False),
    ("labels", "run", {"score_range": 0.0}, "score_range", True),
    ("labels", "run", {"failed_share": 0.6}, "failed_share", True),
    ("labels", "run", {"failed_share": 0.1}, "failed_share", False),
    ("labels", "run", {"rows_to_previous": 0.1}, "rows_to_previous", False),
    ("labels", "concepts", {"label": "map", "images": 900, "score_range": 0.0}, "score_range", False),
    ("labels", "drift", {"provider": EVERY, "label": "map", "images": 900, "psi": 0.3}, "psi", False),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var_dir=tmp_path)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings)


def written(lake: Lake, dataset: str, changes: list[dict[str, Any]], run: Run = RUN, number: int = 0) -> Part:
    rows = [
        {name: value.format(row) if isinstance(value, str) else value for name, value in ROWS[dataset].items()}
        | run.columns()
        | change
        for row, change in enumerate(changes, start=10 * number)
    ]
    return lake.write_part(run, dataset, number, [as_table(dataset, rows)], SCHEMAS[dataset])


def results(lake: Lake, dataset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.read_json(f"{RUN.folder}/quality/{dataset}.json")["results"]
    return found


@pytest.mark.parametrize("dataset", ROWS)
def test_what_is_sound_passes_and_the_check_tells_what_it_saw(lake: Lake, settings: Settings, dataset: str) -> None:
    checked = check_parts(lake, RUN, dataset, [written(lake, dataset, [{}, {}, {}])], settings=settings)
    assert (checked["rows"], checked["passed"], checked["warnings"]) == (3, True, [])


@pytest.mark.parametrize(("dataset", "changes", "columns"), BROKEN)
def test_what_is_impossible_blocks_the_run_in_one_line_that_says_why(
    lake: Lake, settings: Settings, dataset: str, changes: list[dict[str, Any]], columns: str
) -> None:
    with pytest.raises(PoisonedResultError) as caught:
        check_parts(lake, RUN, dataset, [written(lake, dataset, changes)], settings=settings)
    said = str(caught.value)
    assert said.startswith(f"run r1 is blocked: {dataset} part {dataset}/source=default/") and "\n" not in said
    assert f" on {columns} fails" in said
    broken = [result for result in results(lake, dataset) if not result["passed"]]
    assert ["+".join(result["columns"]) for result in broken] == [columns]
    page = lake.store.get_bytes(f"{RUN.folder}/quality/index.html").decode()
    assert "nothing of it was published" in page and lake.store.address(f"{RUN.folder}/quality/index.html") in said


@pytest.mark.parametrize("dataset", ["records", "record_labels"])
def test_a_key_that_comes_twice_blocks_the_run_in_whichever_parts_it_is(
    lake: Lake, settings: Settings, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "ROWS_CHECKED_AT_ONCE", 3)
    sound = [written(lake, dataset, [{}, {}, {}], number=number) for number in range(3)]
    assert check_parts(lake, RUN, dataset, sound, settings=settings)["passed"]
    again = written(lake, dataset, [{}, {"record_id": "/1/11"}, {}], number=3)
    with pytest.raises(PoisonedResultError, match="parts taken together: .*Unique on record_id.* fails.*/1/11"):
        check_parts(lake, RUN, dataset, [*sound, again], settings=settings)
    (broken,) = [result for result in results(lake, dataset) if not result["passed"]]
    assert broken["unexpected"] == 1


@pytest.mark.parametrize(("dataset", "about", "row", "column", "blocks"), ODD)
def test_figures_of_a_run_that_are_odd_warn_or_block_as_the_file_says(
    lake: Lake, settings: Settings, dataset: str, about: str, row: dict[str, Any], column: str, blocks: bool
) -> None:
    part, figures = written(lake, dataset, [{}]), {about: [row]}
    if blocks:
        with pytest.raises(PoisonedResultError, match=f"r1 is blocked: {dataset} figures: .* on {column} fails"):
            check_parts(lake, RUN, dataset, [part], settings=settings, figures=figures)
    else:
        checked = check_parts(lake, RUN, dataset, [part], settings=settings, figures=figures)
        assert len(checked["warnings"]) == 1 and f" on {column} fails" in checked["warnings"][0]


def test_every_expectation_of_the_project_has_a_case_here_that_breaks_it() -> None:
    entries = Counter(
        (dataset, one.about, "+".join(one.columns), one.blocking)
        for dataset, some in load_expectations(PROJECT_ROOT / "vocab" / "quality.yaml").items()
        for one in some
    )
    tried = Counter((dataset, "rows", columns, True) for dataset, _, columns in BROKEN)
    assert entries == tried + Counter((dataset, about, column, blocks) for dataset, about, _, column, blocks in ODD)


# --- Figures ---


def histogram(
    lake: Lake,
    provider: str,
    images: dict[float, int],
    run: Run = RUN,
    number: int = 0,
    label: str = "map",
    width: float = 0.05,
) -> Part:
    rows = [
        {"provider": provider, "label": label, "score_from": low, "score_to": low + 0.1, "images": count}
        | {"lowest": low, "highest": low + width}
        | MODEL
        | run.columns()
        for low, count in images.items()
    ]
    table = as_table("score_histograms", rows)
    return lake.write_part(run, "score_histograms", number, [table], SCHEMAS["score_histograms"])


def figures_of(lake: Lake, *parts: Part) -> Figures:
    return label_figures(lake, read_histograms(lake, parts), Counts(1_000, 990, Counter(corrupt=10)))


def test_a_model_that_says_the_same_of_every_picture_has_no_range_whatever_it_says_of_each_concept(lake: Lake) -> None:
    parts = [
        histogram(lake, "P", {low: 30}, number=number, label=label, width=0.0)
        for number, (label, low) in enumerate((("map", 0.2), ("coin", 0.7)))
    ]
    assert figures_of(lake, *parts)["run"][0]["score_range"] == 0
    assert figures_of(lake, histogram(lake, "P", {0.2: 19}, number=7, width=0.0))["run"][0]["score_range"] is None


def test_figures_are_of_all_parts_together(lake: Lake) -> None:
    found = figures_of(lake, histogram(lake, "P", {0.0: 150}), histogram(lake, "Q", {0.8: 150}, number=1))
    assert found["run"] == [{"failed_share": 0.01, "score_range": pytest.approx(0.85)}]
    assert found["concepts"] == [{"label": "map", "images": 300, "score_range": pytest.approx(0.85)}]
    assert found["drift"] == []  # the model has no reference yet


def test_the_first_published_run_with_enough_images_is_the_reference_of_the_version(lake: Lake) -> None:
    keep_reference(lake, replace(RUN, run_id="few"), read_histograms(lake, [histogram(lake, "P", {0.0: 199})]))
    assert not lake.store.exists("models/x/x/score_reference.json")
    first = read_histograms(lake, [histogram(lake, "P", {0.0: 250, 0.8: 50})])
    keep_reference(lake, RUN, first)
    keep_reference(lake, replace(RUN, run_id="later"), read_histograms(lake, [histogram(lake, "P", {0.8: 900})]))
    assert lake.read_json("models/x/x/score_reference.json")["run_id"] == "r1"


def test_drift_is_measured_by_concept_and_provider_where_both_sides_have_enough_images(lake: Lake) -> None:
    keep_reference(lake, RUN, read_histograms(lake, [histogram(lake, "P", {0.0: 250, 0.8: 50})]))
    now = [histogram(lake, "P", {0.0: 50, 0.8: 250}), histogram(lake, "Q", {0.0: 1_500, 0.8: 100}, number=1)]
    drift = {row["provider"]: row for row in figures_of(lake, *now)["drift"]}
    assert set(drift) == {"P", EVERY}  # the reference knows nothing of Q
    assert drift["P"]["psi"] > 0.25 > drift[EVERY]["psi"] > 0
    assert (drift["P"]["label"], drift["P"]["images"]) == ("map", 300)


def test_the_stability_index_is_that_of_the_textbook_and_none_for_the_same() -> None:
    assert stability_index({0.0: 10, 0.5: 30}, {0.0: 100, 0.5: 300}) == pytest.approx(0, abs=1e-3)
    # (0.7 - 0.9) ln(0.7 / 0.9) + (0.3 - 0.1) ln(0.3 / 0.1)
    assert stability_index({0.0: 9 * 10**6, 0.5: 10**6}, {0.0: 7 * 10**6, 0.5: 3 * 10**6}) == pytest.approx(0.26998, abs=1e-4)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, 1.5),
        ({"created_at": NOON + timedelta(days=1)}, None),  # came later
        ({"source": "another"}, None),
        ({"selection": Selection("query", "cat")}, None),
        ({"scope": Scope("ids", ids=("/1/a",))}, None),
        ({"run_id": "r1"}, None),  # itself, in an attempt before
    ],
)
def test_rows_are_held_against_the_last_run_of_its_kind(
    lake: Lake, settings: Settings, other: dict[str, Any], expected: float | None
) -> None:
    previous = replace(RUN, **{"run_id": "r0", "created_at": NOON - timedelta(days=1)} | other)
    lake.save_run(previous)
    lake.publish(previous, "images", [written(lake, "images", [{}, {}], previous)])
    check_parts(lake, RUN, "images", [written(lake, "images", [{}, {}, {"outcome": "failed"}])], settings=settings)
    (figures,) = lake.read_json(f"{RUN.folder}/quality/images.json")["figures"]["run"]
    assert figures == {"rows": 3, "rows_to_previous": expected, "failed_share": pytest.approx(1 / 3)}


# --- The file ---

ENTRY = {"expect": "ExpectColumnValuesToBeBetween", "column": "score", "min_value": 0, "blocking": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("labels: [", "cannot be read"),
        ("[]", "must name datasets"),
        (json.dumps({"lables": {}}), "lables is no dataset; there are: records"),
        (json.dumps({"labels": {"lines": []}}), "labels must hold nothing but: rows, run"),
        (json.dumps({"labels": {"rows": {}}}), "labels/rows must be a list"),
        (json.dumps({"labels": {"rows": [ENTRY | {"blocking": "yes"}]}}), "labels/rows, entry 1: say `blocking: true`"),
        (json.dumps({"labels": {"rows": [ENTRY, {"blocking": True}]}}), "entry 2: needs `expect`"),
        (json.dumps({"labels": {"rows": [ENTRY | {"column": "scor"}]}}), "scor is no column here; there are: record_id"),
        (json.dumps({"labels": {"run": [ENTRY]}}), "score is no column here; there are: rows, rows_to_previous"),
        (json.dumps({"labels": {"rows": [ENTRY | {"column_list": ["score"]}]}}), "either `column` or `column_list`"),
        (json.dumps({"labels": {"rows": [ENTRY | {"value_set": "colours"}]}}), "value_set colours is not one of decisions"),
        (
            json.dumps({"records": {"rows": [ENTRY | {"column": "year", "expect": "ExpectMiracles"}]}}),
            "knows no ExpectMiracles",
        ),
        (json.dumps({"records": {"rows": [ENTRY | {"column": "year", "min_value": [1]}]}}), "does not take these arguments"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_entry_whatever_dataset_is_checked(
    lake: Lake, settings: Settings, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "quality.yaml").write_text(content)
    broken = settings.model_copy(update={"quality_file": tmp_path / "quality.yaml"})
    with pytest.raises(CriticalError, match="quality.yaml") as caught:
        check_parts(lake, RUN, "labels", [written(lake, "labels", [{}])], settings=broken)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_blocks_and_what_warns_is_for_the_file_to_say(lake: Lake, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "quality.yaml").write_text(
        yaml.safe_dump({"labels": {"rows": [ENTRY | {"max_value": 0.05, "blocking": False}]}})
    )
    lenient = settings.model_copy(update={"quality_file": tmp_path / "quality.yaml"})
    checked = check_parts(lake, RUN, "labels", [written(lake, "labels", [{}, {}])], settings=lenient)
    assert checked["passed"] and "labels: ExpectColumnValuesToBeBetween on score fails" in checked["warnings"][0]
    (result,) = results(lake, "labels")
    assert (result["unexpected"], result["checked"], result["passed"], result["blocking"]) == (2, 2, False, False)
