"""A provider put together from one entry per route.

Owns the dispatch from a route to its functions, so that a family's module is a list of entries and the
readers they name, and a further route is a further entry. It must not know any wire format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.domain.observation import Reading
from tracker.domain.task import ExternalId
from tracker.domain.upstream_http import WireReply, WireRequest
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.protocol import Route
from tracker.providers.reading.layers import layers
from tracker.providers.reading.requests import create_call, poll_by_path

if TYPE_CHECKING:
    from tracker.providers.protocol import Json

Body = Mapping[str, "Json"]


def _no_poll(reply: WireReply) -> Reading:
    raise NotImplementedError(f"a route without a status call was answered HTTP {reply.status}")


def _no_callback(body: Json) -> Reading:
    del body
    raise PayloadInvalid("this route has no callbacks")


def _no_callback_ids(body: Json) -> tuple[ExternalId, ...]:
    del body
    raise PayloadInvalid("this family has no callbacks")


@dataclass(frozen=True, slots=True)
class Entry:
    """One route and the functions that speak its wire format; each as the method of `Provider` it stands for.

    Attributes:
        route: the route.
        check: finds the wrong fields of a request.
        read_create: reads the answer to the create.
        read_poll: reads the answer to a poll; left out for synchronous routes.
        read_callback: reads a callback; left out where there are none.
        create_request: builds the create call.
        poll_request: builds the status call.
    """

    route: Route
    check: Callable[[Body], list[FieldProblem]]
    read_create: Callable[[WireReply], Reading]
    read_poll: Callable[[WireReply], Reading] = _no_poll
    read_callback: Callable[[Json], Reading] = _no_callback
    create_request: Callable[[Route, Body, str | None], WireRequest] = create_call
    poll_request: Callable[[Route, ExternalId], WireRequest] = poll_by_path


class Family:
    """A `Provider` made of entries.

    Args:
        name: the family's name.
        entries: one per route, in the order in which they are listed.
        callback_ids: finds the task ids in any callback of the family; left out where there are none.
    """

    def __init__(
        self,
        name: str,
        entries: tuple[Entry, ...],
        callback_ids: Callable[[Json], tuple[ExternalId, ...]] = _no_callback_ids,
    ) -> None:
        self._name = name
        self._entries = {entry.route.name: entry for entry in entries}
        self._routes = tuple(entry.route for entry in entries)
        self._callback_ids = callback_ids

    @property
    def name(self) -> str:
        """The family's name."""
        return self._name

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every creation route of the family."""
        return self._routes

    def check_request(self, route: Route, request: Body) -> list[FieldProblem]:
        """Find the fields that the upstream would surely refuse; see `Provider`."""
        return self._entries[route.name].check(request)

    def create_request(self, route: Route, request: Body, callback_url: str | None) -> WireRequest:
        """Build the create call; see `Provider`."""
        return self._entries[route.name].create_request(route, request, callback_url)

    def read_create(self, route: Route, reply: WireReply) -> Reading:
        """Read the answer to a create call; see `Provider`."""
        return self._entries[route.name].read_create(reply)

    def poll_request(self, route: Route, external_id: ExternalId) -> WireRequest:
        """Build the status call; see `Provider`."""
        return self._entries[route.name].poll_request(route, external_id)

    def read_poll(self, route: Route, reply: WireReply) -> Reading:
        """Read the answer to a status call; see `Provider`."""
        return self._entries[route.name].read_poll(reply)

    def read_callback(self, route: Route, body: Json) -> Reading:
        """Read a callback of a task of this route; see `Provider`."""
        read = self._entries[route.name].read_callback
        try:
            reading = read(body)
        except PayloadInvalid:
            inner = self._inside(body)
            if inner is None:
                raise
            return read(inner)
        if reading.status is None and reading.external_id is None and (inner := self._inside(body)) is not None:
            return read(inner)
        return reading

    def callback_ids(self, body: Json) -> tuple[ExternalId, ...]:
        """The task ids that a callback names; see `Provider`."""
        try:
            return self._callback_ids(body)
        except PayloadInvalid:
            inner = self._inside(body)
            if inner is None:
                raise
            return self._callback_ids(inner)

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
