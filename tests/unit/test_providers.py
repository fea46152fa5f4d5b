"""Requests to send, ids in callbacks, and how long an upstream asks to wait."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.kits.providers import (
    DASHSCOPE,
    KLING,
    REGISTRY,
    ROUTES,
    SUNO,
    callback,
    known,
    suno_callback,
)
from tracker.domain.task import ExternalId
from tracker.errors import PayloadInvalid
from tracker.providers.reading import fields

VALID: dict[str, dict[str, Any]] = {
    DASHSCOPE: {"model": "wan2.5-t2v-preview", "input": {"prompt": "a sea"}},
    KLING: {"model_name": "kling-v3-omni", "prompt": "a sea"},
    SUNO: {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a sea"},
}


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        (DASHSCOPE, {}, []),
        (DASHSCOPE, {"unheard": {"of": 1}, "parameters": {"size": 1}}, []),
        (DASHSCOPE, {"model": None}, ["model"]),
        (DASHSCOPE, {"model": " "}, ["model"]),
        (DASHSCOPE, {"model": 7, "input": None}, ["model", "input"]),
        (DASHSCOPE, {"input": "a sea"}, ["input"]),
        (DASHSCOPE, {"input": {}}, ["input.prompt"]),
        (DASHSCOPE, {"input": {"prompt": ["a"]}}, ["input.prompt"]),
        (DASHSCOPE, {"input": {"img_url": "https://cdn.example.com/1.png"}}, []),
        (DASHSCOPE, {"input": {"img_url": ""}}, ["input.prompt"]),
        (DASHSCOPE, {"input": {"img_url": 7}}, ["input.img_url"]),
        (DASHSCOPE, {"parameters": []}, ["parameters"]),
        (KLING, {}, []),
        (KLING, {"model_name": None, "model": "kling-v3"}, []),
        (KLING, {"model_name": None}, ["model_name"]),
        (KLING, {"model": 7}, ["model"]),
        (KLING, {"model_name": True, "prompt": None}, ["model_name", "prompt"]),
        (KLING, {"callback_url": 7}, ["callback_url"]),
        (SUNO, {}, []),
        (SUNO, {"model": "V99_TURBO"}, []),
        (SUNO, {"customMode": None, "instrumental": "no"}, ["customMode", "instrumental"]),
        (SUNO, {"model": None}, ["model"]),
        (SUNO, {"prompt": None}, ["prompt"]),
        (SUNO, {"prompt": None, "instrumental": True}, ["prompt"]),
        (SUNO, {"customMode": True}, ["style", "title"]),
        (SUNO, {"customMode": True, "style": "pop", "title": "t", "prompt": None}, ["prompt"]),
        (SUNO, {"customMode": True, "style": "pop", "title": "t", "prompt": None, "instrumental": True}, []),
        (SUNO, {"title": 7, "callBackUrl": 8}, ["title", "callBackUrl"]),
    ],
)
def test_requests_are_checked(name: str, change: dict[str, Any], wrong: list[str]) -> None:
    """Every field that the upstream would certainly refuse is named; new models and unknown fields are not."""
    route, provider = known(name)
    problems = provider.check_request(route, VALID[name] | change)
    assert [".".join(map(str, problem.loc)) for problem in problems] == [f"request.{path}" for path in wrong]
    assert all(problem.msg for problem in problems)


@pytest.mark.parametrize(
    ("name", "path", "field"),
    [
        (DASHSCOPE, "/dashscope/v1/services/aigc/video-generation/video-synthesis", None),
        (KLING, "/transtreams/kling/v1/videos/omni-video", "callback_url"),
        (SUNO, "/suno/generate", "callBackUrl"),
    ],
)
def test_create_calls(name: str, path: str, field: str | None) -> None:
    """A create is the user's body in canonical order with the callback URL where the family takes one."""
    route, provider = known(name)
    request = {**VALID[name], "z": 1, "a": {"y": 1, "x": 2}}
    before = orjson.dumps(request)
    call = provider.create_request(route, request, "https://tracker.example.com/callbacks/x/t")
    assert (call.method, call.path, call.query) == ("POST", path, ())
    added = {} if field is None else {field: "https://tracker.example.com/callbacks/x/t"}
    assert call.body == orjson.dumps({**request, **added}, option=orjson.OPT_SORT_KEYS)
    assert orjson.dumps(request) == before
    assert provider.create_request(route, request, None).body == orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    assert call.headers == ((("X-DashScope-Async", "enable"),) if name == DASHSCOPE else ())


@pytest.mark.parametrize(
    ("name", "path", "query"),
    [
        (DASHSCOPE, "/dashscope/v1/tasks/a%2Fb%3F%20c", ()),
        (KLING, "/transtreams/kling/v1/videos/omni-video/a%2Fb%3F%20c", ()),
        (SUNO, "/suno/query/task", (("taskId", "a/b? c"),)),
    ],
)
def test_poll_calls(name: str, path: str, query: tuple[tuple[str, str], ...]) -> None:
    """The id is escaped in a path and left to the client in a query."""
    route, provider = known(name)
    call = provider.poll_request(route, ExternalId("a/b? c"))
    assert (call.method, call.path, call.query, call.body) == ("GET", path, query, None)


def test_routes_have_the_documented_values() -> None:
    """Intervals, callback fields and sources are those of the documents."""
    found = {route.name: route for route in REGISTRY.routes()}
    assert {name: found[name].poll_interval_s for name in ROUTES} == {DASHSCOPE: 15, KLING: 10, SUNO: 30}
    assert {name: found[name].asset for name in ROUTES} == {DASHSCOPE: "video", KLING: "video", SUNO: "song"}
    assert [name for name in ROUTES if found[name].callback_required] == [SUNO]
    assert all(route.source.startswith("https://") for route in found.values())


@pytest.mark.parametrize(
    ("name", "body", "ids"),
    [
        ("dashscope", {"id": "event", "data": {"task_id": "d"}}, ("d",)),
        ("kling", {"task_id": "a", "id": "b", "external_task_id": "mine"}, ("a",)),
        ("kling", {"id": 860260753860210752, "status": "failed"}, ("860260753860210752",)),
        ("kling", {"code": 0, "data": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, ("a", "b")),
        ("suno", {"task_id": "c", "data": {"task_id": "a", "taskId": "b"}}, ("a",)),
        ("suno", {"task_id": "c", "data": {"taskId": "b"}}, ("b",)),
        ("suno", {"task_id": "c", "taskId": "d", "data": []}, ("c",)),
        ("suno", {"taskId": " d "}, ("d",)),
    ],
)
def test_callback_ids(name: str, body: object, ids: tuple[str, ...]) -> None:
    """The task id is found where the family puts it, normalised, before ids of other things."""
    provider = REGISTRY.provider_named(name)
    assert provider is not None
    assert provider.callback_ids(body) == ids


@pytest.mark.parametrize("name", ["dashscope", "kling", "suno"])
@pytest.mark.parametrize(
    "body",
    [None, [], "x", 7, True, {}, {"data": []}, {"data": {}}, {"data": {"task_id": ""}}, {"data": {"task_id": []}}],
)
def test_callbacks_without_an_id(name: str, body: object) -> None:
    """A callback that names no task is invalid."""
    provider = REGISTRY.provider_named(name)
    assert provider is not None
    with pytest.raises(PayloadInvalid):
        provider.callback_ids(body)


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        (SUNO, ["complete"], "body"),
        (SUNO, suno_callback("complete", "x"), "data.data"),
        (SUNO, suno_callback("complete", {"a": 1}), "data.data"),
        (SUNO, suno_callback(["complete"]), "data.callbackType"),
        (SUNO, suno_callback("complete", code=True), "code"),
        (SUNO, {"callbackType": "text", "task_id": False}, "task_id"),
        (KLING, {"task_id": "k", "task_status": 7}, "task_status"),
        (KLING, {"task_id": "k", "task_status": "succeed", "task_result": {"videos": "x"}}, "task_result.videos"),
        (KLING, {"data": "x"}, "data"),
        (DASHSCOPE, {"data": None}, "data"),
        (DASHSCOPE, {"data": {"task_id": {}, "task_status": "FAILED"}}, "data.task_id"),
    ],
)
def test_invalid_callbacks_name_the_field(name: str, body: object, path: str) -> None:
    """A value that violates the contract is refused with the path of the field, not with its value."""
    with pytest.raises(PayloadInvalid) as caught:
        callback(name, body)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (123, "123"),
        (10**300, str(10**300)),
        (1.0e3, "1000"),
        (" a ", "a"),
        ("", None),
        ("x" * 100_000, "x" * 100_000),
        ("models/veo-3/operations/a b", "models/veo-3/operations/a b"),
        ("../..?#%2F", "../..?#%2F"),
        ("..", ".."),
        ("a\tb\nc\u00a0d", "a\tb\nc\u00a0d"),
        ("a\x00b", "a\u2400b"),
        ("cut \ud83d", "cut \ufffd"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_any_text_is_an_id(value: object, stored: str | None) -> None:
    """An id proves that a job was taken: neither length nor alphabet count against it, and it can be stored."""
    found = fields.parse_id(value, "id")
    assert found == stored
    assert found is None or "\0" not in found.encode().decode()


@pytest.mark.parametrize("junk", [True, 1.5, float("inf"), float("nan"), [], {}])
def test_other_values_are_not_ids(junk: object) -> None:
    """A value that is neither text nor an integer is not an id."""
    for value in (junk, 10**5000):
        with pytest.raises(PayloadInvalid):
            fields.parse_id(value, "id")


@pytest.mark.parametrize(
    ("external_id", "segment"),
    [
        ("models/veo-3/operations/abc", "models%2Fveo-3%2Foperations%2Fabc"),
        ("a%2Fb", "a%252Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("../x", "..%2Fx"),
        ("a\u2400b\n", "a%00b%0A"),
        ("\u732b", "%E7%8C%AB"),
    ],
)
def test_an_id_is_one_segment_of_the_path(external_id: str, segment: str) -> None:
    """Whatever an id holds, the next request has it as the upstream wrote it, in one path segment."""
    for name, path in ((DASHSCOPE, "/dashscope/v1/tasks/"), ("openai.video", "/openai/v1/videos/")):
        route, provider = known(name)
        assert provider.poll_request(route, ExternalId(external_id)).path == path + segment
    route, provider = known(SUNO)
    assert provider.poll_request(route, ExternalId("a\u2400b")).query == (("taskId", "a\0b"),)
