"""How many INVITEs one source may send: a token bucket for each address. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_SOURCES = 10_000


class RateLimit:
    """`rate` a second, with bursts of twice as many; 0 lets everything through."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._rate, self._now = rate, now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def exceeded(self, source: str) -> bool:
        """Count one more from this source; whether it is one too many."""
        if self._rate <= 0:
            return False
        now, burst = self._now(), self._rate * 2
        left, since = self._buckets.pop(source, (burst, now))
        left = min(burst, left + (now - since) * self._rate)
        exceeded = left < 1
        self._buckets[source] = (left if exceeded else left - 1, now)
        while len(self._buckets) > MAX_SOURCES:
            self._buckets.popitem(last=False)
        return exceeded
