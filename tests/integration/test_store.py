"""What is particular to the SQLite engine: batches, its readers, views and triggers. See tests/contract/store too."""

import asyncio
import json
import re
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

import pytest

from tests.kits.clock import after
from tests.kits.factories import EXTERNAL_ID, make_answer, make_observation, make_output, make_task_name
from tests.kits.world import LANE, World, start_calls
from tracker.domain.archives import ArchiveState
from tracker.domain.costs import Cost
from tracker.domain.judge import Step
from tracker.domain.observation import Observation, Source, Submission
from tracker.domain.records import task_json
from tracker.domain.task import ExternalId, Output, Reason, Stage, Status, SubmitState, Task, UpstreamError
from tracker.errors import StoreUnavailable, TaskNotFound
from tracker.store.sqlite import open_reader
from tracker.store.sqlite.counts import LANES
from tracker.store.values import Applied, ArchiveWish


def broken_judge(*_: object) -> NoReturn:
    """A bug in the rules."""
    raise ValueError("a bug")


# -- observations ------------------------------------------------------------------------------------------


async def test_group_commit(tmp_path: Path) -> None:
    """A hundred observations that wait together are one transaction, in the order in which they came."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 6):
            await world.follow(n)
        statements = await world.store.trace()
        async with world.store.halted_writer():
            answers = await start_calls(
                *(world.call(1 + n % 5, Status.RUNNING, progress=n, at=10.0 + n) for n in range(100))
            )
            statements.clear()
        assert [type(answer) for answer in await answers] == [Applied] * 100
        assert statements.count("COMMIT") == 2  # of the transaction that was halted, and of all that waited
        for n in range(1, 6):
            task = (await world.get(n)).task
            assert task.progress == 94 + n
            assert (task.callbacks, task.version) == (20, 21)
            assert len(await world.store.list_events(task.id)) == 20


async def test_different_changes_of_a_status_are_one_statement(tmp_path: Path) -> None:
    """Tasks that begin, with and without outputs and progress, and tasks that end are updated together."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 31):
            await world.follow(n)
        statements = await world.store.trace()
        async with world.store.halted_writer():
            answers = await start_calls(
                *(world.call(n, Status.RUNNING) for n in range(1, 11)),
                *(world.call(n, Status.RUNNING, progress=n, stage=Stage.FIRST) for n in range(11, 21)),
                *(world.call(n, Status.SUCCEEDED, payload='{"ok": true}') for n in range(21, 31)),
            )
            statements.clear()
        assert [type(answer) for answer in await answers] == [Applied] * 30
        updates = {sql for sql in statements if sql.startswith("UPDATE tasks")}  # traced again for each trigger
        assert len(updates) <= 2  # of 24 tasks and of 6
        statuses = [(await world.get(n)).task.status for n in (1, 20, 30)]
        assert statuses == ["RUNNING", "RUNNING", "SUCCEEDED"]


async def test_a_failing_change_does_not_affect_the_others(tmp_path: Path) -> None:
    """In one batch an unknown task, a bug and a broken rule fail alone; everything else is committed."""

    def illegal(db: sqlite3.Connection) -> None:
        db.execute("UPDATE tasks SET progress = 7 WHERE id = ?", (make_task_name(3),))
        db.execute("UPDATE tasks SET progress = 700 WHERE id = ?", (make_task_name(3),))

    async with World(tmp_path / "t.db") as world:
        for n in range(1, 4):
            await world.follow(n)
        async with world.store.halted_writer():
            answers = await start_calls(
                world.call(1, Status.RUNNING),
                world.call(99, Status.RUNNING),
                world.store.apply(make_observation(Status.RUNNING, task_id=make_task_name(3)), broken_judge),
                world.store.write(illegal),
                world.call(2, Status.RUNNING),
            )
        kinds = [type(answer) for answer in await answers]
        assert kinds == [Applied, TaskNotFound, ValueError, sqlite3.IntegrityError, Applied]
        assert [(await world.get(n)).task.status for n in (1, 2, 3)] == ["RUNNING", "RUNNING", "PENDING"]
        assert (await world.get(3)).task.progress is None
        assert [len(await world.store.list_events(make_task_name(n))) for n in (1, 2, 3)] == [1, 1, 0]


async def test_a_refusal_needs_no_transaction_of_its_own(tmp_path: Path) -> None:
    """An unknown task among fifty known ones does not make fifty-one transactions."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        statements = await world.store.trace()
        async with world.store.halted_writer():
            answers = await start_calls(
                *(world.call(n if n == 1 else 99, Status.RUNNING, progress=n) for n in range(1, 26)),
                *(world.at(1).poll_now(make_task_name(99)) for _ in range(25)),
            )
            statements.clear()
        assert sum(isinstance(answer, TaskNotFound) for answer in await answers) == 49
        assert statements.count("COMMIT") == 2
        assert "ROLLBACK" not in statements


async def test_repetitions_in_one_batch_are_seen(tmp_path: Path) -> None:
    """The same callback five times in one transaction is applied once and four times a duplicate."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        async with world.store.halted_writer():
            answers = await start_calls(*(world.call(1, Status.SUCCEEDED, at=10.0 + n) for n in range(5)))
        outcomes = [answer.outcome for answer in await answers if isinstance(answer, Applied)]
        assert outcomes == ["applied", *["duplicate"] * 4]
        events = await world.store.list_events(make_task_name(1))
        assert [event.outcome for event in events] == ["applied", "duplicate"]
        assert (await world.get()).task.callbacks == 5


async def test_a_canceled_caller_does_not_cancel_its_change(tmp_path: Path) -> None:
    """The change is still committed."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        async with world.store.halted_writer():
            waiter = asyncio.ensure_future(world.call(1, Status.RUNNING))
            await asyncio.sleep(0)
            waiter.cancel()
        await world.store.check_writable()
        assert waiter.cancelled()
        assert (await world.get()).task.status is Status.RUNNING


async def test_closing_commits_waiting_changes(tmp_path: Path) -> None:
    """A change made before the close is committed; one after it is refused."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        async with world.store.halted_writer():
            waiting = await start_calls(world.call(1, Status.RUNNING))
            closing = asyncio.ensure_future(world.store.close())
            await asyncio.sleep(0)
        await closing
        assert [type(answer) for answer in await waiting] == [Applied]
        with pytest.raises(StoreUnavailable, match="closed"):
            await world.call(1, Status.SUCCEEDED)
    async with World(tmp_path / "t.db") as world:
        assert (await world.get()).task.status is Status.RUNNING


async def test_a_listener_that_fails_blocks_no_caller(tmp_path: Path) -> None:
    """The caller gets its answer, and the other listeners are told; the failure is reported to the event loop."""
    reports: list[str] = []
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(str(context["exception"])))
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        world.store.subscribe_commits(broken_judge)
        world.store.subscribe_commits(told.append)
        world.store.subscribe_changes(lambda: told.append("changed"))
        applied = await world.call(1, Status.RUNNING)
        assert applied.task.status is Status.RUNNING
        assert told == [[applied], "changed"]
    assert reports == ["a bug"]


# -- callbacks without a task --------------------------------------------------------------------------------


async def test_old_parked_callbacks_are_deleted(tmp_path: Path) -> None:
    """Only those that are older; they are counted."""
    async with World(tmp_path / "t.db") as world:
        for n in range(4):
            await world.at(n).request_polls("suno", [ExternalId(f"x-{n}")], None)
        assert await world.store.delete_parked(older_than_s=1) == 2
        stats = await world.at(9).stats()
        assert stats["parked_callbacks"] == 2
        assert stats["log_bytes"] == (tmp_path / "t.db-wal").stat().st_size


async def test_rejected_callbacks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest ones stay, truncated."""
    monkeypatch.setattr("tracker.store.sqlite.unmatched.MAX_REJECTED", 3)
    async with World(tmp_path / "t.db") as world:
        for n in range(5):
            await world.store.record_rejected(provider="suno", http_status=400, why=f"why {n}", body="x" * 50_000)
        stored = world.edit("SELECT why, length(body) FROM rejected ORDER BY id")
        assert [why for why, _ in stored] == ["why 2", "why 3", "why 4"]
        assert {length for _, length in stored} == {16_384}


# -- what is due -------------------------------------------------------------------------------------------


async def test_the_sweep_reads_only_what_is_due(tmp_path: Path) -> None:
    """Lanes and claims use the index of due tasks and never scan the table."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 4):
            await world.follow(n)
        statements = await world.store.trace()
        await world.at(50).claim_due(LANE, 10, 40)
        (select,) = [sql for sql in statements if sql.strip().startswith("SELECT")]
        plans = [
            [row[3] for row in world.edit(f"EXPLAIN QUERY PLAN {sql}", *parameters)]
            for sql, parameters in ((LANES, (0,)), (select, ()))
        ]
        for plan in plans:
            steps_on_tasks = [step for step in plan if re.search(r"(SCAN|SEARCH) (tasks|next)", step)]
            assert steps_on_tasks
            assert all(re.search(r"INDEX tasks_due|INTEGER PRIMARY KEY", step) for step in steps_on_tasks), plan
        # the subquery has no more rows than are claimed
        assert not [step for step in plans[1] if re.search(r"SCAN (?!\(subquery)|TEMP B-TREE", step)]


@pytest.mark.parametrize(("due_in_s", "attempts"), [(-10, 0), (-10, 1), (3600, 1)], ids=["new", "due again", "waiting"])
async def test_a_claim_of_the_archive_costs_the_same_however_much_there_is(
    tmp_path: Path, due_in_s: float, attempts: int
) -> None:
    """It examines a limited number of items in the order of its choice: 10,000 cost it no more than 1,000."""
    async with World(tmp_path / "t.db") as world:
        await world.follow(1)
        add = (
            "WITH RECURSIVE item (n) AS (VALUES (?1) UNION ALL SELECT n + 1 FROM item WHERE n < ?2) "
            "INSERT INTO archives (task_id, identity, n, state, due_at, attempts, expires_at, created_at) "
            "SELECT ?3, n, n, 'pending', ?4, ?5, n, 0 FROM item"
        )
        due_at = round(after(due_in_s).timestamp() * 1000)
        world.edit(add, 1, 1000, make_task_name(1), due_at, attempts)
        few = await world.store.count_steps(lambda: world.store.claim_archives(10, 40))
        world.edit(add, 1001, 10_000, make_task_name(1), due_at, attempts)
        assert await world.store.count_steps(lambda: world.store.claim_archives(10, 40)) < 1.2 * few


# -- reading -----------------------------------------------------------------------------------------------


async def test_readers_never_wait_for_the_writer(tmp_path: Path) -> None:
    """While a transaction is open, reads return what was committed before."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        async with world.store.halted_writer():
            waiting = await start_calls(world.call(1, Status.RUNNING))
            assert (await world.get()).task.status is Status.PENDING
            assert (await world.at(1).stats())["tasks"]["PENDING"] == 1
        await waiting
        assert (await world.get()).task.status is Status.RUNNING


async def test_a_reader_never_blocks_the_writer(tmp_path: Path) -> None:
    """An open read transaction blocks no commit."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        reader = sqlite3.connect(f"file:{world.path}?mode=ro", uri=True, isolation_level=None)
        try:
            reader.execute("BEGIN")
            assert reader.execute("SELECT status FROM v_tasks").fetchall() == [("PENDING",)]
            await world.call(1, Status.RUNNING)
            assert reader.execute("SELECT status FROM v_tasks").fetchall() == [("PENDING",)]
            reader.execute("COMMIT")
            assert reader.execute("SELECT status FROM v_tasks").fetchall() == [("RUNNING",)]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM tasks")
        finally:
            reader.close()


async def test_reading_without_a_daemon(tmp_path: Path) -> None:
    """The file is enough, also while a daemon runs."""
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        for _ in range(2):
            reader = await open_reader(world.path)
            try:
                assert (await reader.get_task(make_task_name(1))).task.external_id == EXTERNAL_ID
            finally:
                await reader.close()
            await world.store.close()


# -- the views ---------------------------------------------------------------------------------------------

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_the_views_read_like_the_json(tmp_path: Path) -> None:
    """`v_tasks` has the names and the values of a task's public JSON."""
    async with World(tmp_path / "t.db") as world:
        await world.submit(1, labels={"user": "42"})
        await world.store.mark_sending(make_task_name(1), 60)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=make_task_name(1), at=0.123))
        await world.call(1, Status.RUNNING, stage=Stage.FIRST, at=1.999)
        await world.call(
            1,
            Status.SUCCEEDED,
            outputs=(make_output(title="R"), make_output(1)),
            payload='{"a":1}',
            at=9.001,
            finished_at=after(7),
            usage='{"seconds":182.4}',
            cost=Cost(Decimal("0.123456789"), "USD"),
        )
        await world.follow(2)
        await world.poll(2, Status.FAILED, error=UpstreamError("430", "no", 200), at=9.5, finished_at=after(10))
        for n in (1, 2):
            shown = task_json(await world.get(n))
            connection = sqlite3.connect(world.path)
            connection.row_factory = sqlite3.Row
            try:
                row = dict(connection.execute("SELECT * FROM v_tasks WHERE id = ?", (shown["id"],)).fetchone())
            finally:
                connection.close()
            assert (shown.pop("expected"), shown.pop("poll_after_s")) == (None, None), "they depend on the time"
            costs = {"cost_amount", "cost_currency", "cost_kind"}
            assert set(row) == {*shown, *costs, "duration_s", "queue_s", "noticed_after_s"} - {"cost"}
            assert list(row)[-4:] == ["labels", "outputs", "request", "result"], "the long ones come last"
            took_s = (row.pop("duration_s"), row.pop("queue_s"), row.pop("noticed_after_s"))
            assert took_s == ((9.001, 1.999, 2.001) if n == 1 else (9.5, None, 0.0)), "an upstream's clock may be ahead"
            cost = {name: row.pop(f"cost_{name}") for name in ("amount", "currency", "kind")}
            assert shown.pop("cost") == (cost if n == 1 else None)
            assert cost["amount"] == (0.123456789 if n == 1 else None)
            for name in ("error", "request", "result", "labels", "usage"):
                assert (row.pop(name) or "null") == json.dumps(shown[name], separators=(",", ":"))
                del shown[name]
            outputs = shown.pop("outputs")
            viewed = json.loads(row.pop("outputs"))
            assert [output["url"] for output in viewed] == [output["url"] for output in outputs]
            shown["retryable"] = None if shown["retryable"] is None else int(shown["retryable"])
            assert row == shown


async def test_every_view(tmp_path: Path) -> None:
    """Events, deliveries, outputs, and the slices of tasks: one row per thing, times as ISO 8601."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 4):
            await world.follow(n)
        await world.call(2, Status.SUCCEEDED, outputs=(make_output(), make_output(1, authenticated=True)))
        await world.call(3, Status.FAILED)
        await world.at(20).fan_out(lambda _: ["publish"], 100)
        ids = {
            view: [row[0] for row in world.edit(f"SELECT id FROM {view} ORDER BY id")]
            for view in ("v_tasks", "v_active", "v_finished", "v_failures")
        }
        one, two, three = (make_task_name(n) for n in (1, 2, 3))
        assert ids == {
            "v_tasks": [one, two, three],
            "v_active": [one],
            "v_finished": [two, three],
            "v_failures": [three],
        }
        ((at, source, old, new),) = world.edit(
            'SELECT at, source, "from", "to" FROM v_events WHERE task_id = ? AND seq > 0', two
        )
        assert ISO.fullmatch(at)
        assert (source, old, new) == ("callback", "PENDING", "SUCCEEDED")
        ((event, status, next_at, created, finished),) = world.edit(
            "SELECT event, status, next_attempt_at, created_at, finished_at FROM v_deliveries WHERE task_id = ?", two
        )
        assert (event, status, finished) == ("task.succeeded", "pending", None)
        assert ISO.fullmatch(next_at)
        assert created == next_at
        assert world.edit("SELECT n, kind, url FROM v_outputs WHERE task_id = ? ORDER BY n", two) == [
            (0, "audio", "https://cdn.example/song-0.mp3"),
            (1, "audio", None),
        ]


# -- hand edits --------------------------------------------------------------------------------------------

# REPLACE deletes without asking the triggers of DELETE
REPLACE_EVENT = """
    REPLACE INTO events (seq, task_id, at, source, outcome, from_status, to_status, detail, dedupe_key, reading)
    SELECT seq, task_id, at, source, 'ignored', from_status, to_status, detail, dedupe_key, reading FROM events
"""
REPLACE_TASK = """
    REPLACE INTO tasks (id, route, provider, account, asset, status, user_message, created_at, progress_at,
        submit_state)
    SELECT id, route, provider, account, asset, 'PENDING', '', 1, 1, 'queued' FROM tasks
"""
BORN_SUCCEEDED = """
    INSERT INTO tasks (id, route, provider, account, asset, status, user_message, created_at, progress_at, submit_state,
        outputs, finished_at)
    VALUES ('x', 'x', 'x', 'x', 'x', 'SUCCEEDED', '', 1, 1, 'accepted', '[{"kind":"x"}]', 1)
"""
EDITS = {
    "SUCCEEDED again PENDING": ("succeeded", "UPDATE tasks SET status = 'PENDING', finished_at = NULL"),
    "SUCCEEDED again RUNNING": ("succeeded", "UPDATE tasks SET status = 'RUNNING', finished_at = NULL"),
    "SUCCEEDED to FAILED": ("succeeded", "UPDATE tasks SET status = 'FAILED', reason = 'expired'"),
    "SUCCEEDED without outputs": ("succeeded", "UPDATE tasks SET outputs = '[]'"),
    "SUCCEEDED at another time": ("succeeded", "UPDATE tasks SET finished_at = 1"),
    "SUCCEEDED with a reason": ("succeeded", "UPDATE tasks SET reason = 'expired'"),
    "RUNNING to SUCCEEDED without outputs": ("running", "UPDATE tasks SET status = 'SUCCEEDED', finished_at = 1"),
    "RUNNING to FAILED without a reason": ("running", "UPDATE tasks SET status = 'FAILED', finished_at = 1"),
    "RUNNING to FAILED without a time": ("running", "UPDATE tasks SET status = 'FAILED', reason = 'expired'"),
    "RUNNING to PENDING": ("running", "UPDATE tasks SET status = 'PENDING'"),
    "RUNNING to nonsense": ("running", "UPDATE tasks SET status = 'DONE'"),
    "RUNNING with a reason": ("running", "UPDATE tasks SET reason = 'expired'"),
    "progress back": ("running", "UPDATE tasks SET progress = 49"),
    "progress gone": ("running", "UPDATE tasks SET progress = NULL"),
    "progress too far": ("running", "UPDATE tasks SET progress = 101"),
    "stage back": ("running", "UPDATE tasks SET stage = 'text'"),
    "stage gone": ("running", "UPDATE tasks SET stage = NULL"),
    "FAILED again RUNNING": ("failed", "UPDATE tasks SET status = 'RUNNING', reason = NULL, finished_at = NULL"),
    "FAILED with another reason": ("failed", "UPDATE tasks SET reason = 'canceled'"),
    "FAILED at another time": ("failed", "UPDATE tasks SET finished_at = 1"),
    "FAILED by the provider to SUCCEEDED": (
        "failed", """UPDATE tasks SET status = 'SUCCEEDED', reason = NULL, outputs = '[{"kind":"x"}]'"""
    ),
    "given up to SUCCEEDED without outputs": ("expired", "UPDATE tasks SET status = 'SUCCEEDED', reason = NULL"),
    "given up for another reason": ("expired", "UPDATE tasks SET reason = 'canceled'"),
    "outputs that are not a list": ("succeeded", "UPDATE tasks SET outputs = '{}'"),
    "outputs that are not objects": ("succeeded", "UPDATE tasks SET outputs = '[1]'"),
    "outputs that are not JSON": ("succeeded", "UPDATE tasks SET outputs = 'nonsense'"),
    "no outputs of a running task": ("running", "UPDATE tasks SET outputs = 'null'"),
    "accepted to be sent again": ("running", "UPDATE tasks SET submit_state = 'queued'"),
    "accepted to be on its way": ("running", "UPDATE tasks SET submit_state = 'sending'"),
    "another upstream id": ("succeeded", "UPDATE tasks SET external_id = 'other'"),
    "no upstream id": ("running", "UPDATE tasks SET external_id = NULL"),
    "another route": ("running", "UPDATE tasks SET route = 'suno.extend'"),
    "another account": ("running", "UPDATE tasks SET account = 'other'"),
    "another id": ("running", "UPDATE tasks SET id = 'other'"),
    "another birthday": ("running", "UPDATE tasks SET created_at = 1"),
    "text for a number": ("running", "UPDATE tasks SET polls = 'many'"),
    "an unfinished task deleted": ("running", "DELETE FROM tasks"),
    "its history deleted": ("running", "DELETE FROM events"),
    "an event's outcome": ("succeeded", "UPDATE events SET outcome = 'ignored'"),
    "an event's detail": ("succeeded", "UPDATE events SET detail = ''"),
    "an event's key": ("succeeded", "UPDATE events SET dedupe_key = ''"),
    "an event's reading": ("succeeded", "UPDATE events SET reading = '{}'"),
    "an event's announcement": ("succeeded", "UPDATE events SET announces = NULL"),
    "an event replaced": ("succeeded", REPLACE_EVENT),
    "a task replaced": ("succeeded", REPLACE_TASK),
    "born SUCCEEDED": ("none", BORN_SUCCEEDED),
}  # fmt: skip


@pytest.mark.parametrize("name", [*EDITS])
async def test_illegal_hand_edits_are_refused(tmp_path: Path, name: str) -> None:
    """The file itself enforces the rules, for any program that opens it."""
    standing, sql = EDITS[name]
    async with World(tmp_path / "t.db") as world:
        if standing != "none":
            await world.follow()
            await world.call(1, Status.RUNNING, stage=Stage.FIRST, progress=50)
        if standing == "succeeded":
            await world.call(1, Status.SUCCEEDED)
        if standing in {"failed", "expired"}:
            reason = Reason.EXPIRED if standing == "expired" else Reason.POLICY_REJECTED
            await world.call(1, Status.FAILED, reason=reason)
        before = (world.edit("SELECT * FROM tasks"), world.edit("SELECT * FROM events"))
        with pytest.raises(sqlite3.IntegrityError):
            world.edit(sql)
        assert (world.edit("SELECT * FROM tasks"), world.edit("SELECT * FROM events")) == before


async def test_legal_edits_are_allowed(tmp_path: Path) -> None:
    """Retention may drop payloads and finished tasks; a given-up task may be revived."""
    async with World(tmp_path / "t.db") as world:
        await world.follow(1)
        await world.call(1, Status.FAILED, reason=Reason.EXPIRED, payload="{}")
        world.edit("UPDATE events SET payload = NULL, snapshot = NULL")
        world.edit(
            """UPDATE tasks SET status = 'SUCCEEDED', reason = NULL, outputs = '[{"kind":"x"}]', finished_at = 5"""
        )
        assert (await world.get()).task.status is Status.SUCCEEDED
        world.edit("DELETE FROM events")
        world.edit("DELETE FROM tasks")
        assert world.edit("SELECT * FROM v_tasks") == []


async def test_archive_items_are_committed_with_the_output(tmp_path: Path) -> None:
    """Created in the transaction that stores the output, each once, as the archive chooses."""

    def choose(_: Task, output: Output) -> ArchiveWish | None:
        return ArchiveWish(after(99)) if output.kind == "audio" else None

    first, second, cover = (
        Output(kind, f"https://a.example/{n}") for n, kind in enumerate(["audio", "audio", "image"])
    )
    async with World(tmp_path / "t.db") as world:
        await world.follow()
        await world.call(1, Status.RUNNING, stage=Stage.TEXT, outputs=(cover,), at=11)  # nothing is archived yet
        assert await world.store.list_archives(make_task_name(1)) == []
        world.store.choose_archives(choose)
        await world.call(1, Status.RUNNING, stage=Stage.FIRST, outputs=(cover, first), at=12)
        trace = await world.store.trace()
        await world.call(1, Status.SUCCEEDED, outputs=(first, second, cover), at=13)
        assert [statement.split()[0] for statement in trace if statement.split()[0] in {"BEGIN", "COMMIT"}] == [
            "BEGIN",
            "COMMIT",
        ]
        planned = await world.store.list_archives(make_task_name(1))
        assert [(item.identity, item.expires_at) for item in planned] == [
            (first.url, after(99)),
            (second.url, after(99)),
        ]
        assert {item.state for item in planned} == {ArchiveState.PENDING}


async def test_a_trigger_stops_a_bug_of_the_program(tmp_path: Path) -> None:
    """A judge that would take an end back is stopped by the trigger; nothing of it is written."""

    def forget(task: Task, received: Observation, _: object) -> tuple[Step, ...]:
        back = {"status": Status.RUNNING, "outputs": (), "finished_at": None}
        fields = {name: getattr(task, name) for name in Task.__struct_fields__}
        changed = Task(**{**fields, **back})
        return (Step(received, "k", changed, applied.outcome, "", (), is_recorded=True),)

    async with World(tmp_path / "t.db") as world:
        await world.follow()
        applied = await world.call(1, Status.SUCCEEDED)
        with pytest.raises(sqlite3.IntegrityError, match="final"):
            await world.store.apply(make_observation(task_id=make_task_name(1)), forget)
        assert (await world.get()).task == applied.task
        assert len(await world.store.list_events(make_task_name(1))) == 1


def test_submit_states_match_the_schema() -> None:
    """The schema accepts every submit state of the rules."""
    schema = (Path(__file__).parents[2] / "tracker/store/sqlite/migrations/0001_initial.sql").read_text("utf-8")
    for word in (*SubmitState, *Reason, *Status, *Stage, *Source):
        assert f"'{word.value}'" in schema
