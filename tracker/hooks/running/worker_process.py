"""One running worker: writes events to it line by line, and matches its replies to them.

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

from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.hooks.running.tail import Tail, tail_text

LINE_MAX_BYTES = 1024 * 1024
"""The longest reply."""
GRACE_S = 2.0
"""The pause between closing its input, SIGTERM and SIGKILL."""
IDLE_S = 600.0
"""A worker without events is stopped after this time; the next event starts a new one."""


class WorkerProcess:
    """A running worker; made by `start`.

    Args:
        process: the program, with three pipes.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[str, asyncio.Future[RunResult]] = {}
        self._unsent: list[bytes] = []
        """What is written in the next round of the event loop."""
        self._blamed: str | None = None
        self._why: str | None = None
        self._tail = Tail()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"hook worker {process.pid}")
        self._rest()

    @classmethod
    async def start(cls, argv: Sequence[str], env: Mapping[str, str]) -> WorkerProcess:
        """Start the program in a new session.

        Args:
            argv: the program and its arguments.
            env: its complete environment.

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
        """Whether it accepts events."""
        return self._why is None and self._process.returncode is None and not self._listening.done()

    @property
    def is_awaited(self) -> bool:
        """Whether an event waits for its reply."""
        return bool(self._waiting)

    def tail(self) -> str | None:
        """The last 8 KiB of its standard error."""
        return self._tail.text()

    async def ask(self, delivery_id: str, payload: bytes) -> RunResult:
        """Send one event, JSON on one line, and wait for its reply."""
        if self._idle is not None:
            self._idle.cancel()
        reply: asyncio.Future[RunResult] = asyncio.get_running_loop().create_future()
        self._waiting[delivery_id] = reply
        try:
            if not self._unsent:
                asyncio.get_running_loop().call_soon(self._send)
            self._unsent += (payload, b"\n")
            return await reply
        finally:
            self._waiting.pop(delivery_id, None)
            self._rest()

    def _send(self) -> None:
        """Write the events of one round of the event loop at once: each write costs more than the event.

        They are no more than the hook's concurrency, so the pipe need not be drained.
        """
        if self._unsent and self._process.stdin is not None:
            self._process.stdin.writelines(self._unsent)
            self._unsent.clear()

    def drop(self, delivery_id: str) -> None:
        """Stop waiting for a reply."""
        self._waiting.pop(delivery_id, None)

    async def end(self, why: str, blame: str | None = None) -> None:
        """End it and its children: its input ends, SIGTERM, SIGKILL, with a pause between each.

        Args:
            why: the error of the events that still wait.
            blame: the delivery that is the reason; SIGTERM comes at once. None: it may finish.
        """
        if self._ending is None:
            self._why, self._blamed = why, blame
            self._ending = asyncio.create_task(self._end(at_once=blame is not None))
        # cancelling the caller does not stop the ending
        await asyncio.shield(self._ending)

    async def _end(self, *, at_once: bool) -> None:
        if self._process.stdin is not None:
            self._send()
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
        """Signal its process group, also after its own end: children may remain."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _rest(self) -> None:
        """Start the idle timer."""
        if not self._waiting and self._why is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        if not self._waiting and self._ending is None:
            self._why = "it was idle"
            self._ending = asyncio.create_task(self._end(at_once=False))

    # -- replies -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        errors = asyncio.create_task(self._listen_to_errors())
        try:
            problem = await self._read_replies()
            self._why = self._why or problem
            if problem is not None:
                self._signal(signal.SIGKILL)
                await self._drain()
            status = await self._process.wait()
            self._why = self._why or f"the worker ended ({_describe_status(status)})"
            await asyncio.wait({errors}, timeout=0.1)  # its last output; a child may hold the pipe for ever
        finally:
            errors.cancel()
            for delivery_id, reply in self._waiting.items():
                if not reply.done():
                    reply.set_result(self._result_without_reply(delivery_id))

    async def _read_replies(self) -> str | None:
        """Pass on replies until the output ends; returns what is wrong with a malformed line."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was started with a pipe
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                return f"the worker replied with a line of more than {LINE_MAX_BYTES} bytes"
            if not line:
                return None
            if not line.strip():
                continue
            try:
                reply = orjson.loads(line)
            except orjson.JSONDecodeError:
                reply = None
            if not isinstance(reply, dict) or not isinstance(reply.get("ok"), bool):
                self._tail.add(line)
                return 'the worker replied with a line that is not {"ok": …}'
            self._pass_on(reply)

    async def _drain(self) -> None:
        """Discard the remaining output: asyncio reports the end of a process only once its pipes are empty."""
        stdout = self._process.stdout
        while stdout is not None and await stdout.read(65536):
            pass

    def _pass_on(self, reply: dict[str, Any]) -> None:
        delivery_id = reply.get("delivery_id") or next(iter(self._waiting), None)
        waiting = self._waiting.pop(str(delivery_id), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(read_reply(reply))

    def _result_without_reply(self, delivery_id: str) -> RunResult:
        # if the end has a known cause, all other events are blameless
        blameless = self._blamed is not None and self._blamed != delivery_id
        return retry(self._why or "", self._tail.text(), blameless=blameless, unreachable=not blameless)

    async def _listen_to_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - it was started with a pipe
        while data := await stderr.read(65536):
            self._tail.add(data)


def read_reply(reply: Mapping[str, Any]) -> RunResult:
    """What a reply means, see `tracker.hooks.kinds.worker`; members of a wrong type are ignored."""
    output, error, wait_s = reply.get("output"), reply.get("error"), reply.get("retry_after_s")
    output = tail_text(output) if isinstance(output, str) else None
    if reply["ok"]:
        return RunResult(RunOutcome.SUCCEEDED, output=output)
    message = error if isinstance(error, str) and error.strip() else "the worker replied that it failed"
    if reply.get("final") is True:
        return RunResult(RunOutcome.FAILED_FOR_GOOD, message, output)
    asked_s = float(wait_s) if isinstance(wait_s, int | float) and not isinstance(wait_s, bool) else None
    return retry(message, output, retry_after_s=None if asked_s is None else max(asked_s, 0.0))


def _describe_status(status: int) -> str:
    return f"exit {status}" if status >= 0 else f"signal {-status}"
