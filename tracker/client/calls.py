"""Every call of the API as data: what is sent, and whether it may be sent again. Must not send anything."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

Json = Any

ANSWER_S: Final = 30.0
"""How long an answer may take."""
SUBMIT_ANSWER_S: Final = 300.0
"""The same for a create: the daemon answers after the first attempt, which has the result of a synchronous route."""
LONGEST_WAIT_S: Final = 60.0
"""How long the daemon waits at most."""
SHORTEST_WAIT_S: Final = 0.2
"""A wait that is over so soon is not asked for again at once."""
SILENCE_S: Final = 40.0
"""A stream sends something every 15 seconds: after so long without it, the daemon counts as disconnected."""
STREAM_PATH: Final = "/v1/stream"
STRICT: Final = "handling=strict"
"""The preference that unknown fields are refused."""
_WAIT_MARGIN_S: Final = 15.0
_PRICE: Final = "tracker-price"

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

Filter = str | int | datetime | Mapping[str, str] | None


class Call(NamedTuple):
    """One request.

    Attributes:
        body: is sent as JSON; None: there is none.
        answer_s: how long the answer may take, in seconds.
        is_repeatable: twice is as once: it reads, or has an idempotency key.
    """

    method: str
    path: str
    query: Mapping[str, str] = _NOTHING
    body: Json = None
    headers: Mapping[str, str] = _NOTHING
    answer_s: float = ANSWER_S
    is_repeatable: bool = True

    @property
    def target(self) -> str:
        """The path with the query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def task_path(task_id: str, *rest: str) -> str:
    """The path of a task, or of something below it."""
    return "/".join(["/v1/tasks", quote(task_id, safe=""), *rest])


def make_query(filters: Mapping[str, Filter]) -> dict[str, str]:
    """Filters as a query: times as ISO 8601, ``labels`` as ``label.NAME``; None is left out.

    Raises:
        ValueError: a time has no time zone.
    """
    query: dict[str, str] = {}
    for name, value in filters.items():
        if isinstance(value, Mapping):
            query |= {f"label.{label}": text for label, text in value.items()}
        elif isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(
                    f"{name}: the time {value.isoformat()} has no time zone; use for example datetime.now(UTC)"
                )
            query[name] = value.isoformat()
        elif value is not None:
            query[name] = str(value)
    return query


def submit(
    route: str,
    request: Mapping[str, Json],
    *,
    labels: Mapping[str, str] | None = None,
    account: str | None = None,
    idempotency_key: str | None = None,
    strict: bool = False,
    wait: bool = True,
) -> Call:
    """Create a paid task. Without a key it gets one of its own, so that a repetition never pays twice.

    With ``strict``, fields that no document of the route names are refused. With ``wait`` the answer comes after the
    first attempt, else as soon as the task is stored.
    """
    key = f"client-{uuid.uuid4()}" if idempotency_key is None else idempotency_key
    preferences = [*([STRICT] if strict else []), *([] if wait else ["respond-async"])]
    headers = {"Idempotency-Key": key} | ({"Prefer": ", ".join(preferences)} if preferences else {})
    body = make_body(route, request, labels=labels, account=account)
    return Call("POST", "/v1/tasks", body=body, headers=headers, answer_s=SUBMIT_ANSWER_S if wait else ANSWER_S)


def make_body(
    route: str,
    request: Mapping[str, Json],
    *,
    labels: Mapping[str, str] | None = None,
    account: str | None = None,
) -> dict[str, Json]:
    """What describes a new task."""
    return _body(route=route, request=dict(request), labels=labels, account=account)


def check(body: Mapping[str, Json], *, strict: bool = False, answer_s: float = ANSWER_S) -> Call:
    """Have a submit checked; nothing is sent to the upstream."""
    headers = {"Prefer": STRICT} if strict else {}
    return Call("POST", "/v1/tasks", body={**body, "dry_run": True}, headers=headers, answer_s=answer_s)


def read_price(headers: Mapping[str, str]) -> Json:
    """The price (JSON) of a request that was checked; None if it has no price, or its task exists."""
    return json.loads(headers.get(_PRICE) or "null")


def track(route: str, external_id: str, *, labels: Mapping[str, str] | None = None, account: str | None = None) -> Call:
    """Follow a job that was created elsewhere. The same id again finds the same task."""
    return Call("POST", "/v1/tasks", body=_body(route=route, external_id=external_id, labels=labels, account=account))


def get_task(task_id: str, wait_s: float = 0.0) -> Call:
    """A task, at once or at its end, at the latest after ``wait_s`` seconds."""
    wait_s = min(wait_s, LONGEST_WAIT_S)
    query = {"wait": f"{wait_s:.3f}"} if wait_s > 0 else {}
    return Call("GET", task_path(task_id), query, answer_s=wait_s + _WAIT_MARGIN_S if query else ANSWER_S)


def list_tasks(query: Mapping[str, str]) -> Call:
    """A page of tasks, newest first."""
    return Call("GET", "/v1/tasks", query)


def about_task(task_id: str, what: str) -> Call:
    """What belongs to a task: ``events``, ``deliveries``, ``why`` or ``archive``."""
    return Call("GET", task_path(task_id, what))


def get_output(task_id: str, number: int) -> Call:
    """The archived file of an output."""
    return Call("GET", task_path(task_id, "outputs", str(number)))


def get_route(route: str, account: str | None = None) -> Call:
    """A route, and what a request of it needs."""
    return Call("GET", f"/v1/routes/{quote(route, safe='')}", {} if account is None else {"account": account})


def poll(task_id: str) -> Call:
    """Have the upstream asked now."""
    return Call("POST", task_path(task_id, "poll"), answer_s=SUBMIT_ANSWER_S)


def cancel(task_id: str) -> Call:
    """Stop following a task."""
    return Call("POST", task_path(task_id, "cancel"), is_repeatable=False)


def archive(task_id: str) -> Call:
    """Have a task's missing files archived."""
    return Call("POST", task_path(task_id, "archive"))


def resubmit(task_id: str, idempotency_key: str | None = None) -> Call:
    """Send the request of a task again, as a new paid task; without a key once."""
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    path = task_path(task_id, "resubmit")
    return Call("POST", path, body={"confirm": True}, headers=headers, answer_s=SUBMIT_ANSWER_S)


def adopt(task_id: str, external_id: str) -> Call:
    """Give a task whose create got no clear answer the upstream's id."""
    return Call("POST", task_path(task_id, "adopt"), body={"external_id": external_id}, is_repeatable=False)


def stream(query: Mapping[str, str], position: int | None) -> Call:
    """The stream of events after a position; None: from now on."""
    headers = {"Accept": "text/event-stream"} | ({} if position is None else {"Last-Event-ID": str(position)})
    return Call("GET", STREAM_PATH, query, headers=headers, answer_s=SILENCE_S)


def _body(**fields: Json) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}
