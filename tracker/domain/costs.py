"""What a job costs: exact amounts, reported by the upstream or estimated by the configured price list.

Owns which amounts are plausible, and what a task that ended was charged. Amounts are exact to a billionth: prices of
single tokens are far below a millionth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NamedTuple

_PROBABLY = "The task failed after the service had accepted it, so the job was probably charged"
LEAST = Decimal("1e-9")
"""Smaller amounts are rounded."""
MOST = 1_000_000
"""A larger amount for one job is a mistake of its reading; so many with all their decimals are exact in JSON, too."""
_MAX_CHARS = 40


class CostKind(StrEnum):
    """The source of the cost of a job."""

    ACTUAL = "actual"
    """The upstream."""
    ESTIMATE = "estimate"
    """The price list of the configuration."""


class Cost(NamedTuple):
    """An amount of a currency (``USD``) or of an upstream's own unit (``credits``)."""

    amount: Decimal
    currency: str
    kind: CostKind = CostKind.ACTUAL

    def __str__(self) -> str:
        is_one = self.amount == 1 and self.currency.islower()
        return f"{plain(self.amount)} {self.currency.removesuffix('s') if is_one else self.currency}"

    def described(self) -> str:
        """The same, marked as an estimate if it is one: ``about 0.08 USD``."""
        return f"about {self}" if self.kind is CostKind.ESTIMATE else str(self)


def cost_from(shown: Mapping[str, Any] | None) -> Cost | None:
    """A cost from its public form; None without one."""
    amount = exact(shown["amount"]) if shown else None
    return None if not shown or amount is None else Cost(amount, str(shown["currency"]), CostKind(shown["kind"]))


def add_up(costs: Iterable[Cost | None]) -> list[Cost]:
    """The sums by currency; one that holds an estimate is one."""
    sums: dict[str, Cost] = {}
    for cost in costs:
        if cost is not None:
            known = sums.get(cost.currency, Cost(Decimal(0), cost.currency))
            kind = CostKind.ESTIMATE if CostKind.ESTIMATE in {known.kind, cost.kind} else CostKind.ACTUAL
            sums[cost.currency] = Cost(known.amount + cost.amount, cost.currency, kind)
    return [sums[currency] for currency in sorted(sums)]


def exact(value: object) -> Decimal | None:
    """An amount from a number or a numeric text; None for anything else, below zero, or implausibly large."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        if isinstance(value, str) and len(value) > _MAX_CHARS:
            return None
        # the shortest text of a float is what was written, not the binary fraction nearest to it
        amount = value if isinstance(value, Decimal) else Decimal(str(value).strip())
        if not 0 <= amount <= MOST:
            return None
        return amount.quantize(LEAST, ROUND_HALF_EVEN)
    except (InvalidOperation, ValueError):  # also for NaN, which compares with nothing
        return None


def plain(amount: Decimal) -> str:
    """An amount without an exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def charge_of(stated: Cost | None, price: Cost | None, *, is_refused: bool) -> tuple[Cost | None, Cost | None]:
    """What an ended task cost, and what of it counts in the budget of its account.

    Args:
        stated: what is known at the end: the amount that the upstream reports, or an estimate by the result.
        price: the estimate of its request; None without a price.
        is_refused: the upstream certainly did not accept the job.
    """
    if is_refused:
        return None, None
    if stated is None:
        return price, price
    if not stated.amount:
        return stated, None
    if price is None:
        return stated, stated if stated.currency.isupper() else None
    # units of the upstream's own (in small letters) are worth what the request was estimated at
    return stated, stated if price.currency == stated.currency else price


def describe_charge(*, failed: bool, cost: Cost | None, is_refused: bool | None = None) -> str:
    """What an ended task cost, as one sentence; empty where nothing is known.

    Args:
        failed: whether it FAILED.
        cost: what it cost.
        is_refused: whether the service certainly did not accept it; None: not known.
    """
    if cost is None:
        if not failed:
            return ""
        if is_refused is None:
            return ""
        return "Nothing was charged." if is_refused else f"{_PROBABLY}."
    if cost.kind is CostKind.ESTIMATE:
        price = f"about {cost}, by your price list"
        return f"{_PROBABLY}: {price}." if failed else f"The job cost {price}."
    if not failed:
        return f"The job cost {cost}, by the service's own figures."
    return (
        f"The task failed, and the service charged {cost}."
        if cost.amount
        else "The task failed, and the service refunded it."
    )
