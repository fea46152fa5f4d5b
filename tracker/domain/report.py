"""Reports: how many tasks succeeded and failed, how long they took and what they cost, by any of their properties.

Owns its sums and percentiles. Must not know how tasks are stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from tracker.domain.costs import CostKind
from tracker.domain.ends import percentile_s
from tracker.domain.records import iso

if TYPE_CHECKING:
    from datetime import datetime

Json = Any

MAX_ITEMS = 1000
"""A label may have as many values as there are tasks."""
_FIRST_DAY = date(1970, 1, 1).toordinal()
_PER_UNIT = 10**9


class ReportFilter(NamedTuple):
    """What a report is about.

    Attributes:
        by: see `tracker.domain.report_divisions`.
        since, until: bounds of the creation of tasks; since inclusive, until exclusive, None: now.
    """

    by: tuple[str, ...]
    since: datetime
    until: datetime | None = None


class Share(NamedTuple):
    """A part of the tasks with the same properties, of one currency and kind of cost.

    Attributes:
        keys: the properties, in the order of `ReportFilter.by`; days since 1970.
        durations_ms: of those that succeeded, from the submit to the end.
        costs: how many of them have a cost.
        amount: its sum, in billionths.
    """

    keys: tuple[Any, ...]
    succeeded: int
    failed: int
    active: int
    durations_ms: Sequence[int]
    currency: str | None
    kind: str | None
    costs: int
    amount: int


class _Sum(Struct):
    """What is known of a currency."""

    tasks: int = 0
    amount: int = 0
    kind: CostKind = CostKind.ACTUAL


class _Group(Struct):
    """All tasks with the same properties."""

    succeeded: int = 0
    failed: int = 0
    active: int = 0
    durations_ms: Any = field(default_factory=lambda: array("q"))
    costs: dict[str, _Sum] = field(default_factory=dict)

    def add(self, share: Share) -> None:
        """Add a part."""
        self.succeeded += share.succeeded
        self.failed += share.failed
        self.active += share.active
        self.durations_ms.extend(share.durations_ms)
        if share.currency is not None:
            known = self.costs.setdefault(share.currency, _Sum())
            known.tasks += share.costs
            known.amount += share.amount
            known.kind = CostKind.ESTIMATE if share.kind == CostKind.ESTIMATE else known.kind


class Report:
    """Adds up the parts of a report.

    Args:
        wanted: what it is about.
    """

    def __init__(self, wanted: ReportFilter) -> None:
        self._wanted = wanted
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self.cut_at: datetime | None = None
        """Tasks that were created before it are missing, because the report took too long; None: it is complete."""

    def add(self, share: Share) -> None:
        """Add a part."""
        self._groups.setdefault(share.keys, _Group()).add(share)

    def json(self) -> Json:
        """The public form; the largest groups come first, those of a day in the order of days."""
        by = self._wanted.by
        day = by.index("day") if "day" in by else None

        def place(item: tuple[tuple[Any, ...], _Group]) -> tuple[int, int, str]:
            keys, group = item
            return keys[day] if day is not None else 0, -(group.succeeded + group.failed + group.active), str(keys)

        ordered = sorted(self._groups.items(), key=place)
        items = [{**_shown(by, keys), **_item(group)} for keys, group in ordered[:MAX_ITEMS]]
        notices = []
        if self.cut_at is not None:
            notices.append(
                f"The report took too long: it counts only tasks that were created at {iso(self.cut_at)} or later. "
                "Narrow it by since and until."
            )
        if len(ordered) > MAX_ITEMS:
            notices.append(f"There are {len(ordered)} groups; only the first {MAX_ITEMS} are listed.")
        return {"items": items, **({"notice": " ".join(notices)} if notices else {})}


def _shown(by: Sequence[str], keys: Sequence[Any]) -> dict[str, Json]:
    write: dict[str, Callable[[Any], Json]] = {"day": lambda day: date.fromordinal(_FIRST_DAY + day).isoformat()}
    return {name: write.get(name, lambda value: value)(key) for name, key in zip(by, keys, strict=True)}


def _item(group: _Group) -> dict[str, Json]:
    durations = sorted(group.durations_ms)
    costs = sorted(group.costs.items(), key=lambda item: (-item[1].tasks, item[0]))
    shown = [
        {"amount": sums.amount / _PER_UNIT, "currency": currency, "kind": str(sums.kind)} for currency, sums in costs
    ]
    return {
        "succeeded": group.succeeded,
        "failed": group.failed,
        "active": group.active,
        "p50_s": percentile_s(durations, 50),
        "p95_s": percentile_s(durations, 95),
        "cost": shown[0] if shown else None,
        "other_costs": shown[1:],
    }
