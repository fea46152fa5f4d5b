"""Hooks that run a script: the event as JSON on standard input, the rest in the environment.

Owns what an exit means: 0 is done, 100 is failed for good, and anything else (another status, a signal, a timeout,
a program that cannot be started) is retried. Must not decide when.

A start can fail for two reasons. A script that is missing or not executable is an ordinary failed attempt, dead in
the end. If the machine is short of file descriptors, processes or memory, the run waits with its slot taken (which
does not make the shortage worse); if that lasts, the attempt is blameless. So no delivery is lost to "too many open
files", however long that lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from tracker.config.fields import Names, resolve_path
from tracker.config.hooks import HookSpec
from tracker.domain.hook_events import PATTERNS, covers
from tracker.domain.retry import growing_delays_s
from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.hooks.running.environment import inherited_environment, script_environment
from tracker.hooks.running.process import Process, reap_late
from tracker.hooks.running.spawn import keep_descriptors
from tracker.hooks.spec import HookKind

if TYPE_CHECKING:
    from tracker.domain.deliveries import DeliveryJob

EXIT_FAILED_FOR_GOOD = 100
START_PATIENCE_S = 15.0
"""How long a start is retried with the slot taken before the attempt ends."""

SHORTAGES = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})
"""Errors that the machine causes, not the hook."""
PASSING = SHORTAGES | {errno.ETXTBSY}
"""Temporary errors of a start; ETXTBSY: the script is being written."""


class ScriptHook(HookSpec):
    """The keys of a script hook.

    Attributes:
        run: program and arguments; no shell. A relative path with a slash starts beside the file.
    """

    run: Annotated[Names, Field(min_length=1)] | None = None

    @field_validator("run")
    @classmethod
    def _command_path(cls, run: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if not run:
            return run
        if not run[0].strip():
            raise ValueError('has no program; write for example run = ["/usr/local/bin/publish.sh"]')
        program = str(resolve_path(Path(run[0]), info)) if "/" in run[0] else run[0]
        return (program, *run[1:])


@dataclass(frozen=True, slots=True)
class ScriptAction:
    """Which program to run.

    Attributes:
        commands: event patterns, each with a program and its arguments. The narrowest pattern that covers an event
            decides.
    """

    kind: ClassVar[str] = "script"
    commands: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, argv: Sequence[str]) -> ScriptAction:
        """The same program, with its arguments, for every event."""
        if not argv:
            raise ValueError("a script hook needs a program to run")
        return cls(tuple((pattern, tuple(argv)) for pattern in ("task.*", "system.*")))

    def find_argv(self, event: str) -> tuple[str, ...] | None:
        """The program for an event, None when there is none."""
        order = list(PATTERNS)
        fitting = [command for command in self.commands if covers(command[0], event)]
        return min(fitting, key=lambda command: order.index(command[0]))[1] if fitting else None


class ScriptRunner:
    """Runs scripts.

    Args:
        environ: the daemon's environment; scripts get a few of its variables.
        start_patience_s: see `START_PATIENCE_S`.
        locate, traceparent: see `Tools`.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        start_patience_s: float = START_PATIENCE_S,
        *,
        locate: Callable[[str], str] = str,
        traceparent: Callable[[DeliveryJob], str | None] = lambda _: None,
    ) -> None:
        keep_descriptors()
        self._environ = inherited_environment(environ)
        self._start_patience_s = start_patience_s
        self._locate = locate
        self._traceparent = traceparent

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Run the script once; see `Runner.run`."""
        reap_late()
        if not isinstance(spec.action, ScriptAction):
            raise TypeError(f"hook {spec.name!r} is not a script hook")
        argv = spec.action.find_argv(job.event)
        if argv is None:
            return retry(f"the script for {job.event} no longer exists")
        try:
            env = script_environment(job, self._environ, self._locate, self._traceparent(job))
            process = await self._start(argv, env, payload)
        except (OSError, ValueError) as error:
            short = isinstance(error, OSError) and error.errno in SHORTAGES
            return retry(f"cannot be started: {start_problem(argv[0], error)}", blameless=short, unreachable=not short)
        with contextlib.closing(process):
            try:
                async with asyncio.timeout(spec.timeout_s):
                    status = await process.wait()
            except TimeoutError:
                await process.end()
                return retry(f"timed out after {spec.timeout_s:g} s", process.tail())
            except asyncio.CancelledError:
                await process.end()
                raise
            return read_exit(status, process.tail())

    async def _start(self, argv: Sequence[str], env: Mapping[str, str], payload: bytes) -> Process:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._start_patience_s
        pauses = growing_delays_s(0.02, 1.0)
        while True:
            pause_s = next(pauses)
            try:
                return Process(argv, env, payload)
            except OSError as error:
                if error.errno not in PASSING or loop.time() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)


def read_exit(status: int | None, output: str | None) -> RunResult:
    """What an exit means.

    Args:
        status: the exit status, negative for a signal, None when it was lost.
        output: the tail of what was printed.
    """
    match status:
        case 0:
            return RunResult(RunOutcome.SUCCEEDED, output=output)
        case 100:
            return RunResult(RunOutcome.FAILED_FOR_GOOD, f"exit {EXIT_FAILED_FOR_GOOD}: failed for good", output)
        case None:
            return retry("the exit status was lost: the daemon was started with SIGCHLD ignored", output)
        case _ if status < 0:
            return retry(f"ended by {_signal_name(-status)}", output)
        case _:
            return retry(f"exit {status}", output)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def start_problem(program: str, error: OSError | ValueError) -> str:
    """Why a program cannot be started, with a hint."""
    if not isinstance(error, OSError):
        return f"{program!r}: {error}"
    match error.errno:
        case errno.ENOENT:
            hint = " (the file, or the interpreter in its #! line)"
        case errno.EACCES:
            hint = " (is it executable?)"
        case errno.ENOEXEC:
            hint = " (it needs a #! line)"
        case _:
            hint = ""
    return f"{program}: {error.strerror}{hint}"


KIND = HookKind(
    "script",
    "run",
    ScriptHook,
    lambda hook, _secret: ScriptAction.of(hook.run),
    lambda tools: ScriptRunner(tools.environ, locate=tools.locate, traceparent=tools.traceparent),
)
