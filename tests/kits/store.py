"""A real store in a temporary directory with a clock that is moved by hand, and ways to stop its writer."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.kits.clock import START, after
from tests.kits.factories import POLICY, make_new_task, make_observation, make_registration, make_task_name
from tracker.clock import ManualClock
from tracker.domain.observation import Observation, Source
from tracker.domain.records import TaskRecord
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Status, TaskId
from tracker.logs import Redactor
from tracker.store.sqlite import SqliteStore
from tracker.store.values import Applied, Lane
from tracker.tracking.reconciler import Reconciler

T = TypeVar("T")
LANE = Lane("default", "suno")
INTERVALS: Mapping[str, float] = {"suno.generate": 5.0}


class Rig:
    """A store, the reconciler before it, and the clock of both."""

    def __init__(self, path: Path, clock: ManualClock | None = None, policy: PollPolicy = POLICY) -> None:
        self.path = path
        self.clock = clock or ManualClock(START)
        self.store = SqliteStore(path, self.clock.now)
        self.reconciler = Reconciler(
            self.store, policy_of=lambda _: policy, interval_of=INTERVALS, draw=lambda: 0.5, redactor=Redactor()
        )

    def at(self, seconds: float) -> SqliteStore:
        """The store, at least so many seconds after `START`: the clock never goes back."""
        self.clock.advance(max(0.0, (after(seconds) - self.clock.now()).total_seconds()))
        return self.store

    async def submit(self, n: int = 1, **fields: Any) -> TaskId:  # noqa: ANN401 - as for the factory
        """Record a song that is to be sent."""
        return (await self.store.create_task(make_new_task(n, **fields))).record.task.id

    async def follow(self, n: int = 1, **fields: Any) -> TaskId:  # noqa: ANN401 - as for the factory
        """Record a song that was created elsewhere as ``up-<n>``."""
        fields.setdefault("external_id", f"up-{n}")
        return (await self.store.create_task(make_registration(n, **fields))).record.task.id

    async def hear(self, observation: Observation) -> Applied:
        """Apply an observation."""
        return await self.reconciler.apply(observation)

    async def poll(self, n: int = 1, status: Status | None = None, **fields: Any) -> Applied:  # noqa: ANN401 - the same
        """Apply what a poll of the n-th task says."""
        return await self.hear(make_observation(status, task_id=make_task_name(n), **fields))

    async def call(self, n: int = 1, status: Status | None = None, **fields: Any) -> Applied:  # noqa: ANN401 - the same
        """Apply what a callback for the n-th task says."""
        return await self.hear(make_observation(status, source=Source.CALLBACK, task_id=make_task_name(n), **fields))

    async def get(self, n: int = 1) -> TaskRecord:
        """The n-th task."""
        return await self.store.get_task(make_task_name(n))

    def edit(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement through a plain connection, as a hand with the sqlite3 shell would."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    async def trace(self) -> list[str]:
        """A list that fills with the statements that the writer runs from now on."""
        statements: list[str] = []
        await self.store._write(lambda db: db.set_trace_callback(statements.append))
        statements.clear()  # the end of the transaction that began the trace
        return statements

    @asynccontextmanager
    async def halted_writer(self) -> AsyncIterator[None]:
        """Hold the writer inside a transaction; what is handed in meanwhile gathers into one batch."""
        go_on, halted = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            halted.set()
            go_on.wait(30)

        halt = self.store._writer.run(wait)
        assert await asyncio.to_thread(halted.wait, 30)  # its work is handed over by the event loop
        try:
            yield
        finally:
            go_on.set()
            await halt


@asynccontextmanager
async def opened(path: Path, clock: ManualClock | None = None, policy: PollPolicy = POLICY) -> AsyncIterator[Rig]:
    """A rig whose store is open."""
    rig = Rig(path, clock, policy)
    await rig.store.open()
    try:
        yield rig
    finally:
        await rig.store.close()


async def begun(*work: Awaitable[T]) -> asyncio.Future[list[T | BaseException]]:
    """Start calls of the store until each waits for the writer; the future has their answers and errors."""
    answers = asyncio.gather(*work, return_exceptions=True)
    await asyncio.sleep(0)
    return answers
