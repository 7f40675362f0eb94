"""Several people's answers about one picture become what is true, what is false, and what stays unknown."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field


@dataclass
class Question:
    """What was asked: the concepts that stood to choose from, and whether only one could be chosen."""

    offered: set[str] = field(default_factory=set)
    single: bool = True


@dataclass
class Ballots:
    """The answers to a question about one picture.

    `readable` are those that name a known concept, or say that none holds. The others count among `asked`: who chose
    something that the vocabulary does not have said neither yes nor no to the rest.
    """

    asked: int = 0
    readable: int = 0
    yes: Counter[str] = field(default_factory=Counter)

    def add(self, concepts: Collection[str], *, readable: bool) -> None:
        """One person's answer."""
        self.asked += 1
        self.readable += readable
        self.yes.update(set(concepts))


@dataclass(frozen=True)
class Answer:
    """One person's answer to a question about one picture. `who` is a number that means nothing outside this process."""

    picture: str
    question: str
    who: int
    concepts: frozenset[str]
    readable: bool


def decide(yes: int, no: int, asked: int, *, fewest: int) -> bool | None:
    """What more than half of those asked say; None on a tie, or when fewer than `fewest` were asked."""
    if asked < max(fewest, 1):
        return None
    if 2 * yes > asked:
        return True
    return False if 2 * no > asked else None


def verdicts(answers: Iterable[tuple[Question, Ballots]], *, fewest: int) -> tuple[set[str], set[str]]:
    """(true, false) slugs of a picture; a concept in neither is unknown.

    Answers to several questions that offer the same concept are counted together. Where one concept could be chosen and
    none has a majority, those that somebody chose are unknown, not false.
    """
    answers = list(answers)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for question, ballots in answers:
        for slug in question.offered:
            yes = ballots.yes[slug]
            counts[slug] = [a + b for a, b in zip(counts[slug], (yes, ballots.readable - yes, ballots.asked), strict=True)]
    decided = {slug: decide(yes, no, asked, fewest=fewest) for slug, (yes, no, asked) in counts.items()}
    true = {slug for slug, verdict in decided.items() if verdict is True}
    false = {slug for slug, verdict in decided.items() if verdict is False}
    for question, ballots in answers:
        if question.single and not question.offered & true:
            false -= {slug for slug in question.offered if ballots.yes[slug]}
    return true, false
