"""One claimed delivery: run once, and its result recorded.

Owns what follows from a run's result: done, retried and when, failed, or dead. Must not claim anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, assert_never

from tracker.domain.deliveries import AlarmJob, TaskJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.retry import growing_delay_s, growing_delays_s, jittered
from tracker.errors import StoreUnavailable
from tracker.hooks.runner import Runner, RunOutcome, RunResult, encode_event, retry
from tracker.logs import get_logger
from tracker.store.values import AttemptResult

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config.hooks import HookSpec
    from tracker.domain.deliveries import DeliveryJob
    from tracker.hooks.tallies import HookTallies
    from tracker.store.protocol import Store
    from tracker.upstream.deadlines import Deadlines

log = get_logger(__name__)

RUN_MARGIN_S = 30.0
"""A runner enforces ``timeout_s`` itself; this much later it is cancelled."""
RECORD_MARGIN_S = 60.0
"""A lease outlives the run by this much: time to record the result."""
RECORD_PAUSE_MIN_S, RECORD_PAUSE_MAX_S = 0.1, 5.0
"""Bounds of the growing pause between attempts to record a result."""
ERROR_MAX = 500
"""Characters of an error line that are recorded."""
RETRY_AFTER_MAX_S = 7 * 86400.0
"""The longest wait that a hook may ask for: one absurd header must not bury a delivery."""
BLAMELESS_MAX_S = 60.0
"""The longest wait after an attempt that the machine, not the hook, prevented."""


def lease_s(spec: HookSpec) -> float:
    """How long a claimed delivery is leased: it may wait for one run of its hook to end, then runs itself."""
    return 2 * (spec.timeout_s + RUN_MARGIN_S) + RECORD_MARGIN_S


class Delivery:
    """A delivery under way: `run` it once, then `record` the result.

    Args:
        job: the claimed delivery.
        spec: its hook.
        runner: runs hooks of this kind.
        store: records the result.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what the hook printed or answered.
        deadlines: ends a run that its runner does not end.
        clock: the source of time.
        tallies: counts the run.

    Attributes:
        was_delayed: the store was unavailable when the result was to be recorded.
        took_s: how long the run took, once it has ended.
    """

    def __init__(
        self,
        job: DeliveryJob,
        spec: HookSpec,
        runner: Runner,
        *,
        store: Store,
        draw: Callable[[], float],
        redact: Callable[[str], str],
        deadlines: Deadlines,
        clock: Clock,
        tallies: HookTallies,
    ) -> None:
        self.was_delayed = False
        self.took_s = 0.0
        self._job = job
        self._spec = spec
        self._runner = runner
        self._store = store
        self._draw = draw
        self._redact = redact
        self._claimed_as = job.attempt
        self._deadlines = deadlines
        self._clock = clock
        self._tallies = tallies
        self._started_at: datetime | None = None
        self._must_end = False
        self._running_in: asyncio.Task[None] | None = None

    def cut_short(self) -> None:
        """End the run; its delivery becomes pending at once. Without effect on a run that has ended."""
        self._must_end = True
        if self._running_in is not None:
            self._running_in.cancel()

    def _is_cut_short(self) -> bool:
        return self._must_end  # a call, since it may change during an await

    def claimed_again(self, attempt: int) -> None:
        """Its lease expired during the run and it was claimed again: the result is recorded for that claim."""
        self._claimed_as = attempt

    async def run(self) -> RunResult | None:
        """Run the hook; None if it was cut short. An error of the runner is a failed attempt like any other."""
        if self._is_cut_short():
            return None
        task = self._running_in = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        loop = asyncio.get_running_loop()
        self._started_at, began = self._clock.now(), loop.time()
        self._tallies.note_start(self._job, self._started_at)
        try:
            with self._deadlines.within(self._spec.timeout_s + RUN_MARGIN_S):
                return await self._runner.run(self._job, encode_event(self._job), self._spec)
        except TimeoutError:
            return retry(f"timed out after {self._spec.timeout_s:g} s")
        except asyncio.CancelledError:
            if not task.cancelling():
                return retry("the run was cancelled from within")
            if not self._is_cut_short():
                raise
            task.uncancel()
            return None
        except Exception as error:
            log.exception("hook.runner_failed", **self._names())
            return retry(f"the runner failed: {type(error).__name__}: {error}")
        finally:
            self.took_s = loop.time() - began
            self._running_in = None

    async def record(self, result: RunResult | None) -> None:
        """Record how the run ended, however long the store takes."""
        if result is None:  # the tracker ended it: this does not count as an attempt
            attempt = AttemptResult(DeliveryStatus.PENDING, error="cut short: the tracker stopped", counts=False)
        else:
            error, output = result.error and self._redact(result.error), result.output and self._redact(result.output)
            is_masked = error is not result.error or output is not result.output
            shown = replace(result, error=error, output=output) if is_masked else result
            attempt = attempt_result(self._spec, self._job.attempt, shown, self._draw())
        attempt = attempt.with_run(self._started_at, self.took_s)
        pauses = growing_delays_s(RECORD_PAUSE_MIN_S, RECORD_PAUSE_MAX_S)
        while True:
            try:
                await self._store.record_attempt(self._job.id, attempt, self._claimed_as)
            except StoreUnavailable as unavailable:
                log.warning("hook.result_delayed", error=str(unavailable), **self._names())
            except Exception:
                # what is on disk is unknown: at the end of its lease the delivery runs again
                log.exception("hook.result_lost", **self._names())
                return
            else:
                self._tallies.note_recorded(self._job, attempt)
                self._log(attempt)
                return
            self.was_delayed = True
            await asyncio.sleep(next(pauses))

    def _log(self, attempt: AttemptResult) -> None:
        match attempt.status:
            case DeliveryStatus.SUCCEEDED:
                log.info("hook.delivered", **self._names())
            case DeliveryStatus.FAILED:
                log.warning("hook.failed", error=attempt.error, **self._names())
            case DeliveryStatus.DEAD:
                log.error("hook.dead_lettered", error=attempt.error, **self._names())
            case _:
                retry_in_s = round(attempt.retry_in_s or 0.0, 3)
                log.warning("hook.retry_scheduled", error=attempt.error, retry_in_s=retry_in_s, **self._names())

    def _names(self) -> dict[str, str | int]:
        job = self._job
        about: dict[str, str] = {}
        if isinstance(job, TaskJob):
            about = {"task": job.record.task.id, "provider": job.record.task.provider}
        elif isinstance(job, AlarmJob):
            about = {"kind": job.alarm.kind, "subject": job.alarm.subject}
        return {"hook": job.hook, "delivery": job.id, **about, "hook_event": job.event, "attempt": job.attempt}


def attempt_result(spec: HookSpec, attempt: int, result: RunResult, draw: float) -> AttemptResult:
    """What to record of a run.

    Args:
        spec: the hook, for its limits.
        attempt: number of the attempt, 1 or more.
        result: how the run ended.
        draw: 0 to 1, for the jitter.
    """
    # one line, and without the lone surrogates of an undecodable path, which no database accepts, nor NUL, which cuts
    error = None
    if result.error:
        clean = result.error.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        error = " ".join(clean.split())[:ERROR_MAX]
    match result.outcome:
        case RunOutcome.SUCCEEDED:
            return AttemptResult(DeliveryStatus.SUCCEEDED, output=result.output)
        case RunOutcome.FAILED_FOR_GOOD | RunOutcome.GONE:
            return AttemptResult(DeliveryStatus.FAILED, error=error, output=result.output)
        case RunOutcome.RETRY:
            if attempt >= spec.max_attempts and not result.blameless:
                return AttemptResult(DeliveryStatus.DEAD, error=error, output=result.output)
            delay_s = retry_delay_s(spec, attempt, result, draw)
            return AttemptResult(
                DeliveryStatus.PENDING, delay_s, error=error, output=result.output, counts=not result.blameless
            )
        case other:
            assert_never(other)


def retry_delay_s(spec: HookSpec, attempt: int, result: RunResult, draw: float) -> float:
    """Seconds until a delivery is retried; see `attempt_result`.

    A wait that the hook asks for is the least, up to `RETRY_AFTER_MAX_S`.
    """
    delay_s = growing_delay_s(attempt - 1, spec.retry_first_s, spec.retry_max_s)
    if result.blameless:
        delay_s = min(delay_s, BLAMELESS_MAX_S)
    asked_s = min(result.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return max(jittered(delay_s, draw), asked_s)
