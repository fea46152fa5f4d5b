"""The documented fields of each route, and the fields of a request that are not among them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tracker.daemon.provider_files import list_shipped
from tracker.demo.scenarios import SCENARIOS
from tracker.domain.request_fields import Field, RequestFields, find_unknown
from tracker.providers.declared import load_declared
from tracker.providers.registry import Registry
from tracker.providers.route import Route

NAMES = (
    "model",
    "input.prompt",
    "parameters.duration",
    "parameters.n",
    "shots[].text",
    "shots[].at",
    "tags[]",
    "extra",
)
ROUTES = {route.name: route for route in Registry().routes()}
CHECKED = ("dashscope.", "kling.", "suno.")
"""Providers whose lists of fields are complete."""

DECLARED = """
name = "acme"
source = "https://docs.example.com/"

[routes.video]
create = "POST /v1/{model}/videos/{request.size}"
query = "GET /v1/videos/{task_id}"
required = ["input.prompt"]

[task]
id = "id"
status = "status"

[statuses]
done = "SUCCEEDED"
broken = "FAILED"

[[outputs]]
url = "url"
kind = "video"

[callback]
field = "hook.url"
extra = { "hook.events" = ["end"] }
ids = ["id"]
"""


def without(request: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """A request without one field."""
    key, *rest = path
    return {
        name: without(value, rest) if name == key else value for name, value in request.items() if rest or name != key
    }


@pytest.mark.parametrize(
    ("request_body", "loc", "hint"),
    [
        ({"mdoel": "x"}, ("mdoel",), "did you mean model?"),
        ({"zzz": "x"}, ("zzz",), ""),
        ({"parameters": {"duratoin": 5}}, ("parameters", "duratoin"), "did you mean parameters.duration?"),
        ({"parameters": {"m": 5}}, ("parameters", "m"), ""),
        ({"duration": 5}, ("duration",), "did you mean parameters.duration?"),
        ({"shots": [{"text": "a"}, {"txet": "b"}]}, ("shots", 1, "txet"), "did you mean shots[].text?"),
        ({"input": {"prompt": "a", "model": "x"}}, ("input", "model"), "did you mean model?"),
        ({"[]": 1}, ("[]",), "did you mean tags[]?"),
        ({"x" * 5000: 1}, ("x" * 60,), ""),
    ],
)
def test_an_unknown_field_is_found(request_body: dict[str, Any], loc: tuple[str | int, ...], hint: str) -> None:
    """Also inside objects and lists; with the nearest name beside it, or the place of the same name."""
    (problem,) = find_unknown(request_body, NAMES)
    assert problem.loc == ("request", *loc)
    sentence = "no document of this route names this field"
    assert problem.msg == (f"{sentence}; {hint}" if hint else sentence)


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"model": "x", "input": {"prompt": "a"}, "shots": [{"text": "a", "at": 1}], "tags": ["a", {"any": 1}]},
        {"extra": {"whatever": [{"deep": 1}]}},
        {"input": "a text", "shots": {"text": "no list"}, "parameters": None},
        {"unknown": None, "parameters": {"unknown": None}},
    ],
)
def test_a_field_that_may_be_right_is_no_problem(request_body: dict[str, Any]) -> None:
    """Known ones, what is inside of objects without listed members, values of another type, and null."""
    assert find_unknown(request_body, NAMES) == []


def test_few_problems_are_listed() -> None:
    """They have to fit into a header."""
    assert len(find_unknown({f"field{n}": n for n in range(100)}, NAMES)) == 10


def test_an_open_list_is_not_checked() -> None:
    """The fields are only shown."""
    fields = (Field("prompt", "text", "What to show."),)
    assert RequestFields(fields, is_open=True).find_unknown({"promt": "x"}) == []
    assert len(RequestFields(fields, is_open=False).find_unknown({"promt": "x"})) == 1


def test_models_of_a_route() -> None:
    """Those that match, once each, by name."""
    fields = RequestFields(models=("m-1",), model_patterns=("kling-*",))
    assert fields.fitting(["x", "kling-v3", "m-1", "kling-v2", "kling-v3"]) == ["kling-v2", "kling-v3", "m-1"]


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_the_fields_of_a_route(route: Route) -> None:
    """Each is named once and explained; the sample has no other; what is marked as required really is."""
    documented = route.fields
    names = [field.name for field in documented.fields]
    assert len(set(names)) == len(names) > 0
    assert all(field.meaning.endswith(".") and field.type for field in documented.fields)
    assert find_unknown(route.sample, names) == []
    assert documented.is_open is not route.name.startswith(CHECKED)
    assert str(documented.source).startswith("https://")
    provider = Registry().provider_of(route)
    assert provider.check_request(route, route.sample) == []
    for field in documented.fields:
        if field.required and field.condition is None:
            lacking = without(route.sample, field.name.split("."))
            assert [problem.loc[1:] for problem in provider.check_request(route, lacking)], field.name
    lacks = {".".join(map(str, problem.loc[1:])) for problem in provider.check_request(route, {})}
    assert lacks - {"input", "input.messages"} <= {
        field.name for field in documented.fields if field.required or field.condition
    }


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_the_field_of_the_callback_is_documented(route: Route) -> None:
    """A user may set it, too."""
    assert route.callback_field is None or route.callback_field in {field.name for field in route.fields.fields}


def test_the_demo_has_no_unknown_field() -> None:
    """Nor a field that the documents do not name."""
    for scenario in SCENARIOS:
        assert ROUTES[scenario.route].fields.find_unknown(scenario.request) == [], scenario.name


@pytest.mark.parametrize(
    ("route", "request_body", "hint"),
    [
        ("kling.text2video", {"duratoin": "10"}, "did you mean duration?"),
        ("kling.omni-video", {"image_list": [{"image": "u"}]}, "did you mean image_list[].image_url?"),
        ("kling.image2video", {"image_url": "u"}, "did you mean image_tail or image?"),
        ("dashscope.video", {"input": {"image": "u"}}, "did you mean input.image_url"),
        ("dashscope.video", {"duration": 10}, "did you mean parameters.duration?"),
        ("suno.generate", {"callbackUrl": "u"}, "did you mean callBackUrl?"),
        ("suno.generate", {"lyrics": "la"}, "names this field"),
        ("suno.extend", {"continueAtS": 3}, "did you mean continueAt?"),
    ],
)
def test_a_usual_mistake_is_found(route: str, request_body: dict[str, Any], hint: str) -> None:
    """With the name that is meant."""
    (problem,) = ROUTES[route].fields.find_unknown(request_body)
    assert hint in problem.msg


@pytest.mark.parametrize("name", list_shipped())
def test_the_example_of_a_shipped_file_has_no_unknown_field(name: str) -> None:
    """The command at its top, which users copy."""
    text = list_shipped()[name].read_text(encoding="utf-8")
    (provider,) = load_declared({f"{name}.toml": text})
    examples = re.findall(r"^# +tracker submit (\S+) -d '(.+)'$", text, re.MULTILINE)
    assert examples
    for route_name, body in examples:
        (route,) = [route for route in provider.routes if route.name == route_name]
        assert route.fields.find_unknown(json.loads(body)) == []


def test_the_fields_of_a_declared_route() -> None:
    """Without a list of fields nothing is checked; with one, its fields, the required and filled ones are known."""
    (provider,) = load_declared({"acme.toml": DECLARED})
    (route,) = provider.routes
    assert route.fields.is_open
    assert [field.name for field in route.fields.fields if field.required] == ["model", "input.prompt", "size"]
    text = DECLARED.replace("required =", 'fields = ["seed", "shots[].text"]\nrequired =')
    (provider,) = load_declared({"acme.toml": text})
    (route,) = provider.routes
    known: dict[str, Any] = {"model": "m", "size": "s", "input": {"prompt": "a"}, "seed": 1, "shots": [{"text": "b"}]}
    assert route.fields.find_unknown(known | {"hook": {"url": "u", "events": []}}) == []
    found = route.fields.find_unknown(known | {"sede": 1, "shots": [{"txt": "b"}]})
    assert [problem.loc[1:] for problem in found] == [("shots", 0, "txt"), ("sede",)]
