"""Log events of the package, independent of how another test configured logging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tracker.logs import configure_logging


@contextmanager
def captured_logs() -> Iterator[list[Mapping[str, Any]]]:
    """The events from debug on, while it is open."""
    events: list[Mapping[str, Any]] = []
    configure_logging("debug", sink=events.append)
    try:
        yield events
    finally:
        configure_logging("warning")
