"""The HTTP server on a real store and real providers; only the parts that call upstreams are replaced."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import orjson
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from tests.kits.clock import START
from tests.kits.hooks import make_hook
from tracker.clock import Clock, ManualClock
from tracker.config.sections import Retention as Days
from tracker.domain.health import Health
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.records import Json
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import ExternalId, Output, Status, SubmitState, Task, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.errors import FieldProblem, RequestInvalid, StoreUnavailable
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.health import HookHealth, HookState, describe_hook
from tracker.hooks.kinds.script import ScriptAction
from tracker.logs import Redactor
from tracker.maintenance.model_sync import ModelSync
from tracker.maintenance.pruning import Pruning
from tracker.providers.registry import Registry
from tracker.server.app import bypass_router_for_callbacks, make_app
from tracker.server.connections import Arrivals, Runner
from tracker.server.services import Services
from tracker.store.sqlite import SqliteStore
from tracker.store.values import Applied, Created, Judge, NewTask
from tracker.tracking.changes import ChangeFeed
from tracker.tracking.intake import SubmitRequest
from tracker.tracking.poller import Poller
from tracker.tracking.reconciler import Reconciler
from tracker.tracking.submitter import Submitted, Submitter
from tracker.upstream.payloads import Payloads

T = TypeVar("T")

EXTERNAL_ID = "5c79aa10be8e4d0f9b1c2d3e4f5a6b7c"


class FragileStore(SqliteStore):
    """The real store; on demand it can neither write nor read."""

    broken = False
    failure = StoreUnavailable("the disk is full")

    async def apply(self, observation: Observation, judge: Judge) -> Applied:
        """See the store."""
        self._check()
        return await super().apply(observation, judge)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check()
        return await super()._write(work)

    async def _rows(self, sql: str, parameters: Sequence[Json] = ()) -> list[tuple[Json, ...]]:
        self._check()
        return await super()._rows(sql, parameters)

    def _check(self) -> None:
        if self.broken:
            raise self.failure


class StandInSubmitter:
    """Records tasks as the submitter does, and sends nothing."""

    def __init__(self, store: SqliteStore, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock
        self.asked: list[SubmitRequest] = []
        self.fails_with: Exception | None = None

    async def submit(self, wanted: SubmitRequest) -> Submitted:
        """Record a task."""
        self.asked.append(wanted)
        if self.fails_with is not None:
            raise self.fails_with
        if wanted.route != "suno.generate":
            raise RequestInvalid([FieldProblem(("route",), f"unknown route {wanted.route!r}")])
        created = await self._record(
            route=wanted.route,
            request=orjson.dumps(wanted.request).decode(),
            labels=wanted.labels,
            idempotency_key=wanted.idempotency_key,
            fingerprint=orjson.dumps(wanted.request, option=orjson.OPT_SORT_KEYS).decode(),
        )
        return Submitted(created.record, created.is_new)

    async def register(
        self, route_name: str, external_id: str, labels: Mapping[str, str], account: str | None
    ) -> Submitted:
        """Record a task that was created elsewhere."""
        created = await self._record(
            route=route_name, external_id=ExternalId(external_id), labels=labels, account=account or "default"
        )
        return Submitted(created.record, created.is_new)

    async def _record(self, *, route: str, account: str = "default", **values: Json) -> Created:
        now = self._clock.now()
        new = NewTask(
            id=make_task_id(now, secrets.token_bytes(RANDOM_BYTES)),
            route=route,
            provider=route.partition(".")[0],
            account=account,
            asset="song",
            created_at=now,
            due_at=now + timedelta(hours=1),
            submit_state=SubmitState.ACCEPTED,
            expects_callback=True,
            **values,
        )
        return await self._store.create_task(new)


class StandInPoller:
    """Remembers who was polled; on demand the poll brings an end."""

    def __init__(self) -> None:
        self.polled: list[TaskId] = []
        self.brings: Callable[[TaskId], Awaitable[None]] | None = None

    async def poll(self, task_id: TaskId) -> None:
        """Note the poll."""
        self.polled.append(task_id)
        if self.brings is not None:
            await self.brings(task_id)

    def notes(self, task: Task) -> Sequence[str]:
        """One note."""
        return [f"a note on {task.id}"]


class StandInHooks:
    """One hook; counts how often it was woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.health = HookHealth(HookState.HEALTHY)

    def describe(self) -> list[dict[str, Json]]:
        """The hook."""
        spec = make_hook("publish", ("task.finished",), ScriptAction.of(["/bin/true"]))
        return [describe_hook(spec, self.health, 0)]

    def ignored(self) -> list[dict[str, str | None]]:
        """One file."""
        return [{"file": "hooks.d/task.failed/old.bak", "reason": "a leftover", "fix": None}]

    def wake(self) -> None:
        """Count."""
        self.woken += 1


@dataclass
class Rig:
    """The server under test and its parts."""

    client: TestClient[web.Request, web.Application]
    services: Services
    store: FragileStore
    submitter: StandInSubmitter
    poller: StandInPoller
    hooks: StandInHooks
    clock: ManualClock
    arrivals: Arrivals
    health: list[Health] = field(default_factory=lambda: [Health(ready=True)])

    async def make_task(self, *, external_id: str | None = EXTERNAL_ID, route: str = "suno.generate") -> TaskId:
        """A task in the store, accepted upstream unless it has no external id."""
        now = self.clock.now()
        created = await self.store.create_task(
            NewTask(
                id=make_task_id(now, secrets.token_bytes(RANDOM_BYTES)),
                route=route,
                provider=route.partition(".")[0],
                account="default",
                asset="song",
                created_at=now,
                due_at=now + timedelta(hours=1),
                submit_state=SubmitState.ACCEPTED if external_id else SubmitState.SENDING,
                external_id=ExternalId(external_id) if external_id else None,
                request='{"prompt": "a summer breeze"}',
                expects_callback=True,
            )
        )
        return created.record.task.id

    async def end_task(self, task_id: TaskId, source: Source = Source.POLL) -> None:
        """Have a task succeed."""
        reading = Reading(status=Status.SUCCEEDED, outputs=(Output("audio", "https://cdn.example/a.mp3"),))
        await self.services.reconciler.apply(
            Observation(task_id, source, self.clock.now(), reading, payload='{"ok": true}')
        )

    def address(self, task_id: TaskId, route: str = "suno.generate") -> str:
        """The callback address of a task."""
        return f"/callbacks/{route.partition('.')[0]}/{self.services.tokens.make(route, task_id)}"

    async def is_due(self, task_id: TaskId) -> bool:
        """Whether the task is to be polled now."""
        due_at = (await self.store.get_task(task_id)).task.due_at
        return due_at is not None and due_at <= self.clock.now()

    async def rejected(self) -> list[tuple[str, int, str, str]]:
        """The stored rejected callbacks: provider, status, why, body."""
        rows = await self.store._rows("SELECT provider, http_status, why, body FROM rejected ORDER BY id")
        return [(str(p), int(s), str(w), str(b)) for p, s, w, b in rows]


class StandInModelSync:
    """Fetches nothing, and says so."""

    async def sync(self, account: str) -> tuple[int, list[str]]:
        """See `tracker.maintenance.model_sync.ModelSync`."""
        return 0, [f"openai: account {account} has no upstream here"]


class Server(TestServer):
    """Serves on connections as the daemon's."""

    def __init__(self, app: web.Application, clock: Clock, limits: Mapping[str, Json]) -> None:
        super().__init__(app)
        self._clock = clock
        self._limits = limits

    async def _make_runner(self, **kwargs: Json) -> Runner:
        settings = {**kwargs, "handler_cancellation": False}  # as the daemon: who goes away stops nothing
        return Runner(self.app, self._clock, **self._limits, **settings)


@asynccontextmanager
async def running(
    path: Path,
    *,
    api_token: str | None = None,
    limits: Mapping[str, Json] | None = None,
    bypasses_router: bool = True,
    **overrides: Json,
) -> AsyncIterator[Rig]:
    """The server behind a test client; ``limits`` are those of `Runner`, ``overrides`` those of `Services`."""
    clock = ManualClock(START)
    store = FragileStore(path / "tracker.db", clock.now)
    await store.open()
    submitter = StandInSubmitter(store, clock)
    poller = StandInPoller()
    hooks = StandInHooks()
    health = [Health(ready=True)]

    async def tell_health() -> Health:
        return health[0]

    services = Services(
        store=store,
        reconciler=Reconciler(
            store, policy_of=lambda _provider: PollPolicy(), interval_of={}, draw=lambda: 0.5, redactor=Redactor()
        ),
        changes=ChangeFeed(store),
        submitter=cast("Submitter", submitter),
        poller=cast("Poller", poller),
        model_sync=cast("ModelSync", StandInModelSync()),
        pruning=Pruning(store, clock, Days),
        hooks=cast("Dispatcher", hooks),
        accounts=("default",),
        registry=Registry(),
        tokens=CallbackTokens(b"0123456789abcdef"),
        clock=clock,
        payloads=Payloads(Redactor(["sk-known-secret"])),
        api_token=lambda: api_token,
        health=tell_health,
        facts=lambda: {"version": "1", "pid": 7, "store": "/tracker.db", "accounts": []},
        **overrides,
    )
    server = Server(make_app(services), clock, limits or {})
    try:
        async with TestClient(server) as client:
            assert isinstance(server.runner, Runner)
            if bypasses_router:
                bypass_router_for_callbacks(server.runner)
            yield Rig(client, services, store, submitter, poller, hooks, clock, server.runner.arrivals, health)
    finally:
        await store.close()


async def problem_of(response: ClientResponse, status: int) -> dict[str, Json]:
    """The problem details of an error answer, after checking its form."""
    body = await response.read()
    assert response.status == status, body
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    problem: dict[str, Json] = orjson.loads(body)
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    for error in problem.get("errors", []):
        assert set(error) == {"loc", "msg"}
    return problem


def locs(problem: dict[str, Json]) -> list[list[str | int]]:
    """Where the errors of a problem are."""
    return [error["loc"] for error in problem["errors"]]
