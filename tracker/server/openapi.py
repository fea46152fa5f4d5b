"""``/openapi.json``: the table of operations in the words of OpenAPI 3.1.

Owns the translation. Must not describe anything that the table does not hold.

Source: https://spec.openapis.org/oas/v3.1.0 (read 2026-11).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tracker import __version__
from tracker.domain.hook_events import FINAL_STATUSES
from tracker.server import schemas
from tracker.server.access import READS
from tracker.server.hook_schemas import HookEventView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracker.server.operations import Operation, Parameter

_REF: Final = "#/components/schemas/{model}"
_JSON, _PROBLEM = "application/json", "application/problem+json"
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
        "webhooks": {"taskEvent": {"post": _webhook()}},
        "components": {
            "schemas": _schemas(listed),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation),
        # both: without a configured token, programs on the same machine need none
        "security": [] if operation.is_open else [{"token": []}, {}],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(operation.path)
    ] + [_parameter(parameter) for parameter in operation.parameters]
    if parameters:
        described["parameters"] = parameters
    if operation.bodies:
        schema = {"oneOf": [_ref(model) for model in operation.bodies]}
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif operation.any_body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def _webhook() -> dict[str, Any]:
    """What hooks with a ``url`` are sent."""
    signed = {
        "webhook-id": "The delivery id.",
        "webhook-timestamp": "When it was sent: seconds since 1970.",
        "webhook-signature": "One or several signatures per Standard Webhooks, separated by blanks.",
    }
    meanings = {
        "2XX": "Done.",
        "410": "The hook is gone: it is disabled until the next reload or start.",
        "4XX": f"{', '.join(map(str, sorted(FINAL_STATUSES)))}: failed for good. Any other: sent again.",
        "5XX": "Sent again.",
    }
    return {
        "operationId": "receive_task_event",
        "summary": "An event of a task, at least once, in order for each task",
        "tags": ["hooks"],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in signed.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(HookEventView)}}},
        "responses": {status: {"description": text} for status, text in meanings.items()},
        "security": [],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.schema.get("type") == "object":
        described |= {"style": "form", "explode": True}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status.value): {
            "description": status.phrase,
            "content": {_PROBLEM if issubclass(model, schemas.ProblemView) else _JSON: {"schema": _ref(model)}},
        }
        for status, model in operation.answers.items()
    }
    for status, media_type in operation.plain.items():
        responses[str(status.value)] = {"description": status.phrase}
        if media_type:
            responses[str(status.value)]["content"] = {media_type: {}}
    problems = {*operation.problems, HTTPStatus.INTERNAL_SERVER_ERROR}
    if not operation.is_open:
        problems |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        if operation.method not in READS:
            problems.add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    for status in sorted(problems - set(operation.answers)):
        responses[str(status.value)] = {
            "description": status.phrase,
            "content": {_PROBLEM: {"schema": _ref(schemas.ProblemView)}},
        }
    return responses


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    """The schema of every model that is named, and of those inside them."""
    named: list[type[BaseModel]] = [schemas.ProblemView, HookEventView]
    for operation in operations:
        named += [*operation.bodies, *operation.answers.values()]
    _, document = models_json_schema([(model, "validation") for model in named], ref_template=_REF)
    described: dict[str, Any] = document["$defs"]
    return described
