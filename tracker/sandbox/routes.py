"""The interface between the gateway and its routes, as abstract classes.

Owns what a route must implement; ``interpreter`` implements it for the data files. ``creates`` and ``polls`` do what is
the same for all routes: keys, JSON, counting, chaos, job records, timers, callbacks. A route only knows its own fields.

    PaidRoute            a POST that costs money; counted among the creates
      SyncRoute          … that answers with the result at once
      DataJobRoute       … that makes a job, in ``interpreter``: has a query, stages, perhaps callbacks
    ReadRoute            anything else: model lists, file contents
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tracker.sandbox.dice import Dice
from tracker.sandbox.fate import JobFate
from tracker.sandbox.files import OutputFiles
from tracker.sandbox.jobs import JobTable
from tracker.sandbox.wire import Answer, Call, Json, unauthorised


class Refusal(StrEnum):
    """A refusal that every family writes in its own error shape."""

    POLICY = "policy"
    QUOTA = "quota"
    THROTTLED = "throttled"
    MAINTENANCE = "maintenance"
    SERVER_ERROR = "500"
    ERROR_BODY = "error_body"


@dataclass(frozen=True, slots=True)
class Context:
    """What routes may read besides the request.

    Attributes:
        jobs: Every job of this run.
        files: Where outputs get their temporary URLs.
        dice: The seeded dice, for ids and content.
        suno_callbacks: ``bare`` (AnyInt's documented shape) or ``wrapped`` (the upstream's).
        secrets: What callbacks are signed with, by family; none leaves them unsigned.
        openai_webhook_url: Where the events of OpenAI-style video go, or None. They are set up once for
            an account; a request cannot name an address.
    """

    jobs: JobTable
    files: OutputFiles
    dice: Dice
    suno_callbacks: str = "bare"
    secrets: Mapping[str, str] = field(default_factory=dict)
    openai_webhook_url: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackMessage:
    """One callback.

    Attributes:
        phase: What it announces.
        payload: The JSON to post.
        sign: Makes the headers of its signature from the bytes that are sent and the time of the attempt
            in seconds since the epoch; None leaves it unsigned.
    """

    phase: str
    payload: Json
    sign: Callable[[bytes, float], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidRoute(ABC):
    """A POST that costs money.

    Attributes:
        name: ``provider.name``, unique, such as ``suno.generate``.
        path: aiohttp path template of the POST.
        takes_forms: Whether a multipart form is as good as JSON.
    """

    name: str
    path: str
    takes_forms: bool = False

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Return whether the request carries the key. Bearer by default."""
        return headers.get("authorization") == f"Bearer {key}"

    def prompt_of(self, body: Json) -> str:
        """Return the prompt that may hold directives; empty if there is none."""
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    def refuse_key(self) -> Answer:
        """Answer a request without the right key."""
        return unauthorised()

    @abstractmethod
    def reject(self, call: Call, context: Context) -> Answer | None:
        """Return the family's refusal of an invalid request, or None if the request is valid."""

    @abstractmethod
    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return a refusal in the family's own error shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRoute(PaidRoute):
    """A POST that answers with the result itself."""

    @abstractmethod
    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """Answer with the result, or with the failure that ``fate.fault`` asks for.

        Outputs are named after ``call.request_id``.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRoute(ABC):
    """A request that costs nothing and belongs to no job's polling.

    Attributes:
        method: The HTTP method.
        path: aiohttp path template.
    """

    method: str
    path: str

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Return whether the request carries the key. Bearer by default."""
        return headers.get("authorization") == f"Bearer {key}"

    def refuse_key(self) -> Answer:
        """Answer a request without the right key."""
        return unauthorised()

    @abstractmethod
    def read(self, call: Call, context: Context) -> Answer:
        """Answer the request."""


Route = PaidRoute | ReadRoute
