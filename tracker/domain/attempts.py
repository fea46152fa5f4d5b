"""Attempts of deliveries: what is stored of each, and the public JSON form; see `tracker.domain.records`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from tracker.domain.records import DeliveryRecord, Json, to_json


class AttemptRecord(Struct, frozen=True):
    """One attempt of a delivery that has ended; also its public form.

    Attributes:
        attempt: its number; begins anew when the delivery is retried by hand. One that does not count, because the
            machine prevented it or the tracker stopped, leaves its number to the next.
        started_at, took_s: of this run alone; None: from before they were stored.
        outcome: what followed from it: ``retry`` for another attempt, ``failed`` for good, ``dead`` as the last one.
        output: the end of what the hook printed, at most 500 characters.
    """

    attempt: int
    outcome: Literal["succeeded", "retry", "failed", "dead"]
    started_at: datetime | None
    took_s: float | None
    error: str | None
    output: str | None


class DeliveryDetail(DeliveryRecord, frozen=True, kw_only=True):
    """A delivery with its latest attempts that ended, oldest first, at most 50; also its public form.

    An attempt during which the daemon was killed is not among them: its number is missing.
    """

    attempt_history: Sequence[AttemptRecord]


def delivery_detail_json(delivery: DeliveryDetail) -> dict[str, Json]:
    """The public form of a delivery with its attempts."""
    attempts = [to_json(AttemptRecord, attempt) for attempt in delivery.attempt_history]
    return to_json(DeliveryDetail, delivery, attempt_history=attempts)
