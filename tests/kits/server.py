"""The HTTP server on a real store and real providers; only the parts that call upstreams are replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, cast

import orjson
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from tests.kits.factories import make_new_task
from tests.kits.hooks import make_hook
from tests.kits.world import World
from tracker.clock import Clock, SystemClock
from tracker.config.sections import Retention as Days
from tracker.domain.alarms import Alarm
from tracker.domain.health import Health
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.live_state import AccountLoad, CircuitLine, Disk, LiveState, ShownConfig
from tracker.domain.observation import Source
from tracker.domain.records import Json
from tracker.domain.scopes import ApiToken, Scope
from tracker.domain.task import ExternalId, Output, Status, SubmitState, Task, TaskId
from tracker.domain.tokens import CallbackTokens
from tracker.errors import FieldProblem, RequestInvalid
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.health import HookHealth, HookState, describe_hook
from tracker.hooks.kinds.script import ScriptAction, ScriptRunner
from tracker.hooks.trial import Trial, choose_event, try_twice
from tracker.logs import Redactor
from tracker.maintenance.model_sync import ModelSync
from tracker.maintenance.pruning import Pruning
from tracker.pages.app import WebPages
from tracker.providers.registry import Registry
from tracker.server.app import make_app
from tracker.server.arrivals import Arrivals
from tracker.server.connections import FAST_PATH, Runner
from tracker.server.services import Services
from tracker.store.values import NewTask
from tracker.tracking.feed import MAX_READERS, EventFeed
from tracker.tracking.intake import SubmitRequest
from tracker.tracking.poller import Poller
from tracker.tracking.submitter import Submitted, Submitter
from tracker.upstream.payloads import Payloads

EXTERNAL_ID = "5c79aa10be8e4d0f9b1c2d3e4f5a6b7c"


class StandInSubmitter:
    """Records tasks as the submitter does, and sends nothing."""

    def __init__(self, world: ServerWorld) -> None:
        self._world = world
        self.asked: list[SubmitRequest] = []
        self.fails_with: Exception | None = None

    async def submit(self, wanted: SubmitRequest) -> Submitted:
        """Record a task."""
        self.asked.append(wanted)
        if self.fails_with is not None:
            raise self.fails_with
        if wanted.route != "suno.generate":
            raise RequestInvalid([FieldProblem(("route",), f"unknown route {wanted.route!r}")])
        return await self._record(
            route=wanted.route,
            request=orjson.dumps(wanted.request).decode(),
            labels=wanted.labels,
            idempotency_key=wanted.idempotency_key,
            retry_of=wanted.retry_of,
            fingerprint=orjson.dumps(wanted.request, option=orjson.OPT_SORT_KEYS).decode(),
        )

    async def register(
        self, route_name: str, external_id: str, labels: Mapping[str, str], account: str | None
    ) -> Submitted:
        """Record a task that was created elsewhere."""
        return await self._record(
            route=route_name, external_id=ExternalId(external_id), labels=labels, account=account or "default"
        )

    async def _record(self, **values: Json) -> Submitted:
        created = await self._world.store.create_task(self._world.new_task(**values))
        return Submitted(created.record, created.is_new)


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

    def blocked_until(self, _task: Task) -> None:
        """Nothing is held back."""

    def notes(self, task: Task) -> Sequence[str]:
        """One note."""
        return [f"a note on {task.id}"]


class StandInHooks:
    """One hook; counts wake-ups."""

    def __init__(self) -> None:
        self.woken = 0
        self.health = HookHealth(HookState.HEALTHY)
        self.command = ["/bin/echo", "published"]

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

    async def try_twice(self, hook: str, event: str | None) -> tuple[str, Trial, Trial]:
        """Run the hook in earnest, as `Dispatcher.try_twice`."""
        spec = {"publish": make_hook("publish", ("task.finished",), ScriptAction.of(self.command))}[hook]
        event = choose_event(spec, event)
        clock = SystemClock()
        return event, *await try_twice(spec, ScriptRunner({}), event, clock)


def make_live_state(now: datetime) -> LiveState:
    """A machine with one account and nothing to do."""
    return LiveState(
        started_at=now,
        callback_at={},
        duplicates={"suno": 3},
        stale={},
        circuits=[CircuitLine("a.example", "", "closed", 0, None, None)],
        accounts=[AccountLoad("default", "https://a.example", 20.0, 2, 0, None, 4, has_key=True, alarm=None)],
        disks=[Disk("/var/lib/tracker", 200 << 30, 78 << 30)],
        lag_s=0.002,
        loop_ages={"sweep": 0.5},
        writes_waiting=14,
        writes_most=20_000,
        commit_s=0.003,
    )


class ServerWorld(World):
    """The HTTP server before a store, behind a client.

    Attributes:
        app: the web application, which a test may change before the world begins.
        alarms: those that are raised.
        live_state, config: what `Services` shows of the process.
        health: the answer to ``/readyz``, in a list so that a test can replace it.
        tokens: what is configured now; empty for none.

    Args:
        directory: where the database goes.
        api_token: what the API requires; None for nothing.
        tokens: further ones.
        limits: those of `Runner`.
        has_fast_path: whether callbacks may take the fast path, as in the daemon.
        has_pages: whether it has the web pages.
        max_streams: how many streams there may be.
        overrides: fields of `Services`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        api_token: str | None = None,
        tokens: Sequence[ApiToken] = (),
        limits: Mapping[str, Json] | None = None,
        has_fast_path: bool = True,
        has_pages: bool = False,
        max_streams: int = MAX_READERS,
        **overrides: Json,
    ) -> None:
        super().__init__(directory / "tracker.db", intervals={})
        self.submitter = StandInSubmitter(self)
        self.poller = StandInPoller()
        self.hooks = StandInHooks()
        self.health = [Health(ready=True)]
        self.alarms: list[Alarm] = []
        self.live_state = make_live_state(self.clock.now())
        values = {"environment": "test", "server": {"listen": "127.0.0.1:8780"}}
        self.config = ShownConfig("/etc/tracker.toml", values, {"server.api_token": True})
        self._made = 0
        own = [] if api_token is None else [ApiToken(None, Scope.ADMIN, api_token)]
        self.tokens = [*own, *tokens]

        async def read_health() -> Health:
            return self.health[0]

        async def read_live_state() -> LiveState:
            return self.live_state

        async def read_metrics(_accept: str) -> tuple[bytes, str]:
            return b"", "text/plain; version=0.0.4; charset=utf-8"

        self.services = Services(
            store=self.store,
            reconciler=self.reconciler,
            feed=EventFeed(
                self.store, max_streams, lambda task: self.reconciler.durations.outlook(task, self.clock.now())
            ),
            submitter=cast("Submitter", self.submitter),
            poller=cast("Poller", self.poller),
            model_sync=cast("ModelSync", StandInModelSync()),
            pruning=Pruning(self.store, self.clock, Days),
            hooks=cast("Dispatcher", self.hooks),
            accounts=("default",),
            registry=Registry(),
            tokens=CallbackTokens(b"0123456789abcdef"),
            clock=self.clock,
            payloads=Payloads(Redactor(["sk-known-secret"])),
            api_tokens=lambda: self.tokens or None,
            health=read_health,
            facts=lambda: {
                "version": "1",
                "pid": 7,
                "started_at": "2026-11-20T20:42:00.000Z",
                "store": "/tracker.db",
                "disk_free_bytes": 1 << 30,
                "alarms": [],
                "accounts": [{"name": "default", "base_url": "https://a.example", "has_key": True, "alarm": None}],
                "tokens": [{"name": "grafana", "scope": "read", "is_set": True}],
            },
            list_alarms=lambda: self.alarms,
            live_state=read_live_state,
            show_config=lambda: self.config,
            metrics=read_metrics,
            **overrides,
        )
        self.app = make_app(self.services, WebPages(self.services) if has_pages else None)
        if not has_fast_path:
            del self.app[FAST_PATH]
        self._server = Server(self.app, self.clock, limits or {})
        self.client = TestClient(self._server)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.client.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await super().__aexit__()

    @property
    def runner(self) -> Runner:
        """Runs the application."""
        assert isinstance(self._server.runner, Runner)
        return self._server.runner

    @property
    def arrivals(self) -> Arrivals:
        """Requests under way."""
        return self.runner.arrivals

    def new_task(self, *, route: str = "suno.generate", **fields: Json) -> NewTask:
        """A task that is accepted upstream and due in an hour."""
        self._made += 1
        now = self.clock.now()
        defaults = {
            "provider": route.partition(".")[0],
            "created_at": now,
            "due_at": now + timedelta(hours=1),
            "submit_state": SubmitState.ACCEPTED,
            "request": None,
            "model": None,
        }
        # as the intake makes it: of the time of its creation
        fields.setdefault("id", make_task_id(self.clock.now(), self._made.to_bytes(RANDOM_BYTES, "big")))
        return make_new_task(self._made, route=route, **{**defaults, **fields})

    async def make_task(self, *, external_id: str | None = EXTERNAL_ID, route: str = "suno.generate") -> TaskId:
        """A task in the store, accepted upstream unless it has no external id."""
        new = self.new_task(
            route=route,
            external_id=external_id,
            submit_state=SubmitState.ACCEPTED if external_id else SubmitState.SENDING,
            request='{"prompt": "a summer breeze"}',
        )
        return (await self.store.create_task(new)).record.task.id

    async def end_task(self, task_id: TaskId, source: Source = Source.POLL) -> None:
        """Have a task succeed."""
        outputs = (Output("audio", "https://cdn.example/a.mp3"),)
        await self.poll(
            task_id, Status.SUCCEEDED, source=source, at=self.elapsed_s, outputs=outputs, payload='{"ok": true}'
        )

    def address(self, task_id: TaskId, route: str = "suno.generate") -> str:
        """The callback address of a task."""
        return f"/callbacks/{route.partition('.')[0]}/{self.services.tokens.make(route, task_id)}"

    async def is_due(self, task_id: TaskId) -> bool:
        """Whether the task is to be polled now."""
        due_at = (await self.get(task_id)).task.due_at
        return due_at is not None and due_at <= self.clock.now()

    async def rejected(self) -> list[tuple[str, int, str, str]]:
        """The stored rejected callbacks: provider, status, why, body."""
        return self.edit("SELECT provider, http_status, why, body FROM rejected ORDER BY id")


class StandInModelSync:
    """Fetches nothing and reports that."""

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
        settings = {**kwargs, "handler_cancellation": False}  # as the daemon: a client that disconnects cancels nothing
        return Runner(self.app, self._clock, **self._limits, **settings)


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
