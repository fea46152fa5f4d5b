"""Spans of a task, from its submit to its hooks, exported by OTLP over HTTP.

The other packages report what happened when it is recorded; each report becomes a span with its real times. The ids are
those of `tracker.domain.trace_ids`, so spans of one task belong together although processes and restarts lie between.

| span | from | to | below |
|---|---|---|---|
| ``task ROUTE`` | the creation of the task | its end | |
| ``POST /v1/tasks`` | the request | its response | the task |
| ``create ROUTE`` | the sending of the create | its answer | the task |
| ``callback PROVIDER``, ``poll PROVIDER``, … | the observation that ended the task | its commit | the task |
| ``archive`` | the start of an attempt | its recorded result | the task |
| ``hook NAME`` | the start of a run | its end | the task |

A caller that sends ``traceparent`` gets a span ``submit ROUTE`` in its own trace, with a link to that of the task; the
request in the trace of the task links back.

A span that cannot be exported is dropped: nothing waits for the collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from tracker import __version__
from tracker.domain.archives import ArchiveState
from tracker.domain.deliveries import TaskJob
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.task import Status as TaskStatus
from tracker.domain.trace_ids import SpanId, is_sampled, parse_traceparent, root_of, run_of, traceparent
from tracker.hooks.running.threads import in_thread

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.archive.tallies import ArchiveTallies
    from tracker.clock import Clock
    from tracker.domain.deliveries import DeliveryJob
    from tracker.domain.task import Task, TaskId
    from tracker.hooks.tallies import HookTallies
    from tracker.store.protocol import Store
    from tracker.store.values import Applied, ArchiveJob, ArchiveResult, AttemptResult
    from tracker.tracking.create_calls import CreateCalls

EXPORT_WITHIN_S: Final = 3.0
"""For one request to the collector, and for the last spans at a stop."""
_PREFIX: Final = "tracker."

Attributes = Mapping[str, str | int | bool | None]


class _Ids(RandomIdGenerator):
    """Gives the next span the ids that are set; random ones where none are."""

    def __init__(self) -> None:
        self.next_span: int | None = None
        self.next_trace: int | None = None

    def generate_span_id(self) -> int:
        found, self.next_span = self.next_span, None
        return super().generate_span_id() if found is None else found

    def generate_trace_id(self) -> int:
        found, self.next_trace = self.next_trace, None
        return super().generate_trace_id() if found is None else found


class Traces:
    """Makes spans and exports them.

    Args:
        endpoint: URL of the collector, with its path.
        headers: of each request to it.
        ratio: share of the tasks that are traced, 0 to 1.
        clock: the time of a commit.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], ratio: float, clock: Clock) -> None:
        self._ratio = ratio
        self._clock = clock
        self._ids = _Ids()
        exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers), timeout=EXPORT_WITHIN_S)
        resource = Resource.create({"service.name": "tracker", "service.version": __version__})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("tracker", __version__)

    def watch(self, store: Store, creates: CreateCalls, hooks: HookTallies, archive: ArchiveTallies) -> None:
        """Have these report what they do from now on."""
        store.subscribe_commits(self._note_commit)
        creates.on_sent = self._note_create
        hooks.on_run = self._note_run
        archive.on_attempt = self._note_archive

    async def close(self) -> None:
        """Export what is left; a collector that does not answer delays the stop by `EXPORT_WITHIN_S`, and no more."""
        await asyncio.wait({in_thread(self._provider.shutdown, name="last spans")}, timeout=EXPORT_WITHIN_S)

    def traceparent_of(self, job: DeliveryJob) -> str | None:
        """What a hook continues the trace with, see `run_of`; None for an alarm, which has no trace."""
        if not isinstance(job, TaskJob):
            return None
        span = run_of(job.record.task.id, job.id, job.attempt)
        return traceparent(span, sampled=is_sampled(span.trace, self._ratio))

    # -- reports -------------------------------------------------------------------------------------------

    def note_request(self, task: Task, caller: str | None, began: datetime, status: int) -> None:
        """A new task was requested over HTTP.

        Args:
            task: the task.
            caller: the header ``traceparent``.
            began: when the request came.
            status: of the response.
        """
        root, now = root_of(task.id), self._clock.now()
        parsed = parse_traceparent(caller)
        known = {**_names(task), "http.request.method": "POST", "http.response.status_code": status}
        links = []
        if parsed is not None and parsed[1]:  # an unsampled caller records nothing
            links = [parsed[0]]
            attributes = {**known, _PREFIX + "trace": f"{root.trace:032x}"}
            self._add(f"submit {task.route}", began, now, parsed[0], attributes, kind=SpanKind.SERVER, links=[root])
        if self._is_traced(task.id):
            self._add("POST /v1/tasks", began, now, root, known, kind=SpanKind.SERVER, links=links)

    def _note_create(self, task: Task, began: datetime, error: str | None) -> None:
        """A create was sent; ``error`` is why there is no answer."""
        if self._is_traced(task.id):
            attributes = {**_names(task), _PREFIX + "attempt": task.submit_attempts}
            name, now, root = f"create {task.route}", self._clock.now(), root_of(task.id)
            self._add(name, began, now, root, attributes, kind=SpanKind.CLIENT, error=error)

    def _note_archive(self, job: ArchiveJob, result: ArchiveResult, began: datetime, now: datetime) -> None:
        """An attempt to archive an output was recorded."""
        if self._is_traced(job.task.id):
            attributes = {
                **_names(job.task),
                _PREFIX + "output": job.n,
                _PREFIX + "attempt": job.attempt,
                _PREFIX + "state": result.state.value,
                _PREFIX + "bytes": None if result.file is None else result.file.bytes,
            }
            error = None if result.state is ArchiveState.STORED else result.error or result.state.value
            self._add("archive", began, now, root_of(job.task.id), attributes, error=error)

    def _note_run(self, job: DeliveryJob, attempt: AttemptResult, began: datetime) -> None:
        """A run of a hook was recorded."""
        if not isinstance(job, TaskJob) or not self._is_traced(job.record.task.id):
            return
        task = job.record.task
        attributes = {
            **_names(task),
            _PREFIX + "hook": job.hook,
            _PREFIX + "event": job.event,
            _PREFIX + "delivery": job.id,
            _PREFIX + "attempt": job.attempt,
            _PREFIX + "delivery.status": attempt.status.value,
        }
        error = None if attempt.status is DeliveryStatus.SUCCEEDED else attempt.error or attempt.status.value
        own, kind = run_of(task.id, job.id, job.attempt).span, SpanKind.CLIENT
        ended = began + timedelta(seconds=attempt.took_s)
        self._add(f"hook {job.hook}", began, ended, root_of(task.id), attributes, kind=kind, error=error, own=own)

    # -- parts ---------------------------------------------------------------------------------------------

    def _note_commit(self, applied: Sequence[Applied]) -> None:
        for change in applied:
            if change.ended_by is not None and change.observation is not None and self._is_traced(change.task.id):
                self._add_end(change.task, change.observation.observed_at)

    def _add_end(self, task: Task, observed_at: datetime) -> None:
        """The observation that ended a task, and the root span."""
        root, now = root_of(task.id), self._clock.now()
        attributes = {
            **_names(task),
            _PREFIX + "status": task.status.value,
            _PREFIX + "reason": None if task.reason is None else task.reason.value,
            _PREFIX + "ended_by": None if task.ended_by is None else task.ended_by.value,
        }
        error = None if task.status is TaskStatus.SUCCEEDED else task.reason or task.status.value
        self._add(f"{task.ended_by or 'end'} {task.provider}", observed_at, now, root, attributes)
        self._ids.next_trace = root.trace
        name, ended_at = f"task {task.route}", task.finished_at or now
        self._add(name, task.created_at, ended_at, None, attributes, error=error, own=root.span)

    def _is_traced(self, task_id: TaskId) -> bool:
        return is_sampled(root_of(task_id).trace, self._ratio)

    def _add(
        self,
        name: str,
        began: datetime,
        ended: datetime,
        parent: SpanId | None,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
        own: int | None = None,
        links: Sequence[SpanId] = (),
    ) -> None:
        """Make a span that has ended; ``own`` is its id, None for a random one."""
        self._ids.next_span = own
        context = Context() if parent is None else set_span_in_context(NonRecordingSpan(_context(parent)), Context())
        span = self._tracer.start_span(
            name,
            context,
            kind,
            {key: value for key, value in attributes.items() if value is not None},
            [Link(_context(link)) for link in links],
            _nanoseconds(began),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(max(began, ended)))


def _names(task: Task) -> dict[str, str | int | bool | None]:
    """The attributes of every span of a task."""
    return {
        _PREFIX + "task": task.id,
        _PREFIX + "route": task.route,
        _PREFIX + "provider": task.provider,
        _PREFIX + "account": task.account,
        _PREFIX + "model": task.model,
        _PREFIX + "external_id": task.external_id,
    }


def _context(span: SpanId) -> SpanContext:
    return SpanContext(span.trace, span.span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 1_000_000
