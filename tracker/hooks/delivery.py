"""One claimed delivery, carried out: run once, its end judged, and the verdict kept.

Owns what follows from the end of a run: done, again and when, failed, or dead. Must not claim anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from tracker.config.hooks import HookSpec
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.retry import growing_delay_s, growing_delays_s, jittered
from tracker.errors import StoreUnavailable
from tracker.hooks.runner import Runner, RunOutcome, RunResult, encode_event
from tracker.logs import get_logger
from tracker.store.values import AttemptResult

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.store.protocol import Store
    from tracker.store.values import DeliveryJob

log = get_logger(__name__)

RUN_MARGIN_S = 30.0
"""A runner keeps its time itself; past ``timeout_s`` and this, it is cancelled."""
KEEP_MARGIN_S = 60.0
"""A lease outlives the run by this much: time to keep the result."""
RECORD_PAUSE_MIN_S, RECORD_PAUSE_MAX_S = 0.1, 5.0
"""Between attempts to keep a result; grows from one to the other."""
ERROR_MAX = 500
"""Characters of an error line that are recorded."""
RETRY_AFTER_MAX_S = 7 * 86400.0
"""The longest wait that a hook may ask for: one absurd header must not bury a delivery."""
BLAMELESS_MAX_S = 60.0
"""The longest wait after an attempt that the machine, not the hook, prevented."""


def lease_s(spec: HookSpec) -> float:
    """How long a claimed delivery is held: it may wait for one run of its hook to end, then runs itself."""
    return 2 * (spec.timeout_s + RUN_MARGIN_S) + KEEP_MARGIN_S


class Delivery:
    """A delivery under way.

    Args:
        job: what was claimed.
        spec: its hook.
        runner: runs hooks of this kind.
        store: where the result is kept.
        clock: the source of time.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what the hook printed or answered.
        on_ran: told how the run ended, before that is kept; None when it was cut short.
    """

    def __init__(
        self,
        job: DeliveryJob,
        spec: HookSpec,
        runner: Runner,
        *,
        store: Store,
        clock: Clock,
        draw: Callable[[], float],
        redact: Callable[[str], str],
        on_ran: Callable[[RunResult | None], None],
    ) -> None:
        self.job = job
        self._spec = spec
        self._runner = runner
        self._store = store
        self._clock = clock
        self._draw = draw
        self._redact = redact
        self._on_ran = on_ran
        self._cut_short = False
        self._task: asyncio.Task[None] | None = None
        self._has_begun = self._has_run = False
        self.was_delayed = False
        """Whether the store did not take the result at once."""
        self._claimed_as = job.attempt

    def begin(self) -> asyncio.Task[None]:
        """Start to carry it out; the task ends when the result is on disk, and raises nothing."""
        self._task = asyncio.create_task(self._carry_out(), name=f"hook {self.job.hook} {self.job.id}")
        return self._task

    def cut_short(self) -> None:
        """End the run; its delivery becomes pending at once. Without effect on a run that has ended."""
        self._cut_short = True
        if self._task is not None and self._has_begun and not self._has_run:
            self._task.cancel()

    def claimed_again(self, attempt: int) -> None:
        """Its lease ran out and it was claimed once more while the run goes on: this run speaks for that claim."""
        self._claimed_as = attempt

    async def _carry_out(self) -> None:
        self._has_begun = True
        try:
            result = None if self._cut_short else await self._run()
        finally:
            self._has_run = True
        self._on_ran(result)
        if result is None:
            # the run was ours to end: it costs the delivery none of its attempts
            verdict = AttemptResult(DeliveryStatus.PENDING, error="cut short: the tracker stopped", counts=False)
        else:
            verdict = judge_run(self._spec, self.job.attempt, self._masked(result), self._draw())
        if await self._record(verdict):
            self._tell(verdict)

    def _masked(self, result: RunResult) -> RunResult:
        error, output = result.error and self._redact(result.error), result.output and self._redact(result.output)
        return replace(result, error=error, output=output)

    async def _run(self) -> RunResult | None:
        """Run the hook; None when it was cut short. Whatever goes wrong in the runner is one more failed attempt."""
        try:
            async with asyncio.timeout(self._spec.timeout_s + RUN_MARGIN_S):
                return await self._runner.run(self.job, encode_event(self.job), self._spec)
        except TimeoutError:
            return RunResult(RunOutcome.RETRY, f"timed out after {self._spec.timeout_s:g} s")
        except asyncio.CancelledError:
            asked = self._task is not None and self._task.cancelling() > 0
            if asked and self._task is not None and self._cut_short:
                self._task.uncancel()
                return None
            if asked:
                raise
            return RunResult(RunOutcome.RETRY, "the run was cancelled from within")
        except Exception as error:
            log.exception("hook.runner_failed", **self._names())
            return RunResult(RunOutcome.RETRY, f"the runner failed: {type(error).__name__}: {error}")

    async def _record(self, verdict: AttemptResult) -> bool:
        """Keep the verdict, however long the store takes; whether it was kept."""
        pauses = growing_delays_s(RECORD_PAUSE_MIN_S, RECORD_PAUSE_MAX_S)
        while True:
            try:
                await self._store.record_attempt(self.job.id, verdict, self._claimed_as)
            except StoreUnavailable as error:
                log.warning("hook.result_delayed", error=str(error), **self._names())
            except Exception:
                # nobody can say what is on disk now: at the end of its lease the delivery runs again
                log.exception("hook.result_lost", **self._names())
                return False
            else:
                return True
            self.was_delayed = True
            await asyncio.sleep(next(pauses))

    def _tell(self, verdict: AttemptResult) -> None:
        match verdict.status:
            case DeliveryStatus.SUCCEEDED:
                log.info("hook.delivered", **self._names())
            case DeliveryStatus.FAILED:
                log.warning("hook.failed", error=verdict.error, **self._names())
            case DeliveryStatus.DEAD:
                log.error("hook.died", error=verdict.error, **self._names())
            case _:
                retry_in_s = round(verdict.retry_in_s or 0.0, 3)
                log.warning("hook.retried", error=verdict.error, retry_in_s=retry_in_s, **self._names())

    def _names(self) -> dict[str, str | int]:
        job = self.job
        return {
            "hook": job.hook,
            "delivery": job.id,
            "task": job.record.task.id,
            "provider": job.record.task.provider,
            "hook_event": job.event,
            "attempt": job.attempt,
        }


def judge_run(spec: HookSpec, attempt: int, result: RunResult, draw: float) -> AttemptResult:
    """What follows from the end of a run.

    Args:
        spec: the hook, for its limits.
        attempt: number of the attempt, 1 or more.
        result: how the run ended.
        draw: 0 to 1, for the jitter.
    """
    # one line, and without the lone surrogates that an undecodable path brings along: no database takes them
    error = " ".join(result.error.encode("utf-8", "replace").decode().split())[:ERROR_MAX] if result.error else None
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
    """Seconds until a delivery is tried again.

    Args:
        spec: the hook, for ``retry_first_s`` and ``retry_max_s``.
        attempt: the attempt that failed, 1 or more.
        result: how it ended; its ``retry_after_s`` is never undercut (up to `RETRY_AFTER_MAX_S`).
        draw: 0 to 1; spreads the delay by ±10 %.
    """
    delay_s = growing_delay_s(attempt - 1, spec.retry_first_s, spec.retry_max_s)
    if result.blameless:
        delay_s = min(delay_s, BLAMELESS_MAX_S)
    asked_s = min(result.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return max(jittered(delay_s, draw), asked_s)
