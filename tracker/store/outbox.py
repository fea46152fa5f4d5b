"""The part of the store's interface that turns events into deliveries; see `tracker.store.protocol`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.domain.alarms import Alarm
    from tracker.domain.deliveries import DeliveryJob
    from tracker.domain.records import DeliveryRecord
    from tracker.store.values import AttemptResult, DeliveryFilter, Match


class Outbox(Protocol):
    """Events of tasks and of alarms, and their deliveries. Writing methods raise as those of `Store`."""

    async def fan_out(self, match: Match | None, limit: int) -> int:
        """Turn committed changes that were not fanned out yet into deliveries, one per hook that ``match`` names.

        Args:
            match: None: no hook exists, and later ones do not get what was committed until now.
            limit: events to look at.

        Returns:
            Events looked at; fewer than ``limit`` means that no more are waiting.
        """

    async def claim_deliveries(self, hook: str, limit: int, lease_s: float) -> list[DeliveryJob]:
        """Lease up to ``limit`` due deliveries of a hook; of each task and alarm only the oldest unfinished one."""

    async def record_attempt(self, delivery_id: str, result: AttemptResult, attempt: int) -> None:
        """Store how an attempt ended; nothing when this process and this attempt no longer hold the lease.

        Args:
            delivery_id: the delivery.
            result: how it ended.
            attempt: the number that it was claimed with.
        """

    async def release_deliveries(self, claims: Sequence[tuple[str, int]]) -> None:
        """Make deliveries that were claimed and not begun due now, as if never claimed.

        Args:
            claims: the id of each, and the number of the attempt that it was claimed with.
        """

    async def fail_deliveries(self, hook: str, error: str) -> int:
        """End all pending deliveries of a hook as failed, without an attempt; the number of them."""

    async def retry_delivery(self, delivery_id: str, *, again: bool = False) -> DeliveryRecord:
        """Make a failed or dead delivery pending again, with its attempts reset.

        Args:
            delivery_id: the delivery.
            again: the same for one that succeeded: its hook runs once more.

        Raises:
            DeliveryNotFound: no delivery has this id.
        """

    async def retry_deliveries(self, wanted: DeliveryFilter) -> int:
        """Make all failed and dead deliveries that match pending again, attempts reset; the number of them."""

    async def next_delivery_in_s(self, hooks: Sequence[str]) -> float | None:
        """Seconds until the next delivery of one of these hooks falls due, below 0: it is; None when there is none."""

    # -- alarms --------------------------------------------------------------------------------------------

    async def record_alarms(self, raised: Sequence[Alarm], cleared: Sequence[Alarm]) -> None:
        """Store which alarms were raised and cleared, each with its event, in one transaction.

        What is stored already stays as it is, without an event: after `WriteUnknown` the same call may be repeated.
        """

    async def prune_alarms(self, before: datetime) -> int:
        """Delete the events of alarms from before a time whose deliveries have ended; the number of them."""
