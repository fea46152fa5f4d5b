"""One running worker: events written to it line by line, its answers matched to who waits for them.

Owns the pipes, the process group and the matching. Must not know hooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tracker.hooks.runner import RunOutcome, RunResult
from tracker.hooks.running.tail import Tail, tail_text

LINE_MAX_BYTES = 1024 * 1024
"""The longest line that a worker may answer with."""
GRACE_S = 2.0
"""Between the end of its input or SIGTERM, and the next harder word."""
IDLE_S = 600.0
"""A worker without events is ended after so long; the next event starts one."""


class WorkerProcess:
    """A running worker; made by `start`.

    Args:
        process: the program, with three pipes.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[str, asyncio.Future[RunResult]] = {}
        self._blamed: str | None = None
        self._why: str | None = None
        self._tail = Tail()
        self._idle: asyncio.TimerHandle | None = None
        self._writing = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"hook worker {process.pid}")
        self._rest()

    @classmethod
    async def start(cls, argv: Sequence[str], env: Mapping[str, str]) -> WorkerProcess:
        """Start the program in a session of its own.

        Args:
            argv: the program and its arguments.
            env: its whole environment.

        Raises:
            OSError: it cannot be started.
            ValueError: an argument holds a NUL character.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
            limit=LINE_MAX_BYTES,
        )
        return cls(process)

    @property
    def is_alive(self) -> bool:
        """Whether it takes events."""
        return self._why is None and self._process.returncode is None and not self._listening.done()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    def tail(self) -> str | None:
        """The last 8 KiB of what it printed to standard error."""
        return self._tail.text()

    async def ask(self, delivery_id: str, payload: bytes) -> RunResult:
        """Hand over one event and wait for its answer.

        Args:
            delivery_id: what the answer is matched by.
            payload: the event as JSON on one line.
        """
        if self._idle is not None:
            self._idle.cancel()
        answer: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        self._waiting[delivery_id] = answer
        try:
            stdin = self._process.stdin
            assert stdin is not None  # noqa: S101 - it was started with a pipe
            with contextlib.suppress(ConnectionError):  # it has ended, which `_listen` tells
                async with self._writing:  # one that reads slowly is written to by one at a time
                    stdin.write(payload + b"\n")
                    await stdin.drain()
            return await answer
        finally:
            self._waiting.pop(delivery_id, None)
            self._rest()

    def drop(self, delivery_id: str) -> None:
        """Wait for an answer no longer."""
        self._waiting.pop(delivery_id, None)

    async def end(self, why: str, blame: str | None = None) -> None:
        """End it and its children: its input ends, SIGTERM, SIGKILL, with a grace between each.

        Args:
            why: what those are told who still wait.
            blame: the delivery that is the reason; at once SIGTERM. None: it may finish.
        """
        if self._ending is None:
            self._why, self._blamed = why, blame
            self._ending = asyncio.create_task(self._end(at_once=blame is not None))
        # whoever is cancelled meanwhile does not stop the ending
        await asyncio.shield(self._ending)

    async def _end(self, *, at_once: bool) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if at_once or not await self._ends_within(GRACE_S):
            self._signal(signal.SIGTERM)
            await self._ends_within(GRACE_S)
        self._signal(signal.SIGKILL)
        await self._ends_within(GRACE_S)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        if self._idle is not None:
            self._idle.cancel()

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
                return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        """Signal its whole group; after its own end, too, for children may have stayed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _rest(self) -> None:
        """Begin to count the time without events."""
        if not self._waiting and self._why is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        if not self._waiting and self._ending is None:
            self._why = "no events for a while"
            self._ending = asyncio.create_task(self._end(at_once=False))

    # -- answers -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        errors = asyncio.create_task(self._listen_to_errors())
        try:
            problem = await self._read_answers()
            self._why = self._why or problem
            if problem is not None:
                self._signal(signal.SIGKILL)
                await self._drain()
            status = await self._process.wait()
            self._why = self._why or f"the worker ended ({_status_words(status)})"
            await asyncio.wait({errors}, timeout=0.1)  # what it said last; a child may hold the pipe for ever
        finally:
            errors.cancel()
            for delivery_id, answer in self._waiting.items():
                if not answer.done():
                    answer.set_result(self._verdict_without_answer(delivery_id))

    async def _read_answers(self) -> str | None:
        """Give out answers until the output ends; what is wrong with a line that is none."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was started with a pipe
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                return f"the worker answered with a line of more than {LINE_MAX_BYTES} bytes"
            if not line:
                return None
            if not line.strip():
                continue
            try:
                answer = orjson.loads(line)
            except orjson.JSONDecodeError:
                answer = None
            if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
                self._tail.add(line)
                return 'the worker answered with a line that is no {"ok": …}'
            self._give(answer)

    async def _drain(self) -> None:
        """Read what is left and throw it away: the end of a process is told only once its pipes are empty."""
        stdout = self._process.stdout
        while stdout is not None and await stdout.read(65536):
            pass

    def _give(self, answer: dict[str, Any]) -> None:
        delivery_id = answer.get("delivery_id") or next(iter(self._waiting), None)
        waiting = self._waiting.pop(str(delivery_id), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(read_answer(answer))

    def _verdict_without_answer(self, delivery_id: str) -> RunResult:
        # of several that wait, the end is one's fault at most: with a single one, or a hint, that is known
        innocent = self._blamed is not None and self._blamed != delivery_id
        return RunResult(RunOutcome.RETRY, self._why, self._tail.text(), blameless=innocent, unreachable=not innocent)

    async def _listen_to_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - it was started with a pipe
        while data := await stderr.read(65536):
            self._tail.add(data)


def read_answer(answer: Mapping[str, Any]) -> RunResult:
    """What an answer means; see `tracker.hooks.kinds.worker`.

    Args:
        answer: with ``ok``, true or false; members of a wrong type are passed over.
    """
    said = answer.get("output")
    output = tail_text(said) if isinstance(said, str) else None
    if answer["ok"]:
        return RunResult(RunOutcome.SUCCEEDED, output=output)
    error = answer.get("error")
    words = error if isinstance(error, str) and error.strip() else "the worker said no"
    if answer.get("final") is True:
        return RunResult(RunOutcome.FAILED_FOR_GOOD, words, output)
    wait_s = answer.get("retry_after_s")
    asked_s = float(wait_s) if isinstance(wait_s, int | float) and not isinstance(wait_s, bool) else None
    return RunResult(RunOutcome.RETRY, words, output, None if asked_s is None else max(asked_s, 0.0))


def _status_words(status: int) -> str:
    return f"exit {status}" if status >= 0 else f"signal {-status}"
