"""Sockets that the service manager opened for the daemon (sd_listen_fds(3)), and how aiohttp listens on them.

Such a socket outlives the process: connections that come during a restart wait in its queue and none is refused.
Owns taking them over. Must not open, unlink or shut any of them: they belong to the service manager.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import MutableMapping
from typing import Any

from aiohttp import web

from tracker.errors import ConfigError

FIRST_FD = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def take_sockets(environ: MutableMapping[str, str], first_fd: int = FIRST_FD) -> list[socket.socket]:
    """Take over the sockets that were handed to this process, and the variables that say so.

    Args:
        environ: the process environment; the three variables are removed, so that no child takes them for its own.
        first_fd: the number of the first one.

    Returns:
        Listening stream sockets, in the order of the socket unit; none when nothing was handed over.

    Raises:
        ConfigError: something else than listening stream sockets was handed over.
    """
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    labels = names.split(":")
    taken: list[socket.socket] = []
    problems: list[str] = []
    for position in range(int(count)):
        fd = first_fd + position
        label = labels[position] if position < len(labels) and labels[position] else f"number {position + 1}"
        os.set_inheritable(fd, False)  # noqa: FBT003 - positional only
        try:
            listener = socket.socket(fileno=fd)
        except OSError as error:
            problems.append(f"systemd: socket {label}: cannot be used ({error.strerror}); use ListenStream= alone")
            continue
        if not _is_listening(listener):
            problems.append(f"systemd: socket {label}: does not listen for streams; use ListenStream= and Accept=no")
        taken.append(listener)
    if problems:
        for listener in taken:
            listener.close()
        raise ConfigError(problems)
    return taken


class UnixSocketSite(web.BaseSite):
    """Serves on a Unix socket that is open already, and leaves its path alone afterwards.

    Args:
        runner: what is served.
        listener: the socket.
        backlog: connections that may wait.
    """

    def __init__(self, runner: web.BaseRunner, listener: socket.socket, *, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._listener = listener

    @property
    def name(self) -> str:
        """Where it listens."""
        return f"unix:{self._listener.getsockname()}"

    async def start(self) -> None:
        """Begin to accept."""
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101 - the base class has checked
        # from 3.13 on the path would be unlinked at the end unless told otherwise
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(server, sock=self._listener, backlog=self._backlog, **keep)


def _is_listening(listener: socket.socket) -> bool:
    try:
        return listener.type == socket.SOCK_STREAM and bool(
            listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
    except OSError:
        return False
