"""The moments of WITH's exports, in the forms that it writes them (WITH contract §3.2)."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_JAVA = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\S+) (\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d\d):?(\d\d)")
# The names that Java gives to European zones, in hours east of Greenwich.
_ZONES = {"UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3}


def read_moment(value: Any) -> datetime | None:
    """The moment in UTC; None for what is none of these forms.

    They are Java's text (`Wed Apr 01 17:17:52 UTC 2026`), ISO 8601, `yyyy/MM/dd`, and epoch milliseconds. A moment without
    a zone is taken for UTC.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        if not isinstance(value, str):
            return None
        if java := _JAVA.fullmatch(value.strip()):
            month, day, hour, minute, second, zone, year = java.groups()
            place = _MONTHS.index(month) + 1
            moment = datetime(int(year), place, int(day), int(hour), int(minute), int(second), tzinfo=_zone(zone))
        else:
            moment = datetime.fromisoformat(value.strip().replace("/", "-"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _zone(name: str) -> timezone:
    """ValueError for a name that nobody knows here."""
    if name in _ZONES:
        return timezone(timedelta(hours=_ZONES[name]))
    offset = _OFFSET.fullmatch(name)
    if offset is None:
        raise ValueError(name)
    sign, hours, minutes = offset.groups()
    return timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
