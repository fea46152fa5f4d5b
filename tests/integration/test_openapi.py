"""The API description is true: it has every route, and every response matches it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

import pytest

from tests.kits.clock import START
from tests.kits.daemon import REPOSITORY
from tests.kits.hooks import make_hook
from tests.kits.server import ServerWorld, problem_of
from tracker.domain.hook_events import EVENTS
from tracker.domain.records import Json
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.runner import encode_event
from tracker.hooks.running.environment import script_environment
from tracker.hooks.trial import sample_job
from tracker.server.descriptions import FIELDS, FIELDS_OF
from tracker.server.openapi import describe
from tracker.server.operations import OPERATIONS, Operation
from tracker.server.responses import OPENAPI_PATH

UNDESCRIBED = {OPENAPI_PATH, "/{rest}"}
"""The description itself, and what is nowhere."""


async def described(world: ServerWorld) -> Json:
    """The document as it is served."""
    async with world.client.get(OPENAPI_PATH) as response:
        assert response.status == 200
        return await response.json()


async def test_the_router_and_the_description_agree(world: ServerWorld) -> None:
    """Every method of every path is in both."""
    document = await described(world)
    routed = {
        (resource.canonical, route.method.lower())
        for resource in world.client.app.router.resources()
        for route in resource
        if resource.canonical not in UNDESCRIBED and route.method != "HEAD"
    }
    listed = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert routed == listed
    assert document["openapi"] == "3.1.0"


async def test_every_reference_has_a_schema(world: ServerWorld) -> None:
    """No schema is missing, none is unused."""
    document = await described(world)
    wanted = {ref.rpartition("/")[2] for ref in _refs(document)}
    assert wanted == set(document["components"]["schemas"])


def _refs(value: Json) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for item in value.values() for ref in _refs(item)]
    if isinstance(value, list):
        return [ref for item in value for ref in _refs(item)]
    return []


async def test_every_field_and_status_has_a_meaning(world: ServerWorld) -> None:
    """A sentence for each, and none for what does not exist; the answers of a submit have their own."""
    document = await described(world)
    found = {name: schema.get("properties", {}) for name, schema in document["components"]["schemas"].items()}
    meanings = {(form, name): field["description"] for form, own in found.items() for name, field in own.items()}
    answers = {
        (each["operationId"], status): response["description"]
        for methods in document["paths"].values()
        for each in methods.values()
        for status, response in each["responses"].items()
    }
    assert [where for where, text in (meanings | answers).items() if not text.endswith(".")] == []
    assert {(form, name) for form, own in FIELDS_OF.items() for name in own} <= {
        (form, name) for form, fields in found.items() for name in fields
    }
    names = {name for form, fields in found.items() for name in fields if name not in FIELDS_OF.get(form, ())}
    assert set(FIELDS) <= names
    created = document["paths"]["/v1/tasks"]["post"]["responses"]
    assert len({created[status]["description"] for status in ("200", "201", "202", "204")}) == 4
    assert "nothing was sent" in created["200"]["description"]


async def test_every_operation_is_complete(world: ServerWorld) -> None:
    """Path parameters are declared, ids are unique, and security is as implemented."""
    document = await described(world)
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for path, operation in operations:
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
        needs_token = path.startswith("/v1/") or path == "/metrics"
        assert (operation["security"] == []) is not needs_token
        assert ("401" in operation["responses"]) or not needs_token


async def test_the_query_parameters_are_those_that_are_read(world: ServerWorld) -> None:
    """Every operation that requires a token answers an unknown parameter with the names of those it describes."""
    for operation in OPERATIONS:
        if operation.scope is None:
            continue
        path = operation.path.format(id="x", n=0, route="suno.generate")
        async with world.client.request(operation.method, f"{path}?nope=1", json={}) as response:
            (error,) = (await problem_of(response, 422))["errors"]
        names = [p.name.replace("labels", "label.NAME") for p in operation.parameters if p.location == "query"]
        known = f"known are {', '.join(sorted(names))}" if names else "this call takes no query parameters"
        said = re.sub("(?<=known are )(.*)", lambda found: ", ".join(sorted(found[1].split(", "))), error["msg"])
        assert (error["loc"], said) == (["query", "nope"], f"is unknown{';' if names else ':'} {known}")


async def test_responses_match_the_description(world: ServerWorld) -> None:
    """Every response of every operation matches its schema in the served document."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    pending = await world.make_task(external_id="x-2")
    submit = {"route": "suno.generate", "request": {"prompt": "x"}}
    body = {"callbackType": "first", "task_id": "x-2", "data": [{"id": "c", "audio_url": "https://c.example/1"}]}
    calls: list[tuple[str, str, Json]] = [
        ("create_task", "/v1/tasks", submit),
        ("create_task", "/v1/tasks", {"route": "suno.generate", "external_id": "x-3"}),
        ("create_task", "/v1/tasks", {}),
        ("list_tasks", "/v1/tasks", None),
        ("list_tasks", "/v1/tasks?limit=0", None),
        ("get_task", f"/v1/tasks/{task_id}", None),
        ("get_task", "/v1/tasks/nope", None),
        ("list_events", f"/v1/tasks/{task_id}/events", None),
        ("list_deliveries", f"/v1/tasks/{task_id}/deliveries", None),
        ("explain_task", f"/v1/tasks/{task_id}/why", None),
        ("explain_task", f"/v1/tasks/{pending}/why", None),
        ("get_output", f"/v1/tasks/{task_id}/outputs/0", None),
        ("get_output", f"/v1/tasks/{task_id}/outputs/7", None),
        ("export_task", f"/v1/tasks/{task_id}/export", None),
        ("list_archive", f"/v1/tasks/{task_id}/archive", None),
        ("redrive_archive", f"/v1/tasks/{task_id}/archive", None),
        ("poll_task", f"/v1/tasks/{task_id}/poll", None),
        ("cancel_task", f"/v1/tasks/{task_id}/cancel", None),
        ("resubmit_task", f"/v1/tasks/{task_id}/resubmit", {"confirm": True}),
        ("resubmit_task", f"/v1/tasks/{pending}/resubmit", {}),
        ("adopt_task", f"/v1/tasks/{task_id}/adopt", {"external_id": "x-4"}),
        ("adopt_task", f"/v1/tasks/{pending}/adopt", {"external_id": "x-2"}),
        ("retry_delivery", "/v1/deliveries/nope/retry", None),
        ("retry_delivery", "/v1/deliveries/nope/retry?again=perhaps", None),
        ("get_delivery", "/v1/deliveries/nope", None),
        ("act_on_tasks", "/v1/tasks/actions", {"action": "poll", "filter": {"status": "RUNNING"}}),
        ("act_on_tasks", "/v1/tasks/actions", {"action": "resubmit", "filter": {}}),
        ("list_feed", "/v1/events?limit=2", None),
        ("list_feed", "/v1/events?after=99999", None),
        ("stream_events", "/v1/stream?after=99999", None),
        ("list_hooks", "/v1/hooks", None),
        ("list_all_deliveries", "/v1/deliveries?status=dead&since=2026-11-20", None),
        ("list_all_deliveries", "/v1/deliveries?status=lost", None),
        ("retry_deliveries", "/v1/deliveries/retry?hook=publish&status=dead&since=2026-11-20", None),
        ("retry_deliveries", "/v1/deliveries/retry", None),
        ("get_stats", "/v1/stats", None),
        ("get_report", "/v1/report?since=2020-01-01&by=day,model,reason,label.user", None),
        ("get_report", "/v1/report?by=rout", None),
        ("list_alarms", "/v1/alarms", None),
        ("get_doctor", "/v1/doctor", None),
        ("list_routes", "/v1/routes", None),
        ("get_route", "/v1/routes/suno.generate", None),
        ("get_route", "/v1/routes/suno.generat", None),
        ("get_route", "/v1/routes/suno.generate?account=nobody", None),
        ("list_models", "/v1/models", None),
        ("list_models", "/v1/models?account=nobody", None),
        ("sync_models", "/v1/models/sync", None),
        ("prune", "/v1/prune", {"dry_run": True}),
        ("prune", "/v1/prune", {"dry_run": "yes"}),
        ("prune", "/v1/prune", []),
        ("receive_callback", world.address(pending), body),
        ("receive_callback", "/callbacks/suno/nope", body),
        ("receive_hint", "/callbacks/suno", body),
        ("receive_hint", "/callbacks/suno", []),
        ("get_metrics", "/metrics", None),
        ("get_metrics", "/metrics?name=x", None),
        ("get_alive", "/healthz", None),
        ("get_ready", "/readyz", None),
    ]
    document = await described(world)
    by_name = {operation.name: operation for operation in OPERATIONS}
    for name, path, sent in calls:
        operation = by_name[name]
        async with world.client.request(operation.method, path, json=sent, allow_redirects=False) as response:
            _check(document, operation, HTTPStatus(response.status), await response.json(content_type=None))
    assert {name for name, _, _ in calls} == set(by_name), "every operation is called"


def _check(document: Json, operation: Operation, status: HTTPStatus, answer: Json) -> None:
    if status in operation.plain:
        return
    responses = document["paths"][operation.path][operation.method.lower()]["responses"]
    assert str(status.value) in responses, f"{operation.name} answered {status}, which is not described"
    (content,) = responses[str(status.value)]["content"].values()
    assert not list(misfits(content["schema"], answer, document["components"]["schemas"])), operation.name


KINDS: dict[str, Json] = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}


def misfits(schema: Json, value: Json, schemas: Json, at: str = "") -> Iterator[str]:
    """Where a value is not what a schema says, so far as the served document uses JSON Schema."""
    if isinstance(schema, bool):
        yield from () if schema else (f"{at} is not described",)
    elif "$ref" in schema:
        yield from misfits(schemas[schema["$ref"].rpartition("/")[2]], value, schemas, at)
    elif "anyOf" in schema:
        if all(list(misfits(one, value, schemas)) for one in schema["anyOf"]):
            yield f"{at}: {value!r} fits none of {schema['anyOf']}"
    elif schema.get("type") == "array" and isinstance(value, list):
        for n, item in enumerate(value):
            yield from misfits(schema["items"], item, schemas, f"{at}/{n}")
    elif schema.get("type") == "object" and isinstance(value, dict):
        yield from (f"{at}: {name} is missing" for name in schema.get("required", []) if name not in value)
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, item in value.items():
            yield from misfits(known.get(name, more), item, schemas, f"{at}/{name}")
    elif not isinstance(value, KINDS.get(schema.get("type"), object)) or value not in schema.get("enum", [value]):
        yield f"{at}: {value!r} is not {schema}"


def test_the_hook_event_of_the_readme_matches_the_description() -> None:
    """The example has exactly the described members."""
    text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "delivery_id" in block]
    document = describe(OPERATIONS)["components"]["schemas"]
    assert not list(misfits(document["HookEventView"], json.loads(example), document))


@pytest.mark.parametrize("event", EVENTS)
def test_hook_events_match_the_description(event: str) -> None:
    """Every event; synthetic ones are marked."""
    job = sample_job(make_hook("h", ("task.*",), ScriptAction.of(["-"])), event, START)
    document = describe(OPERATIONS)["components"]["schemas"]
    form = document["AlarmEventView" if event.startswith("system.") else "HookEventView"]
    made_up = json.loads(encode_event(job))
    assert made_up["test"] is True
    assert not list(misfits(form, made_up, document))
    real = json.loads(encode_event(replace(job, is_test=False)))
    assert "test" not in real
    assert not list(misfits(form, real, document))
    assert script_environment(job, {})["TRACKER_TEST"] == "true"
    assert "TRACKER_TEST" not in script_environment(replace(job, is_test=False), {})


@pytest.mark.parametrize(("name", "form"), [("taskEvent", "HookEventView"), ("systemEvent", "AlarmEventView")])
async def test_the_webhooks_are_described(world: ServerWorld, name: str, form: str) -> None:
    """With the headers of Standard Webhooks and the schema of the event."""
    webhook = (await described(world))["webhooks"][name]["post"]
    schema = webhook["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": f"#/components/schemas/{form}"}
    assert {item["name"] for item in webhook["parameters"]} >= {"webhook-id", "webhook-timestamp", "webhook-signature"}
