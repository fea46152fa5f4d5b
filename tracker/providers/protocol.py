"""What a provider is: a pure translator between one family's wire format and our words.

A provider knows no clock, no network, no store and no other provider. It turns a request into a `WireRequest`,
and whatever comes back (the answer to the create, the answer to a poll, a callback) into a `Reading`. To add one:
a new module with a class that satisfies `Provider`, and one line in `registry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracker.domain.observation import Reading
    from tracker.domain.task import ExternalId
    from tracker.domain.upstream_http import WireReply, WireRequest
    from tracker.errors import FieldProblem

Json = Any
"""A decoded JSON value of any shape, until a reader has checked it."""
SAMPLE_PROMPT = "a paper kite over the sea"
"""The prompt in samples; whoever sends a sample may replace it."""


@dataclass(frozen=True, slots=True)
class Route:
    """One creation route of the upstream.

    Attributes:
        name: ``provider.route``, for example ``suno.generate``; fixed, users write it.
        provider: the part before the dot.
        create: method and path of the create call, ``POST /…``; ``{model}`` is filled from the request.
        query: method and path of the status call, ``GET /…`` (``POST /…`` where a user's file says so); None for a
            synchronous route.
        mode: ``task``: an id is answered and followed; ``sync``: the answer is the result.
        asset: what it makes, in a user's word, as in "Your song is being made."
        callback: whether the upstream calls back.
        callback_field: dotted path of the request field that takes the callback URL.
        callback_required: whether the upstream refuses a create without that field, even from those who only poll.
        poll_interval_s: the interval that the contract suggests between polls, seconds.
        signature: name of the signature scheme that the provider offers, None for none.
        account: of a route that a user's file declares: the account of tasks whose submit names none.
        source: where the route is documented.
        sample: a smallest valid request: what the documents of the upstream require, and nothing else.
    """

    name: str
    provider: str
    create: str
    query: str | None
    asset: str
    source: str
    sample: Mapping[str, Json] = field(compare=False, repr=False)
    mode: Literal["task", "sync"] = "task"
    callback: bool = False
    callback_field: str | None = None
    callback_required: bool = False
    poll_interval_s: float = 5.0
    signature: str | None = None
    account: str | None = None


class Provider(Protocol):
    """A family of routes with one wire format. Every method is pure."""

    @property
    def name(self) -> str:
        """The family's name, the part of its route names before the dot."""
        ...

    @property
    def routes(self) -> tuple[Route, ...]:
        """Every creation route of the family."""
        ...

    def check_request(self, route: Route, request: Mapping[str, Json]) -> list[FieldProblem]:
        """Find the fields that the upstream would surely refuse, before any money is at stake.

        Args:
            route: one of ``routes``.
            request: the provider body as the user gave it.

        Returns:
            Every problem found, ``loc`` starting at ``"request"``; empty when it may be sent. Fields that the
            contract does not name are never a problem.
        """
        ...

    def create_request(self, route: Route, request: Mapping[str, Json], callback_url: str | None) -> WireRequest:
        """Build the create call.

        Args:
            route: one of ``routes``.
            request: a body that `check_request` found nothing wrong with; not changed.
            callback_url: what to put in the route's ``callback_field``; None leaves the field as the user gave it.
        """
        ...

    def read_create(self, route: Route, reply: WireReply) -> Reading:
        """Read the answer to a create call.

        Returns:
            A reading whose ``submission`` is set: accepted (with the external id), refused, deferred or ambiguous.
            Whatever cannot be understood is ambiguous, never an exception.
        """
        ...

    def poll_request(self, route: Route, external_id: ExternalId) -> WireRequest:
        """Build the status call of a task; the id is escaped for its place."""
        ...

    def read_poll(self, route: Route, reply: WireReply) -> Reading:
        """Read the answer to a status call; whatever cannot be understood is trouble, never an exception."""
        ...

    def read_callback(self, route: Route, body: Json) -> Reading:
        """Read a callback that is known to belong to a task of this route.

        Args:
            route: the task's route.
            body: the decoded JSON body, of any type.

        Raises:
            PayloadInvalid: it is not what the contract says; names the field path.
        """
        ...

    def callback_ids(self, body: Json) -> tuple[ExternalId, ...]:
        """The task ids that a callback of this family names, most likely first.

        Raises:
            PayloadInvalid: it names none.
        """
        ...
