"""From votes to verdicts in the lake, training data, measured precision, new thresholds, and the next questions."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.collection import read_collection
from pipeline.crowd.verdicts import decided, newest_verdicts
from pipeline.database import connect, models
from pipeline.datasets.lake import Lake, as_table, open_lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import LABELS
from pipeline.domain.label import Thresholds
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.feedback.hand_over import sample
from pipeline.feedback.proposal import apply, propose
from pipeline.feedback.sample import NEAR, RANDOM_SHARE
from pipeline.feedback.steps import Wish, import_feedback
from pipeline.model.bundle import Bundle, ConceptHead, load_bundle, save_bundle
from pipeline.model.preprocessing import PREPROCESSING_VERSION
from pipeline.model.registry import bundle_in_force
from pipeline.reporting.thresholds import choose_thresholds
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.training.assemble import build_dataset
from pipeline.vocabulary import load_vocabulary
from tests.conftest import NOW
from tests.integration.pictures import jpeg, settings_of

VOCABULARY = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
CONCEPTS = ("coin", "map")
RECORDS = 300
MODEL = {"model_name": "default", "model_version": "1", "model_sha256": "ab" * 32, "preprocessing_version": "p"}
RUN = Run("night", "museum", Selection("query", "*:*"), Scope("full"), NOW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "var", "")


# --- A run with labels, and a model in force, written by hand: no network has to be trained for them ---


def score_of(number: int) -> float:
    """0.005 to 0.995, evenly."""
    return (number % 100 + 0.5) / 100


def label_row(number: int, concept: str) -> dict[str, Any]:
    score = score_of(number)
    decision = "publish" if score >= 0.5 else "review" if score >= 0.3 else "hidden" if score >= 0.05 else "drop"
    return {
        "record_id": f"/9/r{number}",
        "image_id": f"{number:064x}",
        "image_url": f"http://h.example/{number}.jpg",
        "concept_uri": VOCABULARY.by_slug[concept].concept_uri,
        "label": concept,
        "score": score,
        "raw_score": score,
        "threshold": 0.5,
        "decision": decision,
        "why": "threshold",
        "rank": 1,
        "provider": "A museum" if number % 2 else "An archive",
        "vocabulary_version": "v",
        **MODEL,
    }


def write_labels(settings: Settings, vectors: np.ndarray, changes: Mapping[int, Mapping[str, Any]] | None = None) -> str:
    lake = open_lake(settings)
    run = lake.save_run(RUN)
    rows = [
        label_row(number, concept) | run.columns() | (changes or {}).get(number, {})
        for number in range(RECORDS)
        for concept in CONCEPTS
    ]
    lake.publish(run, "labels", [lake.write_part(run, "labels", 0, [as_table("labels", rows)], LABELS)])
    item = pa.field("item", pa.float16(), nullable=False)
    schema = pa.schema(
        [
            pa.field("record_id", pa.string(), nullable=False),
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(item, vectors.shape[1]), nullable=False),
        ]
    )
    features = [
        {"record_id": f"/9/r{number}", "image_id": f"{number:064x}", "embedding": vectors[number].astype(np.float16)}
        for number in range(RECORDS)
    ]
    table = pa.Table.from_pylist(features, schema=schema)
    lake.publish(run, "features", [lake.write_part(run, "features", 0, [table], schema)])
    return run.key


def register_model(settings: Settings) -> None:
    heads = tuple(ConceptHead(concept, (1.0, 0.0), Thresholds(0.5, 0.3)) for concept in CONCEPTS)
    metrics = {"macro_ap": 0.8, "published_precision": 0.7}
    bundle = Bundle("default", 1, "ab" * 32, heads, 48, 8, PREPROCESSING_VERSION, "v", "tiny", "d", metrics)
    store, engine = open_lake(settings).store, connect(settings)
    store.put_bytes(f"{bundle.folder}/model.keras", b"a network")
    key = save_bundle(store, bundle)
    models.register(
        engine, name="default", version=1, bundle_key=key, sha256="ab" * 32, dataset_id="d", metrics=metrics, now=NOW
    )
    models.release(engine, "default", 1)


@pytest.fixture
def night(settings: Settings) -> str:
    register_model(settings)
    vectors = np.abs(np.random.default_rng(5).normal(size=(RECORDS, 8)))
    return write_labels(settings, vectors)


def annotation(record: str, concept: str, up: int, down: int, **changes: Any) -> dict[str, Any]:
    review = {"review": {"type": "Validation", "upvotes": up, "downvotes": down}} if up != down else {}
    return {
        "created": "Wed Apr 01 17:17:52 UTC 2026",
        "creator": {"type": "Software", "id": "urn:m", "name": "default@1"},
        "confidence": 0.5,
        "body": VOCABULARY.by_slug[concept].body_uri,
        "target": {"source": record},
        **review,
        **changes,
    }


def campaign(path: Path, annotations: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text(json.dumps({"@context": {}, "@graph": annotations}))
    return path


def voted(path: Path, right: Callable[[str, float], bool], numbers: Sequence[int] = range(RECORDS)) -> Path:
    """An export in which people have voted on these records' labels."""
    rows = [
        annotation(f"/9/r{number}", concept, *((3, 0) if right(concept, score_of(number)) else (0, 2)))
        for number in numbers
        for concept in CONCEPTS
    ]
    return campaign(path, rows)


def verdicts_of(settings: Settings) -> dict[tuple[str, str], bool | None]:
    return decided(newest_verdicts(open_lake(settings)))


def enrich(settings: Settings, *arguments: str) -> str:
    """What the command prints, here in this process."""
    result = CliRunner().invoke(app, arguments, env={"VAR_DIR": str(settings.var_dir), "COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


def files_of(settings: Settings) -> dict[str, bytes]:
    folder = settings.var_dir / "lake"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- Import ---


def test_the_same_export_twice_changes_nothing_and_a_later_one_replaces_what_it_says(
    settings: Settings, tmp_path: Path
) -> None:
    early = campaign(tmp_path / "1.json", [annotation("/9/a", "coin", 1, 0), annotation("/9/b", "map", 0, 1)])
    first = import_feedback(Wish(early, "crowdheritage"), settings=settings, now=NOW)
    before = files_of(settings)
    again = import_feedback(Wish(early, "crowdheritage"), settings=settings, now=NOW.replace(day=9))
    assert (first.is_new, again.is_new) == (True, False) and again.report == first.report
    assert files_of(settings) == before
    assert verdicts_of(settings) == {("/9/a", "coin"): True, ("/9/b", "map"): False}

    later = campaign(tmp_path / "2.json", [annotation("/9/a", "coin", 1, 3), annotation("/9/c", "map", 2, 0)])
    import_feedback(Wish(later, "crowdheritage"), settings=settings, now=NOW.replace(day=10))
    assert verdicts_of(settings) == {("/9/a", "coin"): False, ("/9/b", "map"): False, ("/9/c", "map"): True}
    rows = {row["record_id"]: row for row in newest_verdicts(open_lake(settings))}
    assert (rows["/9/a"]["up"], rows["/9/a"]["down"]) == (1, 3)  # not 2 and 3: votes only become more
    assert (rows["/9/a"]["model_name"], rows["/9/a"]["model_version"]) == ("default", "1")


def test_what_two_campaigns_disagree_on_is_unclear(settings: Settings, tmp_path: Path) -> None:
    for number, (up, down) in enumerate([(3, 0), (0, 3)]):
        path = campaign(tmp_path / f"{number}.json", [annotation("/9/a", "coin", up, down)])
        import_feedback(Wish(path, "crowdheritage", campaign=f"campaign {number}"), settings=settings, now=NOW)
    assert verdicts_of(settings) == {("/9/a", "coin"): None}


def test_an_import_that_was_cut_off_shows_nothing_and_is_done_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = campaign(tmp_path / "1.json", [annotation("/9/a", "coin", 1, 0)])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW)
    assert newest_verdicts(open_lake(settings)) == []
    assert import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW.replace(day=9)).is_new
    (row,) = newest_verdicts(open_lake(settings))
    assert row["created_at"] == NOW  # as it was planned


def test_names_of_people_reach_neither_the_lake_nor_the_terminal(settings: Settings, tmp_path: Path) -> None:
    voters = {"approvedBy": [{"withCreator": "voter-7"}], "rejectedBy": []}
    person = {"type": "Person", "id": "https://x.example/person-8", "name": "Person Eight"}
    path = campaign(tmp_path / "raw.json", [annotation("/9/a", "coin", 0, 0, creator=person, score=voters)])
    said = enrich(settings, "feedback", "import", "--from", "crowdheritage", str(path))
    everything = b"".join(files_of(settings).values()) + said.encode()
    assert b"1 accepted" in everything
    for name in (b"voter-7", b"person-8", b"Person Eight"):
        assert name not in everything


def test_the_dry_run_writes_the_counts_and_nothing_else(settings: Settings, tmp_path: Path) -> None:
    rows = [annotation("/9/a", "coin", 3, 1), annotation("/9/a", "map", 1, 0, creator={}), annotation("/9/b", "map", 0, 0), 7]
    path, counts = campaign(tmp_path / "1.json", rows), tmp_path / "counts.json"
    said = enrich(settings, "feedback", "import", "--from", "crowdheritage", str(path), "--dry-run", "--json", str(counts))
    assert json.loads(counts.read_text()) == {
        "annotations": 4,
        "machine": 2,
        "human": 1,
        "unvoted": 1,
        "tied": 0,
        "accepted": {
            "majority": {"machine": 1, "human": 1},
            "net:2": {"machine": 1, "human": 0},
            "platform": {"machine": 0, "human": 1},
        },
        "errors": 1,
    }
    assert f"error: {path} annotation 4: it is not an object" in said
    assert not settings.var_dir.exists()


def test_accepted_and_rejected_tags_are_labels_for_training(settings: Settings, tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"9_r{number}.jpg").write_bytes(jpeg(number))
    rows = [annotation(f"/9/r{number}", "coin", *((2, 0) if number % 2 else (0, 2))) for number in range(8)]
    rows += [annotation("/9/r1", "map", 1, 1), annotation("/9/r99", "map", 1, 0)]
    import_feedback(Wish(campaign(tmp_path / "c.json", rows), "crowdheritage"), settings=settings, now=NOW)
    folder = tmp_path / "built"
    wish = {"settings": settings, "now": NOW, "pictures": [str(tmp_path / "pictures")]}
    build_dataset([], folder, sources=["feedback:crowdheritage"], **wish)
    rows = {row.record_id: row for row in read_collection(folder).rows}
    assert {record: row.concepts for record, row in rows.items()} == {
        f"/9/r{number}": ("coin",) if number % 2 else () for number in range(8)
    }
    assert all("coin" not in row.not_annotated for row in rows.values())
    assert "map" in rows["/9/r1"].not_annotated
    with pytest.raises(CriticalError, match="feedback:zooniverse: nothing was imported"):
        build_dataset([], tmp_path / "none", sources=["feedback:zooniverse"], **wish)


# --- Thresholds ---


def test_votes_raise_a_threshold_that_is_too_low_and_lower_one_that_is_too_high(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    # Coins are right from 0.8 on and maps from 0.2 on; 0.5 is the threshold of both.
    path = voted(tmp_path / "c.json", lambda concept, score: score >= (0.8 if concept == "coin" else 0.2))
    import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW)
    proposal = propose(settings=settings)
    after = {one["concept"]: one["after"] for one in proposal["concepts"]}
    assert all(one["before"] == Thresholds(0.5, 0.3).__dict__ for one in proposal["concepts"])
    # So low that the lower bound of the precision above is still 0.9: a few wrong ones are among them.
    assert 0.76 < after["coin"]["publish"] < 0.8 and 0.1 < after["map"]["publish"] < 0.2
    counts = {one["concept"]: (one["published_before"], one["published_after"]) for one in proposal["concepts"]}
    assert counts["coin"][0] == counts["map"][0] == 150
    assert 60 < counts["coin"][1] < 75 and 240 < counts["map"][1] < 270
    figures = {(one["by"], one["name"]): one for one in proposal["precision"]}
    assert figures["concept", "coin"]["share"] == 0.2 and figures["concept", "map"]["share"] == 0.8
    assert figures["model", "default@1"]["decided"] == 600 and figures["model", "default@1"]["published_decided"] == 300
    low, high = figures["provider", "A museum"]["interval"]
    assert low < figures["provider", "A museum"]["share"] < high


def test_an_uneven_sample_stands_for_all_labels_and_silence_is_no_evidence(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    # People saw all of the surest tenth, and of 0.5 to 0.9 five labels in each tenth, of which two are wrong.
    sure = [number for number in range(RECORDS) if score_of(number) >= 0.9]
    rare = [number for number in range(100) if 0.5 <= score_of(number) < 0.9 and number % 10 < 5]
    path = voted(tmp_path / "c.json", lambda _, score: score >= 0.9 or int(score * 100) % 10 < 3, sure + rare)
    import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW)
    (coin, _) = propose(settings=settings)["concepts"]
    assert (coin["decided"], coin["right"]) == (50, 42)
    # As they come, 33 of the 35 from 0.8 on are right; but five of them stand for thirty.
    scores = np.array([score_of(number) for number in sure + rare])
    truth = (scores >= 0.9) | (np.array(sure + rare) % 10 < 3)
    wanted = {"target_precision": 0.9, "review_precision": 0.6, "confidence": 0.8}
    assert choose_thresholds(scores, truth.astype(np.int8), **wanted).publish == pytest.approx(0.805)
    assert coin["after"]["publish"] == pytest.approx(0.905)
    assert coin["after"]["review"] == 0.3  # nobody was asked below 0.5


def test_too_few_votes_and_votes_on_doubtful_labels_alone_leave_thresholds_as_they_are(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    few = voted(tmp_path / "1.json", lambda *_: True, range(95, 100))
    import_feedback(Wish(few, "crowdheritage"), settings=settings, now=NOW)
    assert {one["why"] for one in propose(settings=settings)["concepts"]} == {
        "fewer than 10 labels with scores of 0.9 and more are decided on"
    }
    doubtful = voted(tmp_path / "2.json", lambda *_: True, range(30, 60))
    import_feedback(Wish(doubtful, "crowdheritage", campaign="b"), settings=settings, now=NOW)
    for one in propose(settings=settings)["concepts"]:  # all are right, but nothing is known of 0.6 to 0.9
        assert (one["decided"], one["right"], one["after"]) == (35, 35, one["before"])


def test_where_the_precision_is_reached_but_not_surely_the_threshold_stays_and_where_it_is_not_the_concept_abstains(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    every_tenth = [number for number in range(100) if number % 10 == 5]
    path = voted(tmp_path / "c.json", lambda concept, score: concept == "coin" and score >= 0.5, every_tenth)
    import_feedback(Wish(path, "crowdheritage"), settings=settings, now=NOW)
    coin, seen_map = propose(settings=settings)["concepts"]
    file = tmp_path / "proposal.json"
    file.write_text(json.dumps(propose(settings=settings)))
    name, version = apply(file, settings=settings, now=NOW)
    engine = connect(settings)
    with pytest.raises(CriticalError, match=r"no longer sure enough to be published, unlike in version 1: map"):
        models.release(engine, name, version)
    models.release(engine, name, version, override={"by": "me", "why": "people say so"})
    card = open_lake(settings).store.get_bytes(f"models/{name}/{version}/card.md").decode()
    assert "| map | 0.500 | abstains |" in card and "of version 1" in card
    assert coin["after"] == coin["before"] and "too few are decided on to be sure" in coin["why"]
    assert seen_map["after"] == {"publish": None, "review": None} and "abstains" in seen_map["why"]
    assert seen_map["published_after"] == 0


def test_a_proposal_is_applied_only_when_it_is_told_and_in_force_only_when_it_is_released(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    import_feedback(Wish(voted(tmp_path / "c.json", lambda _, s: s >= 0.8), "crowdheritage"), settings=settings, now=NOW)
    file = tmp_path / "proposal.json"
    said = enrich(settings, "feedback", "thresholds", "--out", str(file))
    assert "0.500 →" in said and "150 →" in said
    engine, store = connect(settings), open_lake(settings).store
    assert [row["version"] for row in models.versions(engine, "default")] == [1]  # nothing has changed by itself
    name, version = apply(file, settings=settings, now=NOW)
    assert (name, version, bundle_in_force(engine, store, "default").version) == ("default", 2, 1)
    models.release(engine, "default", 2)
    new = bundle_in_force(engine, store, "default")
    old = load_bundle(store, "models/default/1/bundle.json")
    limits = [head.thresholds.publish for head in new.heads]
    assert all(limit and 0.7 < limit < 0.8 for limit in limits)
    assert replace(new, version=1, heads=old.heads, metrics=old.metrics) == old
    assert store.get_bytes("models/default/2/model.keras") == b"a network"
    assert json.loads(store.get_bytes("models/default/2/thresholds_proposal.json")) == json.loads(file.read_text())
    assert "published_precision" not in new.metrics and new.metrics["thresholds_from"]["version"] == 1
    with pytest.raises(CriticalError, match="it is for default version 1, but version 2 is in force"):
        apply(file, settings=settings, now=NOW)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": "default"}', '{"model": "d", "version": 1, "concepts": [{}]}'])
def test_what_is_no_proposal_is_not_applied(settings: Settings, tmp_path: Path, content: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(content)
    with pytest.raises(CriticalError, match=r"odd\.json.*enrich feedback thresholds"):
        apply(file, settings=settings, now=NOW)


def test_without_a_verdict_on_the_model_in_force_there_is_no_proposal(settings: Settings, night: str) -> None:
    with pytest.raises(CriticalError, match="people have decided on no label of default@1"):
        propose(settings=settings)


# --- What to ask next ---


def asked(file: Path) -> list[tuple[str, str]]:
    return [(one["target"]["source"], one["body"]) for one in json.loads(file.read_text())["@graph"]]


def take(settings: Settings, run: str, file: Path, target: str = "with-campaign", budget: int = 40, seed: int = 1) -> Any:
    return sample(run, target, file, budget=budget, seed=seed, quota=100, settings=settings)


def test_the_same_seed_asks_the_same_and_another_one_draws_others(settings: Settings, night: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(3)]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        take(settings, night, file, seed=seed)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert len(set(asked(files[0]))) == 40


def test_doubtful_labels_of_pictures_that_differ_are_chosen_and_a_fifth_at_random(settings: Settings, tmp_path: Path) -> None:
    register_model(settings)
    vectors = np.random.default_rng(5).normal(size=(RECORDS, 64))
    vectors[100:200] = vectors[0:100] + 0.01  # the pictures of every record are there twice
    run = write_labels(settings, vectors)
    chosen = take(settings, run, tmp_path / "c.json", budget=50)
    drawn = round(50 * RANDOM_SHARE)
    doubts = [one.doubt for one in chosen[drawn:]]
    assert np.mean(doubts) > 0.9 > np.mean([one.doubt for one in chosen[:drawn]])
    assert {one.score >= 0.3 for one in chosen[:drawn]} == {True}  # of those for publication or review
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for concept in CONCEPTS:
        numbers = [int(one.record_id[4:]) for one in chosen if one.label == concept]
        likeness = unit[numbers] @ unit[numbers].T - np.eye(len(numbers))
        assert likeness.max() < NEAR


def test_concepts_that_little_is_known_of_are_asked_about_and_nothing_twice(
    settings: Settings, night: str, tmp_path: Path
) -> None:
    known = [annotation(f"/9/r{number}", "coin", 2, 0) for number in range(200)]
    import_feedback(Wish(campaign(tmp_path / "v.json", known), "crowdheritage"), settings=settings, now=NOW)
    chosen = take(settings, night, tmp_path / "c.json", budget=40)
    counts = Counter(one.label for one in chosen)
    assert counts["map"] > 4 * counts["coin"]
    assert all(int(one.record_id[4:]) >= 200 for one in chosen if one.label == "coin")


def test_what_the_policy_or_the_rights_hold_in_the_house_is_asked_of_nobody(settings: Settings, tmp_path: Path) -> None:
    register_model(settings)
    whys = {
        number: {"why": why} for number, why in enumerate(("excluded", "rights_restricted", "not_allowed", "blocked_term") * 75)
    }
    run = write_labels(settings, np.eye(RECORDS), whys)
    with pytest.raises(CriticalError, match="run night has no label to ask about"):
        take(settings, run, tmp_path / "c.json")
    run = write_labels(settings, np.eye(RECORDS), {number: {"why": "no_public_uri"} for number in range(RECORDS)})
    with pytest.raises(CriticalError, match="no label to ask about"):
        take(settings, run, tmp_path / "c.json")
    assert len(take(settings, run, tmp_path / "t.json", "label-studio")) == 40


def test_a_budget_that_the_target_does_not_take_is_told(settings: Settings, night: str, tmp_path: Path) -> None:
    for target, budget, words in (
        ("zooniverse", 101, "Zooniverse takes 100 subjects"),
        ("with-campaign", 10_001, "one import of WITH takes 10,000"),
        ("elsewhere", 1, "there are with-campaign, zooniverse, label-studio"),
    ):
        with pytest.raises(CriticalError, match=words):
            take(settings, night, tmp_path / "c", target, budget)


def answers_of_zooniverse(manifest: Path, path: Path, say: Callable[[Mapping[str, str]], str]) -> Path:
    """A classification export in which three volunteers have answered about each subject of a manifest."""
    columns = ("user_name", "workflow_id", "workflow_version", "metadata", "annotations", "subject_data", "subject_ids")
    with manifest.open(newline="") as source, path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        for number, subject in enumerate(csv.DictReader(source)):
            for user in "xyz":
                said = json.dumps([{"task": "T0", "task_label": subject["question"], "value": say(subject)}])
                writer.writerow([user, "7", "1.1", "{}", said, json.dumps({number: subject}), number])
    return path


def answers_of_label_studio(tasks: Path, path: Path, say: Callable[[Mapping[str, str]], str]) -> Path:
    done = [
        task | {"annotations": [{"result": [{"from_name": "seen", "value": {"choices": [say(task["data"])]}}]}]}
        for task in json.loads(tasks.read_text())
    ]
    path.write_text(json.dumps(done))
    return path


@pytest.mark.parametrize(
    ("target", "answer", "key"),
    [("zooniverse", answers_of_zooniverse, "#concept"), ("label-studio", answers_of_label_studio, "concept")],
)
def test_what_was_asked_comes_back_as_verdicts_on_the_models_labels(
    settings: Settings, night: str, tmp_path: Path, target: str, answer: Callable[..., Path], key: str
) -> None:
    file = tmp_path / "asked"
    chosen = take(settings, night, file, target)
    export = answer(file, tmp_path / "export", lambda subject: "Yes" if subject[key] == "coin" else "No")
    imported = import_feedback(Wish(export, target), settings=settings, now=NOW)
    assert imported.report["figures"]["machine"] == 40
    assert verdicts_of(settings) == {(one.record_id, one.label): one.label == "coin" for one in chosen}
    rows = newest_verdicts(open_lake(settings))
    assert {(row["model_name"], row["model_version"], row["proposed_by"]) for row in rows} == {("default", "1", "machine")}
    proposal = propose(settings=settings)
    assert {one["name"]: one["share"] for one in proposal["precision"] if one["by"] == "concept"} == {"coin": 1.0, "map": 0.0}
