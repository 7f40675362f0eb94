"""What a server says of its rate limit (search contract §1.3)."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class RateLimit:
    """What a reply says of the quota (search contract §1.3): None where it says nothing."""

    quota: int | None = None
    window_s: int | None = None
    remaining: int | None = None
    reset_s: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "RateLimit":
        """Read `RateLimit-Policy: "personal";q=1000;w=3600` and `RateLimit: "personal";r=12;t=42`."""
        policy, state = headers.get("RateLimit-Policy", ""), headers.get("RateLimit", "")
        places = (("q", policy), ("w", policy), ("r", state), ("t", state))
        found = [re.search(rf"\b{name}=(\d+)", text) for name, text in places]
        return cls(*(int(number.group(1)) if number else None for number in found))

    def seconds_to_reset(self) -> float:
        """Until the quota is fresh, and a little more, so that not all come back at once; else to the full hour (§5.4)."""
        return (self.reset_s if self.reset_s is not None else _to_the_hour(datetime.now(UTC))) + random.random()


def _to_the_hour(now: datetime) -> int:
    return 3600 - now.minute * 60 - now.second
