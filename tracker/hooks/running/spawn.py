"""Starts a program: with complete input, its output in one pipe, in its own session.

Owns the choice of the system call. ``posix_spawn`` costs about two thirds of `subprocess.Popen`, which is the fallback
on older systems where posix_spawn cannot create a session. Must not wait for anything.

``posix_spawn`` closes no descriptors. Python marks all that it opens to be closed on exec (PEP 446), and so do the
libraries in this process; `keep_descriptors` marks those that the daemon inherited.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PIPED_BYTES = 32 * 1024
"""Input up to this size goes through a pipe, which holds 64 KiB unless a user has very many pipes."""
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores and programs expect to end them."""
_IS_UTF_8 = sys.getfilesystemencoding() == "utf-8"
_can_spawn = hasattr(os, "posix_spawn") and Path("/proc/self/fd").exists()


class SpawnedChild:
    """A child of ``posix_spawn``: the part of `subprocess.Popen` that is used."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Reap it if it has ended: its exit status, None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 0  # reaped elsewhere: its status is unknown
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


Child = SpawnedChild | subprocess.Popen[bytes]


def keep_descriptors() -> None:
    """Mark every open descriptor but the first three to be closed on exec, so that programs inherit none."""
    directory = Path("/proc/self/fd")
    for descriptor in [int(path.name) for path in directory.iterdir()] if directory.exists() else ():
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            if descriptor > 2:  # noqa: PLR2004 - standard input, output and error
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only


def spawn(argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> tuple[Child, int]:
    """Start a program; returns it and the reading end of its output.

    Args:
        argv: the program and its arguments; a name without a slash is searched in the ``PATH`` of ``env``.
        env: its complete environment.
        stdin: its input.

    Raises:
        OSError: it cannot be started; nothing is left behind.
        ValueError: an argument holds a NUL character.
    """
    source = _source_of(stdin)
    try:
        output, their_output = os.pipe()
        try:
            return _start(argv, env, source, their_output), output
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(their_output)
    finally:
        os.close(source)


def _start(argv: Sequence[str], env: Mapping[str, str], source: int, output: int) -> Child:
    encoded: Mapping[str, str] | Mapping[bytes, bytes] = env
    if not _IS_UTF_8:
        encoded = {os.fsencode(key): value.encode("utf-8", "surrogateescape") for key, value in env.items()}
    global _can_spawn  # noqa: PLW0603 - learnt once per process
    if _can_spawn and min(source, output) > 2:  # noqa: PLR2004 - a daemon may have been started with 0, 1, 2 closed
        program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env.get("PATH"))
        if program is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        try:
            # dup2 clears the mark of these three
            pid = os.posix_spawn(
                program,
                list(argv),
                encoded,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigdef=_RESTORED,
            )
        except NotImplementedError:
            _can_spawn = False
        else:
            return SpawnedChild(pid)
    return subprocess.Popen(  # noqa: S603 - running what the operator configured is the point
        list(argv), stdin=source, stdout=output, stderr=output, env=encoded, start_new_session=True
    )


def _source_of(content: bytes) -> int:
    """A descriptor from which all of ``content`` can be read.

    Raises:
        OSError: no descriptor, no memory or no space is left.
    """
    if len(content) <= PIPED_BYTES:
        source, sink = os.pipe()
        try:
            os.set_blocking(sink, False)
            if not content or os.write(sink, content) == len(content):
                return source
        except BlockingIOError:
            pass
        except BaseException:
            os.close(source)
            raise
        finally:
            os.close(sink)
        os.close(source)  # a pipe smaller than usual
    with _open_anonymous() as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        file.seek(0)
        return os.dup(file.fileno())


def _open_anonymous() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        # some sandboxes refuse it; then a file in TMPDIR is used
        with contextlib.suppress(PermissionError):
            return os.fdopen(os.memfd_create("tracker-event"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
