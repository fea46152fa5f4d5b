"""The status call of a task: sent, and followed by the call for its result where a route has one.

Owns what a status call repeats of the create (see `Route.needs`): only such routes read the task again before a poll.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.ai_models import with_model
from tracker.domain.observation import Source
from tracker.providers.route import Created

if TYPE_CHECKING:
    from tracker.domain.task import ExternalId, Task
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route
    from tracker.store.protocol import Store
    from tracker.upstream.client import UpstreamClient

_MODEL = frozenset({"model"})


class StatusCalls:
    """Asks upstreams about tasks.

    Args:
        store: has the request and the history of a task.
        client: sends the requests.
    """

    def __init__(self, store: Store, client: UpstreamClient) -> None:
        self._store = store
        self._client = client

    async def ask(self, task: Task, external_id: ExternalId, route: Route, provider: Provider) -> WireReply:
        """Send the status call of a task, and the one for its result where it succeeded and its route has one.

        Raises:
            NotAttempted, NotSent, Unanswered: see `UpstreamClient.fetch`.
            PayloadInvalid: the status call repeats a part of the create that is not known.
        """
        created = Created(task.model) if route.needs <= _MODEL else await self._find_created(task, route)
        request = provider.poll_request(route, external_id, created)
        reply = await self._client.fetch(task.account, request, provider=task.provider)
        second = provider.result_request(route, external_id, created, reply)
        if second is None:
            return reply
        result = await self._client.fetch(task.account, second, provider=task.provider)
        return provider.join_result(route, reply, result)

    async def _find_created(self, task: Task, route: Route) -> Created:
        """The recorded request, and the last reply to a create in the history: the one that accepted the task."""
        record = await self._store.get_task(task.id)
        request = with_model(record.request, task.model)
        if "answer" not in route.needs:
            return Created(task.model, request)
        events = await self._store.list_events(task.id)
        replies = [event.payload for event in events if event.source == Source.SUBMIT and event.payload is not None]
        return Created(task.model, request, replies[-1] if replies else None)
