"""Models end to end: aliases, fallbacks, and the cached catalogue, against the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kits.daemon import NEVER_POLLS, ApiClient, Setting, running_daemon
from tests.kits.http_server import serving
from tracker.sandbox import Sandbox

TABLES = """
[models]
video = "nobody-has-this-model"
[models.staging]
video = { id = "wan-first", fallback = ["wan-second", "wan-third"] }
"""


def running(directory: Path, gateway: str) -> AbstractAsyncContextManager[ApiClient]:
    """A daemon on a gateway, in the environment ``staging``."""
    return running_daemon(directory, Setting(gateway, NEVER_POLLS, tables=TABLES, top='environment = "staging"'))


@asynccontextmanager
async def gateway_answering(answers: list[tuple[int, Any]]) -> AsyncIterator[tuple[str, list[Any]]]:
    """An upstream that answers creates in turn; its base URL and the bodies that it got."""
    bodies: list[Any] = []

    async def create(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        status, body = answers[len(bodies) - 1]
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/dashscope/v1/services/aigc/video-generation/video-synthesis", create)
    async with serving(app) as url:
        yield url, bodies


def order(model: str) -> dict[str, Any]:
    """A submit for a video."""
    return {"route": "dashscope.video", "request": {"model": model, "input": {"prompt": "a kite"}}}


async def test_a_fallback_is_tried_when_the_first_model_was_certainly_not_accepted(tmp_path: Path) -> None:
    """Two refused models, the third accepted: one task, with both refusals in its history."""
    answers = [
        (404, {"code": "ModelNotFound", "message": "no such model", "request_id": "r"}),
        (403, {"code": "AccessDenied", "message": "not in your plan", "request_id": "r"}),
        (200, {"output": {"task_id": "t-1", "task_status": "PENDING"}, "request_id": "r"}),
    ]
    async with gateway_answering(answers) as (gateway, bodies), running(tmp_path, gateway) as api:
        task = await api.submit(**order("@video"))
        details = [event["detail"] for event in await api.events(task)]
    assert [body["model"] for body in bodies] == ["wan-first", "wan-second", "wan-third"]
    assert (task["status"], task["external_id"], task["model"]) == ("PENDING", "t-1", "wan-third")
    assert "wan-first was refused (invalid_request ModelNotFound); trying wan-second instead" in details[0]
    assert "wan-second was refused (entitlement AccessDenied); trying wan-third instead" in details[1]


async def test_no_fallback_after_an_answer_that_may_have_been_paid(tmp_path: Path) -> None:
    """An unreadable answer is ambiguous: no second model is tried, although one is configured."""
    async with gateway_answering([(200, "hello")]) as (gateway, bodies), running(tmp_path, gateway) as api:
        task = await api.submit(**order("@video"))
    assert len(bodies) == 1
    assert (task["status"], task["reason"]) == ("FAILED", "submit_unknown")


async def test_no_fallback_for_a_request_that_breaks_the_rules(tmp_path: Path) -> None:
    """A request that the content rules refuse is not sent to another model."""
    refusal = (400, {"code": "DataInspectionFailed", "message": "inappropriate", "request_id": "r"})
    async with gateway_answering([refusal]) as (gateway, bodies), running(tmp_path, gateway) as api:
        task = await api.submit(**order("@video"))
    assert len(bodies) == 1
    assert (task["status"], task["reason"]) == ("FAILED", "policy_rejected")


async def test_an_unknown_alias_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """422 before anything is recorded or sent."""
    async with gateway_answering([]) as (gateway, bodies), running(tmp_path, gateway) as api:
        status, problem = await api.call("POST", "/v1/tasks", order("@film"))
        assert status == 422
    assert bodies == []
    assert problem["errors"] == [
        {"loc": ["request", "model"], "msg": "unknown alias '@film' in this environment; known: @video"}
    ]


async def test_the_catalogue_is_fetched_cached_and_shown_with_its_age(tmp_path: Path) -> None:
    """Both lists of the sandbox are stored; a configured model that is in neither is named."""
    async with Sandbox() as sandbox, running(tmp_path, sandbox.base_url) as api:
        _, synced = await api.call("POST", "/v1/models/sync")
        assert synced["problems"] == []
        stored = await api.get("/v1/models?account=default")
        assert stored["items"] == synced["items"] != []
        assert {item["family"] for item in stored["items"]} == {"openai", "anthropic"}
        assert 0 <= stored["age_s"] < 60
        status, _ = await api.call("GET", "/v1/models?account=unknown")
        assert status == 422
