"""How records are pulled, beside which ones: the service, what of an image is asked, and when a run stops by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import CriticalError

SERVICES = ("europeana", "with", "folder")
IMAGES = ("first", "all")
DAY_H = 24
MOST = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """A run stops cleanly, in state `partial`, when one of these is used up; None is no limit."""

    max_records: int | None = None
    max_requests: int | None = None
    max_hours: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if value is not None and not 0 < value < MOST:  # neither is NaN
                raise CriticalError(f"{name} is {value}; it must be more than 0 and less than {MOST:,}, or left out")


@dataclass(frozen=True)
class HarvestRules:
    """What a source's file says of the way; `rights` are the categories that are kept, none means all.

    `window_hours` is the width of the aligned windows; one with more than `window_hits` records is halved. A window is
    listed again when `revisit_days` have passed since its end, at most `revisit_windows` of them in one run. `images`
    and `technical` ask the Record API too: one request more a record.
    """

    service: str = "europeana"
    images: str = "first"
    technical: bool = False
    rights: tuple[str, ...] = ()
    window_hours: int = DAY_H
    window_hits: int = 100_000
    revisit_days: tuple[int, ...] = ()
    revisit_windows: int = 3
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.service not in SERVICES:
            raise CriticalError(f"kind {self.service!r} is not one of {', '.join(SERVICES)}")
        if self.images not in IMAGES:
            raise CriticalError(f"images {self.images!r} is not one of {', '.join(IMAGES)}")

    @property
    def needs_record_api(self) -> bool:
        """Does a search hit not hold all that is asked for?"""
        return self.service == "europeana" and (self.images == "all" or self.technical)


def rules_from_json(value: Mapping[str, Any]) -> HarvestRules:
    """Read back rules written with `dataclasses.asdict`."""
    lists = {name: tuple(value[name]) for name in ("rights", "revisit_days")}
    return HarvestRules(**{**value, **lists, "limits": Limits(**value["limits"])})
