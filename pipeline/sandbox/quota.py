"""A quota in fixed windows, told by two headers (Europeana contract 1.3)."""

import time


class Quota:
    """`most` requests in each window of `window_s` seconds; without `most`, any number, and nothing is told."""

    def __init__(self, most: int | None, window_s: int) -> None:
        self.most = most
        self.window_s = window_s
        self._window = -1
        self._used = 0
        self.refused = 0  # so far

    def take(self) -> bool:
        """Count a request; False when it is one too many."""
        if self.most is None:
            return True
        # The window is aligned to the clock: it does not begin with the first request.
        window = int(time.time()) // self.window_s
        if window != self._window:
            self._window, self._used = window, 0
        if self._used >= self.most:
            self.refused += 1
            return False
        self._used += 1
        return True

    def refusal(self) -> str:
        """What the server says to a request too many."""
        return f"Personal key client has reached the limit of {self.most} requests per {max(1, self.window_s // 60)} minutes"

    def headers(self) -> dict[str, str]:
        """The two headers that tell the quota; none when there is no quota."""
        if self.most is None:
            return {}
        reset = self.window_s - int(time.time()) % self.window_s
        return {
            "RateLimit-Policy": f'"personal";q={self.most};w={self.window_s}',
            "RateLimit": f'"personal";r={max(0, self.most - self._used)};t={reset}',
        }
