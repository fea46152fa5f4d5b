"""Between aiohttp and plain values: reading requests, sending answers, dropping connections.

Owns all use of connections: answering, cutting, hanging. Must not decide which of them happens.
"""

from __future__ import annotations

import asyncio
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import orjson
from aiohttp import hdrs, web

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


def read_object(request: web.Request, raw: bytes, *, takes_forms: bool) -> Json | None:
    """Return the object that a body holds; None if it holds none.

    Args:
        request: The request, for its Content-Type.
        raw: The body.
        takes_forms: Whether a multipart form counts; its files become ``{"filename", "bytes"}``.
    """
    if takes_forms and request.content_type == "multipart/form-data":
        return _read_form(request.headers[hdrs.CONTENT_TYPE], raw)
    try:
        payload = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None


def _read_form(content_type: str, raw: bytes) -> Json | None:
    head = b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n"
    form = BytesParser(_class=EmailMessage, policy=policy.HTTP).parsebytes(head + raw)
    if not form.is_multipart():
        return None
    fields: Json = {}
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            return None
        filename = part.get_filename()
        fields[name] = (
            content.decode(errors="replace")
            if filename is None
            else {
                "filename": filename,
                "bytes": len(content),
            }
        )
    return fields


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send an answer and return when its last byte is handed to the kernel.

    A callback that is sent afterwards cannot overtake the answer.
    """
    if answer.broken:
        return await _send_half(request, answer)
    response = web.Response(
        status=answer.status, body=answer.body, content_type=answer.content_type, headers=dict(answer.headers)
    )
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has disconnected
    return response


async def _send_half(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Announce the full length, send half of the body, cut the connection."""
    headers = {**answer.headers, hdrs.CONTENT_TYPE: answer.content_type, hdrs.CONTENT_LENGTH: str(len(answer.body))}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def cut(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()  # aiohttp requires one; it is not sent


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
