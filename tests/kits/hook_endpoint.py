"""A real HTTP endpoint on loopback for hooks to call: it records requests and answers as set."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from tests.kits.waiting import Signal

SECRET = "whsec_" + base64.b64encode(b"made-up-secret-of-32-bytes-no-1!").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"made-up-secret-of-32-bytes-no-2!").decode()


@dataclass
class Call:
    """One request."""

    headers: Mapping[str, str]
    body: bytes
    path: str


@dataclass
class Endpoint:
    """Listens from `start` to `close`.

    Attributes:
        status: what it answers.
        hangs: it takes the request and never answers.
        headers: of the answer.
        body: of the answer.
        calls: what came.
    """

    status: int = 200
    hangs: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the signals."""
        self._called = Signal()
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, port: int = 0) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def close(self) -> None:
        """Stop."""
        self._over.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def called(self, times: int = 1) -> list[Call]:
        """Wait until it was called so often in all."""
        return await self._called.until(lambda: self.calls if len(self.calls) >= times else None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(
            Call({name.lower(): value for name, value in request.headers.items()}, await request.read(), request.path)
        )
        self._called.notify()
        if self.hangs:
            await self._over.wait()
        return web.Response(status=self.status, headers=self.headers, body=self.body)
