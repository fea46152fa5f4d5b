"""Reading commands on the database file while no daemon runs: the same JSON as the daemon's. Read-only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tracker.cli.exits import BAD_CONFIG, FAILED, UNAVAILABLE, USAGE, Failure
from tracker.domain.records import delivery_json, event_json, task_json
from tracker.domain.task import TaskId
from tracker.domain.why import explain
from tracker.errors import RequestInvalid, StoreDamaged, StoreUnavailable, StoreUnusable, TaskNotFound
from tracker.server.queries import DELIVERY_LIST, TASK_LIST, Parameter, parse_query
from tracker.store.sqlite import open_reader
from tracker.store.sqlite.backup_files import damaged
from tracker.store.values import DeliveryFilter, TaskFilter

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.store.protocol import Reader

Json = Any


def _parse(query: Mapping[str, str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    try:
        return parse_query(query.items(), parameters)
    except RequestInvalid as error:
        raise Failure([str(error)], USAGE) from error


class Offline:
    """The file of one configuration.

    Args:
        config: has the path of the file and the poll policies.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    def task(self, task_id: str) -> Json:
        """One task."""
        return self._run(self._task(TaskId(task_id)))

    def events(self, task_id: str) -> Json:
        """The history of a task."""
        return self._run(self._events(TaskId(task_id)))

    def why(self, task_id: str) -> Json:
        """The explanation of a task, without what only a running daemon knows."""
        return self._run(self._why(TaskId(task_id)))

    def tasks(self, query: Mapping[str, str]) -> Json:
        """A page of tasks; ``query`` as in ``GET /v1/tasks``."""
        return self._run(self._tasks(TaskFilter(**_parse(query, TASK_LIST))))

    def deliveries(self, query: Mapping[str, str]) -> Json:
        """A page of deliveries; ``query`` as in ``GET /v1/deliveries``."""
        wanted = DeliveryFilter(**_parse(query, DELIVERY_LIST))

        async def read(reader: Reader) -> Json:
            page = await reader.list_all_deliveries(wanted)
            return {"items": [delivery_json(item) for item in page.items], "next_cursor": page.next_cursor}

        return self._run(read)

    def count_deliveries(self) -> Json:
        """Counts of deliveries: hook -> status -> count."""
        return self._run(lambda reader: reader.count_deliveries())

    def _run(self, read: Callable[[Reader], Awaitable[Json]]) -> Json:
        async def with_reader() -> Json:
            reader = await open_reader(self._config.store_path)
            try:
                return await read(reader)
            finally:
                await reader.close()

        try:
            return asyncio.run(with_reader())
        except TaskNotFound as error:
            raise Failure([f"Not Found: {error}"], FAILED) from error
        except StoreUnusable as error:
            raise Failure([str(error)], BAD_CONFIG) from error
        except StoreDamaged as error:
            raise Failure([str(damaged(self._config.store_path, error.error))], BAD_CONFIG) from error
        except StoreUnavailable as error:
            raise Failure([str(error)], UNAVAILABLE) from error

    @staticmethod
    def _task(task_id: TaskId) -> Callable[[Reader], Awaitable[Json]]:
        async def read(reader: Reader) -> Json:
            return task_json(await reader.get_task(task_id))

        return read

    @staticmethod
    def _events(task_id: TaskId) -> Callable[[Reader], Awaitable[Json]]:
        async def read(reader: Reader) -> Json:
            return {"items": [event_json(event) for event in await reader.list_events(task_id)]}

        return read

    def _why(self, task_id: TaskId) -> Callable[[Reader], Awaitable[Json]]:
        async def read(reader: Reader) -> Json:
            history = await reader.read_history(task_id)
            account = explain(history, self._config.poll_policy(history.task.provider), datetime.now(UTC))
            if account["next"]:
                account["notes"].append("No daemon is running: nothing happens until tracker serve starts one.")
            return account

        return read

    @staticmethod
    def _tasks(wanted: TaskFilter) -> Callable[[Reader], Awaitable[Json]]:
        async def read(reader: Reader) -> Json:
            page = await reader.list_tasks(wanted)
            return {"items": [task_json(record) for record in page.items], "next_cursor": page.next_cursor}

        return read
