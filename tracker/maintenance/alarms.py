"""The alarms: which are raised now, and since when.

Owns the one list. Must not look for reasons: `tracker.daemon.alarm_sources` does, and calls `Alarms.update`.

An alarm is in the list as soon as it is raised and until it is cleared. Its raise and its clear are stored with an
event for hooks, and logged, once each: a restart in between repeats neither. An alarm that comes back within
`ANNOUNCED_EVERY_S` of its last event is listed at once, and announced when that time is over, if it still lasts.
So a condition that comes and goes makes at most one pair of events in that time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tracker.domain.alarms import Alarm, AlarmKind
from tracker.errors import StoreUnavailable
from tracker.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.alarms import Finding
    from tracker.store.protocol import Store

log = get_logger(__name__)

ANNOUNCED_EVERY_S: Final = 600.0
"""From the event that raises an alarm to the next one that raises it again, at least."""
RAISED_AFTER_S: Final = {AlarmKind.CLOCK_SKEWED: 60.0}
"""Kinds whose reason must last so long: one answer may have an odd date."""
RESTORED_S: Final = 600.0
"""An alarm from before the start lasts so long if nothing shows whether its reason does."""

_Key = tuple[AlarmKind, str]


@dataclass(slots=True)
class _Entry:
    """What is known of a kind and subject.

    Attributes:
        alarm: as it was raised last, with the latest message.
        is_raised: whether it is in the list.
        is_stored: whether the store has it as raised.
        is_logged: whether the log has it as raised.
        announced_at: when the last event that raised it was stored.
        is_restored: it is from before the start, and was not found since.
    """

    alarm: Alarm
    is_raised: bool
    is_stored: bool = False
    is_logged: bool = False
    announced_at: datetime | None = None
    is_restored: bool = False


class Alarms:
    """The list of alarms.

    Args:
        store: holds them, with their events.
        clock: the time of a raise.
        on_event: called after events were stored; wakes the dispatcher of hooks.
    """

    def __init__(self, store: Store, clock: Clock, on_event: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._clock = clock
        self._on_event = on_event
        self._entries: dict[_Key, _Entry] = {}
        self._first_found: dict[_Key, float] = {}
        """Reasons that last -> when they were found first, monotonic seconds."""
        self._loaded_at = clock.monotonic()

    async def load(self) -> None:
        """Read the alarms from before the start.

        Raises:
            StoreUnavailable: they cannot be read.
        """
        self._loaded_at = self._clock.monotonic()
        for stored in await self._store.list_alarms():
            is_raised = stored.is_raised
            self._entries[stored.alarm.kind, stored.alarm.subject] = _Entry(
                stored.alarm, is_raised, is_raised, is_raised, stored.announced_at, is_restored=is_raised
            )

    def list_raised(self) -> list[Alarm]:
        """Every alarm that is raised, by kind and subject."""
        raised = (entry.alarm for entry in self._entries.values() if entry.is_raised)
        return sorted(raised, key=lambda alarm: (alarm.kind, alarm.subject))

    def is_raised(self, kind: AlarmKind, subject: str) -> bool:
        """Whether an alarm is in the list."""
        entry = self._entries.get((kind, subject))
        return entry is not None and entry.is_raised

    def raise_alarm(self, kind: AlarmKind, subject: str, message: str, fix: str) -> None:
        """Raise an alarm; one that is raised only gets the message."""
        entry = self._entries.get((kind, subject))
        if entry is None:
            alarm = Alarm(kind, subject, self._clock.now(), message, fix)
            self._entries[kind, subject] = _Entry(alarm, is_raised=True)
            return
        entry.is_restored = False
        since = entry.alarm.since if entry.is_raised or entry.is_stored else self._clock.now()
        entry.alarm = Alarm(kind, subject, since, message, fix)
        entry.is_raised = True

    def clear(self, kind: AlarmKind, subject: str) -> None:
        """Clear an alarm; nothing if it is not raised."""
        if (entry := self._entries.get((kind, subject))) is not None:
            entry.is_raised = entry.is_restored = False

    def update(
        self,
        kinds: Collection[AlarmKind],
        found: Iterable[Finding],
        knows: Callable[[AlarmKind, str], bool] = lambda _kind, _subject: True,
    ) -> None:
        """Have exactly these alarms raised, of these kinds.

        Args:
            kinds: the kinds that were looked for.
            found: the alarms that have a reason now.
            knows: whether it is known that a kind and subject has none; without that, an alarm from before the start
                lasts for `RESTORED_S`.
        """
        reasons = {(one.kind, one.subject): one for one in found}
        now = self._clock.monotonic()
        for key in [key for key in self._first_found if key[0] in kinds and key not in reasons]:
            del self._first_found[key]
        for key, one in reasons.items():
            lasts_s = now - self._first_found.setdefault(key, now)
            if lasts_s >= RAISED_AFTER_S.get(one.kind, 0.0) or self.is_raised(*key):
                self.raise_alarm(*one)
        is_young = now - self._loaded_at < RESTORED_S
        for (kind, subject), entry in self._entries.items():
            if kind not in kinds or not entry.is_raised or (kind, subject) in reasons:
                continue
            if not (entry.is_restored and is_young and not knows(kind, subject)):
                self.clear(kind, subject)

    async def record(self) -> None:
        """Log and store what has changed; while the store takes no writes, the next call tries again."""
        now = self._clock.now()
        raised = [
            entry
            for entry in self._entries.values()
            if entry.is_raised and not entry.is_stored and _may_announce(entry, now)
        ]
        cleared = [entry for entry in self._entries.values() if not entry.is_raised and entry.is_stored]
        self._log(raised, cleared)
        if not raised and not cleared:
            return
        try:
            await self._store.record_alarms([one.alarm for one in raised], [one.alarm for one in cleared])
        except StoreUnavailable:
            return  # it is not ready, and says so
        for entry in raised:
            entry.is_stored, entry.announced_at = True, now
        for entry in cleared:
            entry.is_stored = False
        self._on_event()

    def _log(self, raised: Iterable[_Entry], cleared: Iterable[_Entry]) -> None:
        for entry in raised:
            if not entry.is_logged:
                entry.is_logged, alarm = True, entry.alarm
                log.warning(
                    "alarm.raised", kind=alarm.kind, subject=alarm.subject, message=alarm.message, fix=alarm.fix
                )
        # one that could not be stored is over in the log, too
        over = [*cleared, *(one for one in self._entries.values() if not one.is_raised and not one.is_stored)]
        for entry in over:
            if entry.is_logged:
                entry.is_logged, alarm = False, entry.alarm
                log.info("alarm.cleared", kind=alarm.kind, subject=alarm.subject, message=alarm.message)


def _may_announce(entry: _Entry, now: datetime) -> bool:
    at = entry.announced_at
    return at is None or not at <= now < at + timedelta(seconds=ANNOUNCED_EVERY_S)
