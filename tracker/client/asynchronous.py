"""`AsyncClient`: the API for programs that use asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp.client import URL  # type: ignore[attr-defined]  # yarl's, by way of the library we depend on

from tracker.client import calls
from tracker.client.answers import Answer, check_answer
from tracker.client.calls import Call, Filter
from tracker.client.connections import read_url
from tracker.client.decoding import decode, read_message, read_price
from tracker.client.downloads import STEP_S, Downloaded, are_final, plan_copies
from tracker.client.errors import AnswerInvalid, ClientError, Unreachable
from tracker.client.retries import PATIENCE_S, Attempts
from tracker.client.sse import STREAM_ENDED, StreamReader, refuse_no_stream
from tracker.client.transport import CONNECT_S, PIECE_BYTES, describe, encode, make_headers
from tracker.domain.lists import GapView, Items, Page
from tracker.domain.records import ArchiveView, CostView, DeliveryRecord, EventRecord, FeedEventView, TaskView
from tracker.domain.route_views import RouteDetail, RouteView
from tracker.domain.why import WhyView

T = TypeVar("T")
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_ERRORS = (aiohttp.ClientError, ConnectionError, TimeoutError)


class AsyncClient:
    """A client of one daemon; the methods are those of `tracker.client.Client`, which describes them.

    Use it in one event loop, as ``async with AsyncClient(url) as client``, or call `close` at the end.

    Args:
        url: ``http://host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.
        token: the API token; None for none.
        patience_s: how long a call is repeated, in seconds, such as while the daemon restarts; 0: not at all.

    Raises:
        ValueError: the URL is invalid.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self.url = read_url(url)
        self._patience_s = patience_s
        self._headers = make_headers(token)
        self._is_unix = self.url.startswith("unix:")
        self._base = "http://localhost" if self._is_unix else self.url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def submit(
        self,
        route: str,
        request: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
        strict: bool = False,
        wait: bool = True,
    ) -> TaskView:
        """Create a paid task, or find the one that has the key."""
        call = calls.submit(
            route,
            request,
            labels=labels,
            account=account,
            idempotency_key=idempotency_key,
            strict=strict,
            wait=wait,
        )
        return await self._read(TaskView, call)

    async def price(self, route: str, request: Mapping[str, Any], *, account: str | None = None) -> CostView | None:
        """Have a request checked, and estimate what it costs. Nothing is sent."""
        return read_price(await self._send(calls.check(calls.make_body(route, request, account=account))))

    async def routes(self) -> Sequence[RouteView]:
        """The routes that tasks can be submitted to."""
        return (await self._read(Items[RouteView], Call("GET", "/v1/routes"))).items

    async def route(self, route: str, /, *, account: str | None = None) -> RouteDetail:
        """The fields of a route's requests, the models that an account has for it, and an example."""
        return await self._read(RouteDetail, calls.get_route(route, account))

    async def track(
        self, route: str, external_id: str, *, labels: Mapping[str, str] | None = None, account: str | None = None
    ) -> TaskView:
        """Follow a job that was created elsewhere and has this id at the upstream."""
        return await self._read(TaskView, calls.track(route, external_id, labels=labels, account=account))

    async def get(self, task_id: str, /) -> TaskView:
        """A task as it is now."""
        return await self._read(TaskView, calls.get_task(task_id))

    async def list(self, **filters: Filter) -> AsyncIterator[TaskView]:
        """All tasks that pass the filters, newest first."""
        query: dict[str, str] | None = calls.make_query(filters)
        while query is not None:
            page = await self._read(Page[TaskView], calls.list_tasks(query))
            for task in page.items:
                yield task
            query = None if page.next_cursor is None else {**query, "cursor": page.next_cursor}

    async def wait(self, task_id: str, /, timeout_s: float | None = None) -> TaskView:
        """Wait until a task has ended; after ``timeout_s`` seconds it is returned as it is then."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            asked_at = time.monotonic()
            task = await self._read(TaskView, calls.get_task(task_id, deadline - asked_at))
            now = time.monotonic()
            if task.status.is_terminal or now >= deadline:
                return task
            if now < asked_at + calls.SHORTEST_WAIT_S:  # a daemon that stops does not wait
                await asyncio.sleep(calls.SHORTEST_WAIT_S)

    async def stream(self, after: int | None = None, **filters: Filter) -> AsyncIterator[FeedEventView | GapView]:
        """Every event of every task as it comes, for ever."""
        reader = StreamReader(calls.make_query(filters), after)
        call = reader.call()
        attempts = Attempts(call, self._patience_s)
        while True:
            try:
                async with self._request(call) as answer:
                    if answer.status != HTTPStatus.OK:
                        check_answer(self.url, answer.status, answer.headers, await answer.read())
                    refuse_no_stream(self.url, answer.status, answer.headers.get("Content-Type"))
                    attempts = Attempts(call, self._patience_s)
                    async for piece in answer.content.iter_any():
                        for message in reader.feed(piece):
                            if (event := read_message(message)) is not None:
                                yield event
                raise Unreachable(self.url, STREAM_ENDED, is_sent=True)
            except ClientError as failure:
                pause_s = attempts.pause_after(failure)
            call = reader.call()
            await asyncio.sleep(pause_s)

    async def download(
        self, task_id: str, /, directory: str | Path, *, timeout_s: float | None = None, force: bool = False
    ) -> Sequence[Path]:
        """Copy the files of a task into a directory; those that are missing from the archive are archived first."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        await self._send(calls.archive(task_id))
        while True:
            items = (await self._send(calls.about_task(task_id, "archive"))).json["items"]
            if are_final(items) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(STEP_S)
        task = (await self._send(calls.get_task(task_id))).json
        copies = await asyncio.to_thread(plan_copies, task, Path(directory), force=force, hint="force=True")
        for copy in copies:
            if not await asyncio.to_thread(copy.exists):
                with copy.writing() as write:
                    await self._save(calls.get_output(task_id, copy.number), write)
        found = Downloaded(task, items, [copy.target for copy in copies])
        found.check()
        return found.files

    async def read_output(self, task_id: str, number: int, /) -> bytes:
        """The archived file of an output; for a large one, `download` is better."""
        async with self._request_file(calls.get_output(task_id, number)) as answer:
            return await answer.read()

    async def archive(self, task_id: str, /) -> Sequence[ArchiveView]:
        """The state of each file of a task in the archive."""
        return (await self._read(Items[ArchiveView], calls.about_task(task_id, "archive"))).items

    async def events(self, task_id: str, /) -> Sequence[EventRecord]:
        """The history of a task, oldest first."""
        return (await self._read(Items[EventRecord], calls.about_task(task_id, "events"))).items

    async def deliveries(self, task_id: str, /) -> Sequence[DeliveryRecord]:
        """The deliveries of a task to hooks, oldest first."""
        return (await self._read(Items[DeliveryRecord], calls.about_task(task_id, "deliveries"))).items

    async def why(self, task_id: str, /) -> WhyView:
        """Why a task is where it is, what happens next, and what you can do."""
        return await self._read(WhyView, calls.about_task(task_id, "why"))

    async def poll(self, task_id: str, /) -> TaskView:
        """Ask the upstream about a task now."""
        return await self._read(TaskView, calls.poll(task_id))

    async def cancel(self, task_id: str, /) -> TaskView:
        """Stop following a task. The upstream does not learn of it, and may charge for the job."""
        return await self._read(TaskView, calls.cancel(task_id))

    async def resubmit(self, task_id: str, /, *, idempotency_key: str | None = None) -> TaskView:
        """Send the request of a task again, as a new paid task; without a key once."""
        return await self._read(TaskView, calls.resubmit(task_id, idempotency_key))

    async def adopt(self, task_id: str, external_id: str, /) -> TaskView:
        """Give a task whose create got no clear answer the upstream's id, and follow it."""
        return await self._read(TaskView, calls.adopt(task_id, external_id))

    async def _read(self, form: type[T], call: Call) -> T:
        return decode(form, (await self._send(call)).body)

    async def _send(self, call: Call) -> Answer:
        """The answer to a call; see `tracker.client.transport.Transport.send`."""
        attempts = Attempts(call, self._patience_s)
        while True:
            try:
                async with self._request(call, call.answer_s) as answer:
                    body = await answer.read()
                return check_answer(self.url, answer.status, answer.headers, body)
            except ClientError as failure:
                pause_s = attempts.pause_after(failure)
            await asyncio.sleep(pause_s)

    async def _save(self, call: Call, write: Callable[[bytes], None]) -> None:
        async with self._request_file(call) as answer:
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                await asyncio.to_thread(write, piece)

    @asynccontextmanager
    async def _request_file(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._request(call) as answer:
            if answer.status != HTTPStatus.OK:
                check_answer(self.url, answer.status, answer.headers, await answer.read())
                raise AnswerInvalid(f"{self.url} answered {answer.status} instead of a file", answer.status)
            yield answer

    @asynccontextmanager
    async def _request(self, call: Call, within_s: float | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a call once; all of it may take ``within_s`` seconds, and each read ``call.answer_s``.

        Raises:
            Unreachable: no daemon answers; also while the body is read.
        """
        body, headers = encode(call, self._headers)
        url = URL(f"{self._base}{call.target}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=CONNECT_S, sock_read=call.answer_s)
        request = self._open_session().request(
            call.method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        )
        try:
            async with request as answer:
                yield answer
        except _NOT_SENT as error:
            raise Unreachable(self.url, _describe(error), is_sent=False) from error
        except _ERRORS as error:
            raise Unreachable(self.url, _describe(error), is_sent=True) from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            path = self.url.removeprefix("unix:")
            # a connection for each call: a reused one may break just as a call is sent, which leaves in doubt
            # whether it arrived
            connector = (
                aiohttp.UnixConnector(path, limit=0, force_close=True)
                if self._is_unix
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _describe(error: Exception) -> str:
    """Why a connection failed, as a short message."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return describe(cause)
