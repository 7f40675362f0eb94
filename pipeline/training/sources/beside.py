"""What the sources are read with: the vocabulary, the places of pictures, and what the caller has chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.crowd.labels import Labels
from pipeline.settings import Settings
from pipeline.training.sources.pictures import Pictures
from pipeline.vocabulary import Vocabulary


@dataclass(frozen=True)
class Beside:
    """`meanings` as in `Labels`; `fewest_votes` is None where each kind of source takes its own."""

    vocabulary: Vocabulary
    pictures: Pictures
    settings: Settings
    meanings: Mapping[str, str] = field(default_factory=dict)
    fewest_votes: int | None = None

    def labels(self) -> Labels:
        """Labels that count what one source has and the vocabulary has not."""
        return Labels(self.vocabulary, self.meanings)
