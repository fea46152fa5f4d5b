"""The price list of the configuration: what a request is estimated to cost, and what its result is.

Owns how the size of a request or a result is found: seconds, images and tokens. Must not know which task is charged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from msgspec import Struct

from tracker.domain.costs import LEAST, MOST, Cost, CostKind, exact
from tracker.errors import BudgetExceeded

if TYPE_CHECKING:
    from tracker.domain.observation import Reading
    from tracker.domain.task import Output, Task

Json = Any

_THOUSAND = Decimal(1000)
_PLACES = ("input", "parameters", "config", "metadata", "generationConfig", "generation_config")
"""Objects in a request with its parameters, in addition to the request itself."""
_SECONDS = ("duration", "seconds", "duration_s", "duration_seconds", "durationSeconds", "video_length")
_IMAGES = ("n", "num_images", "number_of_images", "numberOfImages", "sampleCount", "max_images")
_LONGEST = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_USED_SECONDS = ("output_video_duration", "video_duration", "duration", "seconds")
_USED_TOKENS = ("total_tokens", "totalTokenCount")
_USED_PARTS = (
    ("input_tokens", "prompt_tokens", "promptTokenCount"),
    ("output_tokens", "completion_tokens", "candidatesTokenCount"),
)
"""**Source**: the usage objects of https://platform.openai.com/docs/api-reference, https://docs.anthropic.com/en/api/messages,
https://ai.google.dev/api/generate-content and https://www.alibabacloud.com/help/en/model-studio (read 2026-11)."""
_LASTING = frozenset({"video", "audio"})


class Rate(Struct, frozen=True):
    """The price of one route or model: the sum of what is given."""

    per_call: Decimal | None = None
    per_second: Decimal | None = None
    per_image: Decimal | None = None
    per_1k_tokens: Decimal | None = None


class Size(NamedTuple):
    """How large a job is; None where that is not known."""

    seconds: Decimal | None
    images: Decimal | None
    tokens: Decimal | None


class Prices(Struct, frozen=True):
    """The price list.

    Attributes:
        currency: of all prices.
        rates: by route, or by ``route:model``, which counts for that model.
    """

    currency: str = "USD"
    rates: Mapping[str, Rate] = {}

    def estimate_request(self, route: str, model: str | None, request: Json) -> Cost | None:
        """What a request will cost; None without a price, or if the size of the result is not known."""
        rate = self._rate(route, model)
        return None if rate is None else self._total(rate, _size_of_request(request))

    def estimate_result(self, task: Task, reading: Reading) -> Cost | None:
        """What the result of a task cost; None as above."""
        rate = self._rate(task.route, task.model)
        return None if rate is None else self._total(rate, _size_of_result(reading))

    def _rate(self, route: str, model: str | None) -> Rate | None:
        if not self.rates:  # mostly there is no list, and each end asks
            return None
        return self.rates.get(f"{route}:{model}") or self.rates.get(route)

    def _total(self, rate: Rate, size: Size) -> Cost | None:
        total = rate.per_call or Decimal(0)
        for price, count in (
            (rate.per_second, size.seconds),
            (rate.per_image, size.images),
            (rate.per_1k_tokens, None if size.tokens is None else size.tokens / _THOUSAND),
        ):
            if price is None:
                continue
            if count is None:
                return None
            total += price * count
        return Cost(min(total, Decimal(MOST)).quantize(LEAST), self.currency, CostKind.ESTIMATE)


class Budget(NamedTuple):
    """The limit of what an account may spend in a day (UTC)."""

    limit: Decimal
    currency: str


def refuse_beyond(budget: Budget, spent: Decimal, price: Cost | None, account: str, now: datetime) -> None:
    """Refuse a request that does not fit into a budget: one without a price as soon as the budget is used up.

    Args:
        budget: what the account may spend today.
        spent: what its tasks of today count.
        price: the estimate of the request.
        account: its name, for the message.
        now: the time of the request.

    Raises:
        BudgetExceeded: it does not fit.
    """
    if spent >= budget.limit if price is None else spent + price.amount > budget.limit:
        limit, so_far = (Cost(amount, budget.currency) for amount in (budget.limit, spent))
        wanted = "this request has no price" if price is None else f"this request would cost about {price}"
        resets_at = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        raise BudgetExceeded(
            f"the budget of account {account} is {limit} a day: {so_far} are spent or reserved today, and {wanted}; "
            f"it resets at {resets_at:%Y-%m-%d %H:%M} UTC"
        )


def _size_of_request(request: Json) -> Size:
    """The size that a request asks for. Without a number of images it is one, as in every documented API."""
    if not isinstance(request, Mapping):
        return Size(None, None, None)
    places = [request, *(inner for name in _PLACES if isinstance(inner := request.get(name), Mapping))]
    return Size(_first(places, _SECONDS), _first(places, _IMAGES) or Decimal(1), _first(places, _LONGEST))


def _size_of_result(reading: Reading) -> Size:
    """The size of a result: its outputs, and where they do not show it the upstream's figures."""
    usage = orjson.loads(reading.usage) if reading.usage is not None else {}
    lasting = [output for output in reading.outputs if output.kind in _LASTING]
    images = sum(output.kind == "image" for output in reading.outputs)
    parts = [_first([usage], names) for names in _USED_PARTS]
    tokens = _first([usage], _USED_TOKENS)
    if tokens is None and any(part is not None for part in parts):
        tokens = sum((part for part in parts if part is not None), Decimal(0))
    seconds = _length_of(lasting) if lasting else None
    return Size(
        _first([usage], _USED_SECONDS) if seconds is None else seconds,
        Decimal(images) if images else _first([usage], ("image_count",)),
        tokens,
    )


def _length_of(outputs: list[Output]) -> Decimal | None:
    """The length of all outputs; None where that of one is not known."""
    lengths = [exact(output.duration_s) for output in outputs]
    known = [length for length in lengths if length is not None]
    return sum(known, Decimal(0)) if len(known) == len(lengths) else None


def _first(places: list[Mapping[str, Json]], names: tuple[str, ...]) -> Decimal | None:
    return next(_numbers(places, names), None)


def _numbers(places: list[Mapping[str, Json]], names: tuple[str, ...]) -> Iterator[Decimal]:
    for place in places:
        for name in names:
            value = place.get(name)
            number = exact(value.removesuffix("s") if isinstance(value, str) else value)
            if number is not None:
                yield number
