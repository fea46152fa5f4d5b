"""Observations become history: judged together, written together, inside one of the writer's transactions."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

from tracker.domain.statuses import Source
from tracker.errors import NotAdoptable, StoreError, TaskNotFound
from tracker.store.sqlite import inline_data, outbox
from tracker.store.sqlite.archives import plan
from tracker.store.sqlite.rows import TASK, batches, enum_text, stored_text, task_update, tasks_from, to_ms
from tracker.store.sqlite.unmatched import unpark
from tracker.store.values import Applied, Judge

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from tracker.domain.judge import Step
    from tracker.domain.observation import Observation
    from tracker.domain.task import ExternalId, Task, TaskId
    from tracker.store.values import ArchiveChoice

MAX_PAYLOAD_CHARS = 65_536
"""A longer payload is not stored, except for the one that ends a task."""

# One row for all that a batch needs: for each row and statement the interpreter's lock goes from this thread to the
# event loop and back, and under load that costs more than the work itself.
_LOAD = f"""
    SELECT
        (SELECT json_group_array({TASK}) FROM tasks
         WHERE id IN (SELECT value FROM json_each(:ids))),
        (SELECT json_group_array(task_id || ' ' || dedupe_key) FROM events
         WHERE task_id IN (SELECT value FROM json_each(:ids))),
        (SELECT seq FROM sqlite_sequence WHERE name = 'events')
"""
_EVENT_COLUMNS = (
    "seq, task_id, at, source, stage, outcome, from_status, to_status, detail, dedupe_key, reading, announces, "
    "snapshot, payload"
)
_OPERATOR = Source.OPERATOR
_EVENT_WIDTH = _EVENT_COLUMNS.count(",") + 1


def apply_all(
    db: sqlite3.Connection, batch: Sequence[tuple[Observation, Judge]], choose: ArchiveChoice
) -> list[Applied | StoreError]:
    """Judge observations in their order and write what follows from them, the archive's work on new outputs included.

    One read and one write for the batch: statement by statement the same costs several times as much. Observations of
    one task see each other's effect.

    Returns:
        For each its effect, `TaskNotFound`, or `NotAdoptable`.
    """
    ids = orjson.dumps(list({observation.task_id for observation, _ in batch})).decode()
    rows, keys, last_seq = db.execute(_LOAD, {"ids": ids}).fetchone()
    loaded = {task.id: task for task in tasks_from(rows)}
    history = _History(last_seq or 0, set(orjson.loads(keys)))
    tasks = dict(loaded)
    answers: list[Applied | StoreError] = []
    for observation, judge in batch:
        task = tasks.get(observation.task_id)
        if task is None:
            answers.append(TaskNotFound(f"no task has the id {observation.task_id}"))
            continue
        if observation.source is _OPERATOR:
            other = _find_other(db, tasks, task, observation.reading.external_id)
            if other is not None:
                answers.append(NotAdoptable(f"task {other} has it already"))
                continue
        light, data = inline_data.split_off(observation)
        steps = judge(task, light, history.knows(task.id))
        after, announced = task, False
        for step in steps:
            after = history.take(step, after)
            announced = announced or bool(step.announces)
        if after.external_id is not None and after.external_id != task.external_id:
            after = unpark(db, after, observation.observed_at)
        tasks[task.id] = after
        if data:
            inline_data.store(db, task, after, data)
        answers.append(
            Applied(
                task=after,
                outcome=steps[0].outcome,
                confirm=after.due_at is not None and after.due_at <= observation.observed_at,
                announced=announced,
                ended_by=observation.source if after.status.is_terminal and after.status is not task.status else None,
                observation=observation,
            )
        )
    _insert_events(db, history.rows)
    if history.announced:
        outbox.put(db, history.announced)
    _write_tasks(db, loaded, tasks)
    changed = [task for task in tasks.values() if task.outputs and task.outputs is not loaded[task.id].outputs]
    if changed:
        plan(db, changed, choose, batch[-1][0].observed_at)
    return answers


def _find_other(
    db: sqlite3.Connection, tasks: Mapping[TaskId, Task], task: Task, external_id: ExternalId | None
) -> TaskId | None:
    """Another task of the same route and account with this upstream id, as it is after the observations so far."""
    if external_id is None:
        return None
    wanted = (external_id, task.route, task.account)
    for other in tasks.values():
        if other.id != task.id and (other.external_id, other.route, other.account) == wanted:
            return other.id
    row = db.execute(
        "SELECT id FROM tasks WHERE external_id = ? AND route = ? AND account = ? AND id <> ? ORDER BY id LIMIT 1",
        (*wanted, task.id),
    ).fetchone()
    return None if row is None else row[0]


class _History:
    """The events of a transaction, gathered before they are written."""

    def __init__(self, last_seq: int, seen: set[str]) -> None:
        self._seq = last_seq
        self._seen = seen
        """Each event as task id and key with a space between."""
        self.rows: list[tuple[Any, ...]] = []
        self.announced: list[int] = []
        """The events that go into the outbox."""

    def knows(self, task_id: TaskId) -> Callable[[str], bool]:
        """Whether the history of a task holds an event with a key."""
        seen = self._seen
        return lambda key: f"{task_id} {key}" in seen

    def take(self, step: Step, before: Task) -> Task:
        """Add the event of a step; the task as it is to be written, with the reference to its result."""
        after = step.task
        if not step.is_recorded:
            return after
        self._seq += 1
        observation = step.observation
        ended = after.status.is_terminal and after.status is not before.status
        payload = observation.payload_text()
        if payload is not None and not ended and len(payload) > MAX_PAYLOAD_CHARS:
            payload = None
        if ended and payload is not None:
            after = replace(after, result_seq=self._seq)
        self._seen.add(f"{observation.task_id} {step.key}")
        if step.announces:
            self.announced.append(self._seq)
        self.rows.append(
            (
                self._seq,
                observation.task_id,
                to_ms(observation.observed_at),
                observation.source._value_,
                enum_text(observation.reading.stage),
                step.outcome._value_,
                before.status._value_,
                after.status._value_,
                step.detail,
                step.key,
                stored_text(observation.reading),
                " ".join(step.announces) or None,
                stored_text(after) if step.announces and not _is_final(after) else None,
                payload,
            )
        )
        return after


def _is_final(task: Task) -> bool:
    """Whether the row will never change again, so that hooks need no snapshot of it.

    A success may still gain outputs: a hook that runs late gets them, too.
    """
    return task.status.is_terminal and not task.is_given_up


def _insert_events(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for batch in batches(rows):
        db.execute(_insert_statement(len(batch)), list(chain.from_iterable(batch)))


@cache
def _insert_statement(count: int) -> str:
    row = f"({', '.join('?' * _EVENT_WIDTH)})"
    return f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES {', '.join([row] * count)}"


def _write_tasks(db: sqlite3.Connection, loaded: Mapping[TaskId, Task], tasks: Mapping[TaskId, Task]) -> None:
    """Write the tasks that changed, those with the same changed columns together."""
    updates: defaultdict[tuple[str, ...], list[list[Any]]] = defaultdict(list)
    for task_id, after in tasks.items():
        before = loaded[task_id]
        if after is not before:
            columns, values = task_update(before, after)
            updates[columns].append(values)
    for columns, rows in updates.items():
        for batch in batches(rows):
            values = list(chain.from_iterable(batch))
            if db.execute(_update_statement(columns, len(batch)), values).rowcount != len(batch):
                raise StoreError("a task was changed during the transaction that writes it")


@cache
def _update_statement(columns: tuple[str, ...], count: int) -> str:
    """Update so many rows, each given as id, version as loaded, and the new values; their lease ends with it.

    The holder of a create that is being sent stays until the create is decided: another process must not take it over.
    """
    assignments = "".join(f"{column} = new.column{position}, " for position, column in enumerate(columns, 3))
    holder = "NULL" if "submit_state" in columns else "iif(submit_state = 'sending', holder, NULL)"
    row = f"({', '.join('?' * (len(columns) + 2))})"
    return (
        f"UPDATE tasks SET {assignments}holder = {holder} FROM (VALUES {', '.join([row] * count)}) AS new "
        "WHERE tasks.id = new.column1 AND tasks.version = new.column2"
    )
