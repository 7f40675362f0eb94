"""Tags with up- and downvotes: exports of a campaign of WITH / CrowdHeritage (JSON)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CriticalError
from pipeline.training.sources.ballots import decide
from pipeline.training.sources.beside import Beside
from pipeline.training.sources.json_file import read_json
from pipeline.training.sources.labels import Labels
from pipeline.training.sources.pictures import Pictures
from pipeline.training.sources.rows import Labelled, Source, labelled, record_of

_ADVICE = "give the answer of WITH's /annotation/exportCampaignAnnotations as it is"
_ABOUT_TEXT = ("PropertySelector", "PropertyTextFragmentSelector", "TextPositionSelector", "oa:TextPositionSelector")
FEWEST_VOTES = 1


@dataclass
class _Record:
    place: int
    up: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)


def read_votes(path: Path, beside: Beside) -> Source:
    """The records of a campaign with their tags and votes, in any of the three shapes of the export (WITH contract §3.7).

    They are `{"@graph": […]}` with `review{upvotes,downvotes}`, an array with `score{upvotes,downvotes}`, and the older
    array of raw annotations with `score{approvedBy[],rejectedBy[]}`, of which one person counts once (§3.6, "repeat
    approvals stack") and not at all after both votes. Votes on the same tag of a record are added up, whoever proposed it.

    Accepted by more than half of the votes: true. Refused by more than half: false. A tie, and no vote at all, which the
    export does not tell apart, is unknown. Nobody was asked about what nobody proposed: all other concepts are unknown.
    Tags on a passage of text, or on no record, are passed over. Raises CriticalError for another file.
    """
    value = read_json(path, _ADVICE)
    graph = value.get("@graph") if isinstance(value, dict) else value
    if not isinstance(graph, list):
        raise CriticalError(f"{path}: neither an array nor an object with @graph; {_ADVICE}")
    labels, records, passed = beside.labels(), dict[str, _Record](), Counter[str]()
    for place, annotation in enumerate(graph, 1):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("target"), str | dict):
            raise CriticalError(f"{path} annotation {place}: it has no target; {_ADVICE}")
        record_id = _record_of(annotation["target"])
        if not record_id:
            passed["about no record /dataset/local"] += 1
            continue
        record = records.setdefault(record_id, _Record(place))
        if _selector(annotation["target"]) in _ABOUT_TEXT:
            passed["about a text, not a picture"] += 1
            continue
        for slug in _slugs(annotation.get("body"), labels):
            up, down = _votes(annotation)
            record.up[slug] = record.up.get(slug, 0) + up
            record.down[slug] = record.down.get(slug, 0) + down
    notes = [f"{path.name}: {count:,} tags are passed over: {why}" for why, count in passed.items()]
    least = FEWEST_VOTES if beside.fewest_votes is None else beside.fewest_votes
    items = _items(records, labels, beside.pictures, least)
    return Source(f"votes:{path.name}", items, len(records), labels.unknown, notes)


def _record_of(target: str | Mapping[str, Any]) -> str:
    """The record in Europeana's short form; `/with/<id>` for one that is only at WITH."""
    if isinstance(target, str):
        return record_of(target)
    known = record_of(str(target.get("source") or target.get("externalId") or ""))
    return known or (f"/with/{target['recordId']}" if target.get("recordId") else "")


def _selector(target: str | Mapping[str, Any]) -> str:
    selector = None if isinstance(target, str) else target.get("selector")
    if not isinstance(selector, dict):
        return ""
    return str(selector.get("type") or selector.get("@type") or ("PropertySelector" if selector.get("property") else ""))


def _slugs(body: Any, labels: Labels) -> set[str]:
    """The concept of a body: a URI, a text with its language, or WITH's own `{uri, label{language: [texts]}}`.

    A URI that the vocabulary does not have may still come with a label that it has.
    """
    if isinstance(body, str):
        ways = [body]
    elif isinstance(body, dict):
        named = body.get("label") if isinstance(body.get("label"), dict) else {}
        texts = [text for one in (named or {}).values() for text in (one if isinstance(one, list) else [one])]
        ways = [str(one) for one in (body.get("id"), body.get("uri"), body.get("source"), body.get("value"), *texts) if one]
    else:
        return set()
    for way in dict.fromkeys(ways):
        if slug := labels.peek(way):
            return {slug}
    if ways:
        labels.concept(ways[0])
    return set()


def _votes(annotation: Mapping[str, Any]) -> tuple[int, int]:
    """(up, down); a review of a rating campaign has none."""
    said = annotation.get("review") or annotation.get("score") or {}
    if not isinstance(said, dict):
        return 0, 0
    if "approvedBy" in said or "rejectedBy" in said:
        yes, no = (_voters(said.get(name), name) for name in ("approvedBy", "rejectedBy"))
        return len(yes - no), len(no - yes)
    up, down = (said.get(name) for name in ("upvotes", "downvotes"))
    return (up if isinstance(up, int) else 0), (down if isinstance(down, int) else 0)


def _voters(admins: Any, name: str) -> set[str]:
    """Who voted; an entry that names nobody is somebody of its own."""
    found = admins if isinstance(admins, list) else []
    named = [one.get("withCreator") if isinstance(one, dict) else one for one in found]
    return {str(who or f"{name} {at}") for at, who in enumerate(named)}


def _items(records: Mapping[str, _Record], labels: Labels, pictures: Pictures, fewest: int) -> Iterator[Labelled]:
    for record_id, record in records.items():
        decided = {slug: decide(up, record.down[slug], up + record.down[slug], fewest=fewest) for slug, up in record.up.items()}
        true, false = ({slug for slug, verdict in decided.items() if verdict is wanted} for wanted in (True, False))
        yield labelled(record_id, pictures.find(record_id=record_id), *labels.row(true, false), line=record.place)
