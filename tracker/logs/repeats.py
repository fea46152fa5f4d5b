"""A limit for messages about a trouble that lasts, such as a full disk: each is logged once a minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

EVERY_S: Final = 60.0
_MAX_MESSAGES: Final = 1000
"""Messages that are remembered; at this limit all are discarded, and logged again."""


class Repeats:
    """Remembers when each message was logged last.

    Args:
        monotonic: the time in seconds.
        every_s: how long a message is not logged again.
    """

    def __init__(self, monotonic: Callable[[], float], every_s: float = EVERY_S) -> None:
        self._monotonic = monotonic
        self._every_s = every_s
        self._logged_at: dict[str, float] = {}

    def admits(self, message: str) -> bool:
        """Whether to log a message now; if so, it counts as logged."""
        now = self._monotonic()
        last = self._logged_at.get(message)
        if last is not None and now - last < self._every_s:
            return False
        if len(self._logged_at) >= _MAX_MESSAGES:
            self._logged_at.clear()
        self._logged_at[message] = now
        return True
