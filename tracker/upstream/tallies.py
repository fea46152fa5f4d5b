"""Counts of the requests to upstreams in this process, and how far their clocks are from this machine's.

Must not send anything. Hosts are those of the configured accounts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tracker.domain.retry import parse_http_date
from tracker.domain.upstream_http import WireReply

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.errors import UpstreamFailure

SKEW_EVERY_S: Final = 10.0
"""The ``Date`` of a host is read this often; reading it costs as much as a tenth of a poll."""
REQUEST_BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
HALF_A_DATE_S: Final = 0.5
"""A ``Date`` is cut to seconds."""
NO_ANSWER: Final = "none"


class UpstreamTallies:
    """Counts requests.

    Args:
        clock: the machine's clock.

    Attributes:
        requests: by host, method and class of the status (``2xx``); `NO_ANSWER` without an answer.
        skews: host -> seconds that this machine's clock is ahead of the host's, exact to about a second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_at: dict[str, float] = {}
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.skews: dict[str, float] = {}

    def note(self, host: str, method: str, outcome: WireReply | UpstreamFailure) -> None:
        """Count a request by its answer, or the lack of one."""
        if not isinstance(outcome, WireReply):
            self.requests[host, method, NO_ANSWER] += 1
            return
        self.requests[host, method, f"{outcome.status // 100}xx"] += 1
        now = self._clock.monotonic()
        if now - self._read_at.get(host, -SKEW_EVERY_S) >= SKEW_EVERY_S:
            self._read_at[host] = now
            self._read_date(host, outcome)

    def _read_date(self, host: str, reply: WireReply) -> None:
        sent_at = parse_http_date(reply.headers.get("date", ""))
        if sent_at is not None and reply.received_at is not None:
            self.skews[host] = (reply.received_at - sent_at).total_seconds() - HALF_A_DATE_S
