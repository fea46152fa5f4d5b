"""What a run of a hook gets and what it returns: the event as JSON, the protocol of runners, the result.

Must not know any kind of hook.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson

from tracker.domain.alarms import AlarmEventView, alarm_json
from tracker.domain.deliveries import AlarmJob, TaskJob
from tracker.domain.records import HookEventView, decode_fragment, task_json, to_json

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.config.hooks import HookSpec
    from tracker.domain.deliveries import DeliveryJob


class RunOutcome(Enum):
    """How one run of a hook ended."""

    SUCCEEDED = "succeeded"
    """The delivery is done."""
    FAILED_FOR_GOOD = "failed_for_good"
    """The hook reports that a retry does not help."""
    RETRY = "retry"
    """Anything else: retried until the attempts run out."""
    GONE = "gone"
    """The hook accepts no more events: this delivery and all pending ones fail."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How one run of a hook ended, and what it printed or answered.

    Attributes:
        error: one line on what went wrong; None if nothing did.
        output: the tail of what it printed or answered; None if that is empty.
        retry_after_s: the wait that it asks for, seconds; for the complete hook if it is ``unreachable``, too.
        blameless: the machine was short of something (file descriptors, processes, memory), so the hook did not run.
            Such an attempt is repeated soon and never makes a delivery dead: a machine short of file descriptors for
            two hours must not cost the deliveries of these two hours.
        unreachable: the failure does not concern this event: the hook accepts none now (no connection,
            no response in time, a server error, a missing program). Several in a row open the hook's circuit, see
            `tracker.hooks.health`.
    """

    outcome: RunOutcome
    error: str | None = None
    output: str | None = None
    retry_after_s: float | None = None
    blameless: bool = False
    unreachable: bool = False


def retry(
    error: str,
    output: str | None = None,
    *,
    retry_after_s: float | None = None,
    blameless: bool = False,
    unreachable: bool = False,
) -> RunResult:
    """The result of a run that is to be retried."""
    return RunResult(RunOutcome.RETRY, error, output, retry_after_s, blameless, unreachable)


class Runner(Protocol):
    """Runs the hooks of one kind."""

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Run a hook once for one delivery.

        Args:
            job: the delivery.
            payload: the event as JSON, see `encode_event`.
            spec: the hook; its action is of the runner's kind.

        Returns:
            How it ended, within ``spec.timeout_s`` and a short time for cleaning up. Whatever the hook does is a
            result, never an exception. If cancelled, the runner ends what it started and raises the cancellation.
        """
        ...


@runtime_checkable
class Closes(Protocol):
    """A runner that keeps something open between runs."""

    async def close(self) -> None:
        """End and close all of it; called once, after the last run."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What runners are built with.

    Attributes:
        environ: the daemon's environment; a runner passes on only what the contract lists.
        clock: the source of time.
        locate: where programs find an archived file, by its path in the archive: an absolute path, or a URL.
        traceparent: what a hook continues the trace of its delivery with; None: nothing is traced.
    """

    environ: Mapping[str, str]
    clock: Clock
    locate: Callable[[str], str] = str
    traceparent: Callable[[DeliveryJob], str | None] = lambda _: None


def event_body(job: DeliveryJob) -> dict[str, Any]:
    """The public form of an event; a synthetic one is marked with ``test``."""
    test = {"test": True} if job.is_test else {}
    if isinstance(job, AlarmJob):
        return to_json(AlarmEventView, job, type=job.event, delivery_id=job.id, alarm=alarm_json(job.alarm), **test)
    assert isinstance(job, TaskJob)  # noqa: S101 - there are no others
    return to_json(
        HookEventView, job, type=job.event, delivery_id=job.id, task=task_json(job.record, job.outlook), **test
    )


def encode_event(job: DeliveryJob) -> bytes:
    """The event as JSON, the same for every kind of hook."""
    body = event_body(job)
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # lone surrogates and integers beyond 64 bits are legal JSON that an upstream may have sent
        return json.dumps(body, separators=(",", ":"), default=decode_fragment).encode()
