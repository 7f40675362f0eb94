"""One measured figure: the median of its runs, and the goal that it is held to."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`at_least` or `at_most` is the goal; neither where a figure only informs."""

    key: str
    unit: str
    runs: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """The median of the runs."""
        return round(statistics.median(self.runs), 3)

    @property
    def goal(self) -> str | None:
        """The goal in words."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return None if self.at_least is None else f">= {self.at_least:g}"

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least
