"""Splits: what the data say holds, nothing that belongs together stands on two sides, and one provider is never seen."""

from hypothesis import given
from hypothesis import strategies as st

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
