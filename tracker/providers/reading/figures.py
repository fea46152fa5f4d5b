"""What responses about an ended job report besides its result: when it ended, what it used and what it cost.

Owns how a time and an amount are written. A provider says which of its fields have one. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.costs import Cost, exact
from tracker.domain.nesting import is_too_deep
from tracker.domain.task import Status
from tracker.providers.reading.envelopes import layers

if TYPE_CHECKING:
    from datetime import tzinfo

    from tracker.domain.observation import Reading
    from tracker.providers.route import Json

CHINA = timezone(timedelta(hours=8))
MAX_USAGE_BYTES = 16_384
"""Larger figures are not stored, nor deeper ones than `MAX_DEPTH`: they are something else."""
_LEAST_EPOCH = 1e9
"""September 2001; a smaller number is not a time."""
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""A number below the first counts in units of which the second make a second: up to the year 5138 they differ."""
_MAX_CHARS = 40
_DATE_CHARS = len("2026-01-05")
_NOTHING = Decimal(0)

Usage = Mapping[str, "Json"]


def _no_cost(usage: Usage) -> Cost | None:
    del usage
    return None


@dataclass(frozen=True, slots=True)
class FigureFields:
    """Where a provider's answers have the figures of an ended job.

    Attributes:
        finished: names of fields with the time of the end, the best first.
        zone: of a time that names none; None: such a time is not read.
        usage: names of fields with what it used: an object of figures, or a single figure.
        find_cost: finds the cost among these figures.
        refunds: codes of a failure that the upstream does not charge for.
        in_callbacks: whether callbacks have them too.
    """

    finished: tuple[str, ...] = ()
    zone: tzinfo | None = None
    usage: tuple[str, ...] = ("usage",)
    find_cost: Callable[[Usage], Cost | None] = _no_cost
    refunds: frozenset[str] = frozenset()
    in_callbacks: bool = True


NO_FIGURES = FigureFields(usage=())


def with_figures(reading: Reading, body: Json, fields: FigureFields) -> Reading:
    """A reading with the further fields of a reply about an ended job; the reading itself for any other reply."""
    if fields is NO_FIGURES or not _has_ended(reading) or not isinstance(body, dict):
        return reading
    return _with_refund(_with_figures(reading, layers(body), fields), fields)


def with_callback_figures(reading: Reading, body: Json, fields: FigureFields) -> Reading:
    """The same for a callback: only its own fields and those of its ``data`` are looked at."""
    if fields is NO_FIGURES or not _has_ended(reading) or not isinstance(body, dict):
        return reading
    if fields.in_callbacks:
        data = body.get("data")
        reading = _with_figures(reading, (body, data) if isinstance(data, dict) else (body,), fields)
    return _with_refund(reading, fields)


def _has_ended(reading: Reading) -> bool:
    return reading.status is not None and reading.status.is_terminal


def _with_figures(reading: Reading, holders: Iterable[Mapping[str, Json]], fields: FigureFields) -> Reading:
    finished_at: datetime | None = None
    usage: dict[str, Json] = {}
    for holder in holders:
        for name in fields.finished:
            if finished_at is None and (value := holder.get(name)) is not None:
                finished_at = find_time(value, fields.zone)
        for name in fields.usage:
            value = holder.get(name)
            if isinstance(value, dict):
                usage = {**value, **usage}
            elif value is not None:
                usage.setdefault(name, value)
    if finished_at is None and not usage:
        return reading
    return replace(reading, finished_at=finished_at, usage=usage_text(usage), cost=fields.find_cost(usage))


def _with_refund(reading: Reading, fields: FigureFields) -> Reading:
    error = reading.error
    if reading.status is not Status.FAILED or error is None or error.code not in fields.refunds:
        return reading
    return replace(reading, cost=credits_of(_NOTHING))


def usage_text(usage: Json) -> str | None:
    """Figures as they are stored; None without any, and for what is not an object of figures."""
    if not isinstance(usage, dict) or all(value is None for value in usage.values()):
        return None
    try:
        text = orjson.dumps(usage)
    except orjson.JSONEncodeError:  # half a character, an integer of more than 64 bits, or very deep
        return None
    return None if len(text) > MAX_USAGE_BYTES or is_too_deep(usage, text) else text.decode()


def credits_of(value: Json) -> Cost | None:
    """A cost in the upstream's credits."""
    amount = exact(value)
    return None if amount is None else Cost(amount, "credits")


def dollars_in(usage: Usage) -> Cost | None:
    """The member ``cost`` in USD. **Source**: https://openrouter.ai/docs/use-cases/usage-accounting (read 2026-11)."""
    amount = exact(usage.get("cost"))
    return None if amount is None else Cost(amount, "USD")


def find_time(value: Json, zone: tzinfo | None = None) -> datetime | None:
    """A time from a number since 1970 (seconds to nanoseconds), or from ISO 8601; None for anything else.

    Args:
        value: as the upstream wrote it.
        zone: of a text that names none; None: such a text is ignored.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MAX_CHARS:
            return None
        if not text.isdecimal():
            return _parse_iso(text, zone)
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= _LEAST_EPOCH:
        return None
    unit = next((unit for limit, unit in _UNITS if value < limit), None)
    return None if unit is None else datetime.fromtimestamp(value / unit, UTC)


def _parse_iso(text: str, zone: tzinfo | None) -> datetime | None:
    if len(text) <= _DATE_CHARS:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            return None if zone is None else time.replace(tzinfo=zone).astimezone(UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
