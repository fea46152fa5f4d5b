"""Histograms as plain numbers: how many values were at most each bound, and their sum.

Counting one value takes less than 0.3 us. Must not know who counts, or how the numbers are shown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

K = TypeVar("K", bound=Hashable)


class Histogram:
    """Counts values.

    Args:
        bounds: upper bounds of the buckets, inclusive, rising.

    Attributes:
        counts: values of each bucket; the last one has those above every bound.
        sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value. A negative one counts as 0: a clock was set back, and the sum must not fall."""
        self.counts[bisect_left(self.bounds, value)] += 1
        if value > 0:
            self.sum += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """How many values were at most each bound, and last how many there are."""
        return list(accumulate(self.counts))


class Histograms(dict[K, Histogram], Generic[K]):
    """A histogram for each key, made when it is first asked for.

    Args:
        bounds: of all of them.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = tuple(bounds)

    def __missing__(self, key: K) -> Histogram:
        found = self[key] = Histogram(self._bounds)
        return found
