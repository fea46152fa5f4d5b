"""The health of each hook, and its circuit: whether its runs reach it and succeed.

Owns the memory of how runs ended. Circuits are closed at a start and at a reload; whether a hook is failing is read
back from its deliveries. Must not run or claim anything; `tracker.hooks.runs` asks before a run and reports after it.

::

    healthy --5 runs in a row that do not reach it--> open --retry_first_s, doubling to 60 s--> one probe
       ^                                               ^----------------not reached----------------'  |
       '---------------------------------------reached------------------------------------------------'

A hook that is reached and does not do its work is ``failing``, too: after `FAILING_AFTER` runs in a row that went
wrong or failed for good. It still gets its deliveries, and one success makes it healthy.

A ``Retry-After`` of a hook that takes no events opens its circuit for that long. While a circuit is open, the backlog
waits without using up attempts. A hook that answers HTTP 410 is disabled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tracker.config.hooks import HookSpec
from tracker.domain.circuit import Circuit, CircuitPolicy, CircuitState
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import DeliveryRecord, HookView, IgnoredFileView, iso, to_json
from tracker.hooks.runner import RunOutcome, RunResult
from tracker.hooks.trust import Objection
from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.clock import Clock

log = get_logger(__name__)

OPENS_AFTER = 5
"""Runs in a row that did not reach the hook."""
FAILING_AFTER = 2
"""Runs in a row that reached the hook and failed, or failed or dead deliveries, without a success since."""
PROBE_MIN_S, PROBE_MAX_S = 0.5, 60.0
"""Bounds of the wait for the next probe."""
PAUSE_MAX_S = 3600.0
"""The longest ``Retry-After`` for a hook; then one run probes it."""


class HookState(StrEnum):
    """The state of a hook."""

    HEALTHY = "healthy"
    """Its last run reached it, or it had none yet."""
    FAILING = "failing"
    """Its last runs did not reach it, or failed; it still gets its deliveries."""
    OPEN = "open"
    """Its circuit is open; its backlog waits."""
    PROBING = "probing"
    """Its circuit is half-open: one run may probe it."""
    DISABLED = "disabled"
    """It answered HTTP 410; its deliveries fail until the next reload or start."""


@dataclass(frozen=True, slots=True)
class HookHealth:
    """The health of one hook.

    Attributes:
        failures: runs in a row that did not reach it.
        retry_in_s: seconds until the next probe; None unless its circuit is open.
        last_error: of the last failed run, with any cause; None if the last run succeeded.
        last_success_at, last_failure_at: when runs last ended so.
        failing_since: when the first run went wrong since the last success; None if healthy.
    """

    state: HookState
    failures: int = 0
    retry_in_s: float | None = None
    last_error: str | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    failing_since: datetime | None = None


@dataclass(slots=True)
class _Memory:
    """What is remembered of a hook.

    Attributes:
        circuit: counts the runs that did not reach it.
        wrong: runs since the last success that reached it and went wrong.
        wrong_since: when the first run went wrong since the last success, reached or not.
        gone: why it is disabled.
    """

    circuit: Circuit = field(default_factory=Circuit)
    wrong: int = 0
    wrong_since: datetime | None = None
    gone: str | None = None
    last_error: str | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None


class HealthBook:
    """The health of all hooks, by the time of ``clock``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hooks: defaultdict[str, _Memory] = defaultdict(_Memory)

    def admits(self, hook: str, busy: int) -> int | None:
        """How many more runs of a hook may begin now, beside its ``busy`` ones; None for any number."""
        known = self._hooks.get(hook)
        if known is None or known.circuit.open_until is None:
            return None
        return 0 if busy or known.circuit.state(self._clock.monotonic()) is CircuitState.OPEN else 1

    def why_gone(self, hook: str) -> str | None:
        """Why a hook is disabled; None for any other."""
        known = self._hooks.get(hook)
        return None if known is None else known.gone

    def probe_in_s(self, hooks: Iterable[str]) -> float | None:
        """Seconds until the first of these hooks is probed; None if no circuit is open."""
        now = self._clock.monotonic()
        waits = [known.circuit.left_s(now) for hook in hooks if (known := self._hooks.get(hook)) is not None]
        return min(filter(None, waits), default=None)

    def note(self, spec: HookSpec, result: RunResult) -> None:
        """Record how a run ended. A blameless one is ignored."""
        if result.blameless:
            return
        known = self._hooks[spec.name]
        if result.outcome is RunOutcome.SUCCEEDED:
            if known.wrong >= FAILING_AFTER:
                log.info("hook.recovered", hook=spec.name, failures=known.wrong)
            known.last_error, known.last_success_at = None, self._clock.now()
            known.wrong, known.wrong_since = 0, None
        else:
            known.last_error, known.last_failure_at = result.error, self._clock.now()
            known.wrong_since = known.wrong_since or known.last_failure_at
            known.wrong += not result.unreachable
            if known.wrong == FAILING_AFTER and not result.unreachable:
                log.warning("hook.failing", hook=spec.name, since=iso(known.wrong_since), error=result.error)
        if result.outcome is RunOutcome.GONE:
            known.gone = result.error or "gone"
            log.info("hook.disabled", hook=spec.name, error=known.gone, until="the next reload or start")
        if result.unreachable:
            self._note_unreachable(spec, known.circuit, result)
        elif known.circuit.failures:
            if known.circuit.open_until is not None:
                log.info("hook.recovered", hook=spec.name, failures=known.circuit.failures)
            known.circuit.succeed()

    def _note_unreachable(self, spec: HookSpec, circuit: Circuit, result: RunResult) -> None:
        now = self._clock.monotonic()
        policy = CircuitPolicy(OPENS_AFTER, min(max(spec.retry_first_s, PROBE_MIN_S), PROBE_MAX_S), PROBE_MAX_S)
        asked_s = None if result.retry_after_s is None else min(result.retry_after_s, PAUSE_MAX_S)
        if circuit.fail(policy, now, asked_s=asked_s):
            log.info(
                "hook.circuit_opened",
                hook=spec.name,
                failures=circuit.failures,
                wait_s=round(circuit.left_s(now), 3),
                error=result.error,
            )

    def recall(self, hook: str, deliveries: Iterable[DeliveryRecord]) -> None:
        """Restore the health of a hook before the start from its latest deliveries, in any order.

        Runs since the start take precedence.
        """
        known = self._hooks[hook]
        if known.last_success_at is not None:
            return
        # a list does not say when a delivery that is retried last went wrong: not before it was made
        ended = [item for item in deliveries if item.finished_at is not None or (item.attempts and item.error)]
        ended.sort(key=lambda item: item.finished_at or item.created_at, reverse=True)
        wrong = list(takewhile(lambda item: item.status is not DeliveryStatus.SUCCEEDED, ended))
        known.last_success_at = next((item.finished_at for item in ended[len(wrong) :]), None)
        if wrong:
            known.wrong = max(known.wrong, len(wrong))
            known.wrong_since = wrong[-1].finished_at or wrong[-1].created_at
            known.last_error = known.last_error or wrong[0].error
            known.last_failure_at = known.last_failure_at or wrong[0].finished_at or wrong[0].created_at

    def forget(self) -> None:
        """Reset all: the configuration was read again."""
        self._hooks.clear()

    def of(self, hook: str) -> HookHealth:
        """The health of a hook now."""
        known = self._hooks.get(hook)
        if known is None:
            return HookHealth(HookState.HEALTHY)
        now = self._clock.monotonic()
        if known.gone is not None:
            state = HookState.DISABLED
        elif (circuit := known.circuit.state(now)) is not CircuitState.CLOSED:
            state = HookState.OPEN if circuit is CircuitState.OPEN else HookState.PROBING
        else:
            is_failing = known.circuit.failures or known.wrong >= FAILING_AFTER
            state = HookState.FAILING if is_failing else HookState.HEALTHY
        return HookHealth(
            state,
            known.circuit.failures,
            known.circuit.left_s(now) if state is HookState.OPEN else None,
            known.last_error,
            known.last_success_at,
            known.last_failure_at,
            None if state is HookState.HEALTHY else known.wrong_since,
        )


def describe_hook(spec: HookSpec, health: HookHealth | None, running: int) -> dict[str, Any]:
    """One hook as JSON, without its deliveries.

    Args:
        spec: the hook.
        health: its health; None without a daemon.
        running: its runs under way.
    """
    known = health or HookHealth(HookState.HEALTHY)
    return to_json(
        HookView,
        known,
        name=spec.name,
        kind=spec.action.kind,
        on=list(spec.on),
        state="unknown" if health is None else known.state.value,
        running=running,
        retry_in_s=None if known.retry_in_s is None else round(known.retry_in_s, 3),
    )


def describe_ignored(ignored: Mapping[str, Objection]) -> list[dict[str, Any]]:
    """The ignored drop-in files, as JSON; see `tracker.hooks.dropins.DropIns.ignored`."""
    return [to_json(IgnoredFileView, why, file=file) for file, why in ignored.items()]
