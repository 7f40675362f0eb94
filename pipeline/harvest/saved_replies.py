"""Saved replies of the Search and Record API, read as a harvest would read them: `enrich source parse`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.domain.outcome import Outcome, OutcomeRow, Reason
from pipeline.domain.record import Record
from pipeline.harvest.parse import STAGE, parse_item, unreadable
from pipeline.harvest.parse_record import gone, parse_object
from pipeline.harvest.texts import without_keys


def parse_file(path: Path) -> Iterator[Record | OutcomeRow]:
    """Every record in a file, or the rows that say why there is none.

    A file is a Search reply, a bare list of items, one item, or a Record reply; a reply without hits has no lines.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        yield OutcomeRow(
            STAGE, str(path), None, Outcome.REJECTED, Reason.UNPARSEABLE, f"not a JSON file: {type(error).__name__}: {error}"
        )
        return
    yield from _results(value)


def _results(value: Any) -> Iterator[Record | OutcomeRow]:
    if isinstance(value, list):
        yield from map(parse_item, value)
    elif not isinstance(value, dict):
        yield unreadable(value, None, Reason.UNPARSEABLE, "neither a reply nor a list of items")
    elif isinstance(value.get("object"), dict):
        yield parse_object(value["object"])
    elif "about" in value and ("aggregations" in value or "proxies" in value or "europeanaAggregation" in value):
        yield parse_object(value)
    elif value.get("success") is False:
        yield _refusal(value)
    elif "@context" in value:
        yield unreadable(value, None, Reason.UNPARSEABLE, "a reply of another API: only Search and Record replies are read")
    elif isinstance(value.get("items"), list):
        yield from map(parse_item, value["items"])
    elif not ("itemsCount" in value or "totalResults" in value or "facets" in value):
        yield parse_item(value)


def _refusal(value: dict[str, Any]) -> OutcomeRow:
    """An error reply; the one about an unknown record is a record that is gone (contract §2.2)."""
    said = without_keys(" ".join(value[name] for name in ("code", "error", "message") if isinstance(value.get(name), str)))
    if unknown := re.search(r"Invalid record identifier: (/\S+/\S+)", said):
        return gone(unknown.group(1), said)
    return unreadable(value, None, Reason.UNPARSEABLE, f"an error reply: {said}")
