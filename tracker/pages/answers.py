"""The three answers above the list: what failed today and why, what brought the ends, what the day cost.

They are added up beside the requests that show them: a page waits a moment, and else shows what was known before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.report import ReportFilter
from tracker.errors import StoreError
from tracker.logs import get_logger
from tracker.server.report import start_of_day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.server.services import Services

log = get_logger(__name__)

Json = Any

RENEW_S: Final = 10.0
WAIT_S: Final = 0.02
"""A page waits so long for them."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The day so far, by the time of creation in UTC.

    Attributes:
        reasons: of the failures, with how many each, the most frequent first.
        costs: of all tasks, one for each currency.
        failed_costs: of those that failed.
    """

    since: datetime
    total: int = 0
    failed: int = 0
    reasons: Sequence[tuple[str, int]] = ()
    costs: Sequence[Json] = ()
    failed_costs: Sequence[Json] = field(default_factory=tuple)
    notice: str | None = None


class AnswerBook:
    """Adds the day up, at most every `RENEW_S`.

    Args:
        services: its store is read.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Answers | None = None
        self._began_at: float | None = None
        self._work: asyncio.Task[None] | None = None

    async def get(self) -> Answers | None:
        """The answers, as of a moment ago; None: not known yet."""
        now = self._services.clock.monotonic()
        is_stale = self._began_at is None or now - self._began_at > RENEW_S
        if is_stale and (self._work is None or self._work.done()):
            self._began_at = now
            self._work = asyncio.create_task(self._add_up(), name="answers of the day")
        if self._work is not None and not self._work.done():
            await asyncio.wait({self._work}, timeout=WAIT_S)
        known = self._known
        return known if known is not None and known.since == start_of_day(self._services.clock.now()) else None

    async def _add_up(self) -> None:
        since = start_of_day(self._services.clock.now())
        try:
            report = await self._services.store.read_report(ReportFilter(("reason",), since))
        except StoreError as error:
            log.warning("page.failed", step="answers", error=str(error))
            return
        day = await asyncio.to_thread(report.json)
        items = day["items"]
        failed = [item for item in items if item["failed"]]
        self._known = Answers(
            since,
            total=sum(item["succeeded"] + item["failed"] + item["active"] for item in items),
            failed=sum(item["failed"] for item in failed),
            reasons=[(item["reason"] or "failed", item["failed"]) for item in failed],
            costs=_sums(items),
            failed_costs=_sums(failed),
            notice=day.get("notice"),
        )


def _sums(items: Sequence[Json]) -> list[Json]:
    """The costs of several groups, the largest currency first; an estimate if one of them is."""
    sums: dict[str, Json] = {}
    for cost in (cost for item in items for cost in [item["cost"], *item["other_costs"]] if cost is not None):
        known = sums.setdefault(cost["currency"], {"amount": 0.0, "currency": cost["currency"], "kind": cost["kind"]})
        known["amount"] = round(known["amount"] + cost["amount"], 9)
        if cost["kind"] == "estimate":
            known["kind"] = "estimate"
    return list(sums.values())
