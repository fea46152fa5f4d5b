"""What accounts have spent, as the triggers of the schema keep it, and the check of a budget."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.prices import refuse_beyond
from tracker.store.sqlite.rows import UNIT, to_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.store.sqlite.rows import ReadRows
    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import NewTask

DAY_MS: Final = 86_400_000
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
SELECT_SPENT: Final = "SELECT amount FROM spending WHERE day = ? AND account = ? AND currency = ?"


def spent_values(account: str, at: datetime, currency: str) -> tuple[int, str, str]:
    """The values of `SELECT_SPENT`."""
    return (to_ms(at) or 0) // DAY_MS, account, currency


def spent_of(rows: Sequence[tuple[Any, ...]]) -> Decimal:
    """The amount in the rows of `SELECT_SPENT`."""
    return Decimal(rows[0][0]) / UNIT if rows else Decimal(0)


STATS_DAYS: Final = 31
MAX_LABELS: Final = 20
# total() adds as floating point, which is exact up to nine million units and does not fail beyond 64 bits
_BY_DAY: Final = """
    SELECT day, currency, kind, sum(tasks), total(amount) FROM cost_days WHERE day >= ? AND tasks > 0
    GROUP BY day, currency, kind ORDER BY day, currency, kind
"""
_BY_ROUTE: Final = """
    SELECT route, currency, kind, sum(tasks), total(amount) FROM cost_days WHERE day >= ? AND tasks > 0
    GROUP BY route, currency, kind ORDER BY route, currency, kind
"""
_BY_LABEL: Final = """
    SELECT name, value, currency, kind, tasks, amount FROM cost_labels INDEXED BY cost_labels_amount
    WHERE amount > 0 ORDER BY amount DESC LIMIT ?
"""


async def read_sums(read: ReadRows, now_ms: int) -> dict[str, Any]:
    """What tasks cost, by the day of their creation and by route (31 days), and by label (the 20 highest, all days)."""
    since = now_ms // DAY_MS - STATS_DAYS + 1
    return {
        "days": [_sum({"day": _date_of(day)}, *sums) for day, *sums in await read(_BY_DAY, (since,))],
        "routes": [_sum({"route": route}, *sums) for route, *sums in await read(_BY_ROUTE, (since,))],
        "labels": [
            _sum({"label": name, "value": value}, *sums) for name, value, *sums in await read(_BY_LABEL, (MAX_LABELS,))
        ],
    }


def _sum(group: dict[str, Any], currency: str, kind: str, tasks: int, amount: float) -> dict[str, Any]:
    return {**group, "amount": round(amount / UNIT, 9), "currency": currency, "kind": kind, "tasks": tasks}


def _date_of(day: int) -> str:
    return date.fromordinal(_FIRST_DAY + day).isoformat()


def check_budget(tx: Transaction, new: NewTask) -> None:
    """Refuse a task whose price does not fit into the budget of its account.

    Only this transaction writes until it ends, so tasks that are created at the same time cannot exceed it together.

    Raises:
        BudgetExceeded: it does not fit.
    """
    if new.budget is None:
        return
    values = spent_values(new.account, new.created_at, new.budget.currency)
    spent = spent_of(tx.db.execute(SELECT_SPENT, values).fetchall())
    refuse_beyond(new.budget, spent, new.price, new.account, new.created_at)
