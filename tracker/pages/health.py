"""Health: alarms, callbacks against polls, times and failures per route, queues and limits, circuits.

Each figure has one sentence that says what it means, and what to do where it is bad. Every read is bounded: counts
that the store has, the newest week of ends (`EndsBook`), and the state of the process.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracker.domain.alarms import OF_HOOKS, Alarm, AlarmKind
from tracker.domain.ends import HourOfRoute, ProviderEnds, RouteSums, sum_route
from tracker.domain.text import about, count, span
from tracker.pages.charts import HOURS, axis_times, draw_days, draw_hours
from tracker.pages.queues import make_tiles
from tracker.pages.texts import clock, number_word, took

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from tracker.domain.ends import Ends
    from tracker.domain.live_state import LiveState
    from tracker.pages.charts import Bar, Curves, Day
    from tracker.pages.site import Visit

Json = Any

MOST_ROUTES: Final = 12
"""Charts of routes; those with the most tasks."""
ENOUGH: Final = 8
"""Fewer tasks have no trend."""
RECENT_H: Final = 3
SHORT_S: Final = 9.95
SILENT_AFTER: Final = 5
"""Callbacks that were lost since the last one that came."""
SLOWER: Final = 1.3
MANY_FAIL: Final = 0.1
"""A larger share of failures is worth a look."""
_OF_ACCOUNTS: Final = frozenset(
    {
        AlarmKind.ACCOUNT_MISSING,
        AlarmKind.KEY_MISSING,
        AlarmKind.KEY_REJECTED,
        AlarmKind.ADDRESS_WRONG,
        AlarmKind.QUOTA_EXHAUSTED,
        AlarmKind.BUDGET_EXHAUSTED,
    }
)
_SEVERE: Final = OF_HOOKS | _OF_ACCOUNTS | {AlarmKind.ARCHIVE_GAVE_UP}
"""Kinds that say that work fails; the others warn of it."""


class AlarmLine(NamedTuple):
    """An alarm, how grave it is, and the page that says more."""

    alarm: Alarm
    is_severe: bool
    link: tuple[str, str] | None


class ProviderLine(NamedTuple):
    """Callbacks against polls of a provider.

    Attributes:
        state: ``silent``, ``losing``, ``works`` or ``polled``.
        sentence: what the figures mean, and what to do.
        figures: number and words.
    """

    name: str
    state: str
    sentence: str
    figures: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    days: Sequence[Day]


class RouteLine(NamedTuple):
    """The curves of a route.

    Attributes:
        failed: a sentence about its failures, which links to them; None without any.
    """

    name: str
    sentence: str
    failed: str | None
    is_bad: bool
    curves: Curves


async def show_health(visit: Visit) -> web.StreamResponse:
    """Show how the daemon and the services behind it do."""
    services = visit.services
    ends, state, gauges, backlog = await asyncio.gather(
        visit.site.ends.get(),
        services.live_state(),
        services.store.measure(),
        services.store.read_backlog(visit.now - timedelta(days=1), visit.now - timedelta(days=1)),
    )
    alarms = [_alarm_line(alarm) for alarm in services.list_alarms()]
    hooks = services.hooks.describe()
    first, middle = axis_times(visit.now)
    routes = [] if ends is None else _routes(ends, visit.now)
    return await visit.render(
        "health.html",
        heading=_heading(len(alarms)),
        alarms=alarms,
        lead=_lead(alarms, gauges),
        ends=ends,
        providers=[] if ends is None else _providers(visit, ends, state),
        routes=routes[:MOST_ROUTES],
        more_routes=max(0, len(routes) - MOST_ROUTES),
        axis=(first, middle),
        day_ago=(visit.now - timedelta(hours=HOURS)).strftime("%Y-%m-%dT%H:00Z"),
        tiles=make_tiles(state, gauges, backlog, hooks, visit.now),
        circuits=state.circuits,
        hook_circuits=[hook for hook in hooks if hook["state"] in {"open", "probing", "disabled"}],
    )


# -- alarms --------------------------------------------------------------------------------------------------


def _heading(alarms: int) -> str:
    if not alarms:
        return "Nothing needs you"
    return f"{number_word(alarms)} thing{'s need' if alarms > 1 else ' needs'} you"


def _lead(alarms: Sequence[AlarmLine], gauges: Json) -> str:
    """What is well beside the alarms: what people fear is a paid job that is lost."""
    running = sum(counts["PENDING"] + counts["RUNNING"] for counts in gauges.tasks.values())
    under_way = f"{count(running, 'task')} {'is' if running == 1 else 'are'} under way" if running else "No task waits"
    if not alarms:
        return f"{under_way}, and no alarm is raised."
    kinds = {line.alarm.kind for line in alarms}
    if kinds & {AlarmKind.ARCHIVE_BEHIND, AlarmKind.ARCHIVE_GAVE_UP, AlarmKind.DISK_LOW}:
        return f"{under_way}. Outputs may get lost: begin with the archive."
    if kinds & _OF_ACCOUNTS:
        return f"{under_way}. New tasks of an account fail until it is fixed; tasks that were accepted go on."
    return f"{under_way}. No paid job gets lost, and no output is near its expiry."


def _alarm_line(alarm: Alarm) -> AlarmLine:
    link = None
    if alarm.kind in OF_HOOKS:
        link = ("Hooks", "hooks")
    elif alarm.kind in _OF_ACCOUNTS:
        link = ("Accounts", "accounts")
    elif alarm.kind is AlarmKind.CALLBACKS_SILENT:
        link = ("Unmatched callbacks", "unmatched")
    elif alarm.kind is AlarmKind.MODEL_GONE:
        link = ("Models", "models")
    return AlarmLine(alarm, alarm.kind in _SEVERE, link)


# -- callbacks against polls -----------------------------------------------------------------------------------


def _providers(visit: Visit, ends: Ends, state: LiveState) -> list[ProviderLine]:
    silent = {
        alarm.subject: alarm for alarm in visit.services.list_alarms() if alarm.kind is AlarmKind.CALLBACKS_SILENT
    }
    today = int(visit.now.timestamp()) // 86400
    lines = [
        _provider_line(
            name, provider, state, silent.get(name), today, is_reachable=visit.services.public_url() is not None
        )
        for name, provider in ends.providers.items()
        if provider.hours
    ]
    order = ("silent", "losing", "works", "polled")
    return sorted(lines, key=lambda line: (order.index(line.state), line.name))


def _provider_line(
    name: str, ends: ProviderEnds, state: LiveState, silent: Alarm | None, today: int, *, is_reachable: bool
) -> ProviderLine:
    total = ends.total()
    bars, days = draw_days(ends.days(), today)
    by_poll, by_callback = ends.noticed_s("poll"), ends.noticed_s("callback")
    polled = f", a median of {_seconds(by_poll)} after the service ended it" if by_poll is not None else ""
    if not total.awaited and not total.by_callback and silent is None:
        why = (
            "No callback URL was sent with these tasks"
            if is_reachable
            else "public_url is not set, so no service can call back"
        )
        known = [] if by_poll is None else [(_seconds(by_poll), "until noticed")]
        sentence = f"{why}. Polls find every end{polled}."
        return ProviderLine(name, "polled", sentence, [(f"{total.by_poll:,}", "ends"), *known], bars, days)
    all_ends = total.by_callback + total.by_poll
    figures = [(f"{total.by_callback / all_ends:.0%}".replace("%", " %") if all_ends else "none", "first by callback")]
    if by_poll is not None and by_callback is not None:
        figures.append((_seconds(max(by_poll - by_callback, 0)), "saved per task"))
    elif by_callback is not None:
        figures.append((_seconds(by_callback), "until noticed"))
    figures += [
        (f"{total.lost:,}", "lost"),
        (f"{state.duplicates.get(name, 0):,}", "duplicates"),
        (f"{state.stale.get(name, 0):,}", "late"),
    ]
    if silent is not None:
        last = state.callback_at.get(name)
        since = f"The last one came at {clock(last)[:5]} UTC. " if last is not None else ""
        return ProviderLine(name, "silent", f"{silent.message} {since}{silent.fix}", figures, bars, days)
    silence = ends.silence()
    if silence is not None and silence[1] >= SILENT_AFTER:
        hour, lost = datetime.fromtimestamp(silence[0] * 3600, UTC), silence[1]
        sentence = (
            f"No callback for tasks created since {hour:%A} {hour:%H:%M} UTC; polls found {lost:,} ends. "
            "See what changed then between the service and public_url; tracker doctor tries it."
        )
        return ProviderLine(name, "silent", sentence, figures, bars, days)
    if total.lost and total.lost >= max(2, all_ends * 0.05):
        share = f"{total.lost:,} of {all_ends:,} ends came without a callback, and a poll found them later. "
        sentence = f"{share}No result is lost; Unmatched callbacks shows those that were rejected."
        return ProviderLine(name, "losing", sentence, figures, bars, days)
    sentence = (
        "Callbacks bring nearly every end."
        if total.by_callback >= total.by_poll
        else ("Polls are often quicker than the callbacks, which come as well.")
    )
    if total.lost:
        sentence += f" {count(total.lost, 'callback')} got lost, and a poll found the end."
    if state.duplicates.get(name):
        sentence += " Duplicates are normal and cost nothing."
    return ProviderLine(name, "works", sentence, figures, bars, days)


def _seconds(seconds: float) -> str:
    """``4.2 s``, ``16 s``, ``3 min``."""
    return took(seconds) if seconds < SHORT_S else about(seconds)


# -- routes ----------------------------------------------------------------------------------------------------


def _routes(ends: Ends, now: datetime) -> list[RouteLine]:
    now_hour = int(now.timestamp()) // 3600
    lines = []
    for name, hours in ends.routes.items():
        curves = draw_hours(hours, now_hour)
        if curves is not None:
            lines.append((_route_line(name, hours, curves, now_hour), sum_route(hours)))
    lines.sort(key=lambda item: (-item[1].succeeded - item[1].failed, item[0].name))
    return [line for line, _ in lines]


def _route_line(name: str, hours: Mapping[int, HourOfRoute], curves: Curves, now_hour: int) -> RouteLine:
    sums = sum_route(hours)
    ended = sums.succeeded + sums.failed
    is_bad = ended >= ENOUGH and sums.failed > ended * MANY_FAIL
    failed = f"{sums.failed:,} of {ended:,} failed" if sums.failed else None
    return RouteLine(name, _time_sentence(sums, hours, now_hour), failed, is_bad, curves)


def _time_sentence(sums: RouteSums, hours: Mapping[int, HourOfRoute], now_hour: int) -> str:
    if sums.p50_s is None or sums.p90_s is None:
        return "Nothing succeeded."
    text = f"Half within {span(sums.p50_s)}, nine of ten within {span(sums.p90_s)}."
    recent = sum_route({hour: one for hour, one in hours.items() if hour > now_hour - RECENT_H})
    before = sum_route({hour: one for hour, one in hours.items() if hour <= now_hour - RECENT_H})
    if min(recent.succeeded, before.succeeded) >= ENOUGH and recent.p50_s and before.p50_s:
        if recent.p50_s > before.p50_s * SLOWER:
            return (
                f"Slower for {about(RECENT_H * 3600)}: half within {span(recent.p50_s)}, before {span(before.p50_s)}."
            )
        return f"Steady: {text[0].lower()}{text[1:]}"
    return text
