"""`Client`: the API for programs that do not use asyncio."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tracker.client import calls
from tracker.client.calls import Call, Filter
from tracker.client.decoding import decode, read_message, read_price
from tracker.client.downloads import download
from tracker.client.following import follow
from tracker.client.retries import PATIENCE_S
from tracker.client.transport import Transport
from tracker.domain.lists import GapView, Items, Page
from tracker.domain.records import ArchiveView, CostView, DeliveryRecord, EventRecord, FeedEventView, TaskView
from tracker.domain.route_views import RouteDetail, RouteView
from tracker.domain.why import WhyView

T = TypeVar("T")


class Client:
    """A client of one daemon.

    Every method may raise the errors of `tracker.client.errors`. A call that gets no answer, or 503, is repeated where
    that can do no harm. A submit always has an idempotency key, so that a repetition never pays twice. Threads may
    share a client: each call has its own connection.

    Args:
        url: ``http://host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.
        token: the API token; None for none.
        patience_s: how long a call is repeated, in seconds, such as while the daemon restarts; 0: not at all.

    Raises:
        ValueError: the URL is invalid.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._transport = Transport(url, token, patience_s=patience_s)

    @property
    def url(self) -> str:
        """The URL of the daemon."""
        return self._transport.url

    def submit(
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
        """Create a paid task, or find the one that has the key.

        Args:
            route: such as ``suno.generate``; ``tracker routes`` lists all.
            request: the provider's own body.
            labels: names and values of your own; filters find them, hooks get them.
            account: the configured account; None: that of the provider.
            idempotency_key: the same key never pays twice. Use one of your own, such as the number of an order, so that
                this holds across restarts of your program. None: one is made for this call.
            strict: refuse fields that no document of the route names.
            wait: return after the first attempt, which has the result of a synchronous route; else at once.

        Returns:
            The task; it may have failed already.

        Raises:
            OverBudget: nothing was sent.
            InvalidRequest: the same; ``errors`` names each wrong field.
        """
        call = calls.submit(
            route,
            request,
            labels=labels,
            account=account,
            idempotency_key=idempotency_key,
            strict=strict,
            wait=wait,
        )
        return self._read(TaskView, call)

    def price(self, route: str, request: Mapping[str, Any], *, account: str | None = None) -> CostView | None:
        """Have a request checked, and estimate what it costs; None if there is no price for it. Nothing is sent.

        Raises:
            InvalidRequest: ``errors`` names each wrong field.
            OverBudget: it does not fit into the budget.
        """
        return read_price(self._transport.send(calls.check(calls.make_body(route, request, account=account))))

    def routes(self) -> Sequence[RouteView]:
        """The routes that tasks can be submitted to."""
        return self._read(Items[RouteView], Call("GET", "/v1/routes")).items

    def route(self, route: str, /, *, account: str | None = None) -> RouteDetail:
        """The fields of a route's requests, the models that an account has for it, and an example.

        Raises:
            NotFound: there is no such route; the text names the nearest ones.
        """
        return self._read(RouteDetail, calls.get_route(route, account))

    def track(
        self, route: str, external_id: str, *, labels: Mapping[str, str] | None = None, account: str | None = None
    ) -> TaskView:
        """Follow a job that was created elsewhere and has this id at the upstream."""
        return self._read(TaskView, calls.track(route, external_id, labels=labels, account=account))

    def get(self, task_id: str, /) -> TaskView:
        """A task as it is now."""
        return self._read(TaskView, calls.get_task(task_id))

    def list(self, **filters: Filter) -> Iterator[TaskView]:
        """All tasks that pass the filters, newest first; pages are fetched as they are needed.

        Args:
            filters: ``status``, ``provider``, ``route``, ``account``, ``reason``, ``q``, ``since`` and ``until`` (aware
                times), ``labels`` (a mapping), and ``limit``, the size of a page.
        """
        query: dict[str, str] | None = calls.make_query(filters)
        while query is not None:
            page = self._read(Page[TaskView], calls.list_tasks(query))
            yield from page.items
            query = None if page.next_cursor is None else {**query, "cursor": page.next_cursor}

    def wait(self, task_id: str, /, timeout_s: float | None = None) -> TaskView:
        """Wait until a task has ended.

        Args:
            task_id: the task.
            timeout_s: how long to wait, in seconds; None: as long as it takes.

        Returns:
            The task at its end; after ``timeout_s`` as it is then.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            asked_at = time.monotonic()
            task = self._read(TaskView, calls.get_task(task_id, deadline - asked_at))
            now = time.monotonic()
            if task.status.is_terminal or now >= deadline:
                return task
            if now < asked_at + calls.SHORTEST_WAIT_S:  # a daemon that stops does not wait
                time.sleep(calls.SHORTEST_WAIT_S)

    def stream(self, after: int | None = None, **filters: Filter) -> Iterator[FeedEventView | GapView]:
        """Every event of every task as it comes, for ever; lost connections are made again without a gap or a repeat.

        Args:
            after: begin after the event with this ``seq``; None: with what comes now.
            filters: as of `list` without ``limit``, and ``task``, an id.

        Yields:
            Events, each with its ``task`` as it is now; and a `GapView` in place of events that retention has removed.

        Raises:
            Unreachable: the daemon stays away for longer than ``patience_s``.
            InvalidRequest: a filter is wrong, or ``after`` is later than the newest event.
        """
        for message in follow(self._transport, calls.make_query(filters), after):
            if (event := read_message(message)) is not None:
                yield event

    def download(
        self, task_id: str, /, directory: str | Path, *, timeout_s: float | None = None, force: bool = False
    ) -> Sequence[Path]:
        """Copy the files of a task into a directory; those that are missing from the archive are archived first.

        They are named ``ID-N-TITLE.EXT``. A file with the same content is not copied again.

        Args:
            task_id: the task.
            directory: is made if it is missing.
            timeout_s: how long to wait for the archive, in seconds; None: until all are archived or given up.
            force: overwrite files with other content.

        Raises:
            DownloadFailed: files are missing, or cannot be written; ``files`` has the others.
        """
        found = download(self._transport, task_id, Path(directory), timeout_s=timeout_s, force=force)
        found.check()
        return found.files

    def read_output(self, task_id: str, number: int, /) -> bytes:
        """The archived file of an output; for a large one, `download` is better.

        Raises:
            ApiError: it is not archived.
        """
        pieces: list[bytes] = []
        self._transport.save(calls.get_output(task_id, number), pieces.append)
        return b"".join(pieces)

    def archive(self, task_id: str, /) -> Sequence[ArchiveView]:
        """The state of each file of a task in the archive."""
        return self._read(Items[ArchiveView], calls.about_task(task_id, "archive")).items

    def events(self, task_id: str, /) -> Sequence[EventRecord]:
        """The history of a task, oldest first."""
        return self._read(Items[EventRecord], calls.about_task(task_id, "events")).items

    def deliveries(self, task_id: str, /) -> Sequence[DeliveryRecord]:
        """The deliveries of a task to hooks, oldest first."""
        return self._read(Items[DeliveryRecord], calls.about_task(task_id, "deliveries")).items

    def why(self, task_id: str, /) -> WhyView:
        """Why a task is where it is, what happens next, and what you can do."""
        return self._read(WhyView, calls.about_task(task_id, "why"))

    def poll(self, task_id: str, /) -> TaskView:
        """Ask the upstream about a task now.

        Raises:
            Unavailable: the upstream was not asked.
        """
        return self._read(TaskView, calls.poll(task_id))

    def cancel(self, task_id: str, /) -> TaskView:
        """Stop following a task. The upstream does not learn of it, and may charge for the job.

        Raises:
            Conflict: it has ended already.
        """
        return self._read(TaskView, calls.cancel(task_id))

    def resubmit(self, task_id: str, /, *, idempotency_key: str | None = None) -> TaskView:
        """Send the request of a task again, as a new paid task.

        Args:
            task_id: the task.
            idempotency_key: a key of your own, to send it more than once. None: it is sent again once, and a repetition
                finds the same new task.

        Raises:
            Conflict: it has no request that could be sent.
        """
        return self._read(TaskView, calls.resubmit(task_id, idempotency_key))

    def adopt(self, task_id: str, external_id: str, /) -> TaskView:
        """Give a task whose create got no clear answer the upstream's id, and follow it.

        Raises:
            Conflict: the task cannot take this id.
        """
        return self._read(TaskView, calls.adopt(task_id, external_id))

    def _read(self, form: type[T], call: Call) -> T:
        return decode(form, self._transport.send(call).body)
