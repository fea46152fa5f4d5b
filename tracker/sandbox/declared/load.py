"""Builds the routes of a provider from its TOML file.

Owns the meaning of each table for the sandbox, and default error codes and messages. The tracker's check reports the
mistakes of a file; this module only refuses files that cannot be played.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tracker.sandbox.declared.answers import Want, find_document
from tracker.sandbox.declared.results import ResultRoute
from tracker.sandbox.interpreter import DataJobRoute, build_job_route, write_path
from tracker.sandbox.routes import Route
from tracker.sandbox.scope import Table
from tracker.sandbox.wire import Json

_STAGES = [{"name": "pending", "at": 0.0}, {"name": "running", "at": 0.25}]
_MEANINGS = {
    "pending": ("PENDING", "RUNNING"),
    "running": ("RUNNING", "PENDING"),
    "succeeded": ("SUCCEEDED",),
    "failed": ("FAILED",),
}
"""Which statuses a stage may have, the best first. A status that the file does not list counts as running."""
_MEDIA = {"video": "mp4", "image": "png", "audio": "mp3", "file": "png"}
_MEDIA_OF_TYPES = {"video/mp4": "mp4", "image/png": "png", "audio/mpeg": "mp3", "audio/wav": "wav"}
_AUTH = {"bearer": "authorization", "x-api-key": "x-api-key"}
_RESULT = "result"
"""Where a file finds the answer to the second call, beside the answer to the status call."""
_PLACEHOLDER = re.compile(r"\{\+?([\w.-]+)\}")

# Name: HTTP status, reason of the tracker, message.
_REFUSALS = {
    "policy": (400, "policy_rejected", "The content rules refuse this request."),
    "quota": (402, "quota_exhausted", "There is no credit left."),
    "throttled": (429, "rate_limited", "There are too many requests."),
    "maintenance": (503, "upstream_unavailable", "The service is under maintenance."),
    "500": (500, "upstream_error", "Internal error."),
    "error_body": (200, "upstream_error", "Internal error."),
    "invalid": (400, "invalid_request", "${field} is required."),
    "unknown": (404, "not_found", "There is no task ${task_id}."),
    "key": (401, "unauthorized", "The key is missing or wrong."),
}
_FAULTS = {
    "policy": ("policy_rejected", "The content rules reject the result."),
    "error": ("generation_failed", "The generation broke."),
    "invalid": ("invalid_request", "A parameter of the request is not valid."),
}


@dataclass(frozen=True, slots=True)
class PlayedProvider:
    """One provider that the sandbox plays.

    Attributes:
        name: Its name.
        prefix: What its account's ``base_url`` has after the sandbox's address; empty for ``account = "default"``.
        routes: Its routes.
    """

    name: str
    prefix: str
    routes: tuple[Route, ...]


def load_providers(directory: Path) -> tuple[PlayedProvider, ...]:
    """Return the providers that the TOML files of a directory declare.

    Raises:
        ValueError: A file cannot be played; the message names the file and the key.
        OSError: A file cannot be read.
    """
    return tuple(_load(path) for path in sorted(directory.glob("*.toml")))


def _load(path: Path) -> PlayedProvider:
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        name = declared["name"]
        prefix = "" if declared.get("account") == "default" else f"/{name}"
        return PlayedProvider(name, prefix, tuple(_read_routes(declared, prefix)))
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]} is missing; tracker config check explains the file") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_routes(declared: Json, prefix: str) -> Iterator[Route]:
    second = declared.get(_RESULT)
    common = _read_common(declared)
    statuses, results = _split(common) if second is not None else (common, common)
    jobs: dict[str, DataJobRoute] = {}
    for name, route in declared["routes"].items():
        calls = {
            "create": _put_prefix(route["create"], prefix),
            "query": _put_prefix(route["query"], prefix),
            "query_parameters": route.get("query_parameters", {}),
            "query_body": route.get("query_body"),
            "checks": [{"field": field, "is": "present"} for field in route.get("required", [])],
            "id": "models/sandbox/operations/${hex24.id}" if "{+task_id}" in route["query"] else "${hex24.id}",
            "id_name": _find_id_name(f"routes.{name}", _list_names(route)),
        }
        full_name = f"{declared['name']}.{name}"
        yield build_job_route(full_name, {**statuses, **calls})
        jobs[full_name] = build_job_route(full_name, {**results, **calls})
    if second is not None:
        yield _read_result(second, jobs, prefix)


def _read_result(second: Json, jobs: Mapping[str, DataJobRoute], prefix: str) -> ResultRoute:
    parameters = second.get("query_parameters", {})
    failed_http = second.get("failed_http", [])
    return ResultRoute(
        method="GET",
        path=write_path(_put_prefix(second["query"], prefix)),
        jobs=jobs,
        parameters=parameters,
        key=_find_id_name("result", _list_names(second)),
        failed_http=failed_http[0] if failed_http else None,
    )


def _list_names(call: Json) -> list[str]:
    """Return the names of the placeholders in the query of a route or of the second call."""
    found = [call.get("query", ""), call.get("query_parameters", {}), call.get("query_body") or {}]
    texts: list[str] = []
    for value in found:  # grows during the loop
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict | list):
            found += value.values() if isinstance(value, dict) else value
    return [name for text in texts for name in _PLACEHOLDER.findall(text)]


def _find_id_name(where: str, names: Sequence[str]) -> str:
    """Return the placeholder that names the job: its id, or a field of the answer before, where the sandbox puts it.

    Raises:
        ValueError: There is none.
    """
    for name in names:
        if name == "task_id":
            return name
    for name in names:
        if name.startswith("answer."):
            return name
    raise ValueError(f"{where}.query: the sandbox needs {{task_id}} or {{answer.FIELD}} there")


def _split(table: Table) -> tuple[Table, Table]:
    """Return the table of the status call, without results, and that of the second call, with nothing else."""

    def both(document: Json) -> tuple[Json, Json]:
        rest = {key: value for key, value in document.items() if key != _RESULT}
        result = document.get(_RESULT, {})
        return rest, result if isinstance(result, dict) else {}

    shown, result = both(table["query_answer"]["shown"])
    variants = [(one["when"], both(one["query_answer"]["body"])) for one in table["variants"]]
    return (
        {
            **table,
            "query_answer": {"body": {}, "shown": shown},
            "variants": [{"when": when, "query_answer": {"body": rest}} for when, (rest, _) in variants],
        },
        {
            **table,
            "query_answer": {"body": {}, "shown": result},
            "variants": [{"when": when, "query_answer": {"body": one}} for when, (_, one) in variants],
        },
    )


def _put_prefix(call: str, prefix: str) -> str:
    method, _, path = call.partition(" ")
    return f"{method} {prefix}{path}"


def _read_common(declared: Json) -> Table:
    """Return what all routes of a provider share."""
    task, reasons, auth = declared["task"], declared.get("reasons", {}), declared.get("auth", "bearer")
    errors = [(task[key], f"${value}") for key, value in _ERRORS.items() if key in task]
    outputs = dict(_list_outputs(declared["outputs"]))
    asked = _wants_of_answers([declared.get(_RESULT, {})])
    always = _wants_of_answers(declared["routes"].values())
    shown = [(output["path"], output["value"]) for output in outputs.values()]
    progress = [*always, (task["progress"], "$progress")] if "progress" in task else always
    sample = {"id": "sample", "progress": 7, "code": "c", "message": "m", "text": "t", "file": lambda label: label}
    find = partial(_find_answer, task, sample)
    statuses: dict[str, str] = {"strange": "sandbox_strange"}
    answers: dict[str, Json] = {}
    for stage, meanings in _MEANINGS.items():
        candidates = [
            candidate for meaning in meanings for candidate, means in declared["statuses"].items() if means == meaning
        ]
        more = {"failed": [*errors, *always], "succeeded": [*progress, *asked]}.get(stage, progress)
        if stage == "failed" and not candidates:  # the second call reports failures
            candidates = [statuses["succeeded"]]
            more = [*more, *asked]
        statuses[stage], answers[stage] = find(candidates or ["sandbox_running"], more)
    _, finished = find([statuses["succeeded"]], [*shown, *progress, *asked])
    callback_wants = {"failed": errors, "succeeded": progress, "shown": [*shown, *progress]}
    in_body = "ok_codes" in task  # errors come with HTTP 200 and a code
    canceled = [w for w, means in declared["statuses"].items() if means == "FAILED" and "cancel" in w.casefold()]
    shape = find_document(errors, sample) or {"error": {"code": "$code", "message": "$message"}}
    return {
        "family": declared["name"],
        "auth": [_AUTH.get(auth, auth)],
        "prompt": "prompt",
        "stages": _STAGES,
        "statuses": statuses,
        "progress_full": task.get("progress_full", 100),
        "outputs": {label: output for label, output in outputs.items() if "media" in output},
        "error": shape,
        "refusals": {
            name: {
                "http": 200 if in_body and reason in reasons.values() else http,
                "code": _find_code(reasons, reason),
                "message": message,
            }
            for name, (http, reason, message) in _REFUSALS.items()
        },
        "faults": {
            **{
                fault: {"code": _find_code(reasons, reason), "message": message}
                for fault, (reason, message) in _FAULTS.items()
            },
            "canceled": {"status": canceled[0]} if canceled else {},
        },
        "query_answer": {"body": {}, "shown": finished},
        "variants": [{"when": {"phase": stage}, "query_answer": {"body": body}} for stage, body in answers.items()],
        **_read_callback(_with_known(declared), task, sample, callback_wants),
    }


def _with_known(declared: Json) -> Json | None:
    """Return the callback's table with every status that it may have, its own first."""
    callback = declared.get("callback")
    return callback and {**callback, "known": {**callback.get("statuses", {}), **declared["statuses"]}}


def _wants_of_answers(calls: Iterable[Json]) -> list[Want]:
    """Return what answers need for calls that name a field of them: the job's id is there."""
    names = [name.removeprefix("answer.") for call in calls for name in _list_names(call) if name.startswith("answer.")]
    return [(name, "$id") for name in dict.fromkeys(names)]


_ERRORS = {"error_code": "code", "error_message": "message"}


def _find_answer(
    task: Json, sample: Json, candidates: Sequence[str], more: Sequence[Want], *, literal: bool = False
) -> tuple[str, Json]:
    """Return a status and an answer that contains it, and as many of the other values as fit.

    With ``literal`` the status itself is in the answer, not its placeholder.

    Raises:
        ValueError: No answer contains both the id and the status.
    """
    for candidate in candidates:
        for status in (candidate,) if literal else ("$status", candidate):
            wants: list[Want] = [(task["id"], "$id"), (task["status"], status)]
            scope = {**sample, "status": candidate}
            answer = find_document(wants, scope)
            for want in more if answer is not None else ():
                fuller = find_document([*wants, want], scope)
                if fuller is not None:
                    wants.append(want)
                    answer = fuller
            if answer is not None:
                return candidate, answer
    raise ValueError(f"task.status: the sandbox finds no answer in which {task['status']!r} gives {candidates[0]!r}")


def _list_outputs(declared: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    for number, output in enumerate(declared, 1):
        label = f"output{number}"
        if "text" in output:
            yield label, {"path": output["text"], "value": "$text"}
        else:
            media = _MEDIA_OF_TYPES.get(output.get("mime", ""), _MEDIA.get(output["kind"], "png"))
            yield label, {"path": output["url"], "value": f"$file.{label}", "media": media, "label": output["kind"]}


def _find_code(reasons: Mapping[str, str], reason: str) -> str:
    """Return an error code that the file gives this meaning, or one of the sandbox's own."""
    codes = [code for code, meaning in reasons.items() if meaning == reason]
    return codes[0].replace("*", "SANDBOX") if codes else f"sandbox_{reason}"


def _read_callback(callback: Json | None, task: Json, sample: Json, more: Mapping[str, Sequence[Want]]) -> Json:
    """Return the callback at the end of a job: the task where the file has it, in its own vocabulary, and the id."""
    if callback is None or not {"field", "parameter"} & callback.keys():
        return {}
    ids: Want = (callback["ids"][0], "$id")
    posted: Json = {key: callback[key] for key in ("field", "parameter", "signature") if key in callback}
    for name, meaning in {"succeeded": "SUCCEEDED", "failed": "FAILED", "shown": "SUCCEEDED"}.items():
        wants = [ids]
        if "task" in callback:
            candidates = [one for one, means in callback["known"].items() if means == meaning]
            _, answer = _find_answer(task, sample, candidates or ["sandbox_ended"], more[name], literal=True)
            wants = [(callback["task"], answer), ids]
        body = find_document(wants, {**sample, "status": "s"})
        if body is None:
            raise ValueError(f"callback: the sandbox finds no body in which {callback['ids'][0]!r} gives the id")
        posted[name] = body
    return {"callback": posted}
