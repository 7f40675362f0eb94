"""A campaign's export from WITH / CrowdHeritage (JSON), annotation by annotation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.crowd.dates import read_moment
from pipeline.crowd.json_file import read_json
from pipeline.domain.identifiers import record_of
from pipeline.errors import CriticalError, PermanentError

ADVICE = "give the answer of WITH's /annotation/exportCampaignAnnotations as it is"
FEWEST_VOTES = 1
_ABOUT_TEXT = ("PropertySelector", "PropertyTextFragmentSelector", "TextPositionSelector", "oa:TextPositionSelector")
_MOST_VOTES = 2**31 - 1  # more is no count of people, and no column would hold it
_SHOWN = 60  # characters of a value that cannot be read


@dataclass(frozen=True)
class Tag:
    """One annotation: what it says of which record, who proposed it, and how people voted on it.

    `words` are what may name the concept, the surest first. `maker` is the name of the software that proposed it, and None
    for a person. `score` is the maker's confidence, 0–1. A tie of the first model comes without counts, as 0 and 0.
    """

    place: int
    record_id: str  # /dataset/local, /with/<id> for a record that is only at WITH; empty: about no record
    words: tuple[str, ...]
    about_text: bool
    maker: str | None
    up: int
    down: int
    score: float | None
    created: datetime | None


@dataclass(frozen=True)
class Export:
    """The annotations that could be read, and a sentence with file and number for each that could not."""

    tags: Sequence[Tag]
    problems: Sequence[str]


def read_export(path: Path) -> Export:
    """Read an export in any of its three shapes (WITH contract §3.7).

    They are `{"@graph": […]}` with `review{upvotes,downvotes}`, an array with `score{upvotes,downvotes}`, and the older
    array of raw annotations with `score{approvedBy[],rejectedBy[]}`, of which one person counts once (§3.6, "repeat
    approvals stack") and not at all after both votes. The second shape names every maker as a person: there nothing is
    known to come from a machine. Raises CriticalError when the file is none of them.
    """
    value = read_json(path, ADVICE)
    graph = value.get("@graph") if isinstance(value, dict) else value
    if not isinstance(graph, list):
        raise CriticalError(f"{path}: neither an array nor an object with @graph; {ADVICE}")
    tags, problems = list[Tag](), list[str]()
    for place, annotation in enumerate(graph, 1):
        try:
            tags.append(_tag(place, annotation))
        except PermanentError as error:
            problems.append(f"{path} annotation {place}: {error}; {ADVICE}")
    return Export(tags, problems)


def _tag(place: int, annotation: Any) -> Tag:
    if not isinstance(annotation, dict):
        raise PermanentError("it is not an object")
    target = annotation.get("target")
    if not isinstance(target, str | dict) or not target:
        raise PermanentError("it has no target")
    maker = _maker(annotation)
    up, down = _votes(annotation)
    return Tag(
        place=place,
        record_id=_record_of(target),
        words=_words(annotation.get("body")),
        about_text=_selector(target) in _ABOUT_TEXT,
        maker=maker,
        up=up,
        down=down,
        score=_share(annotation.get("confidence")) if maker else None,
        created=read_moment(annotation.get("created")),
    )


def _maker(annotation: Mapping[str, Any]) -> str | None:
    """The software's name; raw annotations have it in the first of their annotators."""
    creator = annotation.get("creator")
    for one in creator if isinstance(creator, list) else [creator]:
        if isinstance(one, dict) and one.get("type") == "Software":
            return _text(one.get("name") or one.get("id") or "") or "software without a name"
    annotators = annotation.get("annotators")
    first = annotators[0] if isinstance(annotators, list) and annotators else None
    if isinstance(first, dict) and first.get("externalCreatorType") == "Software":
        name = first.get("externalCreatorName") or first.get("externalCreatorId") or ""
        return _text(name) or "software without a name"
    return None


def _record_of(target: str | Mapping[str, Any]) -> str:
    if isinstance(target, str):
        return record_of(_text(target))
    known = record_of(_text(target.get("source") or target.get("externalId") or ""))
    return known or (f"/with/{_text(target['recordId'])}" if target.get("recordId") else "")


def _selector(target: str | Mapping[str, Any]) -> str:
    selector = None if isinstance(target, str) else target.get("selector")
    if not isinstance(selector, dict):
        return ""
    return str(selector.get("type") or selector.get("@type") or ("PropertySelector" if selector.get("property") else ""))


def _words(body: Any) -> tuple[str, ...]:
    """A URI, a text with its language, or WITH's own `{uri, label{language: [texts]}}`.

    A URI that the vocabulary does not have may still come with a label that it has. Several bodies are a comment, and
    some kinds of tags are exported without any.
    """
    if isinstance(body, str):
        found = [body]
    elif isinstance(body, dict):
        named = body.get("label") if isinstance(body.get("label"), dict) else {}
        texts = [text for one in (named or {}).values() for text in (one if isinstance(one, list) else [one])]
        found = [one for one in (body.get("id"), body.get("uri"), body.get("source"), body.get("value"), *texts) if one]
    else:
        return ()
    return tuple(dict.fromkeys(filter(None, map(_text, found))))


def _votes(annotation: Mapping[str, Any]) -> tuple[int, int]:
    """(up, down); a review of a rating campaign has none."""
    said = annotation.get("review")
    if said is None:
        said = annotation.get("score")
    if said is None:
        return 0, 0
    if not isinstance(said, dict):
        raise PermanentError(f"its votes are {_shown(said)}, not an object")
    if "approvedBy" in said or "rejectedBy" in said:
        yes, no = (_voters(said.get(name), name) for name in ("approvedBy", "rejectedBy"))
        return len(yes - no), len(no - yes)
    return _count(said, "upvotes"), _count(said, "downvotes")


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if value is None:
        return 0
    text = value.strip() if isinstance(value, str) else ""
    whole = isinstance(value, float) and value.is_integer()
    number = int(value) if whole or (text.isascii() and text.isdigit() and len(text) < _SHOWN) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_VOTES:
        raise PermanentError(f"its {name} are {_shown(value)}, not a count")
    return number


def _voters(admins: Any, name: str) -> set[str]:
    """Who voted; an entry that names nobody is somebody of its own."""
    found = admins if isinstance(admins, list) else []
    named = [one.get("withCreator") if isinstance(one, dict) else one for one in found]
    return {str(who or f"{name} {at}") for at, who in enumerate(named)}


def _share(value: Any) -> float | None:
    """A number between 0 and 1, also as text; -1 means that none was given (contract §3.1)."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number <= 1 else None


def _text(value: Any) -> str:
    """As a text that can be written down: half a character pair, which JSON allows, becomes `?`."""
    return str(value).encode("utf-8", "replace").decode().strip()


def _shown(value: Any) -> str:
    """A number, or only what kind of value it is: names of people may stand in the others."""
    return repr(value)[:_SHOWN] if isinstance(value, int | float) else f"of the kind {type(value).__name__}"
