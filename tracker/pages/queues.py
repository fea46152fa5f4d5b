"""Queues, backlogs and limits of the page of health: a figure and a sentence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracker.domain.text import about, count
from tracker.pages.texts import bytes_of, count_deliveries, seconds_between

if TYPE_CHECKING:
    from tracker.domain.live_state import LiveState

Json = Any

LATE_S: Final = 60.0
"""A poll that is later waits for its account's rate or a circuit."""
SLOW_COMMIT_S: Final = 0.05
LAG_S: Final = 0.25
LOOP_LATE_S: Final = 45.0
QUEUE_PART: Final = 0.5
DISK_PART: Final = 0.9
EXPIRES_SOON_S: Final = 6 * 3600
_LOOPS: Final = ("sweep", "hooks", "archive")
"""Loops that complete a round every half minute."""


class Tile(NamedTuple):
    """A figure.

    Attributes:
        beside: small words beside the figure.
        sentence: what it means, and what to do.
        percent: how full it is; None for what has no end.
        is_bad: whether it needs a look.
        link: words and path of the page that says more.
    """

    name: str
    figure: str
    beside: str
    sentence: str
    percent: float | None = None
    is_bad: bool = False
    link: tuple[str, str] | None = None


def make_tiles(
    state: LiveState, gauges: Json, backlog: Json, hooks: Sequence[Mapping[str, Json]], now: datetime
) -> list[Tile]:
    """All tiles.

    Args:
        state: of the process.
        gauges: see `tracker.store.tallies.StoreGauges`.
        backlog: see `tracker.store.tallies.Backlog`.
        hooks: the described hooks.
        now: the current time.
    """
    return [
        _polls(gauges, now),
        _deliveries(gauges, hooks),
        _archive(gauges, backlog, now),
        _writes(state),
        *_disks(state),
        *_accounts(state, now),
        _database(gauges),
        _loops(state),
    ]


def _polls(gauges: Json, now: datetime) -> Tile:
    due = sum(gauges.due.values())
    lag_s = max((seconds_between(at, now) for at in gauges.oldest_due.values()), default=0.0)
    if lag_s <= LATE_S:
        return Tile("Polls due", f"{due:,}", "", "Polls keep up.")
    sentence = (
        "Polls wait for the rate of their account or an open circuit. Raise max_requests_per_s if it allows more."
    )
    return Tile("Polls due", f"{due:,}", f"{about(lag_s)} behind at most", sentence, is_bad=True)


def _deliveries(gauges: Json, hooks: Sequence[Mapping[str, Json]]) -> Tile:
    waiting = sum(counts["pending"] + counts["running"] for counts in gauges.deliveries.values())
    dead = sum(counts["dead"] + counts["failed"] for counts in gauges.deliveries.values())
    events = f"and {count(gauges.outbox, 'event')} to pass on" if gauges.outbox else ""
    name = "Hook deliveries waiting"
    if dead:
        hook, _ = max(gauges.deliveries.items(), key=lambda item: item[1]["dead"] + item[1]["failed"])
        sentence = f"{count_deliveries(dead)} failed or given up, most of {hook}."
        return Tile(name, f"{waiting:,}", events, sentence, is_bad=True, link=("Retry them", "deliveries?status=dead"))
    if not hooks and not gauges.deliveries:
        return Tile(name, "0", events, "No hook is configured.", link=("Hooks", "hooks"))
    return Tile(name, f"{waiting:,}", events, "Hooks keep up; none was given up.")


def _archive(gauges: Json, backlog: Json, now: datetime) -> Tile:
    waiting = gauges.archives.get("pending", 0) + gauges.archives.get("running", 0)
    given_up = f" {count(backlog.given_up, 'file')} given up in 24 hours." if backlog.given_up else ""
    name = "Outputs to archive"
    expires_at = next(iter(backlog.expiries), None)
    if expires_at is None:
        stored = gauges.archives.get("stored", 0)
        sentence = f"{stored:,} stored so far." if stored else "Nothing is archived yet."
        return Tile(name, f"{waiting:,}", "", sentence + given_up, is_bad=bool(given_up))
    left_s = seconds_between(now, expires_at)
    is_late = left_s < EXPIRES_SOON_S
    sentence = "The archive is behind: check its disk and the network." if is_late else "None is near its expiry."
    return Tile(
        name, f"{waiting:,}", f"next expiry in {about(left_s)}", sentence + given_up, is_bad=is_late or bool(given_up)
    )


def _writes(state: LiveState) -> Tile:
    share = state.writes_waiting / state.writes_most
    commit = "No write yet." if state.commit_s is None else f"A commit takes {state.commit_s * 1000:.1f} ms."
    is_bad = share > QUEUE_PART or (state.commit_s or 0) > SLOW_COMMIT_S
    sentence = f"{commit} The disk is slow: use a faster one for the store." if is_bad else commit
    most = f"of {state.writes_most:,}"
    return Tile("Write queue", f"{state.writes_waiting:,}", most, sentence, 100 * share, is_bad)


def _disks(state: LiveState) -> Iterator[Tile]:
    seen = set()
    for disk in state.disks:
        if (disk.total, disk.free) in seen or not disk.total:
            continue  # the archive is on the disk of the store
        seen.add((disk.total, disk.free))
        used = 1 - disk.free / disk.total
        name = "Disk" if len(seen) == 1 else "Disk of the archive"
        sentence = f"{bytes_of(disk.free)} are free in {disk.directory}."
        if used > DISK_PART:
            sentence += " Free some space, or shorten retention."
        yield Tile(
            name, f"{used:.0%}".replace("%", " %"), f"of {bytes_of(disk.total)}", sentence, 100 * used, used > DISK_PART
        )


def _accounts(state: LiveState, now: datetime) -> Iterator[Tile]:
    for account in state.accounts:
        full = account.sent / account.rate if account.rate else 0.0
        is_paused = account.paused_until is not None
        if account.paused_until is not None:
            left = about(seconds_between(now, account.paused_until))
            sentence = f"Paused for {left}: the service asked for it. Requests follow on their own."
        elif account.waiting:
            sentence = (
                f"{count(account.waiting, 'request')} wait for their turn. Raise max_requests_per_s if it allows more."
            )
        else:
            sentence = "No request waits."
        yield Tile(
            f"Requests of account {account.name}",
            f"{account.sent:,}",
            f"of {account.rate:g} a second",
            sentence,
            min(100.0, 100 * full),
            is_paused,
        )


def _database(gauges: Json) -> Tile:
    log = f"and {bytes_of(gauges.log_bytes)} of log"
    return Tile(
        "Database", bytes_of(gauges.size_bytes), log, "Retention bounds it; see [retention] in the configuration."
    )


def _loops(state: LiveState) -> Tile:
    late = {name: age_s for name, age_s in state.loop_ages.items() if name in _LOOPS and age_s > LOOP_LATE_S}
    lag = f"{state.lag_s * 1000:.0f} ms"
    if late:
        name, age_s = max(late.items(), key=lambda item: item[1])
        sentence = f"The loop {name} has completed no round for {about(age_s)}. See the log, then restart the daemon."
        return Tile("Event loop", lag, "late at most", sentence, is_bad=True)
    if state.lag_s > LAG_S:
        return Tile("Event loop", lag, "late at most", "The machine is overloaded: give it more CPU.", is_bad=True)
    return Tile("Event loop", lag, "late at most", "No loop is stuck.")
