"""The interface of a provider: a pure translator between the wire format of one upstream and the domain.

A provider is a list of entries: a route, and the functions that read and write its wire format. It has no clock, no
network, no store, and does not know other providers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId
from tracker.domain.upstream_http import AuthStyle, WireReply, WireRequest
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.reading.envelopes import layers
from tracker.providers.reading.error_meanings import FindMeaning
from tracker.providers.reading.figures import NO_FIGURES, FigureFields, with_callback_figures, with_figures
from tracker.providers.reading.replies import FindOutputs, ReadBody, read_result
from tracker.providers.reading.requests import RESULT_WITHIN_S, create_call, poll_by_path
from tracker.providers.route import Created, Route

if TYPE_CHECKING:
    from tracker.providers.route import Json

Body = Mapping[str, "Json"]
NOT_KNOWN = Created()
MAX_CHALLENGE_CHARS = 1024
"""A longer value is not a challenge."""


def _no_poll(reply: WireReply) -> Reading:
    raise NotImplementedError(f"HTTP {reply.status} for a route without a status call")


def _no_result(route: Route, external_id: ExternalId, created: Created, reply: WireReply) -> WireRequest | None:
    del route, external_id, created, reply
    return None


def _no_join(reply: WireReply, result: WireReply) -> WireReply:
    raise NotImplementedError(f"HTTP {result.status} after HTTP {reply.status} for a route without a second call")


def _no_callback(body: Json) -> Reading:
    del body
    raise PayloadInvalid("this route has no callbacks")


def _no_callback_ids(body: Json) -> tuple[ExternalId, ...]:
    del body
    raise PayloadInvalid("this provider has no callbacks")


@dataclass(frozen=True, slots=True)
class Entry:
    """One route and the pure functions that read and write its wire format; see the methods of `Provider`.

    Attributes:
        route: the route.
        check: finds the wrong fields of a request.
        read_create: reads the reply to the create.
        read_poll: reads the reply to a poll; left out for synchronous routes.
        read_callback: reads a callback; left out where there are none.
        create_request: builds the create call.
        poll_request: builds the status call.
        result_request: builds the call for the result.
        join_result: puts the reply to it into the one to the status call.
    """

    route: Route
    check: Callable[[Body], list[FieldProblem]]
    read_create: Callable[[WireReply], Reading]
    read_poll: Callable[[WireReply], Reading] = _no_poll
    read_callback: Callable[[Json], Reading] = _no_callback
    create_request: Callable[[Route, Body, str | None], WireRequest] = create_call
    poll_request: Callable[[Route, ExternalId, Created], WireRequest] = poll_by_path
    result_request: Callable[[Route, ExternalId, Created, WireReply], WireRequest | None] = _no_result
    join_result: Callable[[WireReply, WireReply], WireReply] = _no_join


def sync_entry(
    route: Route,
    check: Callable[[Body], list[FieldProblem]],
    read_answer: ReadBody,
    find: FindMeaning,
    *,
    find_otherwise: FindOutputs | None = None,
    auth: AuthStyle = AuthStyle.BEARER,
) -> Entry:
    """A route whose create returns the result itself; see `read_result`."""
    return Entry(
        route=route,
        check=check,
        read_create=partial(
            read_result, read_answer=read_answer, find=find, is_wrapped=True, find_otherwise=find_otherwise
        ),
        create_request=partial(create_call, auth=auth, within_s=RESULT_WITHIN_S),
    )


class Provider:
    """The routes of one upstream. Every method is pure.

    Args:
        name: the part of its route names before the dot.
        entries: one per route, in the order in which they are listed.
        callback_ids: finds the task ids in any callback, most likely first; left out where there are none.
        challenge_field: the field of a request that tests a callback URL; its value must be returned.
        figures: the fields with what else an answer says about an ended job.
    """

    def __init__(
        self,
        name: str,
        entries: tuple[Entry, ...],
        callback_ids: Callable[[Json], tuple[ExternalId, ...]] = _no_callback_ids,
        challenge_field: str | None = None,
        figures: FigureFields = NO_FIGURES,
    ) -> None:
        self.name = name
        self.routes = tuple(entry.route for entry in entries)
        self._entries = {entry.route.name: entry for entry in entries}
        self._callback_ids = callback_ids
        self._challenge_field = challenge_field
        self._figures = figures

    def check_request(self, route: Route, request: Body) -> list[FieldProblem]:
        """Find the fields that the upstream would certainly refuse, before anything is paid.

        Returns:
            Every problem found, ``loc`` starting at ``"request"``; empty when it may be sent. Fields that the
            contract does not name are never a problem.
        """
        return self._entries[route.name].check(request)

    def create_request(self, route: Route, request: Body, callback_url: str | None) -> WireRequest:
        """Build the create call.

        Args:
            route: one of ``routes``.
            request: a body in which `check_request` found no problem; not changed.
            callback_url: goes into the route's ``callback_field``; None leaves the field as the user gave it.
        """
        return self._entries[route.name].create_request(route, request, callback_url)

    def read_create(self, route: Route, reply: WireReply) -> Reading:
        """Read the reply to a create call; never raises.

        Returns:
            A reading whose ``submission`` is set: accepted (with the external id), refused, deferred, or ambiguous
            for a reply that cannot be understood.
        """
        reading = self._entries[route.name].read_create(reply)
        return with_figures(reading, reply.decoded.value, self._figures)

    def poll_request(self, route: Route, external_id: ExternalId, created: Created = NOT_KNOWN) -> WireRequest:
        """Build the status call of a task; the id is escaped.

        Raises:
            PayloadInvalid: it repeats a part of the create that is not known.
        """
        return self._entries[route.name].poll_request(route, external_id, created)

    def result_request(
        self, route: Route, external_id: ExternalId, created: Created, reply: WireReply
    ) -> WireRequest | None:
        """Build the second call, for the result of a task whose status call reports success; None where there is none.

        Args:
            route: the task's route.
            external_id: the task's id.
            created: what the call repeats of the create.
            reply: the reply to the status call. `join_result` combines it with the one to this call.
        """
        return self._entries[route.name].result_request(route, external_id, created, reply)

    def join_result(self, route: Route, reply: WireReply, result: WireReply) -> WireReply:
        """The reply for `read_poll` after the call for a result: the status with the result, or what went wrong."""
        return self._entries[route.name].join_result(reply, result)

    def read_poll(self, route: Route, reply: WireReply) -> Reading:
        """Read the reply to a status call; one that cannot be understood is trouble, never an exception."""
        return with_figures(self._entries[route.name].read_poll(reply), reply.decoded.value, self._figures)

    def read_callback(self, route: Route, body: Json) -> Reading:
        """Read a callback that is known to belong to a task of this route.

        Args:
            route: the task's route.
            body: the decoded JSON body, of any type.

        Raises:
            PayloadInvalid: it violates the contract; names the path of the field.
        """
        read = self._entries[route.name].read_callback
        try:
            reading = read(body)
        except PayloadInvalid:
            inner = self._inside(body)
            if inner is None:
                raise
            reading, body = read(inner), inner
        if reading.status is None and reading.external_id is None and (inner := self._inside(body)) is not None:
            reading, body = read(inner), inner
        return with_callback_figures(reading, body, self._figures)

    def callback_ids(self, body: Json) -> tuple[ExternalId, ...]:
        """The task ids that a callback names, most likely first.

        Raises:
            PayloadInvalid: it names none.
        """
        try:
            return self._callback_ids(body)
        except PayloadInvalid:
            inner = self._inside(body)
            if inner is None:
                raise
            return self._callback_ids(inner)

    def answer_challenge(self, body: Json) -> Mapping[str, str] | None:
        """The response to a request that tests a callback URL and wants a value back; None for any other body."""
        value = body.get(self._challenge_field) if isinstance(body, dict) and self._challenge_field else None
        if self._challenge_field is None or not isinstance(value, str) or len(value) > MAX_CHALLENGE_CHARS:
            return None
        return {self._challenge_field: value}

    def _inside(self, body: Json) -> Body | None:
        """The callback inside the envelope of a gateway that passed it on; None when the body itself names a task."""
        if not isinstance(body, dict):
            return None
        for layer in layers(body):
            try:
                self._callback_ids(layer)
            except PayloadInvalid:
                continue
            return None if layer is body else layer
        return None
