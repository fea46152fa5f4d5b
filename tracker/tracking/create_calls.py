"""The paid create of a task: sent once, and its answer read.

Owns what the lack of an answer, or a part of one, means. Must not record anything, and must not send a create again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.event_text import NOT_SENT
from tracker.domain.histograms import Histograms
from tracker.domain.observation import Reading, Submission
from tracker.domain.task import Reason, UpstreamError
from tracker.domain.upstream_http import WireReply
from tracker.errors import NotSent, Unanswered
from tracker.logs import get_logger
from tracker.upstream.tallies import REQUEST_BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.observation import Payload
    from tracker.domain.task import Task
    from tracker.domain.upstream_http import WireRequest
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.payloads import Payloads

log = get_logger(__name__)

_UNEXPECTED = Reading(submission=Submission.AMBIGUOUS, detail="an error of the tracker itself; its log has it")


class CreateCalls:
    """Sends creates.

    Args:
        client: sends the requests.
        clock: the arrival time of an answer that is a part only.
        payloads: reads answers.

    Attributes:
        durations: route -> seconds of each request.
        on_sent: called with each task whose create was sent, when, and why it got no answer; None: it got one.
    """

    def __init__(self, client: UpstreamClient, clock: Clock, payloads: Payloads) -> None:
        self._client = client
        self._clock = clock
        self._payloads = payloads
        self.durations: Histograms[str] = Histograms(REQUEST_BOUNDS_S)
        self.on_sent: Callable[[Task, datetime, str | None], None] | None = None

    async def exchange(
        self, task: Task, route: Route, request: WireRequest, *, has_slot: bool
    ) -> tuple[WireReply | None, Reading | None]:
        """Send a create: the answer, or the part that arrived with the reading that its incompleteness means.

        Never raises: an unexpected error leaves it unknown whether the create was sent.
        """
        timer, began = self.durations[route.name], self._clock.now()
        try:
            reply = await self._client.fetch(
                task.account, request, provider=route.provider, paid=True, has_slot=has_slot, timer=timer
            )
        except NotSent as error:
            self._report(task, began, str(error))
            return None, Reading(
                submission=Submission.DEFERRED,
                reason=Reason.UPSTREAM_UNAVAILABLE,
                error=UpstreamError(message=str(error)),
                detail=f"{NOT_SENT}{error}",
            )
        except Unanswered as error:
            self._report(task, began, str(error))
            reading = Reading(submission=Submission.AMBIGUOUS, detail=str(error))
            if error.status is None:
                return None, reading
            return WireReply(error.status, body=error.body, received_at=self._clock.now()), reading
        except Exception:
            log.exception("submit.failed", step="send", task=task.id, provider=task.provider)
            return None, _UNEXPECTED
        self._report(task, began, None)
        return reply, None

    def _report(self, task: Task, began: datetime, error: str | None) -> None:
        """Report a create; an error of the callback does not lose its response."""
        if self.on_sent is not None:
            try:
                self.on_sent(task, began, error)
            except Exception:
                log.exception("submit.failed", step="report", task=task.id, provider=task.provider)

    async def read(
        self, task: Task, route: Route, provider: Provider, reply: WireReply | None, unread: Reading | None
    ) -> tuple[Reading, Payload]:
        """The reading of an answer, and its payload; see `exchange` for the arguments and what is never raised."""
        if reply is not None:
            try:
                reading, payload = await self._payloads.read(
                    reply.body, partial(provider.read_create, route, reply), lambda: reply.decoded
                )
            except Exception:
                log.exception("submit.failed", step="read", task=task.id, provider=task.provider)
                return unread or _UNEXPECTED, None
            if unread is None or reading.submission is Submission.ACCEPTED:
                return reading, payload  # in a partial answer only an id counts: it proves the acceptance
        assert unread is not None  # noqa: S101 - there is an answer, or a reading of its absence
        return unread, None
