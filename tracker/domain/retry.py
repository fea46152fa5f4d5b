"""How long to wait before a retry: ``Retry-After``, delays that grow, and jitter.

Pure: the current time and the random number arrive as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count

RETRY_AFTER_MAX_S = 30 * 86400.0
"""A longer ``Retry-After`` counts as this."""
SPREAD = 0.2
"""Width of the jitter: a delay is multiplied by 0.9 to 1.1."""
_MAX_STEP = 60
"""Caps the exponent: a float overflows at ``2.0 ** 1024``, and retries by hand are unlimited."""


def parse_retry_after(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, 0 to `RETRY_AFTER_MAX_S`; None without a valid one.

    A date counts from the response's own ``Date``, which comes from the same clock, else from ``now``. Fractions of a
    second are not in the standard, but gateways send them.

    Args:
        headers: of the response, names in lower case or case-insensitive.
        now: when the response arrived; None if unknown.

    **Source**: RFC 9110, section 10.2.3 (read 2026-11).
    """
    value = headers.get("retry-after", "").strip()
    digits, _, fraction = value.partition(".")
    if value.isascii() and digits.isdigit() and (fraction.isdigit() or digits == value):
        return min(float(value), RETRY_AFTER_MAX_S)
    until = parse_http_date(value)
    since = parse_http_date(headers.get("date", "")) or now
    if until is None or since is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def parse_http_date(value: str) -> datetime | None:
    """The time in a header such as ``Date``, aware; None if it is invalid."""
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):  # OverflowError: a year of eleven digits
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def growing_delay_s(step: int, first_s: float, max_s: float, factor: float = 2.0) -> float:
    """The delay after ``step`` earlier ones: ``first_s``, multiplied by ``factor`` each time, at most ``max_s``."""
    return min(first_s * factor ** min(step, _MAX_STEP), max_s)


def growing_delays_s(first_s: float, max_s: float) -> Iterator[float]:
    """Endless delays for a loop: ``first_s``, doubling to ``max_s``."""
    return (growing_delay_s(step, first_s, max_s) for step in count())


def jittered(delay_s: float, draw: float) -> float:
    """A delay multiplied by 0.9 to 1.1, for a ``draw`` of 0 to 1."""
    return delay_s * (1 - SPREAD / 2 + SPREAD * draw)
