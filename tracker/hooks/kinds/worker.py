"""Hooks that are one program which stays: an event per line on its standard input, an answer per line back.

For people with many events, to whom the start of a program per event is too much. Owns the program's life, and what
its answers mean. Must not decide when to try again.

An event is one line of JSON, the same that every hook is told. An answer is one line of JSON::

    {"delivery_id": "dlv_…", "ok": true}
    {"delivery_id": "dlv_…", "ok": false, "final": true, "error": "why", "retry_after_s": 60, "output": "…"}

``ok`` alone is needed. ``final`` says failed for good. Without ``delivery_id`` an answer is for the event that waits
longest. Up to ``concurrency`` events wait for their answers at once; they may be answered in any order.

A worker that ends is started again for the next event; what waits for its answer is tried again. One that answers
with anything but such a line, or not in time, is ended with all its children; the other events that it held were not
to blame, and are sent again soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.errors import ConfigError
from tracker.hooks.kinds.script import SHORTAGES, start_words
from tracker.hooks.running.environment import inherited_environment
from tracker.hooks.running.worker_process import WorkerProcess
from tracker.hooks.spec import Configured, RunOutcome, RunResult, Tools

if TYPE_CHECKING:
    from tracker.hooks.spec import HookSpec
    from tracker.store.values import DeliveryJob

KIND = "worker"


@dataclass(frozen=True, slots=True)
class WorkerAction:
    """Which program to keep running.

    Attributes:
        argv: the program and its arguments.
    """

    argv: tuple[str, ...]

    @property
    def kind(self) -> str:
        """``worker``."""
        return KIND


class WorkerRunner:
    """Keeps one worker per hook, and hands events to it.

    Args:
        environ: the daemon's environment, of which workers see a short list.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {**inherited_environment(environ), "TRACKER_WORKER": "1"}
        self._workers: dict[str, tuple[Sequence[str], WorkerProcess]] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Hand one event to the worker and wait for its answer; see `Runner.run`."""
        if not isinstance(spec.action, WorkerAction):
            raise TypeError(f"hook {spec.name!r} is no worker hook")
        argv = spec.action.argv
        try:
            worker = await self._worker(spec.name, argv)
        except (OSError, ValueError) as error:
            short = isinstance(error, OSError) and error.errno in SHORTAGES
            said = f"cannot be started: {start_words(argv[0], error)}"
            return RunResult(RunOutcome.RETRY, said, blameless=short, unreachable=not short)
        try:
            async with asyncio.timeout(spec.timeout_s):
                return await worker.ask(job.id, payload)
        except TimeoutError:
            self._forget(spec.name, worker)
            await worker.end("it was ended: another event had no answer in time", blame=job.id)
            return RunResult(
                RunOutcome.RETRY, f"no answer within {spec.timeout_s:g} s; the worker was ended", worker.tail()
            )
        except asyncio.CancelledError:
            # who is cancelled is not waited for: an answer that comes later finds nobody
            worker.drop(job.id)
            if not worker.is_awaited:
                self._forget(spec.name, worker)
                await worker.end("the tracker stopped", blame=job.id)
            raise

    async def close(self) -> None:
        """End all workers."""
        workers, self._workers = self._workers, {}
        await asyncio.gather(*(worker.end("the tracker stopped") for _, worker in workers.values()))

    async def _worker(self, hook: str, argv: Sequence[str]) -> WorkerProcess:
        async with self._starting.setdefault(hook, asyncio.Lock()):
            known = self._workers.get(hook)
            if known is not None and known[0] == argv and known[1].is_alive:
                return known[1]
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


def make_runner(tools: Tools) -> WorkerRunner:
    """The runner of worker hooks; see `tracker.hooks.kinds.registry`."""
    return WorkerRunner(tools.environ)


def make_action(hook: Configured, _secret: str | None) -> WorkerAction:
    """The action of a configured hook.

    Raises:
        ConfigError: it names no program.
    """
    if not hook.run:
        raise ConfigError([f'hooks[{hook.name}].run: says not what to run; add run = ["/path/to/worker"]'])
    return WorkerAction(tuple(hook.run))
