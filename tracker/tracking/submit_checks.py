"""What is found out about a submit before anything is recorded. Must not record or send anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from tracker.domain.prices import refuse_beyond
from tracker.tracking.intake import fingerprint

if TYPE_CHECKING:
    from tracker.domain.costs import Cost
    from tracker.domain.records import TaskRecord
    from tracker.store.protocol import Store
    from tracker.tracking.intake import Intake, SubmitRequest


class Checked(NamedTuple):
    """A valid submit.

    Attributes:
        known: the task that was submitted with its key before.
        price: what a new task would cost; None without a price.
    """

    known: TaskRecord | None
    price: Cost | None


async def find_known(store: Store, wanted: SubmitRequest) -> TaskRecord | None:
    """The task that was submitted with this key before.

    Comes before every other check: a changed alias, account or rule does not make it another payload. For a submit
    without an account, the account that was chosen then counts, even if the default has changed.

    Raises:
        IdempotencyConflict: the key is known with another payload.
        SubmitInFlight: the key is known and its first attempt is not decided yet.
    """
    if wanted.idempotency_key is None:
        return None
    return await store.find_submit(
        wanted.idempotency_key, lambda account: fingerprint(wanted, wanted.account or account)
    )


async def check_submit(store: Store, intake: Intake, wanted: SubmitRequest) -> Checked:
    """Check a submit as it would be now.

    Raises:
        RequestInvalid, IdempotencyConflict, SubmitInFlight, BudgetExceeded: see `Submitter.submit`.
    """
    known = await find_known(store, wanted)
    if known is not None:
        return Checked(known, None)
    new = await asyncio.to_thread(intake.draft, wanted)
    if new.budget is not None:
        spent = await store.read_spent(new.account, new.created_at, new.budget.currency)
        refuse_beyond(new.budget, spent, new.price, new.account, new.created_at)
    return Checked(None, new.price)
