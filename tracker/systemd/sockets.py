"""Sockets from the service manager (sd_listen_fds(3)), for aiohttp to serve on.

Such a socket outlives the process: connections during a restart wait in its queue and none is refused. Must not open,
unlink or close the sockets: they belong to the service manager.
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
    """Take over the listening stream sockets that were passed to this process, in the order of the socket unit.

    The three variables are removed from the environment, so that children do not use them.

    Raises:
        ConfigError: a socket is not a listening stream socket.
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
            problems.append(f"systemd: socket {label}: cannot be used ({error.strerror}); use ListenStream= only")
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
    """Serves on an open Unix socket and does not delete its path afterwards."""

    def __init__(self, runner: web.BaseRunner, listener: socket.socket, *, backlog: int) -> None:
        super().__init__(runner, backlog=backlog)
        self._listener = listener

    @property
    def name(self) -> str:
        """The address."""
        return f"unix:{self._listener.getsockname()}"

    async def start(self) -> None:
        """Start to accept connections."""
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101 - the base class has checked
        # since 3.13 asyncio deletes the path by default
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
