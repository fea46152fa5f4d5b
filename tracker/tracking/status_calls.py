"""The status call of a task: sent, and followed by the call for its result where a route has one.

Owns what a status call repeats of the create (see `Route.needs`): only such routes read the task again before a poll.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tracker.domain.ai_models import with_model
from tracker.domain.histograms import Histograms
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import Source
from tracker.providers.route import Created
from tracker.upstream.tallies import REQUEST_BOUNDS_S

if TYPE_CHECKING:
    from tracker.domain.task import ExternalId, Task
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route
    from tracker.store.protocol import Store
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.payloads import Payloads

T = TypeVar("T")

_MODEL = frozenset({"model"})


class StatusCalls:
    """Asks upstreams about tasks.

    Args:
        store: has the request and the history of a task.
        client: sends the requests.
        payloads: reads large replies beside the event loop.
    """

    def __init__(self, store: Store, client: UpstreamClient, payloads: Payloads) -> None:
        self._store = store
        self._client = client
        self._payloads = payloads
        self.durations: Histograms[str] = Histograms(REQUEST_BOUNDS_S)
        """Provider -> seconds of each request."""

    async def ask(self, task: Task, external_id: ExternalId, route: Route, provider: Provider) -> WireReply:
        """Send the status call of a task, and the one for its result where it succeeded and its route has one.

        Raises:
            NotAttempted, NotSent, Unanswered: see `UpstreamClient.fetch`.
            PayloadInvalid: the status call repeats a part of the create that is not known.
        """
        created = Created(task.model) if route.needs <= _MODEL else await self._find_created(task, route)
        request = provider.poll_request(route, external_id, created)
        timer = self.durations[task.provider]
        reply = await self._client.fetch(task.account, request, provider=task.provider, timer=timer)
        find_second = partial(provider.result_request, route, external_id, created, reply)
        second = find_second() if len(reply.body) <= LARGE_BYTES else await self._read(reply, find_second)
        if second is None:
            return reply
        result = await self._client.fetch(task.account, second, provider=task.provider, timer=timer)
        return await self._read(result, partial(provider.join_result, route, reply, result))

    async def _read(self, reply: WireReply, work: Callable[[], T]) -> T:
        """Read a reply; nearly all are small, and cost no more than the call."""
        size = len(reply.body)
        return work() if size <= LARGE_BYTES else await self._payloads.run(size, work)

    async def _find_created(self, task: Task, route: Route) -> Created:
        """The recorded request, and the last reply to a create in the history: the one that accepted the task."""
        record = await self._store.get_task(task.id)
        request = with_model(record.request, task.model)
        if "answer" not in route.needs:
            return Created(task.model, request)
        events = await self._store.list_events(task.id)
        replies = [event.payload for event in events if event.source == Source.SUBMIT and event.payload is not None]
        return Created(task.model, request, replies[-1] if replies else None)
