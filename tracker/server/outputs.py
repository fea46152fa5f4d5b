"""Outputs: the archived file, or a redirect to the upstream until it is archived, and the archive state of a task.

Owns ranges, entity tags and the headers that stop a browser from running a file. Must not download (the archiver
does), and must not send the key of an account.

Source: https://www.rfc-editor.org/rfc/rfc9110 (13, 14) and https://www.rfc-editor.org/rfc/rfc6266 (read 2026-11).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from tracker.domain.archives import file_of
from tracker.domain.media_types import is_safe_inline
from tracker.domain.records import archive_json
from tracker.domain.task import TaskId
from tracker.domain.urls import escape_invalid, split_absolute
from tracker.errors import ArchiveStorageUnavailable
from tracker.logs import get_logger
from tracker.server.responses import HEADERS, Problem, json_response

if TYPE_CHECKING:
    from tracker.archive.file_storage import FileStorage
    from tracker.domain.archives import ArchivedFile
    from tracker.domain.task import Output
    from tracker.server.services import Services

log = get_logger(__name__)

_RETRY_AFTER_S: Final = "5"
_FILE_HEADERS: Final = {
    **HEADERS,
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_NUMBER_DIGITS: Final = 5
"""No output has a longer number; it is not parsed."""
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]")


async def get_output(services: Services, request: web.Request) -> web.StreamResponse:
    """Get an archived file, or a redirect to the upstream until it is archived.

    Raises:
        Problem: 404 no such output; 409 not archived yet, and without a public URL; 410 the archive has lost the file.
    """
    record = await services.store.get_task(TaskId(request.match_info["id"]))
    number = request.match_info["n"]
    outputs = record.task.outputs
    n = int(number) if number.isascii() and number.isdigit() and len(number) <= _NUMBER_DIGITS else len(outputs)
    if n >= len(outputs):
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-output", "The task has no output with this number.")
    output = outputs[n]
    if output.text is not None:
        headers = {**_FILE_HEADERS, "Content-Type": "text/plain; charset=utf-8"}
        return web.Response(body=output.text.encode("utf-8", "replace"), headers=headers)
    file = file_of(output, record.files)
    if file is not None and services.archive is not None:
        return await _serve(services.archive.storage, request, file)
    return _redirect(output)


def _redirect(output: Output) -> web.Response:
    """A redirect to a temporary public URL; never to one that needs the account's key."""
    url = _plain_url(output)
    if url is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "not-archived-yet",
            "The output is not archived yet, and has no public URL. See /why of the task.",
            headers={"Retry-After": _RETRY_AFTER_S},
        )
    return web.Response(status=HTTPStatus.FOUND, headers={**HEADERS, "Location": url})


def _plain_url(output: Output) -> str | None:
    """The URL in characters that a header can hold; None where it is not public."""
    if output.authenticated:
        return None
    try:
        scheme, authority, target = split_absolute(output.url or "")
        return f"{scheme}://{escape_invalid(authority)}{target}"
    except ValueError:
        return None


async def _serve(storage: FileStorage, request: web.Request, file: ArchivedFile) -> web.StreamResponse:
    try:
        size = await storage.size_of(file.path)
    except ArchiveStorageUnavailable as error:
        raise _archive_unavailable(error) from None
    if size != file.bytes:
        raise Problem(
            HTTPStatus.GONE,
            "archived-file-missing",
            "The archived file is missing or has another size. POST to /archive of the task to fetch it again.",
        )
    tag = f'"{file.sha256}"'
    headers = {**_FILE_HEADERS, "ETag": tag, "Content-Type": file.mime, "Content-Disposition": disposition_of(file)}
    if _names(request.headers.get("If-None-Match", ""), tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    start, stop, status = _requested_range(request, tag, file.bytes)
    if status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return web.Response(status=status, headers={**headers, "Content-Range": f"bytes */{file.bytes}"})
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = stop - start
    if status is HTTPStatus.PARTIAL_CONTENT:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.bytes}"
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            async for block in storage.read(file.path, start, stop):
                await response.write(block)
        except ConnectionError:
            return response  # the client has disconnected
        except ArchiveStorageUnavailable as error:
            # the head is already sent: closing the connection before the full length is the only error signal left
            log.warning("output.failed", step="send", path=file.path, error=str(error))
            if request.transport is not None:
                request.transport.abort()
    return response


def _requested_range(request: web.Request, tag: str, size: int) -> tuple[int, int, HTTPStatus]:
    """The first requested byte, the one after the last, and the status of the response."""
    everything = (0, size, HTTPStatus.OK)
    if "Range" not in request.headers or request.headers.get("If-Range", tag) != tag:
        return everything
    try:
        wanted = request.http_range
    except ValueError:
        return everything  # several ranges, or another unit: a server may ignore the header
    start, stop, _ = slice(wanted.start, wanted.stop).indices(size)
    if start >= stop:
        return 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return start, stop, HTTPStatus.PARTIAL_CONTENT


def _names(condition: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names an entity tag, by weak comparison."""
    return condition.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in condition.split(",")}


def disposition_of(file: ArchivedFile) -> str:
    """``Content-Disposition`` with the file name in both encodings; inline only for harmless types."""
    name = file.path.rpartition("/")[2]
    disposition = "inline" if is_safe_inline(file.mime) else "attachment"
    return f"{disposition}; filename=\"{_NOT_PLAIN.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='')}"


async def list_archive(services: Services, request: web.Request) -> web.Response:
    """List the archive state of a task's files."""
    task_id = TaskId(request.match_info["id"])
    await services.store.get_task(task_id)
    records = await services.store.list_archives(task_id)
    return json_response({"items": [archive_json(record) for record in records]})


async def redrive_archive(services: Services, request: web.Request) -> web.Response:
    """Archive now every file that is not stored: given up, waiting, or lost by the archive.

    Raises:
        Problem: 503, the archive is off or not available.
    """
    if services.archive is None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-archive", "The archive is off.")
    try:
        records = await services.archive.redrive(TaskId(request.match_info["id"]))
    except ArchiveStorageUnavailable as error:
        raise _archive_unavailable(error) from None
    return json_response({"items": [archive_json(record) for record in records]})


def _archive_unavailable(error: ArchiveStorageUnavailable) -> Problem:
    headers = {"Retry-After": _RETRY_AFTER_S}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "archive-unavailable", f"{error}.", headers=headers)
