"""All connections of the server: how many there may be, how long a request head may take, and who makes room.

Descriptors are shared by everything that the daemon does. Whoever only holds connections must not use them up: when
there are as many connections as there may be, each new one takes the place of the one that has least to lose. In this
order: the oldest that has not sent a whole head; the one that has been idle longest after its last answer; the oldest
whose body is still arriving (answered 503). A request that is there as a whole is never cut off: where every
connection has one, the new connection is answered 503.

Owns the count and the order. Must not parse anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from tracker.logs import get_logger
from tracker.server.responses import RETRY_AFTER_S, Problem, raw_answer
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from tracker.clock import Clock

log = get_logger(__name__)

HEAD_S: Final = 10.0
"""How long a request head may take, from the connection or from its first byte: many times what any sender needs."""
HEAD_MAX_BYTES: Final = 2**20
"""All of a request head; single fields and lines are bounded by the parser."""
LINES_PER_S: Final = 1 / 60
NO_LIMIT: Final = 2**31


class Member(Protocol):
    """A connection; see `tracker.server.connections.Connection`."""

    def drop(self, answer: bytes = b"") -> None:
        """Close it at once, after writing a last answer."""
        ...


class Crowd:
    """The connections.

    Args:
        clock: only its monotonic time is used, for the log.
        limit: how many there may be.
        head_s: how long a head may take.
        give_up_body: ends the wait for the body that has been on its way longest, and says whether there is one.
    """

    def __init__(self, clock: Clock, limit: int, head_s: float, give_up_body: Callable[[], bool]) -> None:
        self._limit = max(limit, 1)
        self._head_s = head_s
        self._count = 0
        # each ordered by when it began
        self._heads: dict[Member, float] = {}
        self._idle: dict[Member, None] = {}
        self._give_up_body = give_up_body
        self._sweep_at: asyncio.TimerHandle | None = None
        self._throttle = Throttle(clock, LINES_PER_S, 1)

    def enter(self, member: Member) -> None:
        """A connection was accepted."""
        self._count += 1
        if self._count > self._limit and not self._make_room():
            member.drop(raw_answer(Crowded()))
            return
        self._await_head(member)

    def leave(self, member: Member) -> None:
        """It is closed."""
        self._count -= 1
        self._heads.pop(member, None)
        self._idle.pop(member, None)

    def head_came(self, member: Member) -> None:
        """It has sent a whole request head."""
        self._heads.pop(member, None)
        self._idle.pop(member, None)

    def bytes_came(self, member: Member) -> bool:
        """It has sent something that ended no head; whether it is sending a head."""
        if member in self._idle:
            del self._idle[member]
            self._await_head(member)
        return member in self._heads

    def answered(self, member: Member) -> None:
        """Its last request was answered, and no other has come."""
        self._idle[member] = None

    def _await_head(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        self._heads[member] = loop.time()
        if self._sweep_at is None:
            self._sweep_at = loop.call_later(self._head_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has taken too long for its head."""
        loop = asyncio.get_running_loop()
        self._sweep_at = None
        while self._heads:
            member, began_at = next(iter(self._heads.items()))
            if began_at + self._head_s > loop.time():
                self._sweep_at = loop.call_at(began_at + self._head_s, self._sweep)
                return
            del self._heads[member]
            member.drop()

    def _make_room(self) -> bool:
        """Have one connection less; whether there is one that can be spared."""
        if self._throttle.admits():
            log.warning("server.connections_full", limit=self._limit)
        for waiting in (self._heads, self._idle):
            for member in waiting:
                del waiting[member]
                member.drop()
                return True
        return self._give_up_body()


class Crowded(Problem):
    """503: the place of this request is needed, and nothing has been done for it yet."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too-many-connections",
            "There are too many connections, or too much is on its way. Send it again a little later.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
            closes=True,
        )


def head_too_large() -> Problem:
    """431: the request line and the header fields are too large together."""
    detail = f"The head of this request is larger than {HEAD_MAX_BYTES} bytes."
    return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail, closes=True)
