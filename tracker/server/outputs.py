"""Outputs: the archived file itself, where it is until then, and how far the archive has come with a task.

Owns ranges, entity tags and the headers that keep a browser from running what it is shown. Must not download: the
archiver does, and a key of an account never leaves through here.

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
from tracker.server.responses import HEADERS, Problem, json_answer

if TYPE_CHECKING:
    from tracker.archive.file_storage import FileStorage
    from tracker.domain.archives import ArchivedFile
    from tracker.domain.task import Output
    from tracker.server.services import Services

log = get_logger(__name__)

_SOON_S: Final = "5"
_FILE_HEADERS: Final = {
    **HEADERS,
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_NUMBER_DIGITS: Final = 5
"""A longer number is no output's, and is not even read."""
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]")


async def get_output(services: Services, request: web.Request) -> web.StreamResponse:
    """The archived file; while there is none, the way to the upstream's.

    Raises:
        Problem: 404 no such output; 409 not archived yet, and nothing that could be handed out; 410 the file is gone
            from the archive.
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
    return _elsewhere(output)


def _elsewhere(output: Output) -> web.Response:
    """A temporary address that anybody may use; never one that needs the account's key."""
    url = _plain_url(output)
    if url is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            "not-archived-yet",
            "The output is not archived yet, and it has no address that could be handed out. /why says how far it is.",
            headers={"Retry-After": _SOON_S},
        )
    return web.Response(status=HTTPStatus.FOUND, headers={**HEADERS, "Location": url})


def _plain_url(output: Output) -> str | None:
    """The URL in the characters that a header can carry; None where it is not to be handed out."""
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
        raise _not_now(error) from None
    if size != file.bytes:
        raise Problem(
            HTTPStatus.GONE,
            "archived-file-missing",
            "The archive no longer has this file as it was stored. POST to the task's /archive has it fetched again.",
        )
    tag = f'"{file.sha256}"'
    headers = {**_FILE_HEADERS, "ETag": tag, "Content-Type": file.mime, "Content-Disposition": disposition_of(file)}
    if _names(request.headers.get("If-None-Match", ""), tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    start, stop, status = _wanted(request, tag, file.bytes)
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
            return response  # nobody is there any more
        except ArchiveStorageUnavailable as error:
            # the head has gone out: all that is left is to end the connection before the promised length
            log.warning("output.cut_off", path=file.path, error=str(error))
            if request.transport is not None:
                request.transport.abort()
    return response


def _wanted(request: web.Request, tag: str, size: int) -> tuple[int, int, HTTPStatus]:
    """The bytes that were asked for: first, after the last, and the status that tells."""
    whole = (0, size, HTTPStatus.OK)
    if "Range" not in request.headers or request.headers.get("If-Range", tag) != tag:
        return whole
    try:
        asked = request.http_range
    except ValueError:
        return whole  # several ranges, or another unit: a server may leave a range out of account
    start, stop, _ = slice(asked.start, asked.stop).indices(size)
    if start >= stop:
        return 0, 0, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return start, stop, HTTPStatus.PARTIAL_CONTENT


def _names(condition: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names an entity tag; weak comparison, as it says there."""
    return condition.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in condition.split(",")}


def disposition_of(file: ArchivedFile) -> str:
    """``Content-Disposition``: the file's name in both spellings; only what cannot run is shown in place."""
    name = file.path.rpartition("/")[2]
    way = "inline" if is_safe_inline(file.mime) else "attachment"
    return f"{way}; filename=\"{_NOT_PLAIN.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe='')}"


async def list_archive(services: Services, request: web.Request) -> web.Response:
    """How far the archive has come with a task's files."""
    task_id = TaskId(request.match_info["id"])
    await services.store.get_task(task_id)
    records = await services.store.list_archives(task_id)
    return json_answer({"items": [archive_json(record) for record in records]})


async def redrive_archive(services: Services, request: web.Request) -> web.Response:
    """Have everything archived that is not safe, now: what was given up, what waits, what the archive has lost.

    Raises:
        Problem: 503, the archive cannot be looked into now.
    """
    if services.archive is None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no-archive", "This daemon runs without an archive.")
    try:
        records = await services.archive.redrive(TaskId(request.match_info["id"]))
    except ArchiveStorageUnavailable as error:
        raise _not_now(error) from None
    return json_answer({"items": [archive_json(record) for record in records]})


def _not_now(error: ArchiveStorageUnavailable) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "archive-unavailable", f"{error}.", headers={"Retry-After": _SOON_S})
