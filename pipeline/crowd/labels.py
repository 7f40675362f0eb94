"""From the words of a source to concepts of the vocabulary; what no concept is found for is counted, not guessed."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.crowd.csv_lines import csv_lines
from pipeline.errors import CriticalError
from pipeline.vocabulary import Vocabulary

_YES_OR_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class Meaning:
    """An answer in concepts (slugs); `about` is the one that a yes or no was about, empty for other answers."""

    chosen: frozenset[str]
    readable: bool
    about: str = ""

    @property
    def offered(self) -> frozenset[str]:
        """What it shows to have stood to choose from."""
        return self.chosen | {self.about} if self.about else self.chosen


class Labels:
    """Resolves the labels of one source.

    A label is a slug, a URI, or a label of the vocabulary (English before other languages, capitals and `_` for a blank
    do not matter). `meanings` come first: they map a label, or `QUESTION:label`, to such a value, or to nothing where it
    means that none of the other labels holds.
    """

    def __init__(self, vocabulary: Vocabulary, meanings: Mapping[str, str] | None = None) -> None:
        self.unknown: Counter[str] = Counter()
        self._vocabulary = vocabulary
        self._meanings = dict(meanings or {})
        self._names = _names(vocabulary)

    def peek(self, label: str, *, question: str = "") -> str | None:
        """The slug; empty for a label that means none of the others; None for one that nobody knows."""
        label = label.strip()
        for key in (f"{question}:{label}", label):
            if key in self._meanings:
                meant = self._meanings[key]
                return self._slug(meant) if meant else ""
        return self._slug(label)

    def concept(self, label: str, *, question: str = "") -> str | None:
        """As `peek`, and counts a label that nobody knows."""
        slug = self.peek(label, question=question)
        if slug is None:
            self.unknown[label.strip()] += 1
        return slug

    def concepts(self, labels: Collection[str], *, question: str = "") -> tuple[set[str], bool]:
        """The slugs, and whether the labels say anything at all: one is known at least."""
        found = [self.concept(label, question=question) for label in labels]
        return {slug for slug in found if slug}, any(slug is not None for slug in found)

    def first_known(self, words: Sequence[str]) -> str | None:
        """The slug of the first of several names of one thing that is known; where none is, the first is counted."""
        for word in words:
            if slug := self.peek(word):
                return slug
        if words:
            self.concept(words[0])
        return None

    def answer(self, chosen: Sequence[str], *, question: str, concept: str = "") -> Meaning:
        """What an answer says. A yes or no is about `concept`, that which goes with the picture, unless `meanings` say else."""
        said = chosen[0].strip().casefold() if len(chosen) == 1 else ""
        if concept and said in _YES_OR_NO and self.peek(chosen[0], question=question) is None:
            about = self.concept(concept) or ""
            return Meaning(frozenset({about} if about and _YES_OR_NO[said] else ()), bool(about), about)
        slugs, readable = self.concepts(chosen, question=question)
        return Meaning(frozenset(slugs), readable)

    @property
    def all(self) -> set[str]:
        """Every slug of the vocabulary."""
        return set(self._vocabulary.by_slug)

    def unchecked(self, values: Collection[str]) -> set[str]:
        """The slugs of a `not_annotated` cell, in which `material` stands for all `material:*`."""
        kinds = {value.strip() for value in values}
        named = {slug for value in values if value.strip() not in ("", "material") and (slug := self.concept(value))}
        return named | {slug for slug in self.all if ":" in slug and slug.partition(":")[0] in kinds}

    def row(self, true: Collection[str], false: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(concepts, not_annotated) of a row: every concept that is neither true nor false is unknown.

        What a true concept is a kind of is never false: every tapestry is a textile, even where one label was allowed.
        """
        said = set(true) | (set(false) - self._vocabulary.with_broader(true))
        return tuple(sorted(true)), tuple(slug for slug in sorted(self._vocabulary.by_slug) if slug not in said)

    def _slug(self, label: str) -> str | None:
        concept = self._vocabulary.resolve(label)
        if concept is not None:
            return concept.slug
        return self._names.get(_plain(label))


def read_meanings(path: Path, vocabulary: Vocabulary) -> dict[str, str]:
    """`label,concept` lines of a CSV; CriticalError for a concept that the vocabulary does not have."""
    meanings = {}
    known = Labels(vocabulary)
    for line, cells in csv_lines(path, ("label", "concept"), "it says what labels mean: a label and its concept in each line"):
        if cells["concept"] and known.concept(cells["concept"]) is None:
            raise CriticalError(f"{path} line {line}: the concept {cells['concept']!r} is not in the vocabulary; see vocab/")
        meanings[cells["label"]] = cells["concept"]
    return meanings


def _plain(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).replace("_", " ").casefold().split())


def _names(vocabulary: Vocabulary) -> dict[str, str]:
    """Slug by plain label. A label that two concepts share names neither; slugs win over English, English over the rest."""
    names: dict[str, str] = {}
    ways = (
        [(concept.slug, concept.slug) for concept in vocabulary.concepts],
        [(concept.labels["en"], concept.slug) for concept in vocabulary.concepts],
        [(label, concept.slug) for concept in vocabulary.concepts for label in concept.labels.values()],
    )
    for pairs in ways:
        found: dict[str, set[str]] = defaultdict(set)
        for label, slug in pairs:
            found[_plain(label)].add(slug)
        names = {label: next(iter(slugs)) for label, slugs in found.items() if len(slugs) == 1} | names
    return names
