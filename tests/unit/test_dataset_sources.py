"""Other people's labelled data become rows: what they say is true or false, and what nobody was asked stays unknown."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crowd.ballots import Ballots, Question, decide, verdicts
from pipeline.crowd.labels import Labels, read_meanings
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.training.sources import Beside, Source, open_source
from pipeline.training.sources.pictures import Pictures
from pipeline.training.sources.rows import made_up_record
from pipeline.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary(PROJECT_ROOT / "vocab" / "concepts.yaml", base_url="urn:test")
ALL = set(VOCABULARY.by_slug)
SHARED = PROJECT_ROOT.parent / "shared"
ZOONIVERSE = (
    "classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name", "workflow_version", "created_at",
    "gold_standard", "expert", "metadata", "annotations", "subject_data", "subject_ids",
)  # fmt: skip


def beside(*places: Path | str, **changes: Any) -> Beside:
    settings = Settings(_env_file=None)
    return Beside(VOCABULARY, Pictures([str(place) for place in places], settings), settings, **changes)


def said(source: Source) -> dict[str, tuple[set[str], set[str]]]:
    """(true, false) by record."""
    return {
        item.row.record_id: (set(item.row.concepts), ALL - set(item.row.concepts) - set(item.row.not_annotated))
        for item in source.items
    }


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return folder


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def store(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


# --- Labels ---


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("painting", "painting"),
        (" Archaeological Site ", "archaeological_site"),
        ("Gemälde", "painting"),
        ("http://data.europeana.eu/concept/base/48", "photograph"),
        ("https://www.wikidata.org/wiki/Q860861", "sculpture"),
        ("textile", "textile"),  # a slug, although a material has the same label
        ("spaceship", None),
    ],
)
def test_a_label_is_a_slug_a_uri_or_a_word_for_it(label: str, slug: str | None) -> None:
    labels = Labels(VOCABULARY)
    assert labels.concept(label) == slug
    assert labels.unknown == ({} if slug else {"spaceship": 1})


def test_meanings_say_what_a_label_stands_for_in_a_question(tmp_path: Path) -> None:
    path = write(
        tmp_path / "meanings.csv",
        ["label", "concept"],
        [{"label": "T0:Yes", "concept": "map"}, {"label": "No"}, {"label": "pic", "concept": "Painting"}],
    )
    labels = Labels(VOCABULARY, read_meanings(path, VOCABULARY))
    assert labels.concepts(["Yes"], question="T0") == ({"map"}, True)
    assert labels.concepts(["No"], question="T0") == (set(), True)
    assert labels.concepts(["pic"]) == ({"painting"}, True)
    assert labels.concepts(["Yes"], question="T1") == (set(), False)


def test_a_meaning_outside_the_vocabulary_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "meanings.csv", ["label", "concept"], [{"label": "x", "concept": "spaceship"}])
    with pytest.raises(CriticalError, match=r"meanings\.csv line 2: the concept 'spaceship'"):
        read_meanings(path, VOCABULARY)


def test_what_a_true_concept_is_a_kind_of_is_never_false() -> None:
    concepts, unknown = Labels(VOCABULARY).row({"tapestry"}, {"textile", "map"})
    assert concepts == ("tapestry",) and "textile" in unknown
    assert "map" not in unknown and "painting" in unknown


@pytest.mark.parametrize(
    ("text", "record_id"),
    [
        ("/1413/KYD1748", "/1413/KYD1748"),
        ("http://data.europeana.eu/item/91/a_b", "/91/a_b"),
        ("https://www.europeana.eu/en/item/91/a_b?q=x", "/91/a_b"),
        ("https://www.europeana.eu/portal/en/record/91/a.html", "/91/a"),
        ("https://elsewhere.example/item/91/a", ""),
        ("a.jpg", ""),
    ],
)
def test_a_record_is_known_by_its_id_and_by_its_addresses(text: str, record_id: str) -> None:
    assert record_of(text) == record_id


def test_made_up_records_differ_where_names_differ() -> None:
    names = ["a b.jpg", "a_b.jpg", "a/b.jpg", "ä.jpg", "ö.jpg", "_.jpg"]
    assert len({made_up_record("my set", name) for name in names}) == len(names)
    assert all(record_of(made_up_record("my set", name)) for name in names)


# --- Ballots ---

CONCEPTS = ("map", "coin", "print")
ANSWERS = st.lists(st.tuples(st.sets(st.sampled_from(CONCEPTS)), st.booleans()), max_size=9)


def counted(answers: Sequence[tuple[set[str], bool]], *, fewest: int = 1, single: bool = False) -> tuple[set[str], set[str]]:
    ballots = Ballots()
    for concepts, readable in answers:
        ballots.add(concepts if readable else (), readable=readable)
    return verdicts([(Question(set(CONCEPTS), single), ballots)], fewest=fewest)


@given(ANSWERS, st.randoms(use_true_random=False), st.integers(1, 5), st.booleans())
def test_the_order_of_votes_does_not_matter_and_nothing_is_true_and_false(answers, random, fewest, single):
    mixed = list(answers)
    random.shuffle(mixed)
    true, false = counted(answers, fewest=fewest, single=single)
    assert (true, false) == counted(mixed, fewest=fewest, single=single)
    assert not true & false


@given(ANSWERS, st.integers(1, 5))
def test_true_and_false_have_more_than_half_of_all_who_were_asked(answers, fewest):
    true, false = counted(answers, fewest=fewest)
    yes = Counter(slug for concepts, readable in answers if readable for slug in concepts)
    readable = sum(one for _, one in answers)
    enough = len(answers) >= fewest
    for slug in CONCEPTS:
        assert (slug in true) == (enough and 2 * yes[slug] > len(answers))
        assert (slug in false) == (enough and 2 * (readable - yes[slug]) > len(answers))


@given(ANSWERS, st.sampled_from(CONCEPTS))
def test_one_more_vote_for_a_concept_never_speaks_against_it(answers, slug):
    true, false = counted(answers)
    more_true, more_false = counted([*answers, ({slug}, True)])
    assert slug in more_true or slug not in true
    assert slug in false or slug not in more_false


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 5))
def test_yes_and_no_are_treated_alike(yes, no, fewest):
    opposite = {True: False, False: True, None: None}
    assert decide(yes, no, yes + no, fewest=fewest) is opposite[decide(no, yes, yes + no, fewest=fewest)]
    assert decide(yes, yes, 2 * yes, fewest=fewest) is None


def test_without_a_majority_for_one_answer_those_given_are_unknown_and_the_others_false() -> None:
    split = [({"map"}, True), ({"map"}, True), ({"coin"}, True), ({"coin"}, True), (set(), True)]
    assert counted(split, single=True) == (set(), {"print"})
    assert counted(split, single=False) == (set(), {"print", "map", "coin"})
    assert counted([({"map"}, True), ({"coin"}, True), ({"coin"}, True)], single=True) == ({"coin"}, {"map", "print"})


# --- Pictures ---


def test_pictures_are_found_by_image_id_record_and_file_name(tmp_path: Path) -> None:
    sha = "ab" * 32
    folder = touch(tmp_path, f"deep/{sha}.png", "1_a.jpg", "2/b.jpg", "[ph]3[ph]c.jpg", "photo 1.jpg", "up.jpg")
    pictures = Pictures([str(folder)], Settings(_env_file=None))
    found = [
        pictures.find(image_id=sha),
        pictures.find(record_id="/1/a"),
        pictures.find(record_id="/2/b"),
        pictures.find(record_id="/3/c"),
        pictures.find(addresses=["http://host.example/x/photo%201.jpg?size=2"]),
        pictures.find(addresses=["/data/upload/4/0123abcd-up.jpg"]),
        pictures.find(addresses=["/data/local-files/?d=set/up.jpg"]),
    ]
    names = [one.file.name if one.file else one.reason for one in found]
    assert names[:6] == [f"{sha}.png", "1_a.jpg", "b.jpg", "[ph]3[ph]c.jpg", "photo 1.jpg", "up.jpg"]
    assert names[6] == "ambiguous_picture"  # another address has claimed that file


def test_a_file_name_that_stands_twice_or_that_every_iiif_picture_has_is_not_used(tmp_path: Path) -> None:
    folder = touch(tmp_path, "one/a.jpg", "two/a.jpg", "default.jpg")
    pictures = Pictures([str(folder)], Settings(_env_file=None))
    for address in ("http://host.example/a.jpg", "http://host.example/iiif/9/full/full/0/default.jpg"):
        missing = pictures.find(record_id="/1/zzz", addresses=[address])
        assert (missing.file, missing.reason, missing.detail) == (None, "no_picture", address)


def test_a_picture_folder_with_metadata_says_which_file_is_whose_and_what_is_known_of_it(tmp_path: Path) -> None:
    touch(tmp_path, "odd-name.jpg")
    row = {"record_id": "/1/a", "image_file": "odd-name.jpg", "provider": "A museum", "concepts": "coin"}
    write(tmp_path / "metadata.csv", list(row), [row])
    (picture,) = [Pictures([str(tmp_path)], Settings(_env_file=None)).find(record_id="/1/a")]
    assert picture.file == tmp_path / "odd-name.jpg"
    assert picture.known and picture.known.provider == "A museum"


def test_a_picture_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(CriticalError, match="--pictures /nowhere: no such folder"):
        Pictures(["/nowhere"], Settings(_env_file=None))


# --- Folders ---


def test_in_folders_the_other_labels_are_false_and_what_has_no_folder_is_unknown(tmp_path: Path) -> None:
    touch(tmp_path / "set", "painting/a.jpg", "Archaeological Site/deep/b.jpg", "spaceship/c.jpg", "spaceship/d.jpg", "e.jpg")
    source = open_source(f"folders:{tmp_path / 'set'}", beside())
    rows = said(source)
    assert rows["/set/painting-a.jpg"] == ({"painting"}, {"archaeological_site"})
    assert sorted(map(sorted, (rows.pop("/set/painting-a.jpg")[0], *(true for true, _ in rows.values())))) == [
        [], [], ["archaeological_site"], ["painting"],
    ]  # fmt: skip
    assert all(not false for true, false in rows.values() if not true)
    assert source.unknown_labels == {"spaceship": 2} and source.total == 4
    assert "1 files lie in" in source.notes[0]


def test_a_file_name_of_the_pilot_gives_the_europeana_id(tmp_path: Path) -> None:
    touch(tmp_path / "set", "map/[ph]91[ph]a.jpg", "coin/x.jpg")
    assert said(open_source(f"folders:{tmp_path / 'set'}", beside()))["/91/a"] == ({"map"}, {"coin"})


# --- Label Studio ---


def choice(*choices: str, control: str = "choice", cancelled: bool = False) -> dict[str, Any]:
    result = [{"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}]
    return {"result": result if choices else [], "was_cancelled": cancelled}


def entry(number: int, *annotations: dict[str, Any], **data: str) -> dict[str, Any]:
    return {"id": number, "data": {"image": f"/data/upload/1/0123abcd-p{number}.jpg"} | data, "annotations": list(annotations)}


def test_a_single_choice_makes_the_other_choices_of_the_file_false(tmp_path: Path) -> None:
    entries = [entry(1, choice("painting")), entry(2, choice("Map"), ID="/91/b"), entry(3, choice("spaceship"))]
    source = open_source(f"label-studio:{store(tmp_path / 'e.json', entries)}", beside(touch(tmp_path / "pics", "p1.jpg")))
    items = {item.row.record_id: item for item in source.items}
    assert items["/e/1"].picture.file == tmp_path / "pics/p1.jpg" and items["/91/b"].picture.reason == "no_picture"
    again = said(open_source(f"label-studio:{tmp_path / 'e.json'}", beside()))
    assert again == {"/e/1": ({"painting"}, {"map"}), "/91/b": ({"map"}, {"painting"}), "/e/3": (set(), set())}
    assert source.unknown_labels == {"spaceship": 1}


def test_several_choices_of_one_annotator_hold_together(tmp_path: Path) -> None:
    entries = [entry(1, choice("painting", "people")), entry(2, choice("map"))]
    rows = said(open_source(f"label-studio:{store(tmp_path / 'e.json', entries)}", beside()))
    assert rows == {"/e/1": ({"painting", "people"}, {"map"}), "/e/2": ({"map"}, {"painting", "people"})}


def test_annotators_are_counted_ties_are_unknown_and_cancelled_ones_are_left_out(tmp_path: Path) -> None:
    entries = [
        entry(1, choice("map"), choice("map"), choice("coin")),
        entry(2, choice("map"), choice("coin"), choice("map", cancelled=True)),
        entry(3, choice("map", cancelled=True), choice()),
        entry(4, choice("print")),
    ]
    rows = said(open_source(f"label-studio:{store(tmp_path / 'e.json', entries)}", beside()))
    assert rows["/e/1"] == ({"map"}, {"coin", "print"})
    assert rows["/e/2"] == (set(), {"print"})  # neither map nor coin is false
    assert rows["/e/3"] == (set(), set())


def test_each_control_has_choices_of_its_own(tmp_path: Path) -> None:
    both = [entry(1, choice("map", control="what")), entry(2, choice("people", control="seen"))]
    rows = said(open_source(f"label-studio:{store(tmp_path / 'e.json', both)}", beside()))
    assert rows == {"/e/1": ({"map"}, set()), "/e/2": ({"people"}, set())}


# --- Zooniverse ---


def vote(user: str, subject: str, value: object, **changes: Any) -> dict[str, Any]:
    known = {"europeana_id": f"/91/{subject}", "#hidden": "x", "retired": None}
    return {
        "user_name": user,
        "workflow_id": "7",
        "workflow_version": "16.10",
        "metadata": json.dumps({"live_project": True}),
        "annotations": json.dumps([{"task": "T0", "task_label": "What is it?", "value": value}]),
        "subject_data": json.dumps({subject: known}),
        "subject_ids": subject,
    } | changes


def zooniverse(folder: Path, votes: Sequence[Mapping[str, Any]], **changes: Any) -> Source:
    return open_source(f"zooniverse:{write(folder / 'c.csv', ZOONIVERSE, votes)}", beside(**changes))


def test_votes_of_a_subject_decide_from_three_on(tmp_path: Path) -> None:
    votes = [vote(user, "a", value) for user, value in zip("xyz", ("Map", "map", "coin"), strict=True)]
    votes += [vote(user, "b", "coin") for user in "xy"]
    votes += [vote(user, "c", value) for user, value in zip("wxyz", ("map", "map", "coin", "coin"), strict=True)]
    source = zooniverse(tmp_path, votes)
    assert said(source) == {"/91/a": ({"map"}, {"coin"}), "/91/b": (set(), set()), "/91/c": (set(), set())}
    assert said(zooniverse(tmp_path, votes, fewest_votes=2))["/91/b"] == ({"coin"}, {"map"})


def test_a_second_vote_a_rehearsal_an_empty_answer_and_pairs_are_not_counted(tmp_path: Path) -> None:
    votes = [vote(user, "a", "map") for user in "xy"]
    votes += [
        vote("x", "a", "map"),
        vote("z", "a", "map", metadata=json.dumps({"live_project": False})),
        vote("z", "a", None),
        vote("z", "a", "map", subject_ids="a;b"),
    ]
    source = zooniverse(tmp_path, votes)
    assert said(source) == {"/91/a": (set(), set())}
    assert sum("1 classifications are not counted" in note for note in source.notes) == 3
    assert said(zooniverse(tmp_path, [*votes, vote("w", "a", "map")]))["/91/a"][0] == {"map"}


def test_an_answer_of_a_later_version_was_not_offered_in_an_earlier_one(tmp_path: Path) -> None:
    votes = [vote(user, "a", "map") for user in "xyz"]
    votes += [vote(user, "b", "coin", workflow_version="17.1") for user in "xyz"]
    votes += [vote(user, "c", "map", workflow_version="17.2") for user in "xyz"]
    rows = said(zooniverse(tmp_path, votes))
    assert rows == {"/91/a": ({"map"}, set()), "/91/b": ({"coin"}, {"map"}), "/91/c": ({"map"}, {"coin"})}


def test_lists_and_surveys_name_several_things(tmp_path: Path) -> None:
    votes = [vote(user, "a", ["map", "people"]) for user in "xyz"]
    votes += [vote(user, "b", [{"choice": "COIN", "answers": {}}]) for user in "xyz"]
    rows = said(zooniverse(tmp_path, votes))
    assert rows == {"/91/a": ({"map", "people"}, {"coin"}), "/91/b": ({"coin"}, {"map", "people"})}


def test_yes_and_no_have_the_meaning_that_they_are_given(tmp_path: Path) -> None:
    votes = [vote(user, "a", "Yes") for user in "xyz"] + [vote(user, "b", "No") for user in "xyz"]
    assert said(zooniverse(tmp_path, votes)) == {"/91/a": (set(), set()), "/91/b": (set(), set())}
    rows = said(zooniverse(tmp_path, votes, meanings={"T0:Yes": "map", "T0:No": ""}))
    assert rows == {"/91/a": ({"map"}, set()), "/91/b": (set(), {"map"})}


# --- The pilot ---


def pilot(folder: Path, lines: Sequence[str], header: str = "category,skos_concept,URI,ID,URL") -> Source:
    path = folder / "p.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
    return open_source(f"pilot:{path}", beside(touch(folder / "pics", "a.jpg", "9_b.jpg")))


def test_where_rows_have_several_categories_the_others_of_the_file_are_false(tmp_path: Path) -> None:
    lines = [
        "building photograph,http://data.europeana.eu/concept/base/29,http://data.europeana.eu/item/9/a,/9/a,http://h.example/a.jpg",
        "map,,http://data.europeana.eu/item/9/b,,http://h.example/zzz.jpg",
        ",,,,",
        ",http://data.europeana.eu/concept/base/48,https://www.europeana.eu/en/item/9/c,/9/c,http://h.example/zzz.jpg",
    ]
    items = {item.row.record_id: item for item in pilot(tmp_path, lines).items}
    names = [items[f"/9/{name}"].picture.file for name in "abc"]
    assert names == [tmp_path / "pics/a.jpg", tmp_path / "pics/9_b.jpg", None]
    assert items["/9/c"].picture.detail == "http://h.example/zzz.jpg" and items["/9/c"].row.line == 5
    rows = said(pilot(tmp_path, lines))
    assert rows["/9/a"] == ({"building", "photograph"}, {"map"})
    assert rows["/9/b"] == ({"map"}, {"building", "photograph"})
    assert rows["/9/c"][0] == {"photograph"}


def test_where_each_row_has_one_category_everything_else_is_unknown(tmp_path: Path) -> None:
    lines = ["building,http://data.europeana.eu/item/9/a,/9/a,u", "photograph,http://data.europeana.eu/item/9/b,/9/b,u"]
    source = pilot(tmp_path, lines, "category,URI,ID,URL")
    assert said(source) == {"/9/a": ({"building"}, set()), "/9/b": ({"photograph"}, set())}
    assert "unknown, not false" in source.notes[0]


# --- Votes ---


def tag(value: str, up: int = 0, down: int = 0, record: str = "/9/a", **changes: Any) -> dict[str, Any]:
    review = {"type": "Validation", "upvotes": up, "downvotes": down, "recommendation": "accept"}
    body = {"type": "TextualBody", "value": value, "language": "en"}
    return {"body": body, "target": {"source": record}} | ({"review": review} if up != down else {}) | changes


def votes(folder: Path, value: object, **changes: Any) -> Source:
    return open_source(f"votes:{store(folder / 'v.json', value)}", beside(**changes))


def test_accepted_is_true_refused_is_false_and_everything_else_is_unknown(tmp_path: Path) -> None:
    graph = [tag("Painting", 2, 1), tag("map", 0, 1), tag("coin", 1, 1), tag("people"), tag("halo", 3, 0), tag("x", 1, 0)]
    source = votes(tmp_path, {"@context": {}, "@graph": graph})
    assert said(source) == {"/9/a": ({"painting"}, {"map"})}
    assert source.unknown_labels == {"halo": 1, "x": 1}


def test_votes_on_the_same_tag_are_added_up_whoever_proposed_it(tmp_path: Path) -> None:
    graph = [tag("painting", 2, 0), tag("Gemälde", 0, 3), tag("map", 0, 2), tag("map", 1, 0)]
    assert said(votes(tmp_path, {"@graph": graph}))["/9/a"] == (set(), {"painting", "map"})
    assert said(votes(tmp_path, {"@graph": graph}, fewest_votes=4))["/9/a"] == (set(), {"painting"})


def test_the_model_of_europeana_and_raw_annotations_are_read_too(tmp_path: Path) -> None:
    europeana = {
        "body": "http://www.wikidata.org/entity/Q860861",
        "target": "http://data.europeana.eu/item/9/a",
        "score": {"upvotes": 1, "downvotes": 0, "confidence": 1.0},
    }
    twice = [{"withCreator": "u1"}, {"withCreator": "u1"}, {"withCreator": "u2"}]
    raw = {
        "body": {"uri": "http://unknown.example/1", "label": {"en": ["map"]}},
        "target": {"recordId": "5f", "externalId": ""},
        "score": {"approvedBy": twice, "rejectedBy": [{"withCreator": "u2"}, {"withCreator": "u3"}, {"withCreator": "u4"}]},
    }
    source = votes(tmp_path, [europeana, raw])
    assert said(source) == {"/9/a": ({"sculpture"}, set()), "/with/5f": (set(), {"map"})}
    assert source.unknown_labels == {}
    # Three people stand by what they said, one of them approved twice; who voted both ways does not count.
    assert said(votes(tmp_path, [raw], fewest_votes=3)) == {"/with/5f": (set(), {"map"})}
    assert said(votes(tmp_path, [raw], fewest_votes=4)) == {"/with/5f": (set(), set())}


def test_a_tag_on_a_passage_of_text_says_nothing_of_the_picture(tmp_path: Path) -> None:
    target = {"source": "/9/a", "selector": {"type": "TextPositionSelector", "start": 1, "end": 4}}
    source = votes(tmp_path, [tag("map", 5, 0, target=target), tag("map", 1, 0, record="http://elsewhere.example/1")])
    assert said(source) == {"/9/a": (set(), set())}
    assert [note.rpartition(": ")[2] for note in source.notes] == [
        "about a text, not a picture",
        "about no record /dataset/local",
    ]


# --- Bad input ---


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("pilot", "category,ID\nmap,/9/a\n", r"line 1: the column URI is missing; a CSV of the pilot has"),
        ("pilot", "category,URI,ID\nmap,nowhere,\n", r"line 2: neither ID nor URI names a record"),
        ("pilot", "category,URI,ID\nmap,x,/9/a,b,c\n", r"line 2: it has more cells than the header"),
        ("zooniverse", "classification_id,annotations\n1,[]\n", r"line 1: the column user_name, .* classification export"),
        ("label-studio", "[{]", r"line 1: not JSON .* as JSON \(not JSON-MIN"),
        ("label-studio", '[{"id": 1, "image": "a.jpg", "choice": "map"}]', r"entry 1: it has no data"),
        ("label-studio", "{}", r"not the array of an export"),
        ("votes", '\n{"@graph": [}', r"line 2: not JSON"),
        ("votes", "{}", r"neither an array nor an object with @graph"),
        ("votes", '[{"body": "x", "target": 7}]', r"annotation 1: it has no target"),
    ],
)
def test_a_file_that_is_something_else_is_told_with_its_line_and_what_to_do(
    tmp_path: Path, kind: str, content: str, message: str
) -> None:
    path = tmp_path / "given"
    path.write_text(content)
    with pytest.raises(CriticalError, match=message) as caught:
        list(open_source(f"{kind}:{path}", beside()).items)
    assert str(path) in str(caught.value)


def test_a_zooniverse_cell_that_is_no_json_is_told_with_its_line(tmp_path: Path) -> None:
    rows = [vote("x", "a", "map"), vote("y", "a", "map", annotations="[oops")]
    with pytest.raises(CriticalError, match="line 3: the column annotations is not JSON"):
        zooniverse(tmp_path, rows)


@pytest.mark.parametrize("text", ["pilot", "pilot:", "excel:a.csv", "a.csv"])
def test_a_source_without_a_known_kind_is_told_which_there_are(text: str) -> None:
    with pytest.raises(CriticalError, match="folders, label-studio, zooniverse, pilot, votes, lake"):
        open_source(text, beside())


@pytest.mark.parametrize("kind", ["folders", "label-studio", "zooniverse", "pilot", "votes"])
def test_a_path_that_is_not_there_is_told(kind: str, tmp_path: Path) -> None:
    with pytest.raises(CriticalError, match="nowhere: no"):
        open_source(f"{kind}:{tmp_path / 'nowhere'}", beside())


def test_a_lake_source_names_its_run_and_its_labels_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("record_id,concepts\n/9/a,map\n/9/a,coin\n")
    with pytest.raises(CriticalError, match="no run is named"):
        open_source(f"lake:{path}", beside())
    with pytest.raises(CriticalError, match="line 3: /9/a stands on line 2 too"):
        open_source(f"lake:{path}@night", beside())


# --- Real files ---


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.parametrize(
    ("name", "rows", "several"),
    [
        ("clean_training_data", 1_286 - 4, True),
        ("labelstudio_exported", 1_669, True),
        ("eval_multilabel", 200, True),
        ("crowdheritage_dataset", 2_000, False),
    ],
)
def test_csvs_of_the_pilot_are_read_whole(name: str, rows: int, several: bool) -> None:
    source = open_source(f"pilot:{shared(f'data/europeana_pilot/{name}.csv')}", beside())
    items = list(source.items)
    assert (len(items), source.total, source.unknown_labels) == (rows, rows, {})
    assert any(len(item.row.concepts) > 1 for item in items) is several
    assert all(item.row.concepts and item.picture.reason == "no_picture" for item in items)


def test_a_crowdheritage_export_is_read_whole() -> None:
    path = shared("samples/crowdheritage/1_ukrainian-folkart_annotations.json")
    source = open_source(f"votes:{path}", beside())
    rows = said(source)
    records = {one["target"]["source"] for one in json.loads(path.read_text())["@graph"]}
    assert set(rows) == records
    assert sum("painting" in true for true, _ in rows.values()) > 20
    assert source.unknown_labels["icon"] > 50 and "painting" not in source.unknown_labels


@pytest.mark.parametrize(
    ("name", "meanings", "check"),
    [
        ("classification_export-pseudonymised", {"T0:Yes": "map", "T0:No": ""}, lambda true: true == {"map"}),
        ("wildcam_gorongosa_sample", {"BBN": "people"}, lambda true: true <= {"people"}),
    ],
)
def test_zooniverse_exports_are_read_whole(name: str, meanings: dict[str, str], check: Callable[[set[str]], bool]) -> None:
    path = shared(f"samples/zooniverse/{name}.csv")
    source = open_source(f"zooniverse:{path}", beside(meanings=meanings, fewest_votes=1))
    with path.open(newline="") as handle:
        subjects = {line["subject_ids"] for line in csv.DictReader(handle)}
    rows = said(source)
    assert len(rows) == len(subjects)
    assert any(true and check(true) for true, _ in rows.values())
