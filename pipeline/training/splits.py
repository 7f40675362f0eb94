"""Which pictures may be trained on, and which only judged on: nothing that belongs together stands on two sides."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TRAIN, TEST, UNSEEN = "train", "test", "unseen"
HELD_OUT = (TEST, UNSEEN)  # the second from providers that no training picture comes from
_HELD_OUT_FIRST = (UNSEEN, TEST, TRAIN, "")
HELD_OUT_OF = 4  # one cluster in so many is held out, where the data say nothing
FEWEST_PROVIDERS = 3  # a concept of fewer says nothing of unseen providers
UNSEEN_SHARE = (0.05, 0.4)  # of all pictures: what an unseen provider may take away from training


@dataclass(frozen=True)
class Example:
    """What the splits depend on; `split` is what the data say, empty where they say nothing."""

    key: str
    groups: frozenset[str]
    provider: str
    concepts: frozenset[str]
    split: str = ""


@dataclass(frozen=True)
class Splits:
    """The split of each example, empty where it had to be left out; their clusters; the provider that is never seen."""

    splits: tuple[str, ...]
    clusters: tuple[str, ...]
    unseen_provider: str = ""


def most_held_out(splits: Iterable[str]) -> str:
    """Of several splits the one that is furthest from being trained on: what was held out once stays so."""
    return min(splits, key=_HELD_OUT_FIRST.index)


def belonging(examples: Sequence[Example], near: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """A name for each example: the same for those that share a group or the key, or that look nearly the same."""
    parent = list(range(len(examples)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    first: dict[tuple[str, str], int] = {}
    pairs = list(near)
    for place, example in enumerate(examples):
        names = [("key", example.key), *(("group", group) for group in sorted(example.groups))]
        pairs += [(place, first.setdefault(name, place)) for name in names]
    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return tuple(examples[root(place)].key for place in range(len(examples)))


def draw_splits(examples: Sequence[Example], near: Iterable[tuple[int, int]], *, unseen: str | None = None) -> Splits:
    """What the data say holds. A cluster that they put on two sides keeps the held-out one; its other pictures are left out,
    and so are pictures of a provider that is trained on when they belong to one that is never seen.

    `near` are pairs of places of examples that look nearly the same. `unseen` names the provider that is never trained on;
    None lets one be chosen where the data name no unseen rows, and an empty name wants none.
    """
    said = {example.split for example in examples}
    if UNSEEN in said:
        unseen = ""
    elif unseen is None:
        unseen = "" if said - {""} else unseen_provider(examples)
    clusters = belonging(examples, near)
    wanted = [UNSEEN if unseen and example.provider == unseen else example.split for example in examples]
    never_seen = {example.provider for example, split in zip(examples, wanted, strict=True) if split == UNSEEN}
    of_cluster: dict[str, set[str]] = defaultdict(set)
    for cluster, split in zip(clusters, wanted, strict=True):
        of_cluster[cluster].add(split)
    sides = {cluster: most_held_out(splits) or _drawn(cluster) for cluster, splits in of_cluster.items()}
    splits = tuple(
        side if split == side or (not split and (side != UNSEEN or example.provider in never_seen)) else ""
        for example, split, side in zip(examples, wanted, (sides[cluster] for cluster in clusters), strict=True)
    )
    return Splits(splits, clusters, unseen)


def _drawn(cluster: str) -> str:
    """The same cluster always lands on the same side."""
    return TEST if int(hashlib.sha256(cluster.encode()).hexdigest(), 16) % HELD_OUT_OF == 0 else TRAIN


def unseen_provider(examples: Sequence[Example]) -> str:
    """The provider to keep out of training: it shares most with others and takes neither too little nor too much; or none."""
    providers: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        for concept in example.concepts:
            providers[concept].add(example.provider)
    shared = {concept for concept, names in providers.items() if len(names) >= FEWEST_PROVIDERS}
    counts = Counter(example.provider for example in examples)
    covered: Mapping[str, set[str]] = {
        name: {concept for example in examples if example.provider == name for concept in example.concepts} & shared
        for name in counts
    }
    fair = [
        name for name in counts if name and covered[name] and UNSEEN_SHARE[0] <= counts[name] / len(examples) <= UNSEEN_SHARE[1]
    ]
    return min(fair, key=lambda name: (-len(covered[name]), counts[name], name)) if fair else ""
