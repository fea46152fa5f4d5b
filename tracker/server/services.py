"""What the HTTP handlers need of the rest of the program, as one value; the composition root fills it.

The classes are imported for their names alone: the handlers call what they are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web

from tracker.domain.records import task_json
from tracker.server.tallies import HttpTallies

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.domain.alarms import Alarm
    from tracker.domain.health import Health
    from tracker.domain.live_state import LiveState, ShownConfig
    from tracker.domain.records import TaskRecord
    from tracker.domain.scopes import ApiToken
    from tracker.domain.task import Task
    from tracker.domain.tokens import CallbackTokens
    from tracker.hooks.dispatcher import Dispatcher
    from tracker.maintenance.model_sync import ModelSync
    from tracker.maintenance.pruning import Pruning
    from tracker.providers.registry import Registry
    from tracker.store.protocol import Store
    from tracker.tracking.feed import EventFeed
    from tracker.tracking.poller import Poller
    from tracker.tracking.reconciler import Reconciler
    from tracker.tracking.submitter import Submitter
    from tracker.upstream.payloads import Payloads

QUERY: Final = web.RequestKey("query", dict[str, Any])
"""The query parameters of a request, parsed as its operation describes them."""

TOKEN_NAME: Final = web.RequestKey("token name", str)
"""The name of the token of a request, where it has one: who acts."""

SignatureCheck = Callable[[str, Mapping[str, str], bytes, Sequence[str]], bool]
"""(provider, request headers, raw body, task ids in it) -> whether a poll must confirm it, because the signature does
not cover the body; raises `SignatureInvalid`."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the handlers call.

    Attributes:
        accounts: the names of the configured accounts.
        payloads: reads bodies, and makes what is stored of them.
        api_tokens: the tokens of the API; None: none is configured, and programs on this machine need none.
        health: for ``/readyz``.
        facts: the state of the daemon's process, for ``/v1/doctor``; see `tracker.server.schemas.DoctorView`.
        list_alarms: the alarms that are raised now.
        live_state: the present state of the parts.
        show_config: the configuration in force, without secrets.
        metrics: for ``/metrics``: the value of ``Accept`` -> the body and its media type.
        stopping: set at shutdown: requests that wait for a task are answered at once.
        max_callback_bytes: the largest callback body, decompressed.
        trust: ``confirm`` has every callback confirmed by a poll before it may end a task.
        archive: copies of outputs; None: the archive is off.
        check_signature: checks a provider's signature over the raw body; None where none is configured.
        public_url: the daemon's URL for the outside; None: not reachable.
        max_in_flight: how many tasks of an account may be in flight; None: any number.
        tallies: counts the requests.
        on_submit: called with each new task of a request, its header ``traceparent``, when the request came, and the
            status of its response.
    """

    store: Store
    reconciler: Reconciler
    feed: EventFeed
    submitter: Submitter
    poller: Poller
    model_sync: ModelSync
    pruning: Pruning
    hooks: Dispatcher
    accounts: Collection[str]
    registry: Registry
    tokens: CallbackTokens
    clock: Clock
    payloads: Payloads
    api_tokens: Callable[[], Sequence[ApiToken] | None]
    health: Callable[[], Awaitable[Health]]
    facts: Callable[[], Mapping[str, Any]]
    list_alarms: Callable[[], Sequence[Alarm]]
    live_state: Callable[[], Awaitable[LiveState]]
    show_config: Callable[[], ShownConfig]
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    max_callback_bytes: int = 1048576
    trust: Literal["token", "confirm"] = "token"
    check_signature: SignatureCheck | None = None
    archive: Archiver | None = None
    public_url: Callable[[], str | None] = lambda: None
    max_in_flight: Callable[[str], int | None] = lambda _: None
    tallies: HttpTallies = field(default_factory=HttpTallies)
    on_submit: Callable[[Task, str | None, datetime, int], None] | None = None

    def task_json(self, record: TaskRecord) -> dict[str, Any]:
        """The public form of a task, with what is expected of it."""
        return task_json(record, self.reconciler.durations.outlook(record.task, self.clock.now()))
