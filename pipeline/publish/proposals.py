"""What a run would do with each statement, seen from its labels, the ledger and the door; nothing is changed here.

Asking again after the ledger was changed accordingly gives the same answers: planning, assigning and the dry run are
three uses of one list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from typing import Any

from sqlalchemy import Engine

from pipeline.crowd.verdicts import decided, newest_verdicts
from pipeline.database import ledger, models, tombstones
from pipeline.database.ledger import State, Statement
from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.datasets.stage import groups_of, outcomes_dataset
from pipeline.domain.identifiers import annotation_canonical, is_item
from pipeline.domain.label import Decision
from pipeline.domain.outcome import KEPT_IN_HOUSE, Reason
from pipeline.errors import CriticalError
from pipeline.publish import container, europeana, with_hidden
from pipeline.publish.gate import Gate, Providers
from pipeline.settings import Settings
from pipeline.vocabulary import load_policy, load_vocabulary

Row = Mapping[str, Any]
RECORDS_AT_ONCE = 200
APPROVAL = "approval"  # the first word of the reason for which statements wait for a person
LABEL_COLUMNS = (
    "record_id",
    "concept_uri",
    "label",
    "max_score",
    "decision",
    "why",
    "model_name",
    "model_version",
    "model_sha256",
    "preprocessing_version",
    "vocabulary_version",
)
# Reasons for which a hidden label does not even go to WITH.
STAYS_HERE = KEPT_IN_HOUSE | {Reason.NO_PUBLIC_URI}


class Action(StrEnum):
    """What is done about a statement."""

    SEND = "send"
    UPDATE = "update"  # it stands there, and the model in force says so anew
    RETRACT = "retract"  # it stands there, and is not to be said any more
    HOLD = "hold"  # it would be sent, but for the reason given
    NOTHING = "nothing"


@dataclass(frozen=True)
class Proposal:
    """An action on a statement, with its reason; `row` is the ledger's, if it knows the statement."""

    action: Action
    statement: Statement
    why: str = ""
    row: Row | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What a statement is told apart by within a target."""
        return self.statement.record_id, self.statement.concept_uri


@dataclass(frozen=True)
class Planner:
    """Makes the proposals of one run for one target."""

    lake: Lake
    run: Run
    kind: str
    target: str
    engine: Engine
    gate: Gate
    providers: Mapping[str, Providers]
    in_force: tuple[str, str] | None  # name and version of the released model: it may change what others have said
    most_unseen: int = 0  # more new statements wait until a person has looked at some of them; 0: none ever waits

    def proposals(self) -> Iterator[Proposal]:
        """One for each record and concept about which something is to be done: labelled ones in order, then those gone."""
        waits = self._waits_for_approval
        for one in self._proposals():
            yield replace(one, action=Action.HOLD, why=waits) if waits and _is_new(one) else one

    @cached_property
    def _waits_for_approval(self) -> str:
        """Why nothing new is sent until a person agrees; empty when it may be."""
        if not self.most_unseen:
            return ""
        new = sum(map(_is_new, self._proposals()))
        if new <= self.most_unseen:
            return ""
        return f"{APPROVAL}: {new} new statements, more than PUBLISH_APPROVAL_ABOVE = {self.most_unseen}, wait for a person"

    def _proposals(self) -> Iterator[Proposal]:
        self.gate.passed.clear()
        for group in groups_of(_by_record(self.lake, self.run), RECORDS_AT_ONCE):
            ids = [rows[0]["record_id"] for rows in group if is_item(rows[0]["record_id"])]
            known: dict[str, dict[str, Row]] = {}
            for row in ledger.find(self.engine, self.target, ids):
                known.setdefault(row["record_id"], {})[row["concept_uri"]] = row
            for rows in group:
                if is_item(rows[0]["record_id"]):  # no annotation can point to others: they end as refused, unsent
                    yield from self._of_record(rows, known.get(rows[0]["record_id"], {}))
        yield from self._of_gone_records()

    def _of_record(self, labels: Sequence[Row], known: Mapping[str, Row]) -> Iterator[Proposal]:
        said: dict[str, Row] = {}
        for label in labels:  # two labels may share a URI; the one that is to be said counts
            before = said.get(label["concept_uri"])
            if before is None or (is_sendable(self.kind, label) and not is_sendable(self.kind, before)):
                said[label["concept_uri"]] = label
        decided = {uri: self._standing(label, known.get(uri)) for uri, label in said.items()}
        stays = sum(row["state"] in ledger.THERE for row in known.values())
        stays -= sum(found is not None and found[0] is Action.RETRACT for found in decided.values())
        for uri, label in said.items():
            action, why = decided[uri] or (Action.SEND, "")
            if action is Action.SEND and not _is_there(known.get(uri)):
                if why := self.gate.is_full(self._providers(label), stays):
                    action = Action.HOLD
                else:
                    stays += 1
            if action is not Action.NOTHING:
                yield Proposal(action, self._statement(label), why, known.get(uri))

    def _standing(self, label: Row, row: Row | None) -> tuple[Action, str] | None:
        """What follows for one statement whatever the bounds say; None: it may be sent if they allow it."""
        state = State(row["state"]) if row else None
        forbidden = self.gate.forbids(label["label"], label["record_id"], self._providers(label))
        wanted = is_sendable(self.kind, label)
        if state in (None, State.PLANNED, State.HELD):
            if not wanted:
                return (Action.HOLD, label["why"]) if state is State.PLANNED else (Action.NOTHING, "")
            return (Action.HOLD, forbidden) if forbidden else None
        if row is None or state not in (State.SENDING, State.SENT, State.UPDATING, State.RETRACTING):
            return Action.NOTHING, ""
        if forbidden or state is State.RETRACTING:
            return Action.RETRACT, forbidden or row["last_error"]
        if not wanted and self._is_unsaid(label):
            score = f"{label['model_name']} {label['model_version']} gives {label['max_score']:.3f}"
            return Action.RETRACT, f"{score}, {label['decision']}: {label['why']}"
        if state is State.SENDING:
            return (Action.SEND, "") if wanted else (Action.NOTHING, "")
        is_other_model = (row["model_name"], row["model_version"]) != (label["model_name"], label["model_version"])
        if wanted and (state is State.UPDATING or (is_other_model and self._is_in_force(label))):
            return Action.UPDATE, f"said by {row['model_name']} {row['model_version']} before"
        return Action.NOTHING, ""

    def _of_gone_records(self) -> Iterator[Proposal]:
        """What stands on records that the source has no more."""
        for batch in self.lake.rows(self.run, outcomes_dataset("harvest"), ("record_id", "reason")):
            gone = [row["record_id"] for row in batch.to_pylist() if row["reason"] == Reason.GONE and row["record_id"]]
            for group in groups_of(gone, RECORDS_AT_ONCE):
                for row in ledger.find(self.engine, self.target, group):
                    if row["state"] in ledger.THERE and row["state"] != State.WITHDRAWING:
                        statement = Statement(**{name: row[name] for name in Statement.__dataclass_fields__})
                        yield Proposal(Action.RETRACT, statement, f"{Reason.GONE}: the source has the record no more", row)

    def _is_unsaid(self, label: Row) -> bool:
        """Is a label that the target does not want a reason to delete what stands there?

        On WITH a label that has become better than hidden stays where it is.
        """
        if label["why"] in STAYS_HERE:
            return True
        return self.kind != with_hidden.KIND and self._is_in_force(label)

    def _is_in_force(self, label: Row) -> bool:
        return (label["model_name"], label["model_version"]) == self.in_force

    def _providers(self, label: Row) -> Providers:
        return self.providers.get(label["record_id"], Providers())

    def _statement(self, label: Row) -> Statement:
        body_uri = self.gate.vocabulary.by_slug[label["label"]].body_uri
        if body_uri is None and is_sendable(self.kind, label):
            raise CriticalError(f"{label['label']} was to be sent but has no public URI any more; label the run again")
        of = self._providers(label)
        return Statement(
            record_id=label["record_id"],
            concept_uri=label["concept_uri"],
            target=self.target,
            body_uri=body_uri or "",
            canonical=annotation_canonical(label["record_id"], label["concept_uri"], self.target),
            score=label["max_score"],
            model_name=label["model_name"],
            model_version=label["model_version"],
            run_id=self.run.run_id,
            provider=of.provider,
            data_provider=of.data_provider,
        )


def planners(lake: Lake, run: Run, engine: Engine, settings: Settings, *, approved: bool = False) -> Iterator[Planner]:
    """A fresh planner for each target; the door counts anew with each of them. `approved`: a person has seen this run's."""
    most_unseen = 0 if approved else settings.publish_approval_above
    vocabulary = load_vocabulary(settings.vocabulary_file, base_url=settings.vocab_base)
    policy = load_policy(settings.policy_file)
    taken_down = tombstones.standing(engine)
    rejected = frozenset(key for key, right in decided(newest_verdicts(lake)).items() if right is False)
    released = models.find(engine, settings.model_name)
    in_force = (str(released["name"]), str(released["version"])) if released else None
    providers = _providers_of(lake, run)
    for kind, target in targets(settings).items():
        gate = Gate(policy, vocabulary, taken_down, rejected, is_public=kind != with_hidden.KIND)
        yield Planner(lake, run, kind, target, engine, gate, providers, in_force, most_unseen)


def targets(settings: Settings) -> dict[str, str]:
    """Where labels go, as {kind: name in the ledger}: Europeana always, a container and WITH once they are set."""
    found = {europeana.KIND: europeana.target_name(settings)}
    if settings.annotation_container_url:
        found[container.KIND] = container.target_name(settings)
    if settings.with_username:
        found[with_hidden.KIND] = with_hidden.target_name(settings)
    return found


def updates_leave(kind: str, settings: Settings) -> bool:
    """Is a statement that stands there changed there when a later run vouches for it? An annotation names the run that
    does, once that has a public page; else nothing would change."""
    return kind != with_hidden.KIND and bool(settings.public_base_url)


def is_sendable(kind: str, label: Row) -> bool:
    """Does a target get this label? WITH what stays hidden but may leave, the others what is published."""
    wanted = Decision.HIDDEN if kind == with_hidden.KIND else Decision.PUBLISH
    return label["decision"] == wanted and label["why"] not in STAYS_HERE


def _is_new(one: Proposal) -> bool:
    """Would it be sent for the first time? What was handed to the platform already is asked about, whoever approves."""
    return one.action is Action.SEND and (one.row is None or one.row["state"] in (State.PLANNED, State.HELD))


def _is_there(row: Row | None) -> bool:
    return row is not None and row["state"] in ledger.THERE


def _by_record(lake: Lake, run: Run) -> Iterator[list[Row]]:
    """The labels of each record together, as they lie in `record_labels`."""
    rows = (row for batch in lake.rows(run, "record_labels", LABEL_COLUMNS) for row in batch.to_pylist())
    yield from (list(group) for _, group in groupby(rows, key=lambda row: row["record_id"]))


def _providers_of(lake: Lake, run: Run) -> dict[str, Providers]:
    """Each record's providers; few different ones, so that a record costs little more than its id."""
    known: dict[tuple[str, str], Providers] = {}
    found: dict[str, Providers] = {}
    for batch in lake.rows(run, "records", ("record_id", "provider", "data_provider")):
        for row in batch.to_pylist():
            names = (row["provider"], row["data_provider"])
            found[row["record_id"]] = known.setdefault(names, Providers(*names))
    return found
