"""One program, run once: started in its own session, read, waited for, and ended with all its children.

Owns the file descriptors, the process group and the zombie. Must not know the program's purpose;
`tracker.hooks.running.spawn` starts it.

Three choices, each against a trap:

- Standard input is complete before the program starts (in a pipe, else an anonymous file). So no writer blocks on a
  program that never reads, there is no broken pipe, and ``/dev/stdin`` can be opened by name (asyncio's own pipes are
  sockets, which refuse that).
- The run ends with the program itself, not with its output: a child in the background may hold the pipe open for days.
- The program is reaped only after its group was signalled: until then its process id, which is also the group's,
  cannot be reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from tracker.domain.retry import growing_delays_s
from tracker.hooks.running.spawn import Child, spawn
from tracker.hooks.running.tail import Tail

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
KILL_WAIT_S = 5.0
"""The wait for a killed program to end; `reap_late` reaps one that hangs inside the kernel."""
_READ_BYTES = 64 * 1024
_DRAIN_READS = 32
"""Reads after the program's end: as much as a pipe holds; a child in the background may print for ever."""

_late: list[Child] = []


class Process:
    """A running program. `wait` or `end` it, and `close` it always.

    Args:
        argv: the program and its arguments.
        env: its complete environment.
        stdin: its input.

    Raises:
        OSError: it cannot be started; nothing is left behind.
        ValueError: an argument holds a NUL character.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._tail = Tail()
        self._output_ended = asyncio.Event()
        self._exited = asyncio.Event()
        self._pidfd: int | None = None
        self._output: int | None = None
        # On the loop, not on a thread: the start holds the interpreter's lock either way, and here it cannot be
        # cancelled half-way, which would leave an orphan.
        self._child, output = spawn(argv, env, stdin)
        self._output = output
        try:
            os.set_blocking(output, False)
            self._loop.add_reader(output, self._read_output)
            self._watch_exit()
        except BaseException:
            self.close()
            raise

    def tail(self) -> str | None:
        """The last 8 KiB of its output so far; None if that is empty."""
        return self._tail.text()

    async def wait(self) -> int | None:
        """Wait for the end of the program itself, not of its children in the background.

        Returns:
            The exit status, negative for a signal; None if it was reaped elsewhere (SIGCHLD is ignored).
        """
        await self._until_exit()
        for _ in range(_DRAIN_READS):
            if self._output_ended.is_set() or not self._read_output():
                break
        return self._reap()

    async def end(self) -> None:
        """End the program and every process of its group: SIGTERM, a short grace, SIGKILL.

        A cancellation during the grace cuts the grace short; SIGKILL is still sent.
        """
        try:
            self._signal_group(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._until_exit()
                    # a child that tidies up after SIGTERM shows by still holding the pipe
                    await self._output_ended.wait()
        finally:
            self._signal_group(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_WAIT_S):
                await self.wait()

    def close(self) -> None:
        """Release the file descriptors and the zombie. Idempotent."""
        self._stop_reading()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._child.returncode is None:
            self._signal_group(signal.SIGKILL)
            _late.append(self._child)
            reap_late()

    def _watch_exit(self) -> None:
        """Watch the exit by a pidfd. Without one (not Linux, or none left) `_until_exit` polls instead."""
        if not hasattr(os, "pidfd_open"):
            return
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(self._child.pid)
            try:
                self._loop.add_reader(pidfd, self._note_exit)
            except OSError:
                os.close(pidfd)
                raise
            self._pidfd = pidfd

    def _note_exit(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
        self._exited.set()

    async def _until_exit(self) -> None:
        if self._pidfd is not None:
            await self._exited.wait()
            return
        for pause_s in growing_delays_s(0.002, 0.1):
            if self._has_exited():
                return
            await asyncio.sleep(pause_s)

    def _has_exited(self) -> bool:
        if self._child.returncode is not None:
            return True
        if not hasattr(os, "waitid"):
            return self._child.poll() is not None
        try:
            return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _reap(self) -> int | None:
        if self._child.returncode is None:
            try:
                pid, status = os.waitpid(self._child.pid, os.WNOHANG)
            except ChildProcessError:
                self._child.returncode = 0  # unknown; any number ends the signalling
                return None
            if pid:
                self._child.returncode = os.waitstatus_to_exitcode(status)
        return self._child.returncode

    def _signal_group(self, number: signal.Signals) -> None:
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def _read_output(self) -> bool:
        """Read output; whether there may be more at once."""
        if self._output is None:
            return False
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._stop_reading()
            return False
        self._tail.add(data)
        return True

    def _stop_reading(self) -> None:
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None
            self._output_ended.set()


def reap_late() -> None:
    """Reap programs that had not ended when they were closed."""
    _late[:] = [child for child in _late if child.poll() is None]
