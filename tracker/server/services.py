"""What the HTTP handlers need of the rest of the program, as one value.

Owns the protocols that name those needs. Must not hold state or build anything: the composition root does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tracker.tracking.intake import SubmitRequest
from tracker.tracking.submitter import Submitted

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.domain.archives import ArchiveRecord
    from tracker.domain.health import Health
    from tracker.domain.pruning import Pruned
    from tracker.domain.schedule import PollPolicy
    from tracker.domain.task import Task, TaskId
    from tracker.domain.tokens import CallbackTokens
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route
    from tracker.store.protocol import Store
    from tracker.tracking.changes import ChangeFeed
    from tracker.tracking.reconciler import Reconciler
    from tracker.upstream.payloads import Payloads

SignatureCheck = Callable[[str, Mapping[str, str], bytes, Sequence[str]], bool]
"""(provider, request headers, raw body, task ids in it) -> whether a poll must confirm it, because the signature does
not cover the body; raises `SignatureInvalid`."""


class Submits(Protocol):
    """Creates tasks; see `tracker.tracking.submitter.Submitter`."""

    async def submit(self, wanted: SubmitRequest) -> Submitted:
        """Record a new paid job and send it, or find the one that it repeats."""
        ...

    async def register(
        self, route_name: str, external_id: str, labels: Mapping[str, str], account: str | None
    ) -> Submitted:
        """Follow a task that was created elsewhere."""
        ...


class Polls(Protocol):
    """Asks upstreams; see `tracker.tracking.poller.Poller`."""

    async def poll(self, task_id: TaskId) -> None:
        """Ask about one task now and apply what is learnt."""
        ...

    def notes(self, task: Task) -> Sequence[str]:
        """What besides the task itself explains why it is where it is."""
        ...


class Archives(Protocol):
    """Keeps copies of outputs; see `tracker.archive.archiver.Archiver`."""

    async def redrive(self, task_id: TaskId) -> list[ArchiveRecord]:
        """Have all of a task's files archived that are not safe."""
        ...

    async def size_of(self, path: str) -> int | None:
        """The size of an archived file, bytes; None when it is not there any more."""
        ...

    def read(self, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes of an archived file."""
        ...


class Syncs(Protocol):
    """Fetches lists of models; see `tracker.maintenance.model_sync.Catalogue`."""

    async def sync(self, account: str) -> tuple[int, list[str]]:
        """Fetch an account's lists now: how many models there are, and what could not be fetched."""
        ...


class Prunes(Protocol):
    """Drops what has had its time; see `tracker.maintenance.pruning.Retention`."""

    async def run(self, *, dry_run: bool = False) -> Pruned:
        """Prune once, or only count."""
        ...


class HookDesk(Protocol):
    """The hooks; see `tracker.hooks.dispatcher.Dispatcher`."""

    def describe(self) -> list[dict[str, Any]]:
        """Every hook with its health, as JSON."""
        ...

    def ignored(self) -> list[dict[str, str | None]]:
        """The dropped files that are not run, as JSON."""
        ...

    def wake(self) -> None:
        """Look for deliveries at once."""
        ...


class RouteBook(Protocol):
    """The known providers; see `tracker.providers.registry.Registry`."""

    def find_route(self, name: str) -> Route | None:
        """The route with this name."""
        ...

    def provider_named(self, name: str) -> Provider | None:
        """The provider with this name."""
        ...

    def provider_of(self, route: Route) -> Provider:
        """The provider that a route belongs to."""
        ...

    def routes(self) -> Sequence[Route]:
        """Every route of every provider."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the handlers call.

    Attributes:
        accounts: the names of the configured accounts.
        payloads: reads bodies, and makes what is stored of them.
        api_token: the token that the API wants; None leaves it open to this machine.
        health: for ``/readyz``.
        facts: what the daemon knows of itself, for ``/v1/doctor``; see `tracker.server.schemas.DoctorView`.
        policy_of: the poll policy of a provider, for ``/why``.
        stopping: set at shutdown: whoever waits for a task answers at once.
        max_callback_bytes: the largest callback body, decompressed.
        trust: ``confirm`` has every callback confirmed by a poll before it may end a task.
        archive: copies of outputs; None: there are none.
        check_signature: checks a provider's signature over the raw body; None where none is configured.
        public_url: where the daemon can be reached from outside; None: nowhere.
    """

    store: Store
    reconciler: Reconciler
    changes: ChangeFeed
    submitter: Submits
    poller: Polls
    catalogue: Syncs
    retention: Prunes
    hooks: HookDesk
    accounts: Collection[str]
    registry: RouteBook
    tokens: CallbackTokens
    clock: Clock
    payloads: Payloads
    api_token: Callable[[], str | None]
    health: Callable[[], Awaitable[Health]]
    facts: Callable[[], Mapping[str, Any]]
    policy_of: Callable[[str], PollPolicy]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    max_callback_bytes: int = 1048576
    trust: Literal["token", "confirm"] = "token"
    check_signature: SignatureCheck | None = None
    archive: Archives | None = None
    public_url: Callable[[], str | None] = lambda: None
