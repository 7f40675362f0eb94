"""Taking statements back: choose, count, delete at the platform, prove by search that nothing of ours is left.

Whoever is killed in between says the same again: rows that are being withdrawn are known by their state, and deleting
what is gone already is fine.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.database import connect, ledger
from pipeline.database.ledger import Choice, State
from pipeline.errors import CriticalError, TransientError
from pipeline.publish.proposals import targets
from pipeline.publish.sender import open_sender
from pipeline.settings import Settings
from pipeline.vocabulary import load_vocabulary


@dataclass
class Tally:
    """Statements of a choice by (target, concept, institution, state). `elsewhere`: on platforms that are not set now."""

    choice: Choice
    counts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    elsewhere: Counter[str] = field(default_factory=Counter)

    @property
    def there(self) -> int:
        """How many may stand on a platform and are to be deleted."""
        return sum(count for (_, _, _, state), count in self.counts.items() if state in ledger.THERE)

    @property
    def waiting(self) -> int:
        """How many were never sent, and will not be."""
        return sum(count for (_, _, _, state), count in self.counts.items() if state in (State.PLANNED, State.HELD))


@dataclass(frozen=True)
class Withdrawal:
    """What came of it: statements that were deleted, and such that were only planned."""

    deleted: int
    never_sent: int


def choice_of(
    settings: Settings,
    *,
    model: str | None = None,
    version: str | None = None,
    concept: str | None = None,
    provider: str | None = None,
    record: str | None = None,
    run: str | None = None,
) -> Choice:
    """The choice that a command or a form says; CriticalError for none at all and for a concept that nobody knows."""
    uri = (concept or "").strip()
    if uri:
        vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
        found = vocabulary.resolve(uri)
        if found is None and not uri.startswith(("http://", "https://", "urn:")):
            raise CriticalError(f"{settings.vocabulary_file}: there is no concept {uri!r}; say its slug or its URI")
        uri = found.concept_uri if found else uri
    values = {"model_name": model, "model_version": version, "provider": provider, "record_id": record, "run_id": run}
    return Choice(concept_uri=uri, **{name: (value or "").strip() for name, value in values.items()})


def tally(choice: Choice, *, settings: Settings) -> Tally:
    """How the choice's statements stand, before anything is done."""
    found = Tally(choice)
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    here = set(targets(settings).values())
    for row in ledger.tally(connect(settings), choice):
        concept = vocabulary.resolve(row["concept_uri"])
        slug = concept.slug if concept else row["concept_uri"]
        if row["target"] in here:
            found.counts[row["target"], slug, row["data_provider"], row["state"]] += row["statements"]
        elif row["state"] in ledger.THERE:
            found.elsewhere[row["target"]] += row["statements"]
    return found


def withdraw(choice: Choice, *, why: str, now: datetime, settings: Settings) -> Withdrawal:
    """Take back all statements of the choice at the platforms that are set; a run that makes them again does not send them.

    Raises TransientError that says how many are left when a platform puts us off for too long, CriticalError for refused
    credentials; both times the same command goes on.
    """
    engine = connect(settings)
    deleted = never_sent = left = 0
    for kind, target in targets(settings).items():
        batch = f"withdraw|{now.isoformat()}|{target}"
        _, waiting = ledger.begin_withdrawal(engine, choice, [target], batch=batch, why=why, now=now)
        never_sent += waiting
        if ledger.in_states(engine, batch, (State.WITHDRAWING,), limit=1):
            with open_sender(engine, batch, kind, settings, what="withdraw") as sender:
                left += sender.withdraw()
            deleted += sender.counts.extra["withdrawn"]
    if left:
        raise TransientError(
            f"{deleted} statements are withdrawn, {left} are left: the platform puts us off; the same command goes on"
        )
    return Withdrawal(deleted, never_sent)


def allow_again(choice: Choice, *, now: datetime, settings: Settings) -> int:
    """Withdrawn statements of the choice may be sent again by the next run that makes them; returns how many."""
    return ledger.allow_again(connect(settings), choice, now=now)


# --- What the DAG's form asks for ---


def tally_of_form(*, form: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """{there, waiting, text}: what a person is asked about. CriticalError for a form without a choice."""
    found = tally(_choice_of_form(form, settings), settings=settings)
    lines = [f"- {count} × {', '.join(part for part in key if part)}" for key, count in sorted(found.counts.items())]
    lines += [f"- {count} on {target}, which is not reached from here" for target, count in sorted(found.elsewhere.items())]
    return {"there": found.there, "waiting": found.waiting, "text": "\n".join([f"{found.choice}:", "", *lines])}


def withdraw_by_form(*, form: Mapping[str, Any], now: datetime, settings: Settings) -> dict[str, int]:
    """Withdraw what the form says; returns {deleted, never_sent}."""
    why = (form["why"] or "").strip() or "withdrawn through the DAG"
    return dict(withdraw(_choice_of_form(form, settings), why=why, now=now, settings=settings).__dict__)


def _choice_of_form(form: Mapping[str, Any], settings: Settings) -> Choice:
    names = ("model", "version", "concept", "provider", "record", "run")
    return choice_of(settings, **{name: form[name] for name in names})
