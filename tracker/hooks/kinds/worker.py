"""Hooks that are a long-running program: one event per line on its standard input, one reply per line back.

For many events, where starting a program per event costs too much. Owns the program's life cycle. Must not decide
when to retry.

An event is one line of JSON, the same as for every hook. A reply is one line of JSON::

    {"delivery_id": "dlv_…", "ok": true}
    {"delivery_id": "dlv_…", "ok": false, "final": true, "error": "why", "retry_after_s": 60, "output": "…"}

Only ``ok`` is required. ``final`` means failed for good. Without ``delivery_id`` a reply is for the event that waits
longest. Up to ``concurrency`` events wait at once; replies may come in any order.

A worker that ends is started again for the next event; events without a reply are retried. A worker that replies
with anything but such a line, or not in time, is stopped with all its children; the other events that it had are
blameless and are sent again soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from tracker.config.hooks import HookSpec
from tracker.config.sections import Mistake
from tracker.hooks.kinds.script import SHORTAGES, ScriptHook, start_problem
from tracker.hooks.runner import RunResult, retry
from tracker.hooks.running.environment import inherited_environment
from tracker.hooks.running.worker_process import WorkerProcess
from tracker.hooks.spec import HookKind
from tracker.upstream.deadlines import Deadlines

if TYPE_CHECKING:
    from tracker.domain.deliveries import DeliveryJob


class WorkerHook(ScriptHook):
    """The keys of a worker hook: those of a script, and ``worker``."""

    worker: bool = False

    @model_validator(mode="after")
    def _has_a_program(self) -> Self:
        if self.worker and self.run is None:
            raise Mistake("only a program can be a worker; remove it, or use run", "worker")
        return self


@dataclass(frozen=True, slots=True)
class WorkerAction:
    """The program to run, with its arguments."""

    kind: ClassVar[str] = "worker"
    argv: tuple[str, ...]


class WorkerRunner:
    """Runs one worker per hook and sends it events.

    Args:
        environ: the daemon's environment; workers get a few of its variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {**inherited_environment(environ), "TRACKER_WORKER": "1"}
        self._workers: dict[str, tuple[Sequence[str], WorkerProcess]] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._deadlines = Deadlines()

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Send one event to the worker and wait for its reply; see `Runner.run`."""
        if not isinstance(spec.action, WorkerAction):
            raise TypeError(f"hook {spec.name!r} is not a worker hook")
        argv = spec.action.argv
        try:
            worker = self._running_worker(spec.name, argv) or await self._worker(spec.name, argv)
        except (OSError, ValueError) as error:
            short = isinstance(error, OSError) and error.errno in SHORTAGES
            return retry(f"cannot be started: {start_problem(argv[0], error)}", blameless=short, unreachable=not short)
        try:
            with self._deadlines.within(spec.timeout_s):
                return await worker.ask(job.id, payload)
        except TimeoutError:
            self._forget(spec.name, worker)
            await worker.end("the worker was stopped: a different event timed out", blame=job.id)
            return retry(f"no reply within {spec.timeout_s:g} s; the worker was stopped", worker.tail())
        except asyncio.CancelledError:
            # a reply that comes later is dropped
            worker.drop(job.id)
            if not worker.is_awaited:
                self._forget(spec.name, worker)
                await worker.end("the tracker stopped", blame=job.id)
            raise

    async def close(self) -> None:
        """End all workers."""
        workers, self._workers = self._workers, {}
        await asyncio.gather(*(worker.end("the tracker stopped") for _, worker in workers.values()))

    def _running_worker(self, hook: str, argv: Sequence[str]) -> WorkerProcess | None:
        known = self._workers.get(hook)
        return known[1] if known is not None and known[0] == argv and known[1].is_alive else None

    async def _worker(self, hook: str, argv: Sequence[str]) -> WorkerProcess:
        async with self._starting.setdefault(hook, asyncio.Lock()):
            if (running := self._running_worker(hook, argv)) is not None:
                return running
            known = self._workers.get(hook)
            if known is not None:
                del self._workers[hook]
                await known[1].end("the hook was changed")
            worker = await WorkerProcess.start(argv, self._environ)
            self._workers[hook] = argv, worker
            return worker

    def _forget(self, hook: str, worker: WorkerProcess) -> None:
        known = self._workers.get(hook)
        if known is not None and known[1] is worker:
            del self._workers[hook]


KIND = HookKind(
    "worker",
    "worker",
    WorkerHook,
    lambda hook, _secret: WorkerAction(hook.run),
    lambda tools: WorkerRunner(tools.environ),
    needs="run",
)
