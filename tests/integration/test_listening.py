"""A Unix socket to listen on: what may exist at its path, and what is not removed."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.kits.logs import captured_logs
from tracker.config import Listen
from tracker.daemon.listening import open_sites, quiet_accept
from tracker.errors import ConfigError


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[None]:
    """A server on a Unix socket."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await open_sites(runner, Listen(path=path), [])
        yield
    finally:
        await runner.cleanup()


async def answers(path: Path) -> bool:
    """Whether a server answers there."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
        client.get("http://localhost/") as answer,
    ):
        return answer.status == 404


async def test_an_unused_socket_is_replaced(short_path: Path) -> None:
    """A killed process leaves one."""
    path = short_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    async with listening(path):
        assert await answers(path)


async def test_a_socket_in_use_is_not_replaced(short_path: Path) -> None:
    """Two daemons with different stores and one path: the second is refused, the first continues."""
    path = short_path / "s.sock"
    async with listening(path):
        with pytest.raises(ConfigError, match=r"another program has unix:.*s\.sock; choose another"):
            async with listening(path):
                pass
        assert await answers(path)


async def test_a_socket_of_a_busy_process_is_not_replaced(short_path: Path) -> None:
    """It does not accept connections, and its queue is full."""
    path = short_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX)) as busy, closing(socket.socket(socket.AF_UNIX)) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ConfigError, match=r"s\.sock"):
            async with listening(path):
                pass
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_other_files_are_not_replaced(tmp_path: Path, kind: str) -> None:
    """A user's file at a mistyped path."""
    path = tmp_path / "ok.sh"
    if kind == "directory":
        path.mkdir()
    else:
        target = tmp_path / "kept.sh" if kind == "link" else path
        target.write_text("true\n")
        if kind == "link":
            path.symlink_to(target)
    with pytest.raises(ConfigError, match=r"ok\.sh exists and is not a socket; choose another path"):
        async with listening(path):
            pass
    assert path.is_dir() if kind == "directory" else path.read_text() == "true\n"


async def test_a_shortage_when_accepting_is_logged_once_a_minute() -> None:
    """The loop reports it for each connection that waits; other errors are reported as usual."""
    loop = asyncio.get_running_loop()
    reported: list[str] = []
    quiet_accept(loop)
    shortage = {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, "too many")}
    with captured_logs() as logged, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "default_exception_handler", lambda context: reported.append(context["message"]))
        for _ in range(1000):
            loop.call_exception_handler(shortage)
        loop.call_exception_handler({"message": "other", "exception": OSError(errno.EIO, "broken")})
    loop.set_exception_handler(None)
    assert [line["event"] for line in logged] == ["server.accept_failed"]
    assert reported == ["other"]
