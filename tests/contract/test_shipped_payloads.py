"""Every recorded payload of a shipped provider file is read as its ``expect`` says, and judged by the rules after it.

A payload is ``tests/payloads/declared/<provider>/<case>.json``, in the form of the other payloads. Its kind is
``create_response``, ``query_response``, ``callback`` or ``result_response`` (the reply to the second call, after
``status_body``).
"""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kits.clock import RECORDED_AT
from tests.kits.payloads import DECLARED, make_task
from tracker.daemon.provider_files import list_shipped
from tracker.domain.judge import judge
from tracker.domain.observation import Observation, Reading, Source, Submission
from tracker.domain.records import iso
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import ExternalId, Output
from tracker.domain.upstream_http import WireReply
from tracker.errors import PayloadInvalid
from tracker.providers.declared import load_declared
from tracker.providers.registry import Registry
from tracker.providers.route import Created, Route

REGISTRY = Registry(
    load_declared({f"{n}.toml": file.read_text(encoding="utf-8") for n, file in list_shipped().items()})
)
CASES = sorted(DECLARED.glob("*/*.json"))
SOURCES = {"create_response": Source.SUBMIT, "callback": Source.CALLBACK}
KINDS = {"create_response", "query_response", "callback"}
REASONS = {"quota_exhausted", "invalid_request", "rate_limited"}
"""Refusals that the payloads of every provider have."""
QUOTA_UNNAMED = frozenset({"veo"})
"""Nothing in this API tells a used up quota from a rate limit."""
NOT_CALLED_BACK = frozenset({"runway", "veo"})
every_case = pytest.mark.parametrize("file", CASES, ids=lambda file: f"{file.parent.name}/{file.stem}")


def content_of(file: Path) -> dict[str, Any]:
    """The payload in a file."""
    content: dict[str, Any] = orjson.loads(file.read_bytes())
    return content


def route_of(file: Path) -> Route:
    """The route that reads a payload."""
    named = content_of(file).get("route") or tomllib.loads((file.parent / "family.toml").read_text())["route"]
    route = REGISTRY.find_route(named)
    assert route is not None, named
    return route


def reply_of(content: dict[str, Any], key: str = "body") -> WireReply:
    """A body of a payload as an HTTP reply; a status before a result came with HTTP 200."""
    status = content["http_status"] if key == "body" else 200
    return WireReply(status, content["headers"], orjson.dumps(content[key]), RECORDED_AT)


def read(route: Route, content: dict[str, Any]) -> Reading:
    """Read a payload by its kind."""
    provider = REGISTRY.provider_of(route)
    match content["kind"]:
        case "create_response":
            return provider.read_create(route, reply_of(content))
        case "callback":
            return provider.read_callback(route, content["body"])
        case "result_response":
            status = reply_of(content, "status_body")
            created = Created("m", {"model": "owner/app/path"})
            assert provider.result_request(route, ExternalId("t"), created, status) is not None
            return provider.read_poll(route, provider.join_result(route, status, reply_of(content)))
        case _:
            return provider.read_poll(route, reply_of(content))


@every_case
def test_payload_of_a_shipped_provider_is_read_as_expected(file: Path) -> None:
    """Status, id, outputs, reason and error are those of the documents; a refusal is never an unknown result."""
    content, route = content_of(file), route_of(file)
    expect, kind = content["expect"], content["kind"]
    reading = read(route, content)
    task = make_task(route, "create" if kind == "create_response" else "poll", expect["task_id"])
    attempt = 1 if kind == "create_response" else 0
    observation = Observation(task.id, SOURCES.get(kind, Source.POLL), RECORDED_AT, reading, attempt=attempt)
    step = judge(task, observation, lambda _key: False, PollTiming(PollPolicy(), route.poll_interval_s))[-1]
    unchanged = step.task.status is task.status
    assert expect["status"] == (None if unchanged and expect["status"] is None else step.task.status.value)
    assert reading.submission is not Submission.AMBIGUOUS
    assert reading.external_id == expect["task_id"]
    assert [output.url for output in reading.outputs] == expect["output_urls"]
    assert (step.task.reason or reading.reason) == expect["reason"]
    assert iso(reading.finished_at) == expect.get("finished_at")
    error = reading.error
    assert (error.code if error else None) == expect["error_code"]
    assert (error.message if error else None) == expect["error_message"]
    assert reading.progress == expect.get("progress")
    assert reading.retry_after_s == expect.get("retry_after_s")
    assert (None if reading.cost is None else str(reading.cost)) == expect.get("cost")
    assert (None if reading.usage is None else orjson.loads(reading.usage)) == expect.get("usage")
    check_outputs(reading.outputs, expect)


def check_outputs(outputs: tuple[Output, ...], expect: dict[str, Any]) -> None:
    """Lengths and keys are as expected."""
    assert [output.duration_s for output in outputs] == expect.get("durations_s", [None] * len(outputs))
    assert all(output.key_header == expect.get("key_header") for output in outputs)
    is_behind_key = "key_header" in expect or expect.get("authenticated", False)
    assert all(output.authenticated is is_behind_key for output in outputs)


@every_case
def test_a_callback_of_a_shipped_provider_names_its_task(file: Path) -> None:
    """The id is found without knowing the route."""
    content, route = content_of(file), route_of(file)
    if content["kind"] == "callback":
        found = REGISTRY.provider_of(route).callback_ids(content["body"])
        assert found == (content["expect"]["task_id"],)


@pytest.mark.parametrize("name", list_shipped())
def test_every_shipped_provider_has_its_payloads(name: str) -> None:
    """Creates, polls with each listed status, the kinds of refusals, and callbacks where there are any."""
    contents = [content_of(file) for file in CASES if file.parent.name == name]
    assert {content["kind"] for content in contents} >= KINDS - ({"callback"} if name in NOT_CALLED_BACK else set())
    wanted = REASONS - ({"quota_exhausted"} if name in QUOTA_UNNAMED else set())
    assert wanted <= {one["expect"]["reason"] for one in contents if one["kind"] == "create_response"}
    declared = tomllib.loads(list_shipped()[name].read_text(encoding="utf-8"))
    provider = REGISTRY.provider_named(name)
    assert provider is not None
    readings = [read(provider.routes[0], one) for one in contents if one["kind"] != "create_response"]
    seen = {(reading.upstream_status or "").casefold() for reading in readings}
    listed = {said.casefold() for said in declared["statuses"]} - {"starting", "pending", "queued"}
    assert listed <= seen
    assert all(one.get("source") or one["basis"] == "I" for one in contents)


@pytest.mark.parametrize("seed", range(5))
@every_case
def test_a_damaged_payload_of_a_shipped_provider_raises_nothing_else(file: Path, seed: int) -> None:
    """Values of any type in any place are read, or are invalid; nothing else is raised."""
    content, route = content_of(file), route_of(file)
    dice = random.Random(f"{file.stem}{seed}")
    for key in ("body", "status_body") if content["kind"] == "result_response" else ("body",):
        content[key] = damage(content[key], dice)
    try:
        reading = read_loosely(route, content)
    except PayloadInvalid:
        assert content["kind"] == "callback"
    else:
        assert isinstance(reading, Reading)


def read_loosely(route: Route, content: dict[str, Any]) -> Reading:
    """Read a payload whose status may no longer lead to a second call."""
    if content["kind"] != "result_response":
        return read(route, content)
    provider = REGISTRY.provider_of(route)
    status = reply_of(content, "status_body")
    provider.result_request(route, ExternalId("t"), Created(), status)
    return provider.read_poll(route, provider.join_result(route, status, reply_of(content)))


def damage(value: Any, dice: random.Random) -> Any:  # noqa: ANN401 - JSON of any shape
    """The value with some parts of it replaced."""
    if dice.random() < 0.15:
        return dice.choice([None, True, 0, -1.5, 1e300, "", "x", "{", [], {}, [None], {"a": [1]}, ["https://e.com/a"]])
    if isinstance(value, dict):
        return {key: damage(inner, dice) for key, inner in value.items()}
    return [damage(inner, dice) for inner in value] if isinstance(value, list) else value
