"""Commits and rollbacks that fail: every caller gets the true outcome, and the writer continues."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.kits.factories import make_new_task
from tests.kits.logs import captured_logs
from tests.kits.world import World, start_calls
from tracker.domain.task import Status
from tracker.errors import StoreUnavailable, TaskNotFound, WriteUnknown
from tracker.store.values import Applied


class FaultyConnection:
    """A connection on which some statements fail.

    Args:
        real: the connection.
        faults: for each statement what happens the next times: "before", it fails and is not run; "after", it is run
            and still fails; "full", the disk has no space left; "", nothing.
    """

    def __init__(self, real: sqlite3.Connection, faults: dict[str, list[str]]) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the connection has
        return getattr(self._real, name)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:  # noqa: ANN401 - as the connection's
        """Run a statement, or fail."""
        waiting = self._faults.get(sql)
        fault = waiting.pop(0) if waiting else ""
        if fault == "after":
            self._real.execute(sql, parameters)
        if fault == "full":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        if fault:
            raise sqlite3.OperationalError("disk I/O error")
        return self._real.execute(sql, parameters)


@contextmanager
def failing(world: World, **statements: list[str]) -> Iterator[dict[str, list[str]]]:
    """Let statements of the write connection fail, named by their first keyword; yields the remaining faults."""
    faults = {name.replace("_", " "): list(each) for name, each in statements.items()}
    transactions = world.store._writer._connection
    connect = transactions._connect
    real = transactions._connection
    transactions._connect = lambda: cast("sqlite3.Connection", FaultyConnection(connect(), faults))
    transactions._connection = cast("sqlite3.Connection", FaultyConnection(cast("sqlite3.Connection", real), faults))
    try:
        yield faults
    finally:
        faults.clear()


ANY_NUMBER = ["before"] * 1000


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("fault", ["before", "after", "full"])
async def test_a_commit_that_fails_once_loses_nothing(tmp_path: Path, fault: str, count: int) -> None:
    """Whether it was written or not, everything is on disk once, and every caller gets success."""
    async with World(tmp_path / "t.db") as world:
        received: list[Applied] = []
        for n in range(count):
            await world.follow(n)
        world.store.subscribe_commits(received.extend)
        with failing(world, COMMIT=["", fault]):  # the first is of the writer that is held
            async with world.store.halted_writer():
                answers = await start_calls(*(world.call(n, Status.RUNNING) for n in range(count)))
            reported = await answers
        if (fault, count) == ("full", 1):
            assert [type(answer) for answer in reported] == [StoreUnavailable]
            assert (await world.get(0)).task.status is Status.PENDING
            return
        assert [answer.task.status for answer in received] == [Status.RUNNING] * count
        assert len(reported) == count
        for n in range(count):
            assert (await world.get(n)).task.status is Status.RUNNING
            assert len(await world.store.list_events((await world.get(n)).task.id)) == 1


@pytest.mark.parametrize("first", ["before", "after"])
async def test_an_undecided_commit_is_reported_as_unknown(tmp_path: Path, first: str) -> None:
    """Writes are refused until the disk takes a commit again; then the key shows whether the task was stored."""
    async with World(tmp_path / "t.db") as world:
        new = make_new_task(1, idempotency_key="once", fingerprint="f")
        with captured_logs() as logged:
            with failing(world, COMMIT=[first, *ANY_NUMBER]):
                with pytest.raises(WriteUnknown, match="disk I/O error"):
                    await world.store.create_task(new)
                with pytest.raises(StoreUnavailable, match="not known whether the last commit was written") as refusal:
                    await world.submit(2)
                assert not isinstance(refusal.value, WriteUnknown), "this one was certainly not written"
                with pytest.raises(StoreUnavailable, match="not known"):
                    await world.store.check_writable()
            await world.store.check_writable()
        events = [line["event"] for line in logged]
        assert events.count("store.writes_refused") == 1
        assert events[-2:] == ["store.commit_resolved", "store.writes_resumed"]
        again = make_new_task(3, idempotency_key="once", fingerprint="f")
        if first == "before":
            with pytest.raises(TaskNotFound):
                await world.get(1)
            assert (await world.store.create_task(again)).is_new
        else:
            assert (await world.get(1)).task.id == new.id
        assert world.edit("SELECT count(*) FROM tasks WHERE idempotency_key = 'once'") == [(1,)]


async def test_a_commit_on_a_full_disk_is_not_unknown(tmp_path: Path) -> None:
    """The commit mark is in the last frame, which was not written: the caller may try again."""
    async with World(tmp_path / "t.db") as world:
        with failing(world, COMMIT=["full"] * 1000):
            for n in (1, 2):
                with pytest.raises(StoreUnavailable, match="full") as refusal:
                    await world.submit(n)
                assert not isinstance(refusal.value, WriteUnknown)
        await world.submit(1)


async def test_a_transaction_without_changes_is_not_committed(tmp_path: Path) -> None:
    """The number of a transaction is written only with a change: alone it would cost a sync."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        log = world.path.with_name("t.db-wal")
        await world.store.fan_out(None, 10)
        before = log.stat().st_size
        for _ in range(3):
            await world.store.fan_out(None, 10)
            await world.store.claim_deliveries("none", 10, 0)
        assert log.stat().st_size == before


async def test_a_rollback_that_fails_drops_the_connection(tmp_path: Path) -> None:
    """The transaction goes with its connection, and the next write has a new one."""
    async with World(tmp_path / "t.db") as world:

        def fail(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO cursors (name, seq) VALUES ('half', 1)")
            raise sqlite3.OperationalError("disk I/O error")

        with failing(world, ROLLBACK=["before"]), captured_logs() as logged:
            with pytest.raises(StoreUnavailable, match="disk I/O error"):
                await world.store.write(fail)
            await world.submit(1)
        assert [line["event"] for line in logged] == ["store.failed", "store.reconnected"]
        assert world.edit("SELECT * FROM cursors WHERE name = 'half'") == []
        assert world.store.writer_progress.lost_since is None


async def test_a_connection_that_cannot_be_replaced_counts_as_lost(tmp_path: Path) -> None:
    """Writes are refused, and the health of the process knows since when, for the watchdog."""
    async with World(tmp_path / "t.db") as world:
        with failing(world, ROLLBACK=["before"], BEGIN_IMMEDIATE=["", "before", "before"]):
            with pytest.raises(StoreUnavailable):
                await world.store.write(lambda db: db.execute("INSERT INTO no_such_table VALUES (1)"))
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await world.submit(1)
                assert world.store.writer_progress.lost_since is not None
            await world.submit(1)
        assert world.store.writer_progress.lost_since is None


async def test_all_changes_of_an_undecided_batch_are_unknown(tmp_path: Path) -> None:
    """All changes of a batch get the same error; a later one is refused as unavailable."""
    async with World(tmp_path / "t.db") as world:
        with failing(world, COMMIT=["", *ANY_NUMBER]):
            async with world.store.halted_writer():
                answers = await start_calls(*(world.submit(n) for n in range(4)))
            reported = await answers
            later = await asyncio.gather(*(world.submit(n) for n in range(4, 8)), return_exceptions=True)
        assert {type(answer) for answer in reported} == {WriteUnknown}
        assert {type(answer) for answer in later} == {StoreUnavailable}
        await asyncio.gather(*(world.submit(n) for n in range(8)))
        assert world.edit("SELECT count(*) FROM tasks") == [(8,)]
