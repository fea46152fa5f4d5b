"""Stores rejected callbacks for inspection, at a limited rate, since anyone can send them.

Must not replace the response to the sender.
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
"""Each stored one is a write to disk and a log line."""
LARGE_BYTES: Final = 20_000
"""A larger body is decoded on a thread, and counts for more than one."""
_BYTES_PER_CALLBACK: Final = 2_000
_ADMITTED_PER_STORED: Final = 20
"""The rate limit of callbacks without a token is higher by about this factor than that of stored rejections."""


def extra_weight(body: bytes) -> int:
    """How many further callbacks a large body counts for: decoding megabytes takes time that others need."""
    return max(0, len(body) - LARGE_BYTES) // _BYTES_PER_CALLBACK


class Rejections:
    """Stores and logs rejected callbacks.

    Args:
        services: the store, the clock and the redactor.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._throttle = Throttle(services.clock, PER_S, BURST)
        self._suppressed = 0

    async def malformed(self, provider: str, why: str, body: bytes) -> Problem:
        """Store a body that cannot be read; the 400 for its sender."""
        await self.record(provider, HTTPStatus.BAD_REQUEST, why, body)
        return malformed(why)

    async def record(self, provider: str, status: HTTPStatus, why: str, body: bytes) -> None:
        """Store the beginning of a body, within the rate limit; an error of the store is only logged."""
        if not self._throttle.admits(1 + extra_weight(body) // _ADMITTED_PER_STORED):
            self._suppressed += 1
            return
        services = self._services
        log.warning(
            "callback.rejected",
            provider=provider,
            status=status.value,
            error=why,
            bytes=len(body),
            suppressed=self._suppressed,
        )
        self._suppressed = 0
        text = services.payloads.beginning(body)
        try:
            await services.store.record_rejected(provider=provider, http_status=status.value, why=why, body=text)
        except StoreError as error:
            log.warning("callback.failed", step="store_rejected", provider=provider, error=str(error))
