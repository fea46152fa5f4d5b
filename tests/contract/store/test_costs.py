"""Costs: what is stored of them, what counts in a budget, and what a report and the statistics add up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.contract.store.conftest import OpenWorld
from tests.kits.clock import START, after
from tests.kits.factories import make_answer, make_new_task, make_task_name
from tests.kits.hooks import of_tasks
from tests.kits.world import World
from tracker.domain.costs import Cost, CostKind
from tracker.domain.observation import Submission
from tracker.domain.prices import Budget
from tracker.domain.report import ReportFilter
from tracker.domain.task import Reason, Status, UpstreamError
from tracker.errors import BudgetExceeded
from tracker.store.values import Created

PRICE = Cost(Decimal("0.4"), "USD", CostKind.ESTIMATE)
BUDGET = Budget(Decimal(1), "USD")
PAID = Cost(Decimal("0.123456789"), "USD")


async def spent(world: World, at: float = 0.0, account: str = "default", currency: str = "USD") -> str:
    """What the tasks of a day count."""
    return str((await world.store.read_spent(account, after(at), currency)).normalize())


async def order(world: World, n: int, price: Cost | None = PRICE, **fields: object) -> Created:
    """Record a task with a price within the budget."""
    return await world.store.create_task(make_new_task(n, price=price, budget=BUDGET, **fields))


async def test_a_task_is_recorded_only_within_the_budget_of_its_day(engine: OpenWorld) -> None:
    """Each account, day and currency counts for itself; a refused task leaves nothing."""
    async with engine() as world:
        await order(world, 1)
        await order(world, 2)
        with pytest.raises(
            BudgetExceeded, match=r"0\.8 USD are spent or reserved today, .* resets at 2026-11-21 00:00 UTC"
        ):
            await order(world, 3)
        assert (await spent(world), await spent(world, 86_400), await spent(world, currency="EUR")) == ("0.8", "0", "0")
        await order(world, 4, account="other")
        await order(world, 5, created_at=START + timedelta(days=1))
        await order(world, 6, price=Cost(Decimal("0.2"), "USD"))
        with pytest.raises(BudgetExceeded, match="this request has no price"):
            await order(world, 7, price=None)
        assert (await spent(world), await spent(world, account="other"), await spent(world, 86_400)) == (
            "1",
            "0.4",
            "0.4",
        )
        for n in (3, 7):
            assert (await order(world, n, price=Cost(Decimal(0), "USD"))).is_new, "nothing was recorded of it before"


async def test_orders_at_the_same_time_do_not_exceed_a_budget_together(engine: OpenWorld) -> None:
    """However they are written: two of twenty fit."""
    async with engine() as world:
        results = await asyncio.gather(*(order(world, n) for n in range(20)), return_exceptions=True)
        assert sum(isinstance(result, Created) for result in results) == 2
        assert sum(isinstance(result, BudgetExceeded) for result in results) == 18


async def test_a_repeated_order_finds_its_task_also_beyond_the_budget(engine: OpenWorld) -> None:
    """It costs nothing more."""
    async with engine() as world:
        keyed: dict[str, Any] = {"idempotency_key": "k", "fingerprint": "f", "price": Cost(Decimal(1), "USD")}
        first = await order(world, 1, **keyed)
        await world.store.mark_sending(make_task_name(1), 60)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1)))
        again = await order(world, 2, **keyed)
        assert (again.is_new, again.record.task.id) == (False, first.record.task.id)


async def test_what_ended_tasks_count(engine: OpenWorld) -> None:
    """What they cost instead of the estimate; nothing for one that was refused; the task is read as it was stored."""
    async with engine() as world:
        for n in (1, 2):
            await order(world, n)
            await world.store.mark_sending(make_task_name(n), 60)
        refusal = make_answer(
            Submission.REFUSED, task_id=make_task_name(2), reason=Reason.POLICY_REJECTED, error=UpstreamError("400")
        )
        await world.apply(refusal)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1)))
        assert await spent(world) == "0.4"
        await world.call(1, Status.SUCCEEDED, cost=PAID, usage='{"a":1}', finished_at=after(9))
        assert await spent(world) == "0.123456789"
        one, two = [(await world.get(n)).task for n in (1, 2)]
        assert (one.cost, one.usage, one.upstream_finished_at) == (PAID, '{"a":1}', after(9))
        assert (two.cost, two.price) == (None, None)


async def test_hooks_get_what_a_task_cost(engine: OpenWorld) -> None:
    """In the event of its end."""
    async with engine() as world:
        await world.follow(1)
        await world.call(1, Status.SUCCEEDED, cost=PAID)
        await world.store.fan_out(lambda _: ["publish"], 10)
        jobs = of_tasks(await world.store.claim_deliveries("publish", 10, 60))
        assert [job.record.task.cost for job in jobs if job.event == "task.succeeded"] == [PAID]


async def test_sums(engine: OpenWorld) -> None:
    """By day, route and label in the statistics, by anything in a report; a later success replaces what was counted."""
    async with engine() as world:
        for n, user in ((1, "anna"), (2, "anna"), (3, "bert")):
            await world.follow(n, labels={"user": user}, id=make_task_name(n))
        await world.call(1, Status.SUCCEEDED, cost=PAID, at=4)
        await world.poll(2, Status.FAILED, reason=Reason.EXPIRED, cost=PRICE, at=2)
        cost = (await world.store.stats())["cost"]
        assert cost["days"] == [
            {"day": "2026-11-20", "amount": 0.123456789, "currency": "USD", "kind": "actual", "tasks": 1},
            {"day": "2026-11-20", "amount": 0.4, "currency": "USD", "kind": "estimate", "tasks": 1},
        ]
        assert [(one["value"], one["amount"]) for one in cost["labels"]] == [("anna", 0.4), ("anna", 0.123456789)]
        await world.poll(2, Status.SUCCEEDED, cost=PAID, at=6)
        assert [one["amount"] for one in (await world.store.stats())["cost"]["routes"]] == [0.246913578]
        report = (await world.store.read_report(ReportFilter(("label.user", "reason"), after(-1e9)))).json()
        assert report["items"] == [
            {
                "label.user": "anna",
                "reason": None,
                "succeeded": 2,
                "failed": 0,
                "active": 0,
                "p50_s": 4.0,
                "p95_s": 6.0,
                "other_costs": [],
                "cost": {"amount": 0.246913578, "currency": "USD", "kind": "actual"},
            },
            {
                "label.user": "bert",
                "reason": None,
                "succeeded": 0,
                "failed": 0,
                "active": 1,
                "p50_s": None,
                "p95_s": None,
                "other_costs": [],
                "cost": None,
            },
        ]
