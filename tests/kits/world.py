"""The store on a real file, the reconciler before it and the clock of both. Other kits add parts to it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.kits import plans
from tests.kits.breakable_store import BreakableStore
from tests.kits.clock import START, ManualClock, RunningClock, after
from tests.kits.factories import POLICY, make_new_task, make_observation, make_registration, make_task_name
from tracker.domain.observation import Observation, Source
from tracker.domain.records import DeliveryRecord, TaskRecord
from tracker.domain.schedule import PollPolicy
from tracker.domain.task import Status, TaskId
from tracker.logs import Redactor
from tracker.store.values import Applied, AttemptResult, Lane
from tracker.tracking.learning import Learning
from tracker.tracking.reconciler import Reconciler

T = TypeVar("T")
Fields = Any
"""Those of the record that a factory makes."""
LANE = Lane("default", "suno")
INTERVALS: Mapping[str, float] = {"suno.generate": 5.0}


class World:
    """A store, the reconciler before it, and the clock of both; ``async with`` opens and closes the store.

    A task is named by its id or by the number that it was made with.

    Args:
        path: the database file.
        clock: stopped at `START` by default.
        policy: of polls, for every provider.
        intervals: route -> seconds between polls.
    """

    def __init__(
        self,
        path: Path,
        clock: ManualClock | RunningClock | None = None,
        policy: PollPolicy = POLICY,
        intervals: Mapping[str, float] = INTERVALS,
    ) -> None:
        self.path = path
        self.clock = clock or ManualClock(START)
        self.store = BreakableStore(path, self.clock.now)
        self.reconciler = Reconciler(
            self.store, policy_of=lambda _: policy, interval_of=intervals, draw=lambda: 0.5, redactor=Redactor()
        )
        self.learning = Learning(self.store, self.reconciler, self.clock)

    async def __aenter__(self) -> Self:
        plans.record()
        await self.store.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        await self.store.close()
        if kind is None:
            plans.check_new(self.path)

    # -- tasks ---------------------------------------------------------------------------------------------

    async def submit(self, n: int = 1, **fields: Fields) -> TaskId:
        """Store a song that is to be sent."""
        return (await self.store.create_task(make_new_task(n, **fields))).record.task.id

    async def follow(self, n: int = 1, **fields: Fields) -> TaskId:
        """Store a song that was created elsewhere as ``up-<n>``."""
        fields.setdefault("external_id", f"up-{n}")
        return (await self.store.create_task(make_registration(n, **fields))).record.task.id

    async def finish(self, n: int = 0) -> TaskId:
        """Store a song that was created elsewhere and has succeeded by now."""
        await self.follow(n)
        await self.poll(n, Status.SUCCEEDED, at=self.elapsed_s)
        return make_task_name(n)

    async def get(self, task: int | TaskId = 1) -> TaskRecord:
        """A task as stored."""
        return await self.store.get_task(_id_of(task))

    # -- observations --------------------------------------------------------------------------------------

    async def apply(self, observation: Observation) -> Applied:
        """Apply an observation."""
        return await self.reconciler.apply(observation)

    async def poll(self, task: int | TaskId = 1, status: Status | None = None, **fields: Fields) -> Applied:
        """Apply what a poll of a task reports."""
        return await self.apply(make_observation(status, task_id=_id_of(task), **fields))

    async def call(self, task: int | TaskId = 1, status: Status | None = None, **fields: Fields) -> Applied:
        """Apply what a callback for a task reports."""
        return await self.poll(task, status, source=Source.CALLBACK, **fields)

    # -- time and deliveries -------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Seconds since `START`."""
        return (self.clock.now() - START).total_seconds()

    def at(self, seconds: float) -> BreakableStore:
        """The store, at least so many seconds after `START`: the clock never goes back."""
        self.clock.advance(max(0.0, (after(seconds) - self.clock.now()).total_seconds()))
        return self.store

    async def attempts(self, count: int = 1) -> list[AttemptResult]:
        """Wait until so many attempts of deliveries were stored in all; the result of each."""
        return [result for _, result, _ in await self.store.wait_for_call("record_attempt", count)]

    async def deliveries(self, n: int = 0) -> list[DeliveryRecord]:
        """The deliveries of a task, oldest first."""
        return await self.store.list_deliveries(make_task_name(n))

    # -- beside the store ----------------------------------------------------------------------------------

    def edit(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement through a plain connection, as the sqlite3 shell would."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()


def _id_of(task: int | TaskId) -> TaskId:
    return make_task_name(task) if isinstance(task, int) else task


async def start_calls(*calls: Awaitable[T]) -> asyncio.Future[list[T | BaseException]]:
    """Start calls of the store until each waits for the writer; the future has their results and errors."""
    results = asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0)
    return results
