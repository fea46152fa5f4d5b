"""Incomplete request bodies: their time limit, their common limit of memory, and their end at a stop.

Must not know what a body is for, or how it is read.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from tracker.server.connection_limits import ConnectionNeeded
from tracker.server.responses import stopping, too_slow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BODY_S: Final = 30.0
"""Time limit of a body, as in the example for nginx; the one for Caddy has to allow more, see there."""
HELD_MAX_BYTES: Final = 256 * 2**20
"""All incomplete bodies together, decompressed; the compressed data can be a thousand times smaller."""
SLOWEST_BYTES_PER_S: Final = 100_000
"""A large body has more time: an API request with images, over a slow line."""


class Arrivals:
    """The incomplete bodies of all connections.

    Args:
        limit_s: the time limit of one.
    """

    def __init__(self, limit_s: float = BODY_S) -> None:
        self._limit_s = limit_s
        self._limits: dict[asyncio.Timeout, int] = {}  # the oldest first; with the bytes received
        self._held = 0
        self._dropped: set[asyncio.Timeout] = set()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()
        self._is_over = False

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Wait for a body within its time limit; yields a function to call with the size of each piece.

        Args:
            size: its size in bytes, or its maximum.

        Raises:
            Problem: 408 after the time limit, 503 at a stop, or when the connection is needed for another.
        """
        limit = asyncio.timeout(0 if self._is_over else max(self._limit_s, size / SLOWEST_BYTES_PER_S))

        def hold(count: int) -> None:
            if limit in self._limits:
                self._limits[limit] += count
                self._held += count
            while self._held > HELD_MAX_BYTES and self.drop_oldest():
                pass

        try:
            async with limit:
                self._limits[limit] = 0
                self._is_quiet.clear()
                yield hold
        except TimeoutError:
            if not limit.expired():
                raise  # the connection's own
            if limit in self._dropped:
                raise ConnectionNeeded from None
            raise (stopping() if self._is_over else too_slow()) from None
        finally:
            self._held -= self._limits.pop(limit, 0)
            self._dropped.discard(limit)
            if not self._limits:
                self._is_quiet.set()

    def drop_oldest(self) -> bool:
        """Stop waiting for the oldest incomplete body; whether there is one."""
        while self._limits:
            limit = next(iter(self._limits))
            self._held -= self._limits.pop(limit)
            if not limit.expired():
                self._dropped.add(limit)
                limit.reschedule(asyncio.get_running_loop().time())
                return True
        return False

    async def settle(self, within_s: float) -> None:
        """Wait for the incomplete bodies; afterwards each incomplete body is answered 503 at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_quiet.wait()
        self._is_over = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)
