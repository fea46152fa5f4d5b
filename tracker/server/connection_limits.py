"""The limit of connections, the time limit of request heads, and which connection is closed for a new one.

All parts of the daemon share its file descriptors, so idle clients must not use them up. At the limit each new
connection replaces another, in this order: the oldest without a complete request head; the longest idle after its last
response; the oldest with an incomplete body (answered 503). A complete request is never cut off: where every
connection has one, the new connection is answered 503.

Owns the count and the order. Must not parse anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from tracker.logs import get_logger
from tracker.server.responses import RETRY_AFTER_S, Problem, raw_response
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from tracker.clock import Clock

log = get_logger(__name__)

HEAD_S: Final = 10.0
"""Time limit of a request head, from the connection or from its first byte: many times what a sender needs."""
HEAD_MAX_BYTES: Final = 2**20
"""A complete request head; the parser limits single fields and lines."""
LINES_PER_S: Final = 1 / 60
NO_LIMIT: Final = 2**31


class Member(Protocol):
    """A connection; see `tracker.server.connections.Connection`."""

    def drop(self, response: bytes = b"") -> None:
        """Close it at once, after writing a last response."""
        ...


class ConnectionLimiter:
    """Counts the connections and closes some.

    Args:
        clock: only its monotonic time is used, for the log.
        limit: the most connections.
        head_s: time limit of a request head.
        drop_body: stops waiting for the oldest incomplete body; whether there is one.
    """

    def __init__(self, clock: Clock, limit: int, head_s: float, drop_body: Callable[[], bool]) -> None:
        self._limit = max(limit, 1)
        self._head_s = head_s
        self._count = 0
        # both in order of their beginning
        self._heads: dict[Member, float] = {}
        self._idle: dict[Member, None] = {}
        self._drop_body = drop_body
        self._sweep_at: asyncio.TimerHandle | None = None
        self._throttle = Throttle(clock, LINES_PER_S, 1)

    def enter(self, member: Member) -> None:
        """A connection was accepted."""
        self._count += 1
        if self._count > self._limit and not self._close_one():
            member.drop(raw_response(ConnectionNeeded()))
            return
        self._await_head(member)

    def leave(self, member: Member) -> None:
        """A connection was closed."""
        self._count -= 1
        self._heads.pop(member, None)
        self._idle.pop(member, None)

    def head_came(self, member: Member) -> None:
        """It has sent a complete request head."""
        self._heads.pop(member, None)
        self._idle.pop(member, None)

    def bytes_came(self, member: Member) -> bool:
        """It has sent bytes that complete no head; whether they belong to a head."""
        if member in self._idle:
            del self._idle[member]
            self._await_head(member)
        return member in self._heads

    def answered(self, member: Member) -> None:
        """Its last request has its response, and there is no other."""
        self._idle[member] = None

    def _await_head(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        self._heads[member] = loop.time()
        if self._sweep_at is None:
            self._sweep_at = loop.call_later(self._head_s, self._sweep)

    def _sweep(self) -> None:
        """Close the connections whose head has taken too long."""
        loop = asyncio.get_running_loop()
        self._sweep_at = None
        while self._heads:
            member, began_at = next(iter(self._heads.items()))
            if began_at + self._head_s > loop.time():
                self._sweep_at = loop.call_at(began_at + self._head_s, self._sweep)
                return
            del self._heads[member]
            member.drop()

    def _close_one(self) -> bool:
        """Close the connection that matters least; whether there is one."""
        if self._throttle.admits():
            log.warning("server.connections_full", limit=self._limit)
        for waiting in (self._heads, self._idle):
            for member in waiting:
                del waiting[member]
                member.drop()
                return True
        return self._drop_body()


class ConnectionNeeded(Problem):
    """503: the connection of this request is needed, and nothing has been done for the request yet."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too-many-connections",
            "Too many connections, or too many incomplete bodies. Retry later.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
            closes=True,
        )


def head_too_large() -> Problem:
    """431: the request line and the header fields together are too large."""
    detail = f"The request head is larger than {HEAD_MAX_BYTES} bytes."
    return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail, closes=True)
