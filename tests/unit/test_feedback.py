"""Votes of people: exports in their odd forms, accept rules, what several answers say together."""

import csv
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crowd.ballots import decide
from pipeline.crowd.crowdheritage import Tag, read_export
from pipeline.crowd.dates import read_moment
from pipeline.crowd.labels import Labels
from pipeline.errors import CriticalError
from pipeline.feedback.dawid_skene import dawid_skene
from pipeline.feedback.rules import SIDE_BY_SIDE, Votes, parse_rule, side_by_side, verdict
from pipeline.feedback.sources import Said, Tally, read_said
from pipeline.feedback.steps import Wish, look_at
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
SHARED = PROJECT_ROOT.parent / "shared" / "samples" / "crowdheritage"
SETTINGS = Settings(_env_file=None)
MACHINE = {"id": "urn:m", "type": "Software", "name": "museum@3"}


def tag(value: str = "map", up: int | None = None, down: int = 0, **changes: Any) -> dict[str, Any]:
    review = {} if up is None else {"review": {"type": "Validation", "upvotes": up, "downvotes": down}}
    body = {"type": "TextualBody", "value": value, "language": "en"}
    return {"creator": {}, "body": body, "target": {"source": "/9/a"}} | review | changes


def export(folder: Path, *annotations: object) -> Path:
    path = folder / "campaign.json"
    path.write_text(json.dumps({"@context": {}, "@graph": annotations}))
    return path


def tags(folder: Path, *annotations: object) -> Sequence[Tag]:
    read = read_export(export(folder, *annotations))
    assert read.problems == []
    return read.tags


def said(kind: str, path: Path, *, fewest: int = 1) -> Said:
    return read_said(kind, path, Labels(VOCABULARY), fewest=fewest, settings=SETTINGS)


# --- Moments ---


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Wed Apr 01 17:17:52 UTC 2026", datetime(2026, 4, 1, 17, 17, 52, tzinfo=UTC)),
        ("Sun Mar 29 04:00:00 EEST 2026", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("Thu Jan 1 00:30:00 GMT+02:00 2026", datetime(2025, 12, 31, 22, 30, tzinfo=UTC)),
        ("2026-04-01T10:00:00.500Z", datetime(2026, 4, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-04-01T10:00:00", datetime(2026, 4, 1, 10, tzinfo=UTC)),
        ("2026/04/01", datetime(2026, 4, 1, tzinfo=UTC)),
        (1_767_225_600_000, datetime(2026, 1, 1, tzinfo=UTC)),
        ("Wed Foo 01 17:17:52 UTC 2026", None),
        ("Wed Apr 01 17:17:52 XYZ 2026", None),
        ("Wed Apr 31 17:17:52 UTC 2026", None),
        (10**30, None),
        (True, None),
        (None, None),
    ],
)
def test_every_form_of_date_that_with_writes_is_read_and_nothing_else(value: object, moment: datetime | None) -> None:
    assert read_moment(value) == moment


# --- Exports of CrowdHeritage ---


def test_software_is_a_machine_and_everybody_else_is_a_person_without_a_name(tmp_path: Path) -> None:
    person = {"id": "u7", "type": "Person", "name": "Somebody"}
    raw = {"annotators": [{"externalCreatorType": "Software", "externalCreatorName": "tagger 1.2", "withCreator": "u1"}]}
    found = tags(
        tmp_path,
        tag(creator=MACHINE, confidence="0.83"),
        tag(creator=person, confidence=0),
        tag(),
        tag() | {"creator": None} | raw,
    )
    assert [(one.maker, one.score) for one in found] == [("museum@3", 0.83), (None, None), (None, None), ("tagger 1.2", None)]
    assert "Somebody" not in repr(found) and "u1" not in repr(found)


def test_the_second_model_has_its_votes_in_a_score_and_its_records_as_addresses(tmp_path: Path) -> None:
    europeana = {
        "creator": {"type": "Person", "name": "uploader"},
        "body": "http://www.wikidata.org/entity/Q860861",
        "score": {"upvotes": 2, "downvotes": 2, "confidence": 0.5},
        "target": "http://data.europeana.eu/item/9/a",
    }
    colour = {name: value for name, value in europeana.items() if name != "body"}
    path = tmp_path / "europeana.json"
    path.write_text(json.dumps([europeana, colour]))
    figures = look_at(Wish(path, "crowdheritage"), settings=SETTINGS)[1]
    assert (figures["human"], figures["tied"], figures["unvoted"], figures["errors"]) == (2, 2, 0, 0)
    read = said("crowdheritage", path)
    assert [(one.record_id, one.slug, one.up, one.down, one.majority) for one in read.tallies] == [
        ("/9/a", "sculpture", 2, 2, None)
    ]
    assert read.notes == ["europeana.json: 1 tags are passed over: without a concept or a word"]


def test_people_who_voted_twice_count_once_in_raw_annotations_and_not_at_all_after_both_votes(tmp_path: Path) -> None:
    voters = [{"withCreator": name} for name in ("a", "a", "b", "c")]
    score = {"approvedBy": voters, "rejectedBy": [{"withCreator": "c"}, {"withCreator": "d"}]}
    (one,) = tags(tmp_path, tag(score=score))
    assert (one.up, one.down) == (2, 1)


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (7, "it is not an object"),
        (None, "it is not an object"),
        (tag(target=7), "it has no target"),
        (tag(target={}), "it has no target"),
        (tag(review=["Somebody"]), "its votes are of the kind list, not an object"),
        (tag(review={"upvotes": -1}), "its upvotes are -1, not a count"),
        (tag(review={"upvotes": 1, "downvotes": "many"}), "its downvotes are of the kind str, not a count"),
        (tag(review={"upvotes": True}), "its upvotes are True, not a count"),
        (tag(review={"upvotes": 1.5}), "its upvotes are 1.5, not a count"),
        (tag(review={"upvotes": 10**40}), "its upvotes are 1000.*, not a count"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_one_message_with_file_and_number(
    tmp_path: Path, annotation: object, why: str
) -> None:
    path = export(tmp_path, tag(up=1), annotation, tag(creator=MACHINE, up=2))
    read, figures = look_at(Wish(path, "crowdheritage"), settings=SETTINGS)
    (problem,) = read.problems
    assert problem.startswith(f"{path} annotation 2: ")
    assert re.search(why, problem) and "Somebody" not in problem
    assert (figures["annotations"], figures["machine"], figures["human"], figures["errors"]) == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "line 1: not JSON"),
        (b'{"@graph": {}}', "neither an array nor an object with @graph"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b'"text"', "neither an array"),
    ],
)
def test_a_file_that_is_no_export_is_one_message(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(CriticalError, match=why):
        look_at(Wish(path, "crowdheritage"), settings=SETTINGS)
    with pytest.raises(CriticalError, match="nowhere.json: not found"):
        look_at(Wish(tmp_path / "nowhere.json", "crowdheritage"), settings=SETTINGS)


def test_what_was_exported_twice_is_joined_by_record_concept_and_maker(tmp_path: Path) -> None:
    path = export(
        tmp_path,
        tag("Painting", 2, 1, creator=MACHINE),
        tag("Gemälde", 0, 3, creator=MACHINE),
        tag("painting", 1, 0),
        tag("halo", 1, 0),
        tag("Halo", 1, 0),
        tag("painting", 1, 0, creator=MACHINE, target={"source": "/9/b"}),
    )
    read = said("crowdheritage", path)
    assert [(one.record_id, one.slug or one.word, one.maker, one.up, one.down) for one in read.tallies] == [
        ("/9/a", "painting", "museum@3", 2, 4),
        ("/9/a", "painting", None, 1, 0),
        ("/9/a", "halo", None, 2, 0),
        ("/9/b", "painting", "museum@3", 1, 0),
    ]
    assert len(read.votes) == 6 and read.unknown == {"halo": 1, "Halo": 1}


def test_half_a_pair_of_characters_can_be_written_down(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_text('[{"body": {"value": "m\\ud800p"}, "target": "/9/a"}]')
    (one,) = said("crowdheritage", path).tallies
    assert one.word.encode() == b"m?p"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["body", "target", "source", "review", "score", "upvotes", "downvotes", "creator", "type", "created", "confidence",
         "approvedBy", "annotators", "label", "selector", "value", "recordId"]), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(JSON, max_size=4))
def test_whatever_the_file_holds_each_annotation_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(values))
    read = read_export(path)
    assert len(read.tags) + len(read.problems) == len(values)
    assert all(one.up >= 0 and one.down >= 0 and (one.score is None or 0 <= one.score <= 1) for one in read.tags)
    tallies = said("crowdheritage", path).tallies
    assert sum(one.up for one in tallies) <= sum(one.up for one in read.tags)


# --- Rules ---


@pytest.mark.parametrize(
    ("rule", "accepted", "rejected"),
    [
        ("majority", {(1, 0), (2, 1), (3, 0), (5, 2)}, {(0, 1), (1, 3)}),
        ("net:2", {(3, 0), (5, 2)}, {(1, 3)}),
        ("net:3", {(3, 0), (5, 2)}, set()),
        ("platform", {(1, 0), (3, 0)}, {(0, 1), (1, 3)}),
    ],
)
def test_each_rule_accepts_and_rejects_by_the_counts(
    rule: str, accepted: set[tuple[int, int]], rejected: set[tuple[int, int]]
) -> None:
    counts = {(0, 0), (1, 0), (0, 1), (2, 1), (3, 0), (5, 2), (1, 3), (2, 2)}
    known = parse_rule(rule)
    assert {one for one in counts if known.accepts(*one)} == accepted
    assert {one for one in counts if known.rejects(*one)} == rejected


@pytest.mark.parametrize("text", ["", "net", "net:0", "net:-1", "net:2.5", "Majority", "net:99999999999"])
def test_a_rule_that_there_is_not_is_told_which_there_are(text: str) -> None:
    with pytest.raises(CriticalError, match="the rules are majority, net:N"):
        parse_rule(text)


VOTES = st.lists(st.builds(Votes, st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=40)


@given(VOTES, st.integers(0, 3))
def test_the_counts_add_up_and_the_stricter_rules_accept_less(votes: list[Votes], errors: int) -> None:
    figures = side_by_side(votes, SIDE_BY_SIDE, errors=errors)
    assert figures["annotations"] == figures["machine"] + figures["human"] + errors
    for kind in ("machine", "human"):
        majority, net, platform = (figures["accepted"][rule][kind] for rule in SIDE_BY_SIDE)
        assert majority >= net and majority >= platform
    total = sum(figures["accepted"]["majority"][kind] for kind in ("machine", "human"))
    against = sum(one.down > one.up for one in votes)
    assert total + against + figures["tied"] + figures["unvoted"] == len(votes)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5))
def test_the_majority_rule_is_that_of_the_training_data(up: int, down: int, fewest: int) -> None:
    majority = decide(up, down, up + down, fewest=fewest)
    one = verdict(parse_rule("majority"), up=up, down=down, fewest=fewest, majority=majority, certainty=None)
    by_counts = verdict(parse_rule("net:1"), up=up, down=down, fewest=fewest, majority=None, certainty=None)
    assert one == by_counts == {True: "accepted", False: "rejected", None: "undecided"}[majority]


def test_the_real_export_gives_the_counts_that_plain_sql_over_the_file_gives() -> None:
    path = SHARED / "1_ukrainian-folkart_annotations.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    figures = look_at(Wish(path, "crowdheritage"), settings=SETTINGS)[1]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE file (content TEXT)")
    connection.execute("INSERT INTO file VALUES (?)", (path.read_text(encoding="utf-8"),))
    rows = connection.execute("""
        WITH tags AS (
            SELECT
                CASE json_extract(value, '$.creator.type') WHEN 'Software' THEN 'machine' ELSE 'human' END AS kind,
                ifnull(json_extract(value, '$.review.upvotes'), 0) AS up,
                ifnull(json_extract(value, '$.review.downvotes'), 0) AS down
            FROM file, json_each(file.content, '$."@graph"')
        )
        SELECT kind, count(*), sum(up = 0 AND down = 0), sum(up = down AND up > 0),
               sum(up > down), sum(up - down >= 2), sum(up - down >= 1 AND down = 0)
        FROM tags GROUP BY kind
    """)
    counts = {kind: values for kind, *values in rows}
    (machine, *of_machine), (human, *of_human) = counts["machine"], counts["human"]
    unvoted, tied, *_ = (one + other for one, other in zip(of_machine, of_human, strict=True))
    assert figures == {
        "annotations": machine + human,
        "machine": machine,
        "human": human,
        "unvoted": unvoted,
        "tied": tied,
        "accepted": {
            rule: {"machine": one, "human": other}
            for rule, one, other in zip(SIDE_BY_SIDE, of_machine[2:], of_human[2:], strict=True)
        },
        "errors": 0,
    }
    assert figures["annotations"] == 4_018
    assert figures["accepted"] == {
        "majority": {"machine": 2_229, "human": 98},
        "net:2": {"machine": 1_495, "human": 16},
        "platform": {"machine": 2_083, "human": 98},
    }


# --- Zooniverse and Label Studio ---

COLUMNS = ("user_name", "workflow_id", "workflow_version", "metadata", "annotations", "subject_data", "subject_ids")


def classification(user: str, subject: str, value: object, **metadata: str) -> dict[str, str]:
    known = {"europeana_id": f"/91/{subject}"} | metadata
    values = ["7", "16.10", "{}", json.dumps([{"task": "T0", "value": value}]), json.dumps({subject: known}), subject]
    return dict(zip(COLUMNS, [user, *values], strict=True))


def zooniverse(folder: Path, *rows: Mapping[str, str]) -> Path:
    path = folder / "classifications.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def counted(tallies: Sequence[Tally]) -> dict[tuple[str, str], tuple[int, int, bool | None]]:
    return {(one.record_id, one.slug): (one.up, one.down, one.majority) for one in tallies}


def test_a_yes_or_no_is_about_the_concept_of_the_subject(tmp_path: Path) -> None:
    of_model = {"#concept": "map", "#model": "museum@3", "#score": "0.4"}
    rows = [classification(user, "a", said, **of_model) for user, said in zip("wxyz", ("Yes", "yes", "No", "Yes"), strict=True)]
    rows += [classification(user, "b", "No", concept="coin", model="museum@3") for user in "xyz"]
    read = said("zooniverse", zooniverse(tmp_path, *rows), fewest=3)
    assert counted(read.tallies) == {("/91/a", "map"): (3, 1, True), ("/91/b", "coin"): (0, 3, False)}
    assert [(one.maker, one.score) for one in read.tallies] == [("museum@3", 0.4), ("museum@3", None)]
    assert read.annotators and read.annotators.count == 4


def test_answers_to_a_question_with_choices_speak_against_the_other_choices(tmp_path: Path) -> None:
    rows = [classification(user, "a", "map") for user in "xyz"] + [classification(user, "b", "coin") for user in "xyz"]
    rows += [classification("x", "c;d", "map")]
    read = said("zooniverse", zooniverse(tmp_path, *rows), fewest=3)
    assert counted(read.tallies) == {
        ("/91/a", "coin"): (0, 3, False),
        ("/91/a", "map"): (3, 0, True),
        ("/91/b", "coin"): (3, 0, True),
        ("/91/b", "map"): (0, 3, False),
    }
    assert read.notes == ["classifications.csv: 1 classifications are not counted: about several subjects at once"]


def test_a_record_has_what_one_of_its_pictures_shows(tmp_path: Path) -> None:
    rows = [classification(user, "a", "Yes", concept="map") for user in "xyz"]
    rows += [classification(user, "b", "No", concept="map", europeana_id="/91/a") for user in "xyz"]
    assert counted(said("zooniverse", zooniverse(tmp_path, *rows), fewest=3).tallies) == {("/91/a", "map"): (3, 3, True)}


def test_tasks_of_label_studio_are_tallied_by_record(tmp_path: Path) -> None:
    def task(record: str, *choices: str, **data: str) -> dict[str, Any]:
        results = [[{"from_name": "seen", "value": {"choices": [choice]}}] for choice in choices]
        annotations = [{"completed_by": {"email": f"{number}@x.example"}, "result": one} for number, one in enumerate(results)]
        return {"data": {"image": "http://h.example/1.jpg", "ID": record} | data, "annotations": annotations}

    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([task("/9/a", "Yes", "Yes", "No", concept="map", model="m@1"), task("", "Yes", concept="map")]))
    read = said("label-studio", path)
    assert counted(read.tallies) == {("/9/a", "map"): (2, 1, True)}
    assert "name no record" in read.notes[0] and "x.example" not in repr(read)


# --- Dawid and Skene ---


def crowd(seed: int, skills: Sequence[float], items: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.random(items) < 0.4
    who = np.tile(np.arange(len(skills)), items)
    places = np.repeat(np.arange(items), len(skills))
    right = random.random(len(who)) < np.array(skills)[who]
    return truth, places, who, np.where(right, truth[places], ~truth[places])


@pytest.mark.parametrize("seed", range(3))
def test_who_is_often_right_weighs_more_than_a_majority_that_guesses(seed: int) -> None:
    truth, places, who, yes = crowd(seed, [0.95, 0.95, 0.5, 0.5, 0.5])
    skills = dawid_skene(places, who, yes)
    majority = np.bincount(places, yes) * 2 > 5
    assert ((skills.posterior > 0.5) == truth).mean() > (majority == truth).mean() + 0.05
    assert skills.sensitivity[:2].min() > skills.sensitivity[2:].max()
    assert np.abs(skills.specificity[:2] - 0.95).max() < 0.06


def test_one_answer_and_answers_that_all_agree_give_a_probability() -> None:
    for answers in (1, 7):
        skills = dawid_skene(np.zeros(answers, np.int64), np.arange(answers), np.ones(answers, bool))
        assert 0.5 < skills.posterior[0] <= 1
