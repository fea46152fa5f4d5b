"""The options of a run of benchmarks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes:
        rounds: how often baseline and candidate take turns.
        tasks: in the large database.
        quick: measure less, to try things in two minutes.
    """

    rounds: int = 5
    tasks: int = 1_000_000
    quick: bool = False

    def scaled(self, count: int) -> int:
        """A number of things to do; a quarter of it for a quick run."""
        return max(1, count // 4) if self.quick else count
