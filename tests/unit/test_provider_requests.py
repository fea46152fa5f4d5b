"""Every route's requests: paths, keys, time limits, callback fields, and what is missed before it is sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.kits.providers import REGISTRY, known
from tests.kits.sandbox import list_played_names
from tracker.domain.task import ExternalId
from tracker.domain.upstream_http import AuthStyle
from tracker.providers.reading.requests import with_field
from tracker.providers.route import Route

LEFT_TO_UPSTREAM: dict[str, set[str]] = {
    "kling.image2video": {"prompt", "image"},
    "suno.extend": {"defaultParamFlag", "model", "prompt"},
    "suno.upload-cover": {"customMode", "instrumental", "model", "prompt"},
    "suno.upload-extend": {"defaultParamFlag", "model", "prompt"},
    "suno.add-vocals": {"prompt", "title", "style", "negativeTags"},
    "suno.add-instrumental": {"title", "tags", "negativeTags"},
}
"""Fields of samples that the providers document as required, and the checks do not verify."""
STREAMING = ["dashscope.image", "gemini.generate", "openai.chat", "openai.responses", "openai.images"]
STREAMING += ["anthropic.messages", "openai.video"]
SIGNATURES = {"kling": "standard-webhooks", "suno": "suno-hmac", "openai": "standard-webhooks"}
routes = pytest.mark.parametrize("route", REGISTRY.routes(), ids=lambda route: route.name)


def sample_of(name: str) -> dict[str, Any]:
    """A copy of a route's sample."""
    return dict(known(name)[0].sample)


def wrong_fields(name: str, request: dict[str, Any]) -> list[str]:
    """The dotted paths of the fields that a check names, without ``request.``."""
    route, provider = known(name)
    problems = provider.check_request(route, request)
    assert all(problem.loc[0] == "request" and problem.msg for problem in problems)
    return [".".join(map(str, problem.loc[1:])) for problem in problems]


def test_every_route_of_the_interface_is_registered() -> None:
    """No route that scripts are written against is lost: those that the sandbox plays, all of the interface."""
    assert list_played_names() <= {route.name for route in REGISTRY.routes()}


@routes
def test_samples_pass_and_each_of_their_fields_is_required(route: Route) -> None:
    """What the documents require is enough, each required field is missed, and unknown fields do not matter."""
    request = dict(route.sample)
    assert wrong_fields(route.name, request | {"unknown": {"of": 1}}) == []
    assert LEFT_TO_UPSTREAM.get(route.name, set()) <= set(request)
    for field in set(request) - LEFT_TO_UPSTREAM.get(route.name, set()):
        missing = {key: value for key, value in request.items() if key != field}
        assert any(path.startswith(field) for path in wrong_fields(route.name, missing)), field
        assert wrong_fields(route.name, request | {field: {"not": "this"}}), field


@pytest.mark.parametrize(
    ("name", "request_", "wrong"),
    [
        ("dashscope.image", {"model": "m", "input": {"prompt": "a sea"}}, []),
        ("dashscope.image", {"model": "m", "input": {"messages": []}}, ["input.messages"]),
        ("kling.image2video", {"model_name": "m", "image": "https://cdn.example.com/1.png"}, []),
        ("kling.image", {"model_name": "m", "image": "https://cdn.example.com/1.png"}, ["prompt"]),
        ("kling.omni-video", {"model_name": "m", "multi_prompt": [{"prompt": "a"}]}, []),
        ("suno.extend", {"audioId": "a", "defaultParamFlag": "yes", "model": 5}, ["model", "defaultParamFlag"]),
        ("suno.replace-section", sample_of("suno.replace-section") | {"infillEndS": "9"}, ["infillEndS"]),
        ("suno.timestamped-lyrics", {"taskId": "t", "musicIndex": 0}, []),
        ("openai.responses", {"model": "m", "input": [{"role": "user", "content": "x"}]}, []),
        ("openai.responses", {"model": "m", "previous_response_id": "resp_1"}, []),
        ("openai.responses", {"prompt": {"id": "pmpt_1"}}, []),
        ("openai.responses", {"model": "m", "input": "", "background": 1}, ["input", "background"]),
        ("anthropic.messages", {"model": "m", "messages": [], "max_tokens": True}, ["messages", "max_tokens"]),
        ("gemini.generate", {"contents": "a sea"}, ["model", "contents"]),
        ("seedance.video", {"model": "m", "content": [{"type": "text", "text": "a sea"}]}, []),
        ("openai.images", {"prompt": "a sea", "model": 7}, ["model"]),
    ],
)
def test_replacements_and_types_of_fields(name: str, request_: dict[str, Any], wrong: list[str]) -> None:
    """Material replaces a prompt where the upstream says so; known types are checked."""
    assert wrong_fields(name, request_) == wrong


@pytest.mark.parametrize("name", STREAMING)
def test_streams_are_refused_with_the_reason(name: str) -> None:
    """A stream cannot be stored as one result; the message says how to fix the request."""
    route, provider = known(name)
    (problem,) = provider.check_request(route, sample_of(name) | {"stream": True})
    assert problem.loc == ("request", "stream")
    assert problem.msg == "streams are not supported, one final result is stored; remove it"
    assert provider.check_request(route, sample_of(name) | {"stream": False}) == []


@routes
def test_create_calls(route: Route) -> None:
    """A synchronous reply may take minutes; the model of a path is not sent twice; Anthropic's key has its header."""
    _, provider = known(route.name)
    request = dict(route.sample)
    call = provider.create_request(route, request, "https://tracker.example.com/cb" if route.callback_field else None)
    body = dict(request)
    if "{model}" in route.create:
        body.pop("model")
    if route.callback_field is not None:
        body = with_field(body, route.callback_field.split("."), "https://tracker.example.com/cb")
    assert orjson.loads(call.body or b"") == body
    assert f"POST {call.path}" == route.create.replace("{model}", str(request.get("model")))
    assert (call.auth is AuthStyle.X_API_KEY) is (route.provider == "anthropic")
    is_slow = route.mode == "sync" or route.name == "openai.responses"
    assert call.answer_within_s == (300 if is_slow else 60)


@pytest.mark.parametrize(
    ("model", "segment"),
    [("gemini-3-pro", "gemini-3-pro"), ("models/gemini-3-pro", "gemini-3-pro"), ("a/b?c#d %", "a%2Fb%3Fc%23d%20%25")],
)
def test_a_model_in_the_path_is_escaped(model: str, segment: str) -> None:
    """A model's name cannot leave its segment; the resource prefix that the SDKs write is understood."""
    route, provider = known("gemini.generate")
    call = provider.create_request(route, sample_of("gemini.generate") | {"model": model}, None)
    assert call.path == f"/gemini/v1beta/models/{segment}:generateContent"


@routes
def test_poll_calls(route: Route) -> None:
    """The id is in the path or in the query; a synchronous route has no status call."""
    _, provider = known(route.name)
    if route.query is None:
        assert route.mode == "sync"
        return
    call = provider.poll_request(route, ExternalId("a/b"))
    assert f"{call.method} {call.path}" == route.query.replace("{task_id}", "a%2Fb")
    assert ("a/b" in dict(call.query).values()) is ("{task_id}" not in route.query)
    assert call.query == ((("taskId", "a/b"),) if route.provider == "suno" else ())
    assert call.body is None


@routes
def test_attributes_of_routes(route: Route) -> None:
    """Intervals, signatures and callback fields are those of the providers."""
    assert route.signature == (SIGNATURES.get(route.provider) if route.callback else None)
    if route.mode == "task":
        assert (route.poll_interval_s == 30) is (route.provider == "suno")
        assert 10 <= route.poll_interval_s <= 30
    else:
        assert not route.callback
    assert route.callback_required is (route.provider == "suno" and route.mode == "task")
    assert route.source.startswith("https://")
    assert route.asset


def test_long_ids_are_escaped() -> None:
    """A gateway writes provider and model into an id; it comes back as it was."""
    long_id = "video_" + "bGl0ZWxsbTpjdXN0b21f" * 20 + "=="
    route, provider = known("openai.video")
    call = provider.poll_request(route, ExternalId(long_id))
    assert call.path == "/openai/v1/videos/" + long_id.replace("=", "%3D")
