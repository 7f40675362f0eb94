"""Splits: what the data say holds, nothing that belongs together stands on two sides, and one provider is never seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CriticalError
from pipeline.training.alike import nothing_held_out_is_learned
from pipeline.training.dataset import LabelledImages
from pipeline.training.splits import Example, draw_splits, unseen_provider

EXAMPLES = st.lists(
    st.builds(
        Example,
        key=st.integers(0, 10_000).map(lambda number: f"/1/{number}"),
        groups=st.frozensets(st.sampled_from(["g1", "g2", "g3", "g4", "g5", "g6"]), min_size=1, max_size=2),
        provider=st.sampled_from(["A", "B", "C"]),
        concepts=st.frozensets(st.sampled_from(["coin", "map"])),
        split=st.sampled_from(["", "", "train", "test", "unseen"]),
    ),
    min_size=1,
    max_size=30,
)
PAIRS = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=8)


@given(EXAMPLES, PAIRS, st.sampled_from([None, "", "A"]))
def test_nothing_that_belongs_together_stands_on_two_sides(
    examples: list[Example], pairs: list[tuple[int, int]], unseen: str | None
) -> None:
    near = [(one, other) for one, other in pairs if max(one, other) < len(examples)]
    drawn = draw_splits(examples, near, unseen=unseen)
    together = near + [
        (one, other)
        for one in range(len(examples))
        for other in range(one)
        if examples[one].groups & examples[other].groups or examples[one].key == examples[other].key
    ]
    for one, other in together:
        assert drawn.clusters[one] == drawn.clusters[other]
        assert len({drawn.splits[one], drawn.splits[other]} - {""}) <= 1


@given(EXAMPLES, PAIRS)
def test_what_the_data_say_holds_or_the_picture_is_left_out(examples: list[Example], pairs: list[tuple[int, int]]) -> None:
    near = [(one, other) for one, other in pairs if max(one, other) < len(examples)]
    drawn = draw_splits(examples, near, unseen="")
    for example, split, cluster in zip(examples, drawn.splits, drawn.clusters, strict=True):
        assert not example.split or split in (example.split, "")
        if example.split and not split:  # only for the sake of one that is held out
            others = {other.split for other, name in zip(examples, drawn.clusters, strict=True) if name == cluster}
            assert others & {"test", "unseen"} and example.split != "unseen"
        if not example.split and not split:  # it belongs to a picture of a provider that is never seen, and its own is
            never = {other.provider for other in examples if other.split == "unseen"} | {drawn.unseen_provider}
            assert example.provider not in never


def some(provider: str, count: int, *concepts: str, start: int = 0) -> list[Example]:
    return [
        Example(f"/{provider}/{number}", frozenset({f"{provider}{number}"}), provider, frozenset(concepts))
        for number in range(start, start + count)
    ]


def test_the_unseen_provider_shares_its_concepts_with_two_others_and_takes_neither_too_little_nor_too_much() -> None:
    examples = [
        *some("big", 60, "coin"), *some("middle", 20, "coin"), *some("small", 18, "coin"), *some("tiny", 2, "coin"),
        *some("alone", 15, "map"),
    ]  # fmt: skip
    assert unseen_provider(examples) == "small"
    drawn = draw_splits(examples, [])
    assert drawn.unseen_provider == "small"
    sides = {(example.provider, split) for example, split in zip(examples, drawn.splits, strict=True)}
    assert ("small", "unseen") in sides and ("small", "train") not in sides and ("small", "test") not in sides
    assert {split for provider, split in sides if provider != "small"} == {"train", "test"}


def test_no_provider_is_kept_out_where_none_shares_enough() -> None:
    examples = [*some("A", 30, "coin"), *some("B", 30, "map")]
    assert unseen_provider(examples) == ""
    assert "unseen" not in draw_splits(examples, []).splits


def test_the_same_data_have_the_same_splits_and_about_one_in_four_is_held_out() -> None:
    examples = some("A", 400, "coin")
    one, again = (draw_splits(examples, [], unseen="").splits for _ in range(2))
    assert one == again
    assert 70 <= one.count("test") <= 130


def test_a_near_duplicate_of_what_is_never_seen_is_left_out_when_its_own_provider_is_trained_on() -> None:
    never = [Example(f"n{number}", frozenset(), "Never", frozenset({"coin"})) for number in range(4)]
    known = [Example(f"k{number}", frozenset(), "Known", frozenset({"coin"})) for number in range(12)]
    drawn = draw_splits([*never, *known], [(0, 4), (1, 2)], unseen="Never")
    assert drawn.splits[:4] == ("unseen",) * 4
    assert drawn.splits[4] == ""  # of a provider that is trained on
    assert set(drawn.splits[5:]) == {"train", "test"}


# --- Splits that come with the data ---


def labelled(rows: list[tuple[str, str, str]]) -> LabelledImages:
    """Pictures of (split, group, hash); each has the first concept, every second one the other."""
    truth = np.array([[1, number % 2] for number in range(len(rows))], np.int8)
    names = tuple(f"/1/{number}" for number in range(len(rows)))
    looks = tuple((look, "80" * 256) for _, _, look in rows)
    pixels = np.zeros((len(rows), 1, 1, 3), np.uint8)
    groups, splits = np.array([group for _, group, _ in rows]), np.array([split for split, _, _ in rows])
    return LabelledImages(("coin", "map"), pixels, truth, groups, splits, names, looks)


def look(number: int) -> str:
    """Hashes that are far from each other."""
    return f"{int(np.random.default_rng(number).integers(0, 2**62)):016x}"


def test_training_pictures_that_belong_to_held_out_ones_teach_nothing() -> None:
    rows = [("train", f"g{number}", look(number)) for number in range(30)]
    rows[3] = ("train", "held", look(3))
    rows[4] = ("train", "g4", look(99))  # looks as a held-out one does
    rows[5] = ("train", "g4", look(5))  # belongs to that
    rows += [("test", "held", look(98)), ("unseen", "other", look(99))]
    images = labelled(rows)
    found, leaks = nothing_held_out_is_learned(images, 3)
    assert leaks == ("/1/3", "/1/4", "/1/5")
    assert (found.truth[3:6] == -1).all()
    others = [place for place in range(32) if place not in (3, 4, 5)]
    np.testing.assert_array_equal(found.truth[others], images.truth[others])


def test_of_many_copies_of_a_held_out_picture_none_is_learned() -> None:
    rows = [("train", f"c{number}", look(1)) for number in range(40)]
    rows += [("train", f"g{number}", look(100 + number)) for number in range(12)] + [("test", "held", look(1))]
    _, leaks = nothing_held_out_is_learned(labelled(rows), 3)
    assert leaks == tuple(f"/1/{number}" for number in range(40))


def test_one_group_for_everything_says_nothing_and_two_that_are_on_both_sides_leave_nothing_to_learn() -> None:
    sides = [("train" if number < 20 else "test", look(number)) for number in range(30)]
    assert nothing_held_out_is_learned(labelled([(split, "all", one) for split, one in sides]), 3)[1] == ()
    with pytest.raises(CriticalError, match="20 of 20 training pictures.*columns group and split"):
        nothing_held_out_is_learned(labelled([(split, f"g{one[-1] > '7'}", one) for split, one in sides]), 3)


def test_a_concept_that_too_few_pictures_are_left_of_is_not_trained() -> None:
    rows = [("train", "held" if number % 2 else f"g{number}", look(number)) for number in range(20)] + [
        ("test", "held", look(77))
    ]
    found, leaks = nothing_held_out_is_learned(labelled(rows), 3)
    assert len(leaks) == 10 and found.slugs == ("coin",) and found.truth.shape == (21, 1)
