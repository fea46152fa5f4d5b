"""Traces: one of each task, from its submit to its hooks, as a collector of OpenTelemetry receives it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.kits.daemon import ApiClient, Setting, running_daemon
from tests.kits.hook_endpoint import SECRET, Endpoint
from tests.kits.processes import find_free_port
from tests.kits.sandbox import running
from tests.kits.waiting import until
from tracker.domain.task import TaskId
from tracker.domain.trace_ids import SpanId, parse_traceparent, root_of
from tracker.errors import ConfigError

SONG = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a kite"}
CALLER = SpanId(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
TRACEPARENT = f"00-{CALLER.trace:032x}-{CALLER.span:016x}-01"
SCRIPT = """#!/bin/sh
echo "$TRACEPARENT" >> {file}
"""


@dataclass(frozen=True)
class Span:
    """A span as the collector got it."""

    wire: WireSpan
    service: str

    @property
    def id(self) -> SpanId:
        """Its trace and its id."""
        return SpanId(int.from_bytes(self.wire.trace_id, "big"), int.from_bytes(self.wire.span_id, "big"))

    @property
    def parent(self) -> int:
        """The id of the span above, 0 for none."""
        return int.from_bytes(self.wire.parent_span_id, "big")

    @property
    def links(self) -> list[SpanId]:
        """The spans that it links to."""
        ids = [(int.from_bytes(link.trace_id, "big"), int.from_bytes(link.span_id, "big")) for link in self.wire.links]
        return [SpanId(*pair) for pair in ids]

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes."""
        return {item.key: getattr(item.value, str(item.value.WhichOneof("value"))) for item in self.wire.attributes}


@dataclass
class World:
    """A daemon, a sandbox gateway, a collector and a hook endpoint."""

    api: ApiClient
    collector: Endpoint
    hook: Endpoint
    seen_by_script: Path

    async def song(self, prompt: str = "a kite", **headers: str) -> TaskId:
        """Submit a song and wait for its end and its files."""
        body = {"route": "suno.generate", "request": {**SONG, "prompt": prompt}}
        async with self.api.session.post("/v1/tasks", json=body, headers=headers) as response:
            task = await response.json()
        await self.api.end_of(task)
        return TaskId(task["id"])


@asynccontextmanager
async def traced(directory: Path, **keys: str) -> AsyncIterator[World]:
    """Run everything; when this ends, the daemon has stopped and the collector has all spans."""
    collector, hook, seen = Endpoint(), Endpoint(), directory / "seen"
    await collector.start()
    await hook.start()
    script = directory / "script.sh"
    script.write_text(SCRIPT.format(file=seen))
    script.chmod(0o755)
    tables = f"""
[archive]
allow_private_addresses = true
[tracing]
endpoint = "{keys.pop("endpoint", collector.url.replace("/hook", "/v1/traces"))}"
headers_env = "OTLP_HEADERS"
{"".join(f"{key} = {value}" for key, value in keys.items())}
[[hooks]]
name = "script"
on = ["task.finished"]
run = ["{script}"]
[[hooks]]
name = "endpoint"
on = ["task.archived", "task.failed"]
url = "{hook.url}"
secret_env = "HOOK_SECRET"
allow_private_addresses = true
"""
    secrets = {"OTLP_HEADERS": "authorization=Bearer not-a-real-key, X-Team = media", "HOOK_SECRET": SECRET}
    try:
        async with running() as gateway:
            setting = Setting(gateway.sandbox.base_url, tables=tables, env=secrets)
            async with running_daemon(directory, setting) as api:
                yield World(api, collector, hook, seen)
    finally:
        await collector.close()
        await hook.close()


def received(collector: Endpoint) -> list[Span]:
    """What a collector got, decoded."""
    found = []
    for call in collector.calls:
        assert call.path == "/v1/traces"
        assert (call.headers["authorization"], call.headers["x-team"]) == ("Bearer not-a-real-key", "media")
        for resource in ExportTraceServiceRequest.FromString(call.body).resource_spans:
            names = {item.key: item.value.string_value for item in resource.resource.attributes}
            found += [Span(span, names["service.name"]) for scope in resource.scope_spans for span in scope.spans]
    return found


async def test_one_trace_from_the_submit_to_the_hooks(tmp_path: Path) -> None:
    """Every step is a span of the task's trace; hooks continue it, and a caller's trace and it name each other."""
    async with traced(tmp_path) as world:
        task_id = await world.song(traceparent=TRACEPARENT)
        (call,) = await world.hook.called()
        await until(world.seen_by_script.exists)
        failed_id = await world.song("a kite [sandbox: fail=policy]")
        await world.hook.called(2)
    spans = received(world.collector)
    assert {span.service for span in spans} == {"tracker"}
    root = root_of(task_id)
    of_task: dict[str, list[Span]] = {}
    for span in spans:
        if span.id.trace == root.trace:
            of_task.setdefault(span.wire.name.replace("poll suno", "callback suno"), []).append(span)
    names = ["POST /v1/tasks", "archive", "callback suno", "create suno.generate", "hook endpoint", "hook script"]
    assert sorted(of_task) == [*names, "task suno.generate"]
    (top,) = of_task.pop("task suno.generate")
    assert (top.id, top.parent, top.attributes["tracker.status"]) == (root, 0, "SUCCEEDED")
    assert {span.parent for listed in of_task.values() for span in listed} == {root.span}
    assert {span.attributes["tracker.task"] for listed in of_task.values() for span in listed} == {task_id}
    assert len(of_task["archive"]) == 2
    began = {name: listed[0].wire.start_time_unix_nano for name, listed in of_task.items()}
    assert began["POST /v1/tasks"] <= began["create suno.generate"] <= began["callback suno"]
    assert all(span.wire.end_time_unix_nano >= span.wire.start_time_unix_nano for span in spans)
    assert top.wire.end_time_unix_nano >= began["callback suno"]
    # what hooks do is below their runs
    assert parse_traceparent(call.headers["traceparent"]) == (of_task["hook endpoint"][0].id, True)
    first = world.seen_by_script.read_text().splitlines()[0]
    assert parse_traceparent(first) == (of_task["hook script"][0].id, True)
    # the caller's trace
    (of_caller,) = [span for span in spans if span.id.trace == CALLER.trace]
    assert (of_caller.parent, of_caller.links) == (CALLER.span, [root])
    assert of_task["POST /v1/tasks"][0].links == [CALLER]
    # an end that is a failure
    (failed,) = [span for span in spans if span.id == root_of(failed_id)]
    assert failed.wire.status.code == Status.STATUS_CODE_ERROR
    assert failed.wire.status.message == failed.attributes["tracker.reason"] == "policy_rejected"


async def test_tasks_that_are_not_sampled_leave_no_spans(tmp_path: Path) -> None:
    """Their hooks learn that; a sampled caller still sees its own request."""
    async with traced(tmp_path, ratio="0") as world:
        await world.song(traceparent=TRACEPARENT)
        await world.song(traceparent=TRACEPARENT.removesuffix("1") + "0")
        await world.hook.called(2)
        await until(world.seen_by_script.exists)
    assert [(span.wire.name, span.id.trace) for span in received(world.collector)] == [
        ("submit suno.generate", CALLER.trace)
    ]
    sampled = [parse_traceparent(line) for line in world.seen_by_script.read_text().splitlines()]
    assert all(found is not None and not found[1] for found in sampled)


@pytest.mark.parametrize("is_listening", [True, False], ids=["a collector that fails", "no collector"])
async def test_a_collector_that_is_down_costs_nothing(tmp_path: Path, is_listening: bool) -> None:
    """Tasks end, hooks run, and the daemon stops."""
    gone = {} if is_listening else {"endpoint": f"http://127.0.0.1:{find_free_port()}/v1/traces"}
    async with traced(tmp_path, **gone) as world:
        world.collector.status = 400
        await world.song()
        await world.hook.called()


def test_nothing_is_imported_when_it_is_off() -> None:
    """The daemon without ``[tracing]`` does not load OpenTelemetry."""
    code = "import sys, tracker.daemon.process; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were not installed."""
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "tracker.tracing"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)


@pytest.mark.usefixtures("without_library")
async def test_without_the_extra_the_start_says_how_to_install_it(tmp_path: Path) -> None:
    """One line, with the key and the fix."""
    with pytest.raises(ConfigError, match=r"tracing\.endpoint: .*install task-tracker\[otel\], or remove the key"):
        async with traced(tmp_path):
            pass


async def test_headers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The message names the key and not the value, which is a secret."""
    setting = Setting(
        tables='[tracing]\nendpoint = "http://127.0.0.1:9/v1/traces"\nheaders_env = "H"', env={"H": "Bearer s3cret"}
    )
    with pytest.raises(ConfigError) as caught:
        async with running_daemon(tmp_path, setting):
            await asyncio.sleep(0)
    assert "tracing.headers_env" in str(caught.value)
    assert "s3cret" not in str(caught.value)
