"""One measured figure: the median of its runs, and the goal that it is held to."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`at_least` is the goal, None where a figure only informs."""

    key: str
    unit: str
    runs: list[float]
    at_least: float | None = None

    @property
    def value(self) -> float:
        """The median of the runs."""
        return round(statistics.median(self.runs), 3)

    @property
    def goal(self) -> str | None:
        """The goal in words."""
        return None if self.at_least is None else f">= {self.at_least:g}"

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.at_least is None else self.value >= self.at_least
