"""What alarms are raised for: looks at the state of the parts, and puts each reason into one sentence with its fix.

Owns the limits. Must not hold what it found: `tracker.maintenance.alarms` does. The parts are looked at, and report
nothing by themselves: an alarm costs nothing where a task, a request or a run of a hook is handled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracker.domain.alarms import AlarmKind, Finding
from tracker.hooks.health import OPENS_AFTER, HookState
from tracker.maintenance import pruning

if TYPE_CHECKING:
    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.daemon.process_state import ProcessState
    from tracker.daemon.reload import Live
    from tracker.daemon.scheduler import Scheduler
    from tracker.hooks.dispatcher import Dispatcher
    from tracker.maintenance.alarms import Alarms
    from tracker.maintenance.disk_space import DiskSpace
    from tracker.tracking.account_alarms import AccountAlarms
    from tracker.tracking.poller import Poller
    from tracker.tracking.tallies import TaskTallies
    from tracker.upstream.breaker import Breakers
    from tracker.upstream.client import UpstreamClient

SILENT_AFTER: Final = 5
"""Callbacks of a provider that were lost in a row, without one that came."""
SKEW_S: Final = 30.0
"""A clock that differs by more is skewed …"""
SKEW_OVER_S: Final = 20.0
"""… until it differs by less."""
LOOP_LATE_S: Final = 45.0
"""The dispatcher and the archiver complete a round every 30 s at least."""
LAG_S: Final = 1.0
"""The event loop is late when it was late by so much …"""
LAGS: Final = 3
"""… so often within half a minute."""
RETENTION_LATE_S: Final = pruning.FIRST_AFTER_S + 2 * pruning.EVERY_S

LOOKED_FOR: Final = frozenset(
    {
        AlarmKind.KEY_MISSING,
        AlarmKind.KEY_REJECTED,
        AlarmKind.ADDRESS_WRONG,
        AlarmKind.QUOTA_EXHAUSTED,
        AlarmKind.UPSTREAM_CIRCUIT_OPEN,
        AlarmKind.CALLBACKS_SILENT,
        AlarmKind.CLOCK_SKEWED,
        AlarmKind.HOOK_CIRCUIT_OPEN,
        AlarmKind.HOOK_DISABLED,
        AlarmKind.LOOP_LATE,
        AlarmKind.DISK_LOW,
    }
)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """The parts that are looked at."""

    clock: Clock
    live: Live
    accounts: AccountAlarms
    breakers: Breakers
    client: UpstreamClient
    tasks: TaskTallies
    hooks: Dispatcher
    poller: Poller
    archive: Archiver
    scheduler: Scheduler
    process: ProcessState
    disk: DiskSpace


class AlarmSources:
    """Keeps the list of alarms as the parts are; whatever needs no waiting.

    Args:
        alarms: the list.
        parts: what is looked at.
    """

    def __init__(self, alarms: Alarms, parts: LookedAt) -> None:
        self._alarms = alarms
        self._parts = parts
        self._started_at = parts.clock.now()
        self.other_disks: dict[str, str | None] = {}
        """Directories on other disks than the store, and what is wrong: measured elsewhere, for a mount may hang."""

    def look(self) -> None:
        """Look at all parts now."""
        found = [
            *self._accounts(),
            *self._upstreams(),
            *self._callbacks(),
            *self._clocks(),
            *self._hooks(),
            *self._loops(),
            *self._disks(),
        ]
        self._alarms.update(LOOKED_FOR, found, self._knows)

    def _knows(self, kind: AlarmKind, subject: str) -> bool:
        """Whether this process has learned that an alarm from before its start has no reason any more."""
        parts = self._parts
        match kind:
            case AlarmKind.KEY_REJECTED | AlarmKind.QUOTA_EXHAUSTED:
                return subject not in parts.live.accounts or parts.accounts.is_accepted(kind, subject)
            case AlarmKind.UPSTREAM_CIRCUIT_OPEN:
                host, _, provider = subject.partition(" ")
                return parts.breakers.has_worked(host, provider)
            case AlarmKind.CALLBACKS_SILENT:
                return subject in parts.tasks.callback_at
            case AlarmKind.CLOCK_SKEWED:
                return subject in parts.client.tallies.skews
            case AlarmKind.HOOK_CIRCUIT_OPEN | AlarmKind.HOOK_DISABLED:
                known = {spec.name for spec in parts.hooks.specs}
                success = parts.hooks.health(subject)[0].last_success_at
                is_removed = subject not in known and parts.hooks.has_read_hooks
                return is_removed or (success is not None and success >= self._started_at)
            case _:
                return True

    # -- what is found -------------------------------------------------------------------------------------

    def _accounts(self) -> Iterator[Finding]:
        for name in self._parts.live.keyless_accounts():
            fix = "Set its key by api_key_env or api_key_file. tracker doctor shows where it is looked for."
            yield Finding(AlarmKind.KEY_MISSING, name, f"Account {name} has no API key, so it sends nothing.", fix)
        yield from (one for one in self._parts.accounts.find() if one.subject in self._parts.live.accounts)

    def _upstreams(self) -> Iterator[Finding]:
        opened = self._parts.breakers.list_open()
        hosts = {circuit.host for circuit in opened if not circuit.provider}
        for circuit in opened:
            subject = f"{circuit.host} {circuit.provider}".rstrip()
            is_known = self._alarms.is_raised(AlarmKind.UPSTREAM_CIRCUIT_OPEN, subject)
            if circuit.provider and circuit.host in hosts and not is_known:
                continue  # that the host does not answer says it
            failed = f"fails for {circuit.provider}" if circuit.provider else "does not answer"
            message = f"The service at {circuit.host} {failed}, so the tracker only sends single requests to test it."
            fix = "Check the network, DNS and the account's base_url; the tracker resumes on its own."
            yield Finding(AlarmKind.UPSTREAM_CIRCUIT_OPEN, subject, message, fix)

    def _callbacks(self) -> Iterator[Finding]:
        tasks = self._parts.tasks
        tasks.lost_callbacks()  # counts those that have been awaited for too long
        for provider, lost in tasks.lost_in_row.items():
            if lost >= SILENT_AFTER:
                message = f"Callbacks of {provider} do not arrive: polls found the last {lost} ends."
                where = self._parts.live.config.public_url
                fix = f"Check that the service reaches public_url ({where}) from outside; tracker doctor tries it."
                yield Finding(AlarmKind.CALLBACKS_SILENT, provider, message, fix)

    def _clocks(self) -> Iterator[Finding]:
        for host, skew_s in self._parts.client.tallies.skews.items():
            is_raised = self._alarms.is_raised(AlarmKind.CLOCK_SKEWED, host)
            if abs(skew_s) > (SKEW_OVER_S if is_raised else SKEW_S):
                side = "ahead of" if skew_s > 0 else "behind"
                message = f"The clock of this machine is {abs(skew_s):.0f} s {side} that of {host}."
                fix = "Synchronise the clock: timedatectl set-ntp true. Signatures and expiry times depend on it."
                yield Finding(AlarmKind.CLOCK_SKEWED, host, message, fix)

    def _hooks(self) -> Iterator[Finding]:
        for spec in self._parts.hooks.specs:
            health, _ = self._parts.hooks.health(spec.name)
            error = (health.last_error or "no reason is known").rstrip(".")
            if health.state is HookState.DISABLED:
                message = f"The hook {spec.name} answered that it is gone, so its deliveries fail."
                fix = (
                    f"Fix or remove the hook, then: tracker config reload; tracker deliveries retry --hook {spec.name}"
                )
                yield Finding(AlarmKind.HOOK_DISABLED, spec.name, message, fix)
            elif health.state in {HookState.OPEN, HookState.PROBING} and health.failures >= OPENS_AFTER:
                message = f"The hook {spec.name} cannot be reached, so its deliveries wait: {error}."
                fix = f"Make the hook work; its deliveries then follow. To try it: tracker hooks test {spec.name}"
                yield Finding(AlarmKind.HOOK_CIRCUIT_OPEN, spec.name, message, fix)

    def _loops(self) -> Iterator[Finding]:
        parts, now = self._parts, self._parts.clock.monotonic()
        late = {}
        if parts.poller.is_stalled:
            late["sweep"] = now - parts.poller.last_tick
        for name, at in (("hooks", parts.hooks.last_progress), ("archive", parts.archive.last_progress)):
            if now - at > LOOP_LATE_S:
                late[name] = now - at
        for name, age_s in late.items():
            message = f"The loop {name} has completed no round for {age_s:.0f} s."
            fix = "See the log for errors. If the machine is not overloaded, restart the tracker: nothing is lost."
            yield Finding(AlarmKind.LOOP_LATE, name, message, fix)
        if parts.scheduler.unsuccessful_s("pruning") > RETENTION_LATE_S:
            message = "Retention has not succeeded for two days, so the database grows."
            yield Finding(
                AlarmKind.LOOP_LATE, "retention", message, "See the log for job.failed, or run: tracker db prune"
            )
        slow = [lag_s for lag_s in parts.process.last_lags if lag_s > LAG_S]
        if len(slow) >= LAGS or (slow and self._alarms.is_raised(AlarmKind.LOOP_LATE, "event_loop")):
            message = f"The event loop was late by up to {max(slow):.0f} s, so callbacks are answered late."
            fix = "The machine is overloaded, or its disk is slow: give the tracker more CPU or a faster disk."
            yield Finding(AlarmKind.LOOP_LATE, "event_loop", message, fix)

    def _disks(self) -> Iterator[Finding]:
        disk = self._parts.disk
        found = {str(disk.directory): disk.measure()[0], **self.other_disks}
        for directory, message in found.items():
            if message is not None:
                fix = "Free some space, or move the store or the archive to a larger disk."
                yield Finding(AlarmKind.DISK_LOW, directory, message, fix)
