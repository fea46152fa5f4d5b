"""Short calls of the readers of a provider, and payloads with defaults."""

from __future__ import annotations

from typing import Any

import orjson

from tests.kits.clock import RECORDED_AT
from tracker.domain.observation import Reading, Submission
from tracker.domain.upstream_http import WireReply
from tracker.providers.provider import Provider
from tracker.providers.registry import Registry
from tracker.providers.route import Route

REGISTRY = Registry()
URL = "https://cdn.example.com/1.mp4"
DASHSCOPE, KLING, SUNO = "dashscope.video", "kling.omni-video", "suno.generate"
ROUTES = (DASHSCOPE, KLING, SUNO)
REFUSED, DEFERRED, AMBIGUOUS = Submission.REFUSED, Submission.DEFERRED, Submission.AMBIGUOUS


def known(name: str) -> tuple[Route, Provider]:
    """A route and its provider."""
    route = REGISTRY.find_route(name)
    assert route is not None
    return route, REGISTRY.provider_of(route)


def reply(body: object, status: int = 200, **headers: str) -> WireReply:
    """An HTTP reply; bytes are unchanged, anything else becomes JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return WireReply(status, {key.replace("_", "-"): value for key, value in headers.items()}, raw, RECORDED_AT)


def create(name: str, body: object, status: int = 200, **headers: str) -> Reading:
    """Read the reply to a create."""
    route, provider = known(name)
    return provider.read_create(route, reply(body, status, **headers))


def poll(name: str, body: object, status: int = 200, **headers: str) -> Reading:
    """Read the reply to a poll."""
    route, provider = known(name)
    return provider.read_poll(route, reply(body, status, **headers))


def callback(name: str, body: object) -> Reading:
    """Read a callback."""
    route, provider = known(name)
    return provider.read_callback(route, body)


def urls(reading: Reading) -> list[str | None]:
    """The URLs of a reading's outputs."""
    return [output.url for output in reading.outputs]


def dashscope_task(status: object, **output: object) -> dict[str, Any]:
    """A DashScope reply about a task."""
    return {"request_id": "r", "output": {"task_id": "d-1", "task_status": status, **output}}


def kling_task(status: object, **data: object) -> dict[str, Any]:
    """A Kling reply about a task; its message is always SUCCEED."""
    return {"code": 0, "message": "SUCCEED", "data": {"task_id": "k-1", "task_status": status, **data}}


def suno_task(status: object, tracks: object = None, **data: object) -> dict[str, Any]:
    """A Suno reply about a song."""
    response = None if tracks is None else {"sunoData": tracks}
    return {
        "code": 200,
        "msg": "success",
        "data": {"taskId": "s-1", "status": status, "response": response, **data},
    }


def suno_callback(phase: object, tracks: object = None, **body: object) -> dict[str, Any]:
    """A wrapped Suno callback."""
    return {"code": 200, "data": {"callbackType": phase, "task_id": "s-1", "data": tracks}, **body}
