"""Texts of pages: times, lengths, amounts. Times are UTC; the script of the pages makes them local."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from tracker.domain.text import count, size, span

_SYMBOLS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "¥"}
_CENT: Final = 0.01
_LEAST: Final = 0.0001
"""Smaller amounts are shown as less than this."""
_DUE_S: Final = 0.5
_SHORT_S: Final = 9.95
_NUMBERS: Final = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400

REASONS: Final = {
    "invalid_request": "request not accepted",
    "auth_failed": "key refused",
    "entitlement": "model not allowed",
    "quota_exhausted": "balance used up",
    "rate_limited": "service too busy",
    "policy_rejected": "content rules",
    "upstream_unavailable": "service not available",
    "generation_failed": "service could not finish it",
    "missing_output": "no file delivered",
    "expired": "given up",
    "submit_unknown": "no clear answer",
    "canceled": "canceled",
    "not_found": "lost by the service",
}
"""Reason -> two or three words for lists."""


def parse(time: datetime | str) -> datetime:
    """A time of the API, or one that is parsed already."""
    return time if isinstance(time, datetime) else datetime.fromisoformat(time)


def seconds_between(earlier: datetime | str, later: datetime | str) -> float:
    """Seconds from one time to another, never negative: clocks are set back."""
    return max(0.0, (parse(later) - parse(earlier)).total_seconds())


def ago(time: datetime | str, now: datetime) -> str:
    """How long ago: ``now``, ``3 min ago``, ``2 h ago``, ``5 d ago``."""
    seconds = seconds_between(time, now)
    if seconds < MINUTE:
        return "now"
    for unit, factor in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= factor:
            return f"{seconds // factor:.0f} {unit} ago"
    return "now"


def until(time: datetime | str, now: datetime) -> str:
    """How long from now, as on a clock; ``now`` for what is due."""
    seconds = seconds_between(now, time)
    return "now" if seconds < _DUE_S else span(seconds)


def clock(time: datetime | str) -> str:
    """``15:04:48``."""
    return parse(time).astimezone(UTC).strftime("%H:%M:%S")


def full(time: datetime | str) -> str:
    """``2026-11-24 15:04:48 UTC``."""
    return parse(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(time: datetime | str, now: datetime) -> str:
    """``Today, Tuesday 24 November``, as a heading of a day in UTC."""
    date, today = parse(time).astimezone(UTC).date(), now.astimezone(UTC).date()
    named = f"{date:%A} {date.day} {date:%B}"
    days = (today - date).days
    if date.year != today.year:
        named = f"{named} {date.year}"
    return f"Today, {named}" if days == 0 else f"Yesterday, {named}" if days == 1 else named


def _time_element(time: datetime | str | None, style: str, text: str) -> Markup:
    if time is None:
        return Markup("")
    iso = parse(time).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>').format(iso, full(time), style, text)


def time_ago(time: datetime | str | None, now: datetime) -> Markup:
    """A time element that says how long ago."""
    return _time_element(time, "ago", "" if time is None else ago(time, now))


def time_until(time: datetime | str | None, now: datetime) -> Markup:
    """A time element that counts down."""
    return _time_element(time, "until", "" if time is None else until(time, now))


def time_of_day(time: datetime | str | None) -> Markup:
    """A time element with the time of the day."""
    return _time_element(time, "clock", "" if time is None else clock(time))


def time_of_hour(time: datetime | str | None) -> Markup:
    """A time element with hours and minutes."""
    return _time_element(time, "minute", "" if time is None else clock(time)[:5])


def time_near(time: datetime | str | None, now: datetime) -> Markup:
    """A time element with the time of the day, and with the day unless that is today."""
    same_day = time is not None and parse(time).astimezone(UTC).date() == now.astimezone(UTC).date()
    return time_of_day(time) if same_day else time_full(time)


def time_full(time: datetime | str | None) -> Markup:
    """A time element with the day and the time."""
    return _time_element(time, "full", "" if time is None else full(time))


def money(cost: dict[str, Any] | None) -> str:
    """``$0.12``, ``about $0.12`` for an estimate, ``12 credits``; empty for none."""
    if cost is None:
        return ""
    amount, currency = cost["amount"], cost["currency"]
    symbol = _SYMBOLS.get(currency)
    if symbol is None:
        named = currency.removesuffix("s") if amount == 1 else currency
        text = f"{amount:,.10g} {named}"
    elif 0 < amount < _LEAST:
        return f"under {symbol}{_LEAST}"
    else:
        text = f"{symbol}{amount:,.{2 if amount == 0 or amount >= _CENT else 4}f}"
    return f"about {text}" if cost["kind"] == "estimate" else text


def took(seconds: float) -> str:
    """How long something took: ``0.4 s``, ``8.2 s``, ``1:40``."""
    return f"{seconds:.1f} s" if seconds < _SHORT_S else span(seconds)


def bytes_of(number: int | None) -> str:
    """``3.4 MiB``."""
    if number is None:
        return ""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


def count_deliveries(number: int) -> str:
    """``1 delivery``, ``2 deliveries``."""
    return f"{number:,} {'delivery' if number == 1 else 'deliveries'}"


def number_word(number: int) -> str:
    """``One`` to ``Nine`` at the beginning of a sentence, then digits."""
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"


def reason_words(reason: str) -> str:
    """A reason in two or three words."""
    return REASONS.get(reason, reason.replace("_", " "))


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "time_ago": time_ago,
    "time_until": time_until,
    "time_of_day": time_of_day,
    "time_of_hour": time_of_hour,
    "time_full": time_full,
    "time_near": time_near,
    "day": day,
    "money": money,
    "bytes": bytes_of,
    "size": size,
    "span": span,
    "took": took,
    "count": count,
    "reason_words": reason_words,
}
