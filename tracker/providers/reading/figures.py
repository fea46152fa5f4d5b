"""What the answers about an ended job say besides its result: when it ended.

Owns how a time is written. A provider says which of its fields have one. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.providers.reading.envelopes import layers

if TYPE_CHECKING:
    from datetime import tzinfo

    from tracker.domain.observation import Reading
    from tracker.providers.route import Json

CHINA = timezone(timedelta(hours=8))
_LEAST_EPOCH = 1e9
"""September 2001; a smaller number is not a time."""
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""A number below the first counts in units of which the second make a second: up to the year 5138 they differ."""
_MAX_CHARS = 40
_DATE_CHARS = len("2026-01-05")


@dataclass(frozen=True, slots=True)
class FigureFields:
    """Where a provider's answers have the figures of an ended job.

    Attributes:
        finished: names of fields with the time of the end, the best first.
        zone: of a time that names none; None: such a time is not read.
        in_callbacks: whether callbacks have them too.
    """

    finished: tuple[str, ...] = ()
    zone: tzinfo | None = None
    in_callbacks: bool = True


NO_FIGURES = FigureFields()


def with_figures(reading: Reading, body: Json, fields: FigureFields) -> Reading:
    """A reading with what a reply about an ended job says besides; the reading itself for any other reply."""
    if fields is NO_FIGURES or not _has_ended(reading) or not isinstance(body, Mapping):
        return reading
    return _with_figures(reading, layers(body), fields)


def with_callback_figures(reading: Reading, body: Json, fields: FigureFields) -> Reading:
    """The same for a callback: only its own fields and those of its ``data`` are looked at."""
    if not fields.in_callbacks or fields is NO_FIGURES or not _has_ended(reading) or not isinstance(body, Mapping):
        return reading
    data = body.get("data")
    return _with_figures(reading, (body, data) if isinstance(data, Mapping) else (body,), fields)


def _has_ended(reading: Reading) -> bool:
    return reading.status is not None and reading.status.is_terminal


def _with_figures(reading: Reading, holders: Iterable[Mapping[str, Json]], fields: FigureFields) -> Reading:
    found = (find_time(holder.get(name), fields.zone) for holder in holders for name in fields.finished)
    finished_at = next((time for time in found if time is not None), None)
    return reading if finished_at is None else replace(reading, finished_at=finished_at)


def find_time(value: Json, zone: tzinfo | None = None) -> datetime | None:
    """A time from a number since 1970 (seconds to nanoseconds), or from ISO 8601; None for anything else.

    Args:
        value: as the upstream wrote it.
        zone: of a text that names none; None: such a text says nothing.
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
