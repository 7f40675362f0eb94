"""The exports of WITH / CrowdHeritage, Zooniverse and Label Studio as one kind of thing: tallies of tags."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from pipeline.crowd import crowdheritage, label_studio, zooniverse
from pipeline.crowd.ballots import Answer, Ballots, Question, decide, verdicts
from pipeline.crowd.crowdheritage import Tag
from pipeline.crowd.labels import Labels
from pipeline.errors import CriticalError
from pipeline.feedback.dawid_skene import dawid_skene
from pipeline.feedback.rules import Votes
from pipeline.reporting.progress import Progress
from pipeline.settings import Settings


@dataclass(frozen=True)
class Tally:
    """What people said of one tag of one record.

    `slug` is empty where the vocabulary has no such concept; `word` is the concept as the source has it. `maker` is the
    software that proposed the tag, None for people. `majority` and `certainty` are as in `rules.verdict`.
    """

    record_id: str
    slug: str
    word: str
    maker: str | None
    up: int
    down: int
    majority: bool | None
    certainty: float | None = None
    score: float | None = None
    stated_at: datetime | None = None

    @property
    def tag(self) -> tuple[str, str, str | None]:
        """What joins tallies: record, concept and maker; a campaign's export gives no ids (WITH contract §3.7)."""
        return self.record_id, self.slug or self.word.casefold(), self.maker


@dataclass(frozen=True)
class Annotators:
    """How many people answered, and what share of their answers agrees with the outcome: of the one in the middle, and of
    the one who differs most. No names."""

    count: int
    median_agreement: float
    lowest_agreement: float


@dataclass(frozen=True)
class Said:
    """All that an export says. `votes` are its annotations one by one, as they stand in the file; `tallies` join those
    that are about the same tag. `problems` are annotations that cannot be read, `notes` what was passed over."""

    votes: Sequence[Votes]
    tallies: Sequence[Tally]
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    annotators: Annotators | None = None
    unknown: Mapping[str, int] = field(default_factory=Counter)


def read_said(kind: str, path: Path, labels: Labels, *, fewest: int, settings: Settings) -> Said:
    """Read an export of this kind, where so many votes decide at least.

    Raises CriticalError when there is no such kind, or the file is something else.
    """
    read, _ = _kind(kind)
    with Progress("feedback", "answers", settings=settings) as progress:
        return read(path, labels, fewest, progress)


def usual_votes(kind: str) -> int:
    """How many votes decide in exports of this kind where nobody says; CriticalError when there is no such kind."""
    return _kind(kind)[1]


def _kind(name: str) -> tuple["Reader", int]:
    if name not in KINDS:
        raise CriticalError(f"--from {name}: there are {', '.join(KINDS)}")
    return KINDS[name]


def _crowdheritage(path: Path, labels: Labels, fewest: int, progress: Progress) -> Said:
    export = crowdheritage.read_export(path)
    passed: Counter[str] = Counter()

    def tallies_of_tags() -> Iterator[Tally]:
        for tag in export.tags:
            progress.advance()
            if tally := _of_tag(tag, labels, fewest, passed):
                yield tally

    tallies = _joined(tallies_of_tags(), fewest)
    notes = [f"{path.name}: {count:,} tags are passed over: {why}" for why, count in passed.items()]
    votes = [Votes(tag.maker is not None, tag.up, tag.down) for tag in export.tags]
    return Said(votes, tallies, export.problems, notes, unknown=labels.unknown)


def _of_tag(tag: Tag, labels: Labels, fewest: int, passed: Counter[str]) -> Tally | None:
    if not tag.record_id:
        passed["about no record /dataset/local"] += 1
    elif tag.about_text:
        passed["about a text, not a picture"] += 1
    elif not tag.words:
        passed["without a concept or a word"] += 1
    else:
        majority = decide(tag.up, tag.down, tag.up + tag.down, fewest=fewest)
        slug = labels.first_known(tag.words) or ""
        word = tag.words[0]
        return Tally(tag.record_id, slug, word, tag.maker, tag.up, tag.down, majority, score=tag.score, stated_at=tag.created)
    return None


def _joined(tallies: Iterable[Tally], fewest: int) -> list[Tally]:
    """One tally a tag: what was exported several times, or proposed by several people, has the votes of all."""
    joined: dict[tuple[str, str, str | None], Tally] = {}
    for one in tallies:
        first = joined.get(one.tag)
        if first is not None:
            up, down = first.up + one.up, first.down + one.down
            moments = [moment for moment in (first.stated_at, one.stated_at) if moment]
            one = replace(
                first,
                up=up,
                down=down,
                majority=decide(up, down, up + down, fewest=fewest),
                stated_at=min(moments, default=None),
            )
        joined[one.tag] = one
    return list(joined.values())


def _zooniverse(path: Path, labels: Labels, fewest: int, progress: Progress) -> Said:
    heard, hear = _listener(progress)
    read = zooniverse.read_classifications(path, labels, hear)
    pictures = {key: _Picture(one.record_id, one.metadata, one.ballots) for key, one in read.subjects.items()}
    return _asked(path, pictures, read.questions, heard, labels, fewest, read.notes(path))


def _label_studio(path: Path, labels: Labels, fewest: int, progress: Progress) -> Said:
    heard, hear = _listener(progress)
    project = label_studio.read_project(path, labels, hear)
    pictures = {str(task.place): _Picture(task.record_id, task.data, task.ballots) for task in project.tasks}
    return _asked(path, pictures, project.questions, heard, labels, fewest, [])


def _listener(progress: Progress) -> tuple[list[Answer], Callable[[Answer], None]]:
    """A list, and what puts answers into it."""
    heard: list[Answer] = []

    def hear(answer: Answer) -> None:
        heard.append(answer)
        progress.advance()

    return heard, hear


@dataclass(frozen=True)
class _Picture:
    """A picture that people were asked about; `data` is what goes with it."""

    record_id: str
    data: Mapping[str, str]
    ballots: Mapping[str, Ballots]


def _asked(
    path: Path,
    pictures: Mapping[str, _Picture],
    questions: Mapping[str, Question],
    heard: Sequence[Answer],
    labels: Labels,
    fewest: int,
    notes: list[str],
) -> Said:
    certainty, annotators = _judge(heard, questions)
    tallies: dict[tuple[str, str, str | None], Tally] = {}
    nameless = 0
    for key, picture in pictures.items():
        nameless += not picture.record_id
        for one in _of_picture(key, picture, questions, certainty, fewest) if picture.record_id else ():
            known = tallies.get(one.tag)
            tallies[one.tag] = _of_both(known, one) if known else one
    if nameless:
        notes = [*notes, f"{path.name}: {nameless:,} pictures are passed over: they name no record /dataset/local"]
    votes = [Votes(one.maker is not None, one.up, one.down) for one in tallies.values()]
    return Said(votes, list(tallies.values()), notes=notes, annotators=annotators, unknown=labels.unknown)


def _of_picture(
    key: str,
    picture: _Picture,
    questions: Mapping[str, Question],
    certainty: Mapping[tuple[str, str], float],
    fewest: int,
) -> Iterable[Tally]:
    answers = [(questions[question], ballots) for question, ballots in picture.ballots.items()]
    true, false = verdicts(answers, fewest=fewest)
    for slug in sorted({slug for question, _ in answers for slug in question.offered}):
        asked = [ballots for question, ballots in answers if slug in question.offered]
        yes = sum(ballots.yes[slug] for ballots in asked)
        yield Tally(
            picture.record_id,
            slug,
            slug,
            _maker(picture.data, slug),
            up=yes,
            down=sum(ballots.readable for ballots in asked) - yes,
            majority=True if slug in true else False if slug in false else None,
            certainty=certainty.get((key, slug)),
            score=_number(picture.data.get("score", "")) if _maker(picture.data, slug) else None,
        )


def _maker(data: Mapping[str, str], slug: str) -> str | None:
    """The model whose label was asked about, where the picture's data say so (`enrich feedback sample` writes them)."""
    return data.get("model") if data.get("concept") == slug else None


def _of_both(one: Tally, other: Tally) -> Tally:
    """Two pictures of a record: it has what one of them shows, and lacks what neither does."""
    shown = {one.majority, other.majority}
    sure = [certainty for certainty in (one.certainty, other.certainty) if certainty is not None]
    return replace(
        one,
        up=one.up + other.up,
        down=one.down + other.down,
        majority=True if True in shown else None if None in shown else False,
        certainty=max(sure, default=None),
    )


def _judge(
    heard: Sequence[Answer], questions: Mapping[str, Question]
) -> tuple[dict[tuple[str, str], float], Annotators | None]:
    """The probability of each (picture, concept) by Dawid and Skene's model, and how far each annotator agrees with it."""
    said = [
        ((answer.picture, slug), answer.who, slug in answer.concepts)
        for answer in heard
        if answer.readable
        for slug in sorted(questions[answer.question].offered)
    ]
    if not said:
        return {}, None
    items = {item: place for place, item in enumerate(dict.fromkeys(item for item, _, _ in said))}
    people = {who: place for place, who in enumerate(dict.fromkeys(who for _, who, _ in said))}
    places = np.array([items[item] for item, _, _ in said])
    who = np.array([people[one] for _, one, _ in said])
    yes = np.array([one for _, _, one in said])
    posterior = dawid_skene(places, who, yes).posterior
    agrees = (posterior[places] > 0.5) == yes
    agreement = np.bincount(who, agrees, len(people)) / np.bincount(who, minlength=len(people))
    annotators = Annotators(len(people), round(float(np.median(agreement)), 4), round(float(agreement.min()), 4))
    return dict(zip(items, posterior.tolist(), strict=True)), annotators


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


Reader = Callable[[Path, Labels, int, Progress], Said]
# How each kind is read, and how many votes decide there.
KINDS: Mapping[str, tuple[Reader, int]] = {
    "crowdheritage": (_crowdheritage, crowdheritage.FEWEST_VOTES),
    "zooniverse": (_zooniverse, zooniverse.FEWEST_VOTES),
    "label-studio": (_label_studio, label_studio.FEWEST_VOTES),
}
