"""The door: what the policy of today, tombstones, people's votes and bounds hold back, with the reason."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline.database.tombstones import Tombstones
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Reason
from pipeline.vocabulary import Policy, Vocabulary


@dataclass(frozen=True)
class Providers:
    """Of a record: its aggregator and its institution."""

    provider: str = ""
    data_provider: str = ""


@dataclass
class Gate:
    """Asked once for each statement, in the order of their importance: what it lets pass counts against the bounds."""

    policy: Policy
    vocabulary: Vocabulary
    tombstones: Tombstones
    rejected: frozenset[tuple[str, str]] = frozenset()  # (record, concept) that people have voted down
    is_public: bool = True  # where it leads to: hidden labels go to a platform that shows them to nobody
    passed: Counter[str] = field(default_factory=Counter)  # new statements of this run, by institution
    _held: dict[str, str] = field(default_factory=dict)  # what the policy says of a concept: words are looked for once

    def forbids(self, slug: str, record_id: str, of: Providers) -> str:
        """Why nothing like this may stand anywhere, whatever is there already; empty when it may."""
        if self.tombstones.holds(record_id, of.provider, of.data_provider):
            return f"{Reason.TAKEN_DOWN}: the record or its provider was forgotten"
        if (record_id, slug) in self.rejected:
            return f"{Reason.HELD_BACK}: people have rejected it"
        if ceiling := self.policy.ceiling(of.data_provider, of.provider):
            name, most = ceiling
            if most == Decision.HIDDEN:
                return f"{Reason.PROVIDER_HIDDEN}: labels on records of {name} stay in the house"
            if self.is_public:
                return f"{Reason.HELD_BACK}: provider_ceilings lets labels on records of {name} go to people at most"
        if slug not in self._held:
            held = self.policy.held_back(self.vocabulary.by_slug[slug])
            self._held[slug] = f"{held[0]}: {held[1]}" if held else ""
        return self._held[slug]

    def is_full(self, of: Providers, on_record: int) -> str:
        """Why one more would be too many, where a record has `on_record` of ours; empty, and counted, when it is not."""
        policy, institution = self.policy, of.data_provider or of.provider
        if policy.most_per_record is not None and on_record >= policy.most_per_record:
            return f"most_per_record: {on_record} of ours are on the record"
        if policy.most_per_provider is not None and self.passed[institution] >= policy.most_per_provider:
            return f"most_per_provider: {policy.most_per_provider} new ones for {institution} in this run"
        self.passed[institution] += 1
        return ""
