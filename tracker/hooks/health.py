"""How each hook is doing, and whether it is left alone: one circuit breaker per hook.

Owns the memory of how runs ended. Circuits begin anew at a start and at a reload; whether a hook is failing is read
back from its deliveries. Must not run or claim anything; the dispatcher asks before and reports after.

::

    healthy --5 runs in a row that did not reach it--> open --retry_first_s, doubling to 60 s--> one probe
       ^                                                ^-------------not reached-----------------'  |
       '---------------------------------------reached-----------------------------------------------'

A hook that is reached and still does not do its work is ``failing`` too: `FAILING_AFTER` runs in a row that went wrong
or failed for good. It is tried as before, and one success ends it.

A hook that asks to be left alone (``Retry-After``) is, as a whole and for that long. Meanwhile its backlog waits
without using up attempts. One that says it is gone (HTTP 410) is disabled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING

from tracker.config.hooks import HookSpec
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.records import DeliveryRecord, iso
from tracker.hooks.runner import RunOutcome, RunResult
from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.clock import Clock

log = get_logger(__name__)

OPENS_AFTER = 5
"""Runs in a row that did not reach the hook."""
FAILING_AFTER = 2
"""Runs in a row that reached the hook and went wrong, or deliveries that failed or died, with no success since."""
PROBE_MIN_S, PROBE_MAX_S = 0.5, 60.0
"""Bounds of the wait for the next probe."""
PAUSE_MAX_S = 3600.0
"""A hook as a whole is left alone for so long at most; then one run may ask again."""


class HookState(StrEnum):
    """Where a hook stands."""

    HEALTHY = "healthy"
    """Its last run reached it, or none was needed yet."""
    FAILING = "failing"
    """Its last runs did not reach it, or went wrong; it is still tried with all that waits."""
    OPEN = "open"
    """It is left alone for a while; its backlog waits."""
    PROBING = "probing"
    """One run may find out whether it is back."""
    DISABLED = "disabled"
    """It said that it is gone; what is meant for it fails until the next reload or start."""


@dataclass(frozen=True, slots=True)
class HookHealth:
    """How one hook is doing.

    Attributes:
        failures: runs in a row that did not reach it.
        retry_in_s: seconds until it is tried again; None unless it is left alone.
        failing_since: when the first of the runs ended that have gone wrong since the last success; None while healthy.
        last_error: of the last run that went wrong, whoever's fault; None when the last one went well.
        last_success_at, last_failure_at: when runs last ended so.
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
    """What is remembered of a hook; ``open_until`` in monotonic seconds, None while closed.

    Attributes:
        failures: runs in a row that did not reach it.
        wrong: runs since the last success that reached it and went wrong.
        wrong_since: when the first run went wrong since the last success, reached or not.
    """

    failures: int = 0
    wrong: int = 0
    wrong_since: datetime | None = None
    wait_s: float = 0.0
    open_until: float | None = None
    gone: str | None = None
    last_error: str | None = None
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None


class HealthBook:
    """The health of all hooks.

    Args:
        clock: the source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hooks: defaultdict[str, _Memory] = defaultdict(_Memory)

    def admits(self, hook: str, busy: int) -> int | None:
        """How many more runs of a hook may begin now; None for any number.

        Args:
            hook: its name.
            busy: its runs under way: a probe is only begun when there is none.
        """
        known = self._hooks.get(hook)
        if known is None or known.open_until is None:
            return None
        if self._clock.monotonic() < known.open_until:
            return 0
        return 0 if busy else 1

    def why_gone(self, hook: str) -> str | None:
        """What a disabled hook said; None for any other."""
        known = self._hooks.get(hook)
        return None if known is None else known.gone

    def opens_in_s(self, hooks: Iterable[str]) -> float | None:
        """Seconds until the first of these hooks is tried again, 0 or more; None when none is left alone."""
        now = self._clock.monotonic()
        waits = [
            known.open_until - now
            for hook in hooks
            if (known := self._hooks.get(hook)) is not None and known.open_until is not None and known.open_until > now
        ]
        return min(waits, default=None)

    def note(self, spec: HookSpec, result: RunResult) -> None:
        """Take in how a run ended. One that the machine prevented says nothing."""
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
            log.error("hook.disabled", hook=spec.name, error=known.gone, until="the next reload or start")
        if result.unreachable:
            self._fail(spec, known, result)
        elif known.failures:
            if known.open_until is not None:
                log.info("hook.recovered", hook=spec.name, failures=known.failures)
            known.failures, known.wait_s, known.open_until = 0, 0.0, None

    def recall(self, hook: str, deliveries: Iterable[DeliveryRecord]) -> None:
        """Take in how a hook did before the start; what was seen since then counts for more.

        Args:
            hook: its name.
            deliveries: its latest ones, in any order.
        """
        known = self._hooks[hook]
        if known.last_success_at is not None:
            return
        # of one that is tried again it is not recorded when it last went wrong: not before it was made
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
        """Begin anew with every hook: the configuration was read again."""
        self._hooks.clear()

    def of(self, hook: str) -> HookHealth:
        """How a hook is doing now."""
        known = self._hooks.get(hook)
        if known is None:
            return HookHealth(HookState.HEALTHY)
        left_s = None if known.open_until is None else known.open_until - self._clock.monotonic()
        if known.gone is not None:
            state = HookState.DISABLED
        elif left_s is not None:
            state = HookState.OPEN if left_s > 0 else HookState.PROBING
        else:
            is_failing = known.failures or known.wrong >= FAILING_AFTER
            state = HookState.FAILING if is_failing else HookState.HEALTHY
        return HookHealth(
            state,
            known.failures,
            left_s if state is HookState.OPEN else None,
            known.last_error,
            known.last_success_at,
            known.last_failure_at,
            None if state is HookState.HEALTHY else known.wrong_since,
        )

    def _fail(self, spec: HookSpec, known: _Memory, result: RunResult) -> None:
        now = self._clock.monotonic()
        known.failures += 1
        asked_until = None if result.retry_after_s is None else now + min(result.retry_after_s, PAUSE_MAX_S)
        if known.open_until is not None and now < known.open_until:  # it began before the hook was left alone
            known.open_until = max(known.open_until, asked_until or 0.0)
            return
        if known.open_until is not None:
            known.wait_s = min(known.wait_s * 2, PROBE_MAX_S) or PROBE_MIN_S
        elif known.failures >= OPENS_AFTER:
            known.wait_s = min(max(spec.retry_first_s, PROBE_MIN_S), PROBE_MAX_S)
        elif asked_until is None:
            return
        known.open_until = max(now + known.wait_s, asked_until or 0.0)
        log.warning(
            "hook.left_alone",
            hook=spec.name,
            failures=known.failures,
            wait_s=round(known.open_until - now, 3),
            error=result.error,
        )
