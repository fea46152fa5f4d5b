"""Counts of requests in this process. Must not answer anything.

Labels are bounded: patterns of routes, known methods, the daemon's own statuses, and known providers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tracker.domain.histograms import Histograms

DURATION_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"


@dataclass(slots=True)
class HttpTallies:
    """What was answered.

    Attributes:
        requests: by route, method and status; without callbacks.
        durations: route -> seconds of each of them, without streams.
        callbacks: by provider and status.
        stream_clients: streams that are open now.
    """

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    durations: Histograms[str] = field(default_factory=lambda: Histograms(DURATION_BOUNDS_S))
    callbacks: Counter[tuple[str, int]] = field(default_factory=Counter)
    stream_clients: int = 0

    def note_request(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count a request other than a callback; ``seconds`` is None for a stream, which its client ends."""
        self.requests[route, method if method in METHODS else OTHER, status] += 1
        if seconds is not None:
            self.durations[route].observe(seconds)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it is open."""
        self.stream_clients += 1
        try:
            yield
        finally:
            self.stream_clients -= 1
