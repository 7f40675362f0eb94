"""When a tag counts as accepted or rejected: the rules that are in use, and their effect on an export side by side."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.crowd.verdicts import ACCEPTED, REJECTED, UNDECIDED
from pipeline.errors import CriticalError

DAWID_SKENE = "dawid-skene"
SIDE_BY_SIDE = ("majority", "net:2", "platform")
_CERTAIN = 0.8  # posterior from which on Dawid and Skene's model has decided


@dataclass(frozen=True)
class Rule:
    """`majority`: more for than against. `net:N`: at least N more. `platform`: somebody for, nobody against (WITH's own
    rule for publication, contract §5.1). `dawid-skene`: what a model of annotators says who are not equally good.

    Rejected is what has more against than for; under `net:N` at least N more.
    """

    name: str
    margin: int = 1

    def accepts(self, up: int, down: int) -> bool:
        """Do these counts make a tag accepted?"""
        return up - down >= self.margin and not (self.name == "platform" and down)

    def rejects(self, up: int, down: int) -> bool:
        """Do these counts make a tag rejected?"""
        return down - up >= self.margin


def parse_rule(text: str) -> Rule:
    """The rule of that name; CriticalError when there is none."""
    if text in ("majority", "platform", DAWID_SKENE):
        return Rule(text)
    if net := re.fullmatch(r"net:([1-9]\d{0,8})", text):
        return Rule(text, int(net[1]))
    raise CriticalError(f"--accept {text}: the rules are majority, net:N (such as net:2), platform and {DAWID_SKENE}")


@dataclass(frozen=True)
class Votes:
    """How people voted on one tag of a machine, or of a person."""

    machine: bool
    up: int
    down: int


def side_by_side(votes: Sequence[Votes], rules: Iterable[str], *, errors: int) -> dict[str, Any]:
    """How many tags are of machines and of people, and how many of them each rule accepts.

    `unvoted` have no votes, as far as the export says; `tied` have as many for as against. `errors` could not be read and
    are in no other count but `annotations`.
    """
    accepted: dict[str, Mapping[str, int]] = {}
    for rule in map(parse_rule, rules):
        of_machines = [one.machine for one in votes if rule.accepts(one.up, one.down)]
        accepted[rule.name] = {"machine": sum(of_machines), "human": len(of_machines) - sum(of_machines)}
    machine = sum(one.machine for one in votes)
    return {
        "annotations": len(votes) + errors,
        "machine": machine,
        "human": len(votes) - machine,
        "unvoted": sum(one.up == one.down == 0 for one in votes),
        "tied": sum(one.up == one.down > 0 for one in votes),
        "accepted": accepted,
        "errors": errors,
    }


def verdict(rule: Rule, *, up: int, down: int, fewest: int, majority: bool | None, certainty: float | None) -> str:
    """The verdict on a tag under a rule.

    `majority` is what more than half of those say who were asked (`crowd.ballots`), `certainty` the posterior of Dawid and
    Skene's model. Fewer than `fewest` votes decide nothing.
    """
    if rule.name == "majority":
        said = majority
    elif rule.name == DAWID_SKENE:
        said = None if certainty is None or 1 - _CERTAIN < certainty < _CERTAIN else certainty >= _CERTAIN
    else:
        said = True if rule.accepts(up, down) else False if rule.rejects(up, down) else None
    if up + down < fewest or said is None:
        return UNDECIDED
    return ACCEPTED if said else REJECTED
