"""Callbacks that belong to no task, for inspection. Must not know why one is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple


class ParkedCallback(NamedTuple):
    """A callback without a token that waits for its task.

    Attributes:
        payload: its body, as far as it is stored.
    """

    provider: str
    external_id: str
    received_at: datetime
    payload: str | None


class RejectedCallback(NamedTuple):
    """A callback that was rejected.

    Attributes:
        why: one line.
        body: as far as it is stored.
    """

    provider: str
    received_at: datetime
    http_status: int
    why: str
    body: str


class Unmatched(NamedTuple):
    """Callbacks that belong to no task, the latest first."""

    parked: Sequence[ParkedCallback]
    rejected: Sequence[RejectedCallback]
