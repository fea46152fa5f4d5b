"""How tasks ended: what brought the ends of each provider, and how long each route took, hour by hour.

Owns the sums and percentiles. Must not know how tasks are stored, or how they are shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

if TYPE_CHECKING:
    from datetime import datetime

HOURS_PER_DAY = 24


class EndsFilter(NamedTuple):
    """What is added up, by the creation of tasks.

    Attributes:
        since: lower bound, inclusive.
        durations_since: from here on with the duration of each success.
    """

    since: datetime
    durations_since: datetime


class EndShare(NamedTuple):
    """A part of the tasks of one route and hour that ended in the same way.

    Attributes:
        hour: of their creation, since 1970.
        ended_by: the source of the end; None: they are unfinished.
        awaits_callback: whether the upstream had a URL to call back.
        callbacks: with a token, of all of them.
        lost: found by a poll, and no callback came before or since.
        durations_ms: of those that succeeded, from the submit to the end.
        noticed_ms: from the end upstream, where that is stated, to the end here.
    """

    provider: str
    route: str
    hour: int
    ended_by: str | None
    awaits_callback: bool
    succeeded: int
    failed: int
    callbacks: int
    lost: int
    durations_ms: Sequence[int]
    noticed_ms: Sequence[int]


class EndCounts(Struct):
    """Ends of a provider, of an hour or longer; the tasks are those created then.

    Attributes:
        by_callback, by_poll: what brought the end.
        awaited: ends by a callback or a poll of tasks whose upstream had a URL to call back.
        lost: of them, those without any callback.
    """

    by_callback: int = 0
    by_poll: int = 0
    awaited: int = 0
    lost: int = 0

    def add(self, other: EndCounts) -> None:
        """Add others."""
        self.by_callback += other.by_callback
        self.by_poll += other.by_poll
        self.awaited += other.awaited
        self.lost += other.lost


class ProviderEnds(Struct):
    """The ends of a provider.

    Attributes:
        hours: by hour since 1970.
        callbacks: with a token, of all tasks.
        noticed_ms: source -> from the end upstream, where that is stated, to the end here.
    """

    hours: dict[int, EndCounts] = field(default_factory=dict)
    callbacks: int = 0
    noticed_ms: dict[str, Any] = field(default_factory=dict)

    def days(self) -> dict[int, EndCounts]:
        """By day since 1970."""
        days: dict[int, EndCounts] = {}
        for hour, counts in self.hours.items():
            days.setdefault(hour // HOURS_PER_DAY, EndCounts()).add(counts)
        return days

    def total(self) -> EndCounts:
        """All of them."""
        total = EndCounts()
        for counts in self.hours.values():
            total.add(counts)
        return total

    def silence(self) -> tuple[int, int] | None:
        """The first hour since the last end by a callback in which one got lost, and how many were lost from then on.

        None while none was lost since, or if no callback brought any end.
        """
        last = max((hour for hour, counts in self.hours.items() if counts.by_callback), default=None)
        since = {hour: counts.lost for hour, counts in self.hours.items() if counts.lost and hour > (last or 0)}
        return (min(since), sum(since.values())) if last is not None and since else None

    def noticed_s(self, source: str) -> float | None:
        """The median of the seconds from the end upstream to the end here; None where no upstream states it."""
        return percentile_s(sorted(self.noticed_ms.get(source, ())), 50)


class HourOfRoute(Struct):
    """The tasks of a route that were created in an hour."""

    succeeded: int = 0
    failed: int = 0
    durations_ms: Any = field(default_factory=lambda: array("q"))


class Ends:
    """Adds up how tasks ended.

    Attributes:
        providers: by name.
        routes: name -> hour since 1970 -> its tasks, from `EndsFilter.durations_since` on.
        cut_at: tasks that were created before it are missing, because it took too long; None: it is complete.
    """

    def __init__(self, wanted: EndsFilter) -> None:
        self._first_hour = int(wanted.durations_since.timestamp()) // 3600
        self.providers: dict[str, ProviderEnds] = {}
        self.routes: dict[str, dict[int, HourOfRoute]] = {}
        self.cut_at: datetime | None = None

    def add(self, share: EndShare) -> None:
        """Add a part."""
        provider = self.providers.setdefault(share.provider, ProviderEnds())
        provider.callbacks += share.callbacks
        if share.ended_by in {"callback", "poll"}:
            ends = share.succeeded + share.failed
            by_callback = ends if share.ended_by == "callback" else 0
            counts = EndCounts(by_callback, ends - by_callback, ends if share.awaits_callback else 0, share.lost)
            provider.hours.setdefault(share.hour, EndCounts()).add(counts)
            provider.noticed_ms.setdefault(share.ended_by, array("q")).extend(share.noticed_ms)
        if share.hour >= self._first_hour:
            hour = self.routes.setdefault(share.route, {}).setdefault(share.hour, HourOfRoute())
            hour.succeeded += share.succeeded
            hour.failed += share.failed
            hour.durations_ms.extend(share.durations_ms)


class RouteSums(NamedTuple):
    """All hours of a route.

    Attributes:
        p50_s, p90_s: of the successes; None without one.
    """

    succeeded: int
    failed: int
    p50_s: float | None
    p90_s: float | None


def sum_route(hours: Mapping[int, HourOfRoute]) -> RouteSums:
    """Add up the hours of a route."""
    durations = sorted(value for hour in hours.values() for value in hour.durations_ms)
    return RouteSums(
        sum(hour.succeeded for hour in hours.values()),
        sum(hour.failed for hour in hours.values()),
        percentile_s(durations, 50),
        percentile_s(durations, 90),
    )


def percentile_s(sorted_ms: Sequence[int], percent: int) -> float | None:
    """The least duration that covers so many percent of all, in seconds; None of none."""
    if not sorted_ms:
        return None
    return sorted_ms[max(-(-len(sorted_ms) * percent // 100), 1) - 1] / 1000
