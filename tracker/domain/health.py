"""Whether the daemon can do its work, as every part of the program names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the daemon can do its work.

    Attributes:
        ready: it takes callbacks and polls.
        reasons: why not, one sentence each; if it is ready, what still needs attention.
        alarms: how many alarms are raised.
    """

    ready: bool
    reasons: Sequence[str] = ()
    alarms: int = 0
