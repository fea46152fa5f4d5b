"""What accounts have spent, as the triggers of the schema keep it, and the check of a budget."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from tracker.domain.prices import refuse_beyond
from tracker.store.sqlite.rows import UNIT, to_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tracker.store.sqlite.transactions import Transaction
    from tracker.store.values import NewTask

DAY_MS: Final = 86_400_000
SELECT_SPENT: Final = "SELECT amount FROM spending WHERE day = ? AND account = ? AND currency = ?"


def spent_values(account: str, at: datetime, currency: str) -> tuple[int, str, str]:
    """The values of `SELECT_SPENT`."""
    return (to_ms(at) or 0) // DAY_MS, account, currency


def spent_of(rows: Sequence[tuple[Any, ...]]) -> Decimal:
    """The amount in the rows of `SELECT_SPENT`."""
    return Decimal(rows[0][0]) / UNIT if rows else Decimal(0)


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
