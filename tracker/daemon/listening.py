"""Where the daemon listens: on sockets of the service manager, else on its configured address.

Owns opening the sites of the HTTP server. Must not know what they serve.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tracker.config import Listen, is_loopback
from tracker.daemon.peers import look_at, with_store
from tracker.errors import ConfigError
from tracker.logs import get_logger
from tracker.systemd.sockets import UnixSocketSite

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.config import Config

log = get_logger(__name__)

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of accept(2) for a lack of descriptors or memory; the loop tries again after a second."""
LOG_EVERY_S: Final = 60.0
PROBE_S: Final = 1.0
"""How long another process on the address may take to answer."""


def quiet_accept(loop: asyncio.AbstractEventLoop, log_every_s: float = LOG_EVERY_S) -> None:
    """Limit the log lines about a lack of descriptors; asyncio's own loop logs one for each waiting connection.

    Args:
        loop: gets an exception handler; other errors go to its default one.
        log_every_s: the least time between two lines.
    """
    logged_at = float("-inf")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal logged_at
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in SHORTAGES and "accept" in context.get("message", "")):
            loop.default_exception_handler(context)
        elif loop.time() - logged_at >= log_every_s:
            logged_at = loop.time()
            log.warning("server.accept_failed", error=error.strerror)

    loop.set_exception_handler(handle)


async def open_sites(runner: web.AppRunner, listen: Listen, sockets: Sequence[socket.socket]) -> None:
    """Begin to accept connections.

    Args:
        runner: what is served.
        listen: the configured address.
        sockets: listening sockets of the service manager; they override the address.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    if not sockets:
        await _open_configured(runner, listen)
        return
    for listener in sockets:
        if listener.family == socket.AF_UNIX:
            await UnixSocketSite(runner, listener, backlog=BACKLOG).start()
        else:
            await web.SockSite(runner, listener, backlog=BACKLOG).start()
    where = base_url(runner)
    if where != listen.url:
        log.warning("server.listen_overridden", listen=str(listen), by=where)


def base_url(runner: web.AppRunner) -> str | None:
    """The base URL of the first site, ``unix:/path`` for a Unix socket; None before there is one."""
    for address in runner.addresses:
        if isinstance(address, tuple):
            host, port = address[:2]
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return f"unix:{address}"
    return None


def check_exposure(sockets: Sequence[socket.socket], config: Config) -> None:
    """Check the sockets of the service manager; the configuration has checked its own address.

    Raises:
        ConfigError: other machines can reach the API, and there is no token.
    """
    for listener in sockets:
        address = listener.getsockname()
        if isinstance(address, tuple) and not is_loopback(address[0]) and config.api_tokens() is None:
            where = f"systemd: the socket {address[0]}:{address[1]}"
            fix = f"set {config.server.api_token_env}, or ListenStream=127.0.0.1:{address[1]}"
            raise ConfigError([f"{where} can be reached from other machines and no API token is set; {fix}"])


def _clear(path: Path) -> None:
    """Remove the socket that a killed process left, and nothing else.

    Raises:
        ConfigError: it is not a socket, or a process answers on it.
        OSError: it cannot be examined or removed.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError([f"server.listen: {path} exists and is not a socket; choose another path"])
    if look_at(f"unix:{path}", PROBE_S).kind != "free":
        raise _taken(Listen(path=path))
    path.unlink(missing_ok=True)


def _taken(listen: Listen) -> ConfigError:
    who = with_store(look_at(listen.url, PROBE_S), listen.url).name
    return ConfigError([f"server.listen: {who} has {listen}; choose another address with --listen or server.listen"])


async def _open_configured(runner: web.AppRunner, listen: Listen) -> None:
    try:
        if listen.path is not None:
            await asyncio.to_thread(_clear, listen.path)
            await web.UnixSite(runner, str(listen.path), backlog=BACKLOG).start()
        else:
            await web.TCPSite(runner, listen.host, listen.port, backlog=BACKLOG).start()
    except (OSError, socket.gaierror) as error:
        if error.errno == errno.EADDRINUSE:
            raise await asyncio.to_thread(_taken, listen) from error
        raise ConfigError(
            [f"server.listen: cannot listen on {listen} ({error.strerror or error}); free it or choose another"]
        ) from error
