"""An HTTP server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application_of(handler: Handler) -> web.Application:
    """An application whose handler gets every request."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", handler)
    return app


@asynccontextmanager
async def serving(served: Handler | web.Application, port: int = 0) -> AsyncIterator[str]:
    """Serve an application, or a handler of every request; yields the base URL."""
    app = served if isinstance(served, web.Application) else application_of(served)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
