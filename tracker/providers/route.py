"""A route: one create call of an upstream, and the status call that follows its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tracker.domain.request_fields import UNDOCUMENTED, RequestFields

if TYPE_CHECKING:
    from collections.abc import Mapping


Json = Any
"""A decoded JSON value of any shape, until a reader has checked it."""
SAMPLE_PROMPT = "a paper kite over the sea"
"""The prompt in samples; senders of samples may replace it."""


@dataclass(frozen=True, slots=True)
class Route:
    """One creation route of the upstream.

    Attributes:
        name: ``provider.route``, for example ``suno.generate``; fixed, users write it.
        create: method and path of the create call, ``POST /…``; ``{model}`` is filled from the request.
        query: method and path of the status call, ``GET /…`` (``POST /…`` if a user's file declares it); None for a
            synchronous route.
        mode: ``task``: the reply to the create has an id to follow; ``sync``: it is the result.
        asset: what it makes, as in "Your song is being made."
        callback: whether the upstream calls back.
        callback_field: dotted path of the request field for the callback URL.
        callback_parameter: name of the query parameter for the callback URL, instead of a field.
        callback_required: whether the upstream refuses a create without that field, even if tasks are only polled.
        poll_interval_s: the interval that the contract suggests between polls, seconds.
        signature: name of the signature scheme that the provider offers, None for none.
        account: the default account of the tasks of a declared route; None for built-in routes.
        needs: the parts of the create that its status calls repeat: ``model``, ``request``, ``answer``. A task without
            them cannot be polled.
        source: where the route is documented.
        sample: a smallest valid request: what the documents of the upstream require, and nothing else.
        fields: what the documents say about its requests.
    """

    name: str
    create: str
    query: str | None
    asset: str
    source: str
    sample: Mapping[str, Json] = field(compare=False, repr=False)
    mode: Literal["task", "sync"] = "task"
    callback: bool = False
    callback_field: str | None = None
    callback_parameter: str | None = None
    callback_required: bool = False
    poll_interval_s: float = 5.0
    signature: str | None = None
    account: str | None = None
    needs: frozenset[str] = frozenset()
    fields: RequestFields = field(default=UNDOCUMENTED, compare=False, repr=False)

    @property
    def provider(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Created:
    """What is known of the create of a task, as far as its route needs it; see `Route.needs`.

    Attributes:
        model: the model.
        request: the user's body.
        answer: the upstream's reply.
    """

    model: str | None = None
    request: Json = None
    answer: Json = None
