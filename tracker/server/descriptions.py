"""Descriptions of the fields and statuses of ``/openapi.json`` that their own schemas lack.

A field that is named alike in several schemas means the same, unless it is listed below the schema's own name. Must
not describe what is not in the document: tests compare both.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

FIELDS: Final[Mapping[str, str]] = {
    "account": "The configured account: a base URL with its API key.",
    "at": "When it was recorded.",
    "attempts": "How often it has been tried.",
    "base_url": "The address of its upstream.",
    "bytes": "Its size; null before it is archived.",
    "created_at": "When it was created.",
    "detail": "One sentence about it.",
    "error": "Why the last attempt failed; null if none did.",
    "external_id": "The upstream's id of the job; null until it is known.",
    "finished_at": "When it reached its final status; null before.",
    "instance": "An id of the store.",
    "items": "The entries.",
    "labels": "Names and values that the creator gave it.",
    "name": "Its name.",
    "next_attempt_at": "When it is tried next; null if it is not.",
    "next_cursor": "The cursor of the next page; null on the last one.",
    "path": "Its path below the archive directory; null before it is archived.",
    "problems": "Why a list is missing or old, one line each.",
    "provider": "The maker of the API: the first part of the route.",
    "ready": "Whether the daemon works.",
    "route": "The upstream route, written provider.name.",
    "seq": "Its position in the history of all tasks; grows, and is never used twice.",
    "sha256": "The digest of its content; null before it is archived.",
    "status": "Its status.",
    "task_id": "The task.",
    "type": "Its kind.",
}
"""Field -> its meaning in every schema."""

FIELDS_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "ActionView": {"command": "The command to type.", "what": "What it does."},
    "AdoptBody": {"external_id": "The id that the upstream's own console shows."},
    "AliveView": {"status": "Always alive."},
    "AppliedView": {"outcome": "Whether the callback changed the task, and if not, why."},
    "ArchiveView": {
        "expires_at": "When the upstream URL expires, if the upstream reports it.",
        "n": "The number of the output.",
        "state": "How far it is.",
    },
    "AttemptRecord": {
        "attempt": "Its number, from 1; begins anew after a retry by hand.",
        "outcome": "How it ended.",
        "output": "The end of what it printed or answered.",
        "started_at": "When it began; null if that was not stored.",
        "took_s": "How long it took, in seconds; null likewise.",
    },
    "CostView": {"amount": "How much."},
    "DeliveryCounts": {
        "dead": "Failed after all attempts.",
        "failed": "Failed for good, by the hook's own answer.",
        "pending": "Waiting for a run.",
        "running": "Under way.",
        "succeeded": "Done.",
    },
    "DeliveryDetail": {"attempt_history": "The attempts, oldest first."},
    "DeliveryRecord": {
        "alarm_kind": "The kind of the alarm that its event is about; null for an event of a task.",
        "alarm_subject": "The subject of this alarm.",
        "event": "The event that it delivers.",
        "hook": "The hook.",
        "id": "The delivery id: the same in every attempt.",
        "output": "The end of what the last run printed or answered.",
    },
    "DoctorView": {
        "accounts": "The configured accounts.",
        "pid": "The process id.",
        "started_at": "When it was started.",
        "version": "The version of the program.",
    },
    "EventRecord": {
        "detail": "What was observed, one sentence.",
        "from": "The status before.",
        "outcome": "Whether it changed the task, and if not, why.",
        "payload": "What the upstream sent, without secrets; null without one, or after retention dropped it.",
        "source": "What brought it.",
        "stage": "The stage that the observation reports.",
        "to": "The status after.",
    },
    "Field": {"meaning": "What it is for.", "type": "What a value must be."},
    "FieldProblem": {"loc": "Where: the names on the way to the field.", "msg": "What is wrong."},
    "GapView": {"from": "The first position.", "to": "The last position."},
    "AlarmEventView": {"type": "The event.", "alarm": "The alarm; in system.clear, as it was raised."},
    "Alarm": {"kind": "What is wrong.", "since": "When it began."},
    "HookEventView": {"previous_status": "The status before the event.", "type": "The event."},
    "HookList": {"ignored": "Files below hooks.d that do not run."},
    "HookView": {
        "deliveries": "Its deliveries by status.",
        "failures": "How many runs in a row have failed.",
        "kind": "What it runs; null for a hook that is configured no more.",
        "last_error": "Of the last failed run.",
        "last_failure_at": "When a run failed last.",
        "last_success_at": "When a run succeeded last.",
        "on": "The events that it receives.",
        "retry_in_s": "Seconds until the next probe of an open circuit.",
        "running": "Runs under way.",
        "state": "Its health; open and probing: its deliveries wait, absent: it is configured no more.",
    },
    "IgnoredFileView": {"file": "The file.", "reason": "Why it does not run."},
    "Model": {
        "created_at": "When it appeared, as the upstream reports it.",
        "display_name": "Its name for people.",
        "family": "The list that named it.",
        "id": "What requests call it.",
        "type": "Its type in the list.",
    },
    "ModelCatalogue": {"age_s": "Seconds since it was fetched.", "synced_at": "When it was fetched; null for never."},
    "NextView": {"at": "When; null for at any time.", "what": "What happens."},
    "ObservedView": {
        "outcome": "Whether it changed the task, and if not, why.",
        "said": "What it said.",
        "source": "What brought it.",
    },
    "OutputView": {
        "archived": "Whether the file is stored: then /v1/tasks/{id}/outputs/{n} serves it.",
        "duration_s": "Its length in seconds.",
        "kind": "What it is.",
        "mime": "Its media type.",
        "n": "Its number; 0 is the main result.",
        "title": "Its title, where the upstream gives one.",
        "url": "The temporary upstream URL; null for a text, and for a file that needs the API key.",
    },
    "ProblemView": {
        "detail": "What is wrong, and how to fix it.",
        "status": "The HTTP status.",
        "title": "The phrase of the HTTP status.",
        "type": "The kind of problem; stable.",
    },
    "ReportItem": {
        "model": "The model of the request.",
        "reason": "Why they FAILED; null for those that did not.",
        "route": "The route.",
    },
    "PrunedView": {
        "deliveries": "Deliveries.",
        "dry_run": "Whether they were only counted.",
        "events": "Entries of histories.",
        "file_bytes": "The size of those files.",
        "files": "Archived files.",
        "freed_bytes": "By how much the database shrank.",
        "payloads": "Upstream responses.",
        "requests": "Request bodies.",
        "tasks": "Tasks that lost something.",
    },
    "QueuedView": {"outcome": "polling: the task is asked for now; parked: it is, once the task appears."},
    "RefusedView": {"at": "When.", "what": "What was refused.", "why": "Why."},
    "RegisterBody": {"external_id": "The upstream's id of the job.", "labels": "Names and values of your own."},
    "RetriedView": {"retried": "How many."},
    "RouteDetail": {"models_source": "Where the models are from."},
    "RouteView": {
        "callback": "Whether the upstream calls back.",
        "create": "Method and path of the create.",
        "mode": "sync: the answer to the create is the result.",
        "query": "Method and path of a poll; null without one.",
        "signature": "How its callbacks are signed; null for not.",
        "source": "The document of the route.",
    },
    "SubmitBody": {"labels": "Names and values of your own: filters find them, hooks get them."},
    "TaskView": {
        "callbacks": "Callbacks that have arrived.",
        "error": "The upstream's own code and message, and the HTTP status; null unless it failed by them.",
        "id": "The id of the task.",
        "model": "The model of the request.",
        "next_poll_at": "When the upstream is asked next; null if it is not.",
        "origin": "Whether it was submitted or registered.",
        "outputs": "What it has produced so far.",
        "polls": "Polls that were answered or failed.",
        "progress": "Percent, if the upstream reports it.",
        "reason": "Why it failed; null unless it did.",
        "request": "The body of the create; null after retention dropped it.",
        "result": "The upstream's last response about it; null before, and after retention dropped it.",
        "retryable": "Whether the same request may succeed as a new job; null unless it failed.",
        "stage": "A sub-stage that some upstreams report.",
        "started_at": "When it was seen running first.",
        "submitted_at": "When the upstream accepted the create.",
        "user_message": "One sentence for the person who waits.",
        "version": "Grows with every change of the task.",
    },
    "UpstreamError": {
        "code": "The upstream's code.",
        "http_status": "The HTTP status of its answer.",
        "message": "The upstream's message.",
    },
    "WhyView": {
        "ends_by": "When its fate is decided at the latest.",
        "heard": "Observations, oldest first.",
        "id": "The id of the task.",
        "next": "What happens next.",
        "notes": "What else to know, one sentence each.",
        "refused": "What was received and not applied.",
        "summary": "Why it is where it is.",
    },
}
"""Schema -> its own fields. A schema that includes another's fields, such as a page of it, takes that one's."""

_BASES: Final[Mapping[str, str]] = {
    "DeliveryDetail": "DeliveryRecord",
    "ExportedEventView": "EventRecord",
    "FeedEventView": "EventRecord",
    "NotReadyView": "ProblemView",
    "OverBudgetView": "ProblemView",
    "RouteDetail": "RouteView",
}

PROBLEMS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "The body or a header is malformed.",
    HTTPStatus.UNAUTHORIZED: "The bearer token is missing or wrong.",
    HTTPStatus.PAYMENT_REQUIRED: "It does not fit into the budget of its account: nothing was recorded or sent.",
    HTTPStatus.FORBIDDEN: "A web page of another site sent it, or the token does not allow it.",
    HTTPStatus.NOT_FOUND: "It does not exist.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time.",
    HTTPStatus.CONFLICT: "The state of the task, or a request with the same key, does not allow it now.",
    HTTPStatus.GONE: "The file was deleted.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Writes need Content-Type: application/json.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or parameter is wrong: errors names each.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many at once; try again after Retry-After.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error of the tracker. After write-unknown it may have been recorded.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The store cannot take it now: nothing was recorded. Send it again.",
}
"""Status of problem details -> its meaning."""

_ANSWERS: Final[Mapping[int, str]] = {
    HTTPStatus.OK: "What was asked for.",
    HTTPStatus.PARTIAL_CONTENT: "The requested range of the file.",
    HTTPStatus.FOUND: "Not archived yet: the temporary upstream URL.",
    HTTPStatus.NOT_MODIFIED: "The file is the one of the ETag.",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "The file has no such range.",
}
_CREATES: Final[Mapping[int, str]] = {
    HTTPStatus.CREATED: "A new task, as it is after its first attempt: it may have failed already.",
    HTTPStatus.ACCEPTED: "A new task whose create is under way, or waits for a slot of its account.",
    HTTPStatus.OK: "The task of an earlier request with the same idempotency key: nothing was sent.",
    HTTPStatus.NO_CONTENT: "With dry_run: the request is valid. Nothing was recorded or sent.",
}
_OF_OPERATION: Final[Mapping[str, Mapping[int, str]]] = {
    "create_task": _CREATES,
    "resubmit_task": {**_CREATES, HTTPStatus.OK: "The task that an earlier resubmit created: nothing was sent."},
    "get_ready": {
        HTTPStatus.OK: "The daemon works; reasons names what needs care all the same.",
        HTTPStatus.SERVICE_UNAVAILABLE: "The daemon cannot work now.",
    },
    "receive_callback": {
        HTTPStatus.OK: "The callback is on disk.",
        HTTPStatus.ACCEPTED: "The callback is not trusted or not understood: its task is polled.",
        HTTPStatus.NOT_FOUND: "The token is wrong.",
        HTTPStatus.UNAUTHORIZED: "The signature is wrong.",
    },
    "receive_hint": {
        HTTPStatus.ACCEPTED: "The task is polled now, or once it appears.",
        HTTPStatus.UNAUTHORIZED: "The signature is wrong.",
    },
}
"""Operation -> what a status of it means, where that is not the usual."""


def describe_field(schema: str, name: str) -> str:
    """The meaning of a field, empty if it is not listed."""
    for owner in (schema, _BASES.get(schema, "")):
        if name in FIELDS_OF.get(owner, ()):
            return FIELDS_OF[owner][name]
    return FIELDS.get(name, "")


def describe_status(operation: str, status: int) -> str:
    """The meaning of a status of an operation."""
    own = _OF_OPERATION.get(operation, {})
    return own.get(status) or _ANSWERS.get(status) or PROBLEMS[status]
