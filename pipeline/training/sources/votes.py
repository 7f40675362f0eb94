"""Tags with up- and downvotes: exports of a campaign of WITH / CrowdHeritage (JSON)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.crowd.ballots import decide
from pipeline.crowd.crowdheritage import FEWEST_VOTES, read_export
from pipeline.crowd.labels import Labels
from pipeline.errors import CriticalError
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.pictures import Pictures
from pipeline.training.sources.rows import Labelled, Source, labelled


@dataclass
class _Record:
    place: int
    up: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)


def read_votes(path: Path, beside: Beside) -> Source:
    """The records of a campaign with their tags and votes, in any of the three shapes of the export (`read_export`).

    Votes on the same tag of a record are added up, whoever proposed it. Accepted by more than half of the votes: true.
    Refused by more than half: false. A tie, and no vote at all, which the export does not tell apart, is unknown. Nobody
    was asked about what nobody proposed: all other concepts are unknown. Tags on a passage of text, or on no record, are
    passed over. Raises CriticalError for another file, and for an annotation that cannot be read.
    """
    export, labels = read_export(path), beside.labels()
    if export.problems:
        raise CriticalError(export.problems[0])
    records, passed = dict[str, _Record](), Counter[str]()
    for tag in export.tags:
        if not tag.record_id:
            passed["about no record /dataset/local"] += 1
            continue
        record = records.setdefault(tag.record_id, _Record(tag.place))
        if tag.about_text:
            passed["about a text, not a picture"] += 1
        elif slug := labels.first_known(tag.words):
            record.up[slug] = record.up.get(slug, 0) + tag.up
            record.down[slug] = record.down.get(slug, 0) + tag.down
    notes = [f"{path.name}: {count:,} tags are passed over: {why}" for why, count in passed.items()]
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(records, labels, beside.pictures, least)
    return Source(f"votes:{path.name}", items, len(records), labels.unknown, notes, by_people=True)


def _items(records: Mapping[str, _Record], labels: Labels, pictures: Pictures, fewest: int) -> Iterator[Labelled]:
    for record_id, record in records.items():
        decided = {slug: decide(up, record.down[slug], up + record.down[slug], fewest=fewest) for slug, up in record.up.items()}
        true, false = ({slug for slug, verdict in decided.items() if verdict is wanted} for wanted in (True, False))
        yield labelled(record_id, pictures.find(record_id=record_id), *labels.row(true, false), line=record.place)
