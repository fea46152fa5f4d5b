"""When a failed call is sent again, and after which pause. Must not wait or send anything."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from tracker.client.calls import Call
from tracker.client.errors import ApiError, ClientError, Unreachable
from tracker.domain.retry import growing_delays_s, jittered

PATIENCE_S: Final = 30.0
"""How long a call is repeated by default: a daemon that restarts is back by then."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0

_NOTHING_DONE: Final = frozenset({"store-unavailable", "stopping", "search-refused", "too-many-streams", "too-slow"})
"""Kinds of problems after which nothing was recorded."""
_LASTING: Final = frozenset({"not-asked", "no-archive"})
"""Kinds of problems that a repetition does not solve."""
_PASSING: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,  # these two come from a proxy while the daemon restarts
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
_UNDECIDED: Final = frozenset({"submit-in-flight", "write-unknown"})
"""Kinds of problems of a submit that the same key solves later."""


class Attempts:
    """The attempts of one call.

    Args:
        call: the call.
        patience_s: how long to repeat it after its first failure, in seconds; 0: not at all.
        undecided_s: the same for a submit whose first attempt, by an earlier call with its key, is under way.
        monotonic: seconds.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        call: Call,
        patience_s: float,
        undecided_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._call = call
        self._patience_s = patience_s
        # that attempt may take as long as this call
        self._undecided_s = (patience_s and max(patience_s, call.answer_s)) if undecided_s is None else undecided_s
        self._monotonic = monotonic
        self._draw = draw
        self._failed_at: float | None = None
        self._pauses_s = growing_delays_s(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def pause_after(self, failure: ClientError) -> float:
        """The pause before the next attempt, in seconds.

        Raises:
            ClientError: the failure, if the call must not be sent again or has failed for too long.
        """
        now = self._monotonic()
        if self._failed_at is None:
            self._failed_at = now
        is_undecided = isinstance(failure, ApiError) and failure.kind == "submit-in-flight"
        left_s = self._failed_at + (self._undecided_s if is_undecided else self._patience_s) - now
        if left_s <= 0 or not may_repeat(self._call, failure):
            raise failure
        asked_s = failure.retry_after_s if isinstance(failure, ApiError) else None
        pause_s = jittered(next(self._pauses_s), self._draw())
        return min(pause_s if asked_s is None else asked_s, left_s)


def may_repeat(call: Call, failure: ClientError) -> bool:
    """Whether a call may be sent again after a failure, and that may help."""
    if isinstance(failure, Unreachable):
        return call.is_repeatable or not failure.is_sent
    if not isinstance(failure, ApiError) or failure.kind in _LASTING:
        return False
    return failure.kind in _NOTHING_DONE or (
        call.is_repeatable and (failure.status in _PASSING or failure.kind in _UNDECIDED)
    )
