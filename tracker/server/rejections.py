"""Keeps rejected callbacks for inspection, so that no garbage costs more than a little.

Owns how much of that is kept and logged. Must not hide the answer that the sender is due.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tracker.errors import StoreError
from tracker.logs import get_logger
from tracker.server.bodies import malformed
from tracker.server.throttle import Throttle

if TYPE_CHECKING:
    from tracker.server.responses import Problem
    from tracker.server.services import Services

log = get_logger(__name__)

PER_S: Final = 10.0
BURST: Final = 50.0
"""Each one kept is a write to disk and a log line, and anybody can send garbage."""
LARGE_BYTES: Final = 20_000
"""A larger body is decoded beside the event loop, and counts for more than one."""
_BYTES_OF_ONE: Final = 2_000
_SHARE_OF_KEPT: Final = 20
"""Callbacks without a token are let in so many times as fast as rejected ones are kept."""


def extra_weight(body: bytes) -> int:
    """For how many callbacks a large body counts, besides its own: megabytes from strangers must not fill the day."""
    return max(0, len(body) - LARGE_BYTES) // _BYTES_OF_ONE


class Rejections:
    """Remembers rejected callbacks.

    Args:
        services: the store, the clock and the redactor.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._throttle = Throttle(services.clock, PER_S, BURST)
        self._passed_over = 0

    async def malformed(self, provider: str, why: str, body: bytes) -> Problem:
        """Keep a body that cannot be read; the 400 for its sender."""
        await self.keep(provider, HTTPStatus.BAD_REQUEST, why, body)
        return malformed(why)

    async def keep(self, provider: str, status: HTTPStatus, why: str, body: bytes) -> None:
        """Keep the beginning of a body, unless too many came lately; never raises because it could not."""
        if not self._throttle.admits(1 + extra_weight(body) // _SHARE_OF_KEPT):
            self._passed_over += 1
            return
        services = self._services
        log.warning(
            "callback.rejected",
            provider=provider,
            status=status.value,
            why=why,
            bytes=len(body),
            passed_over=self._passed_over,
        )
        self._passed_over = 0
        text = services.payloads.beginning(body)
        try:
            await services.store.record_rejected(provider=provider, http_status=status.value, why=why, body=text)
        except StoreError as error:
            log.warning("callback.not_kept", provider=provider, error=str(error))
