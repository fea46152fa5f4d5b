"""``[prices]`` and ``[budget]``: what jobs cost by the price list, and what an account may spend in a day."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from tracker.config.fields import Name, Section, no_bool
from tracker.config.sections import Mistake
from tracker.domain.costs import MOST
from tracker.domain.nearest import did_you_mean
from tracker.domain.prices import Rate

CURRENCY = "currency"


def _as_currency(text: str) -> str:
    if not (text.isascii() and text.isalpha() and text.isupper() and len(text) == len("USD")):
        raise ValueError('is not a currency; write for example "USD"')
    return text


def _as_text(value: object) -> object:
    """A number as it is written: a binary fraction does not show."""
    return str(value) if isinstance(value, float) else value


Amount = Annotated[
    Decimal,
    BeforeValidator(_as_text),
    BeforeValidator(no_bool),
    Field(ge=0, le=MOST),
    PlainSerializer(float, when_used="json"),
]
"""An amount of money, 0 or more."""


class PriceTable(Section):
    """A price: what is given is added up."""

    per_call: Amount | None = None
    per_second: Amount | None = None
    per_image: Amount | None = None
    per_1k_tokens: Amount | None = None

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        if not self.model_fields_set:
            raise Mistake(f"has no price; set one of {', '.join(type(self).model_fields)}")
        return self

    def rate(self) -> Rate:
        """The same as a plain value."""
        return Rate(self.per_call, self.per_second, self.per_image, self.per_1k_tokens)


class PriceList(Section):
    """``[prices]``: the price of each route, or of ``route:model``."""

    currency: Annotated[str, AfterValidator(_as_currency)] = "USD"
    rates: Mapping[str, PriceTable] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        own: dict[str, Any] = {CURRENCY: data[CURRENCY]} if CURRENCY in data else {}
        return {**own, "rates": {key: value for key, value in data.items() if key != CURRENCY}}

    def list_unknown(self, routes: Collection[str]) -> Iterator[tuple[str, str]]:
        """The keys that name no route, each with a message."""
        for key in self.rates:
            route, colon, model = key.partition(":")
            if route not in routes:
                yield key, f"unknown route; {did_you_mean(route, routes) or 'tracker routes lists all routes'}"
            elif colon and not model:
                yield key, f'has no model after the colon; write "{route}:MODEL", or "{route}" for all models'


class BudgetTable(Section):
    """``[budget]``: what each account may spend in a day (UTC); 0: nothing."""

    daily: Amount | None = None
    accounts: Mapping[Name, Amount] = Field(default_factory=dict)

    def limit_of(self, account: str) -> Decimal | None:
        """The limit of an account; None: it has none."""
        return self.accounts.get(account, self.daily)

    def list_unknown(self, accounts: Collection[str]) -> Iterator[tuple[str, str]]:
        """The names in it that are not those of accounts, each with a message."""
        for name in self.accounts:
            if name not in accounts:
                hint = did_you_mean(name, accounts) or f"add [accounts.{name}] or correct the name"
                yield name, f"unknown account; {hint}"
