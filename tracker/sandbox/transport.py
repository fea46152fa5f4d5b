"""Between aiohttp and plain values: reading a request, sending an answer, and not sending one.

Owns every touch of a connection: answering, cutting, hanging. Must not decide which of them happens.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from tracker.sandbox.wire import Answer, Call, Json

_LOOK_EVERY_S = 0.25


def read_call(request: web.Request, body: Json, request_id: str) -> Call:
    """Return the request as routes see it."""
    return Call(
        method=request.method,
        path=request.path,
        params=dict(request.match_info),
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        request_id=request_id,
    )


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send an answer and return when its last byte is handed to the kernel.

    What is started after this cannot overtake the answer on its way out.
    """
    response = web.Response(
        status=answer.status, body=answer.body, content_type=answer.content_type, headers=dict(answer.headers)
    )
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        pass  # the client left: nobody to tell
    return response


def cut(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()  # aiohttp wants one; it goes nowhere


async def hang(request: web.Request, closing: asyncio.Event) -> web.StreamResponse:
    """Never answer: wait until the client gives up or the sandbox stops, then cut."""
    while not closing.is_set() and request.transport is not None and not request.transport.is_closing():
        await pause(_LOOK_EVERY_S, closing)
    return cut(request)


async def pause(seconds: float, closing: asyncio.Event) -> None:
    """Wait, but not beyond the sandbox's end."""
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await closing.wait()
    except TimeoutError:
        pass
