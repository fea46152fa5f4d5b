"""Amounts of money, and what an ended task was charged."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kits.clock import after
from tests.kits.factories import make_answer, make_cancel, make_observation, make_sent_task, make_task
from tracker.domain.costs import Cost, CostKind, add_up, cost_from, exact, plain
from tracker.domain.observation import Observation, Submission
from tracker.domain.records import cost_json
from tracker.domain.task import Reason, Status, SubmitState, Task
from tracker.domain.transitions import decide

PRICE = Cost(Decimal("0.08"), "USD", CostKind.ESTIMATE)
ZERO, UNITS = Cost(Decimal(0), "credits"), Cost(Decimal(6), "units")
USD = Cost(Decimal("0.5"), "USD")


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        *((0.1, "0.1"), ("0.10", "0.1"), (1, "1"), (" 6.0 ", "6"), ("1e-3", "0.001"), (1e6, "1000000")),
        *((1e-9, "0.000000001"), (0.000000075, "0.000000075"), (4e-10, "0")),
    ],
)
def test_amounts_are_exact(written: object, amount: str) -> None:
    """As they are written, to a billionth; a binary fraction does not show."""
    found = exact(written)
    assert found is not None
    assert plain(found) == amount


@pytest.mark.parametrize("written", [None, True, -1, 1_000_001, "", "x", "nan", "inf", float("nan"), "9" * 50, [1], {}])
def test_other_values_are_not_amounts(written: object) -> None:
    """Nothing negative, nothing implausible."""
    assert exact(written) is None


@given(st.integers(0, 10**15))
def test_an_amount_survives_the_store_and_json(billionths: int) -> None:
    """A number of JSON has all digits of an amount."""
    amount = Decimal(billionths).scaleb(-9)
    shown = cost_json(Cost(amount, "USD"))
    assert shown is not None
    assert exact(shown["amount"]) == amount


def ended(task: Task, observation: Observation) -> tuple[Cost | None, Cost | None]:
    """What a task cost, and what of it counts in the budget, after its end."""
    after_it = decide(task, observation, after(100)).task
    assert after_it.status.is_terminal
    return after_it.cost, after_it.price


@pytest.mark.parametrize(
    ("stated", "cost", "counted"),
    [(None, PRICE, PRICE), (USD, USD, USD), (UNITS, UNITS, PRICE), (ZERO, ZERO, None)],
)
@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_what_an_ended_task_cost(status: Status, stated: Cost | None, cost: Cost, counted: Cost | None) -> None:
    """What the upstream reports, else the price; a refund counts nothing, and units are worth the price."""
    task = make_task(status=Status.RUNNING, price=PRICE)
    assert ended(task, make_observation(status, cost=stated)) == (cost, counted)


def test_a_task_without_a_price_counts_what_the_upstream_says() -> None:
    """And nothing if it says nothing."""
    task = make_task(status=Status.RUNNING)
    assert ended(task, make_observation(Status.SUCCEEDED, cost=USD)) == (USD, USD)
    assert ended(task, make_observation(Status.SUCCEEDED, cost=UNITS)) == (UNITS, None), "no budget is in units"
    assert ended(task, make_observation(Status.SUCCEEDED)) == (None, None)


def test_what_was_surely_not_charged_counts_nothing() -> None:
    """A refused create, and one that is canceled before it is sent; with no clear answer it may be charged."""
    sent = make_sent_task(price=PRICE, expects_callback=False)
    assert ended(sent, make_answer(Submission.REFUSED, reason=Reason.POLICY_REJECTED)) == (None, None)
    queued = make_sent_task(price=PRICE, submit_state=SubmitState.QUEUED, submit_attempts=0)
    assert ended(queued, make_cancel()) == (None, None)
    assert ended(sent, make_answer(Submission.AMBIGUOUS)) == (PRICE, PRICE)
    assert ended(make_task(price=PRICE), make_cancel()) == (PRICE, PRICE)


def test_a_later_success_replaces_the_cost() -> None:
    """Of a task that was given up."""
    given_up = make_task(status=Status.FAILED, reason=Reason.EXPIRED, price=PRICE, cost=PRICE)
    assert ended(given_up, make_observation(Status.SUCCEEDED, cost=USD)) == (USD, USD)


def test_sums_by_currency() -> None:
    """Each currency is a sum of its own; with an estimate in it, it is one."""
    shown = [None, *map(cost_json, (PRICE, UNITS, USD, Cost(Decimal("0.1"), "EUR")))]
    assert [cost.described() for cost in add_up(map(cost_from, shown))] == ["0.1 EUR", "about 0.58 USD", "6 units"]
