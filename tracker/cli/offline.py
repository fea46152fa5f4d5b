"""Reads the database file while no daemon runs: the same JSON as the daemon's. Read-only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tracker import __version__
from tracker.cli.client import Json
from tracker.cli.exits import BAD_CONFIG, FAILED, USAGE, Failure, for_same_config
from tracker.daemon.provider_files import read_registry
from tracker.domain.attempts import delivery_detail_json
from tracker.domain.exports import export_json
from tracker.domain.records import delivery_json, event_json, page_json, task_json, to_json
from tracker.domain.report import ReportFilter
from tracker.domain.route_views import RouteView
from tracker.domain.task import TaskId
from tracker.domain.text import sentence
from tracker.domain.user_messages import use_messages
from tracker.domain.why import explain
from tracker.errors import DeliveryNotFound, RequestInvalid, StoreDamaged, TaskNotFound
from tracker.logs import Redactor
from tracker.server.queries import DELIVERY_LIST, REPORT, TASK_LIST, Parameter, parse_query, refuse_unknown_names
from tracker.store.sqlite import open_reader
from tracker.store.sqlite.backup_files import damaged
from tracker.store.values import DeliveryFilter, TaskFilter

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.domain.durations import Durations
    from tracker.domain.history import TaskHistory
    from tracker.domain.records import TaskRecord
    from tracker.store.protocol import Reader
    from tracker.store.values import Page

_Result = TypeVar("_Result")


class Offline:
    """The file of one configuration. Its methods raise the errors of the store, see `tracker.cli.exits.report_errors`.

    Args:
        config: has the path of the file and the poll policies.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        use_messages(config.messages.sentences(), config.messages.assets)

    def task(self, task_id: str) -> Json:
        """One task."""

        async def read(reader: Reader) -> tuple[TaskRecord, Durations]:
            return await reader.get_task(TaskId(task_id)), await reader.read_durations()

        record, durations = self._run(read)
        return task_json(record, durations.outlook(record.task, datetime.now(UTC)))

    def events(self, task_id: str) -> Json:
        """The history of a task."""
        return {"items": list(map(event_json, self._run(lambda reader: reader.list_events(TaskId(task_id)))))}

    def export(self, task_id: str) -> Json:
        """The document of a task, see `tracker.domain.exports`."""
        found = self._run(lambda reader: reader.read_export(TaskId(task_id)))
        route = read_registry(self._config.providers_path).find_route(found.record.task.route)
        shown = None if route is None else to_json(RouteView, route, route=route.name)
        redactor = Redactor(self._config.known_secrets())
        return export_json(found, route=shown, tracker=__version__, at=datetime.now(UTC), redact=redactor.value)

    def why(self, task_id: str) -> Json:
        """The explanation of a task, without what only a running daemon knows."""

        async def read(reader: Reader) -> tuple[TaskHistory, Durations]:
            return await reader.read_history(TaskId(task_id)), await reader.read_durations()

        history, durations = self._run(read)
        task = history.task
        account = self._config.accounts.get(task.account)
        limit = None if account is None else account.max_in_flight
        policy = self._config.poll_policy(task.provider)
        explanation = explain(history, policy, datetime.now(UTC), max_in_flight=limit, durations=durations)
        if explanation["next"]:
            note = for_same_config("No daemon is running, so nothing happens. Start it with: tracker serve")
            explanation["notes"].append(note)
        return explanation

    def tasks(self, query: Mapping[str, str]) -> Json:
        """A page of tasks; ``query`` as in ``GET /v1/tasks``."""
        wanted = TaskFilter(**_parse(query, TASK_LIST))

        async def read(reader: Reader) -> tuple[Page, Durations]:
            return await reader.list_tasks(wanted), await reader.read_durations()

        page, durations = self._run(read)
        if not page.items:
            names = read_registry(self._config.providers_path).names()
            with _as_usage():
                refuse_unknown_names(query, {**names, "account": self._config.accounts})
        now = datetime.now(UTC)
        items = (task_json(record, durations.outlook(record.task, now)) for record in page.items)
        return page_json(items, page.next_cursor, is_cut=page.is_cut)

    def delivery(self, delivery_id: str) -> Json:
        """One delivery."""
        return delivery_detail_json(self._run(lambda reader: reader.get_delivery(delivery_id)))

    def deliveries(self, query: Mapping[str, str]) -> Json:
        """A page of deliveries; ``query`` as in ``GET /v1/deliveries``."""
        wanted = DeliveryFilter(**_parse(query, DELIVERY_LIST))
        page = self._run(lambda reader: reader.list_all_deliveries(wanted))
        return page_json(map(delivery_json, page.items), page.next_cursor, is_cut=page.is_cut)

    def report(self, query: Mapping[str, str]) -> Json:
        """A report; ``query`` as in ``GET /v1/report``."""
        wanted = _parse(query, REPORT)
        report_filter = ReportFilter(wanted["by"], wanted["since"], wanted.get("until"))
        return self._run(lambda reader: reader.read_report(report_filter)).json()

    def overview(self) -> Json:
        """What the file alone shows of ``tracker status``."""
        stats = self._run(lambda reader: reader.stats())
        hooks = [
            {"name": name, "state": "unknown", "deliveries": {**dict.fromkeys(stats["deliveries"], 0), **counts}}
            for name, counts in self.count_deliveries().items()
        ]
        return {"stats": stats, "hooks": hooks}

    def count_deliveries(self) -> Json:
        """Counts of deliveries: hook -> status -> count."""
        return self._run(lambda reader: reader.count_deliveries())

    def _run(self, read: Callable[[Reader], Awaitable[_Result]]) -> _Result:
        async def with_reader() -> _Result:
            reader = await open_reader(self._config.store_path)
            try:
                return await read(reader)
            finally:
                await reader.close()

        try:
            return asyncio.run(with_reader())
        except (TaskNotFound, DeliveryNotFound) as error:
            raise Failure([sentence(error)], FAILED) from error
        except StoreDamaged as error:
            raise Failure([str(damaged(self._config.store_path, error.error))], BAD_CONFIG) from error


def _parse(query: Mapping[str, str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    with _as_usage():
        return parse_query(query.items(), parameters)


@contextmanager
def _as_usage() -> Iterator[None]:
    try:
        yield
    except RequestInvalid as error:
        raise Failure([str(error)], USAGE) from error
