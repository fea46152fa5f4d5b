"""``/openapi.json``: the table of operations as an OpenAPI 3.1 document. Must not describe anything else.

Source: https://spec.openapis.org/oas/v3.1.0 (read 2026-11).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET
from msgspec.json import schema_components
from pydantic.json_schema import models_json_schema

from tracker import __version__
from tracker.domain.alarms import AlarmEventView
from tracker.domain.hook_events import FINAL_STATUSES
from tracker.domain.records import HookEventView
from tracker.server import schemas
from tracker.server.descriptions import describe_field, describe_status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.server.operations import Operation
    from tracker.server.queries import Parameter

_REF: Final = "#/components/schemas/{name}"
_JSON, _PROBLEM = "application/json", "application/problem+json"
_SCHEME: Final = (
    "A token of the configuration. Each operation names the scope that it needs; admin includes submit, and submit "
    "includes read. The token of server.api_token_env has the scope admin."
)
_PATH_PARAMETER: Final = re.compile(r"{(\w+)}")


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    listed = list(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tracker",
            "version": __version__,
            "description": "Follows paid asynchronous media jobs to their end.",
        },
        "paths": paths,
        "webhooks": {
            "taskEvent": {"post": _webhook("receive_task_event", "An event of a task", "task", HookEventView)},
            "systemEvent": {"post": _webhook("receive_system_event", "An event of an alarm", "alarm", AlarmEventView)},
        },
        "components": {
            "schemas": _schemas(listed),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _SCHEME}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
        # both: without a configured token, programs on the same machine need none
        "security": [] if operation.scope is None else [{"token": [str(operation.scope)]}, {}],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(operation.path)
    ] + [_parameter(parameter) for parameter in operation.parameters]
    if parameters:
        described["parameters"] = parameters
    if operation.description:
        described["description"] = operation.description
    if operation.bodies:
        schema = {"oneOf": [{"$ref": _REF.format(name=body.__name__)} for body in operation.bodies]}
        content: dict[str, Any] = {"schema": schema}
        if operation.examples:
            content["examples"] = {name: {"value": body} for name, body in operation.examples.items()}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    elif operation.is_callback:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def _webhook(name: str, summary: str, ordered_by: str, form: type) -> dict[str, Any]:
    """The request to hooks with a ``url``."""
    signed = {
        "webhook-id": "The delivery id.",
        "webhook-timestamp": "When it was sent: seconds since 1970.",
        "webhook-signature": "One or more signatures per Standard Webhooks, separated by spaces.",
    }
    meanings = {
        "2XX": "Done.",
        "410": "The hook is gone: it is disabled until the next reload or start.",
        "4XX": f"{', '.join(map(str, sorted(FINAL_STATUSES)))}: the delivery fails. Any other: retried.",
        "5XX": "Retried.",
    }
    return {
        "operationId": name,
        "summary": f"{summary}: at least once, in order per {ordered_by}",
        "tags": ["hooks"],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in signed.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(form)}}},
        "responses": {status: {"description": text} for status, text in meanings.items()},
        "security": [],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.location,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.schema.get("type") == "object":
        described |= {"style": "form", "explode": True}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    contents = {
        status: {_PROBLEM if form in schemas.PROBLEMS else _JSON: {"schema": _ref(form)}}
        for status, form in operation.responses.items()
    }
    contents |= {status: {name: {} for name in names.split(", ") if name} for status, names in operation.plain.items()}
    contents |= {status: {_PROBLEM: {"schema": _ref(schemas.ProblemView)}} for status in operation.list_problems()}
    return {
        str(int(status)): {
            "description": describe_status(operation.name, int(status)),
            **({"content": content} if content else {}),
        }
        for status, content in contents.items()
    }


@cache
def _ref(form: type) -> dict[str, Any]:
    return dict(schema_components([form], ref_template=_REF)[0][0])


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    """The schemas of all responses, events and request bodies."""
    forms = [
        schemas.ProblemView,
        HookEventView,
        AlarmEventView,
        *(form for one in operations for form in one.responses.values()),
    ]
    _, sent = schema_components(forms, ref_template=_REF)
    bodies = {body for one in operations for body in one.bodies}
    _, received = models_json_schema(
        [(body, "validation") for body in bodies], ref_template=_REF.replace("name", "model")
    )
    open_names = {form.__name__ for form in schemas.OPEN}
    described = {name: _sent(schema, is_open=name in open_names) for name, schema in sent.items()}
    described.update(received["$defs"])
    for name, schema in described.items():
        for field, member in schema.get("properties", {}).items():
            member["description"] = member.get("description") or describe_field(name, field)
    return described


def _sent(schema: dict[str, Any], *, is_open: bool) -> dict[str, Any]:
    """The schema of output from msgspec's schema of input: a member with a default is always present."""
    schema["description"] = schema["description"].partition("\n\n")[0]
    if "enum" in schema:
        return schema | {"type": "string"}
    required = schema.pop("required")
    for name, member in schema["properties"].items():
        if "enum" in member:
            member["type"] = "string"
        if "absent" in member:
            member["default"] = member.pop("absent")
        elif member.pop("default", UNSET) is not UNSET:
            required.append(name)
    return schema | {"additionalProperties": is_open} | ({"required": required} if required else {})
