"""Runs a hook twice with one synthetic event to test idempotency: deliveries are at least once.

Owns the synthetic event and the comparison. Must not touch the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tracker.config.hooks import HookSpec
from tracker.domain.alarms import Alarm, AlarmKind
from tracker.domain.deliveries import AlarmJob, DeliveryJob, TaskJob
from tracker.domain.hook_events import EVENTS, SYSTEM_EVENTS, covers
from tracker.domain.records import TaskRecord
from tracker.domain.task import ExternalId, Output, Reason, Status, SubmitState, Task, TaskId, UpstreamError
from tracker.errors import ConfigError
from tracker.hooks.runner import Runner, RunResult, encode_event

if TYPE_CHECKING:
    from tracker.clock import Clock

PREFERRED = (
    *("task.succeeded", "task.failed", "task.archived", "task.progress", "task.running", "task.submitted"),
    *SYSTEM_EVENTS,
)
"""The default event: the first of these that the hook subscribes to."""
_STATUSES = {
    "task.submitted": (Status.PENDING, Status.PENDING),
    "task.running": (Status.PENDING, Status.RUNNING),
    "task.progress": (Status.RUNNING, Status.RUNNING),
    "task.failed": (Status.RUNNING, Status.FAILED),
    "task.archived": (Status.SUCCEEDED, Status.SUCCEEDED),
}
"""Event -> the task's status before and after; any other event is a success."""
_SAMPLE_FIX = "synthetic, from tracker hooks test"


@dataclass(frozen=True, slots=True)
class Trial:
    """One of the two runs, and how many seconds it took."""

    result: RunResult
    took_s: float

    def redacted(self, redact: Callable[[str], str]) -> Trial:
        """The same without secrets in its texts."""
        error, output = self.result.error, self.result.output
        result = replace(self.result, error=error and redact(error), output=output and redact(output))
        return replace(self, result=result)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        result = self.result
        return {
            "outcome": result.outcome.value,
            "error": result.error,
            "output": result.output,
            "took_s": round(self.took_s, 3),
        }


async def try_twice(spec: HookSpec, runner: Runner, event: str, clock: Clock) -> tuple[Trial, Trial]:
    """Run a hook twice with the same synthetic event."""
    job = sample_job(spec, event, clock.now())
    payload = encode_event(job)
    trials = []
    for _ in range(2):
        began = time.monotonic()
        result = await runner.run(job, payload, spec)
        trials.append(Trial(result, time.monotonic() - began))
    return trials[0], trials[1]


def is_same_answer(first: Trial, second: Trial) -> bool:
    """Whether both runs had the same outcome, error and output."""
    one, other = first.result, second.result
    return (one.outcome, one.error, one.output) == (other.outcome, other.error, other.output)


def choose_event(spec: HookSpec, wanted: str | None) -> str:
    """The event to test a hook with: ``wanted``, even if the hook does not subscribe to it, else the default.

    Raises:
        ConfigError: unknown event.
    """
    if wanted is not None and wanted not in EVENTS:
        raise ConfigError([f"--event: unknown event {wanted!r}; known: {', '.join(EVENTS)}"])
    subscribed = (event for event in PREFERRED if any(covers(pattern, event) for pattern in spec.on))
    return wanted or next(subscribed, PREFERRED[0])


def sample_job(spec: HookSpec, event: str, now: datetime) -> DeliveryJob:
    """A synthetic delivery of an event at ``now`` that passes the hook's filters."""
    delivery_id = f"dlv_0_{event.rpartition('.')[-1]}_{spec.name}"
    if event in SYSTEM_EVENTS:
        alarm = Alarm(
            AlarmKind.DISK_LOW, "/sample", now, "The disk is nearly full: 50.0 MiB are free in /sample.", _SAMPLE_FIX
        )
        return AlarmJob(delivery_id, spec.name, event, 0, 1, now, alarm, is_test=True)
    before, after = _STATUSES.get(event, (Status.RUNNING, Status.SUCCEEDED))
    route = spec.route[0] if spec.route else f"{spec.provider[0] if spec.provider else 'suno'}.generate"
    has_failed, has_succeeded = after is Status.FAILED, after is Status.SUCCEEDED
    task = Task(
        id=TaskId("00000000000000000000SAMPLE"),
        route=route,
        provider=spec.provider[0] if spec.provider else route.partition(".")[0],
        account=spec.account[0] if spec.account else "default",
        created_at=now,
        progress_at=now,
        submitted_at=now,
        external_id=ExternalId("sample-external-id"),
        submit_state=SubmitState.ACCEPTED,
        status=after,
        progress=50 if after is Status.RUNNING else None,
        reason=Reason.GENERATION_FAILED if has_failed else None,
        error=UpstreamError("SAMPLE", "synthetic, from tracker hooks test", 200) if has_failed else None,
        retryable=True if has_failed else None,
        outputs=(Output("audio", "https://files.example.com/sample.mp3", mime="audio/mpeg", title="Sample"),)
        if has_succeeded
        else (),
        finished_at=now if after.is_terminal else None,
    )
    labels: Mapping[str, str] = {"sample": "true", **spec.labels}
    return TaskJob(
        id=delivery_id,
        hook=spec.name,
        event=event,
        seq=0,
        attempt=1,
        at=now,
        previous_status=before.value,
        record=TaskRecord(task, request={"prompt": "a sample"}, labels=labels),
        is_test=True,
    )
