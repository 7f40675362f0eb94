"""What people have decided, out of the lake's dataset `feedback`: `feedback:PLATFORM`, or `feedback:all`."""

from collections import Counter
from collections.abc import Iterator, Mapping

from pipeline.crowd.labels import Labels
from pipeline.crowd.verdicts import decided, newest_verdicts
from pipeline.datasets.lake import open_lake
from pipeline.errors import CriticalError
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.pictures import Pictures
from pipeline.training.sources.rows import Labelled, Source, labelled

ALL = "all"


def read_feedback(platform: str, beside: Beside) -> Source:
    """Accepted tags are true, rejected ones false, by the rule that they were imported with; everything else is unknown.

    Of each tag the newest import counts. Pictures are found by record. Raises CriticalError when nothing was imported
    from this platform.
    """
    rows = [row for row in newest_verdicts(open_lake(beside.settings)) if platform in (ALL, row["platform"])]
    if not rows:
        raise CriticalError(
            f"feedback:{platform}: nothing was imported; import an export first: enrich feedback import --from KIND FILE"
        )
    labels, verdicts = beside.labels(), decided(rows)
    labels.unknown.update(Counter(row["label"] for row in rows if row["concept_uri"] is None))
    records = dict.fromkeys(row["record_id"] for row in rows)
    said: dict[str, dict[str, bool | None]] = {record_id: {} for record_id in records}
    for (record_id, slug), right in verdicts.items():
        if slug in labels.all:
            said[record_id][slug] = right
    unclear = sum(right is None for right in verdicts.values())
    notes = [f"feedback: {unclear:,} tags were accepted here and rejected there; they are unknown"] if unclear else []
    return Source(
        f"feedback:{platform}", _items(said, labels, beside.pictures), len(said), labels.unknown, notes, by_people=True
    )


def _items(said: Mapping[str, Mapping[str, bool | None]], labels: Labels, pictures: Pictures) -> Iterator[Labelled]:
    for place, (record_id, verdicts) in enumerate(said.items(), 1):
        true, false = ({slug for slug, right in verdicts.items() if right is wanted} for wanted in (True, False))
        yield labelled(record_id, pictures.find(record_id=record_id), *labels.row(true, false), line=place)
