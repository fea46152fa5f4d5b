"""The public JSON: exactly the names that scripts and hooks are written against."""

import json
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from tests.kits.clock import START, after
from tests.kits.factories import TASK_ID, make_output, make_task
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Source
from tracker.domain.records import (
    DeliveryRecord,
    EventRecord,
    HookView,
    TaskRecord,
    decode_fragment,
    decode_payload,
    delivery_json,
    event_json,
    iso,
    task_json,
    to_json,
)
from tracker.domain.task import Output, Reason, Stage, Status, UpstreamError
from tracker.domain.transitions import Outcome
from tracker.hooks.health import HookHealth, HookState

TASK_FIELDS = [
    "id", "route", "provider", "account", "external_id", "status", "stage", "progress", "reason", "error",
    "retryable", "user_message", "outputs", "request", "result", "labels", "model", "created_at", "submitted_at",
    "started_at", "finished_at", "next_poll_at", "polls", "callbacks", "version", "origin",
    "ended_by", "stage_at", "upstream_finished_at", "usage", "cost",
    "retry_of", "expected", "poll_after_s",
]  # fmt: skip
OUTPUT_FIELDS = ["n", "kind", "url", "mime", "title", "duration_s", "archived", "path", "bytes", "sha256"]
EVENT_FIELDS = ["seq", "task_id", "at", "source", "stage", "outcome", "from", "to", "detail", "payload"]
DELIVERY_FIELDS = [
    "id", "task_id", "seq", "hook", "event", "status", "attempts", "next_attempt_at", "error", "output",
    "created_at", "finished_at", "alarm_kind", "alarm_subject",
]  # fmt: skip


def test_task_fields() -> None:
    """A task shows every public field and none besides, whatever its state."""
    for status in Status:
        shown = task_json(TaskRecord(make_task(status=status)))
        assert list(shown) == TASK_FIELDS


def test_task_values() -> None:
    """Values are plain JSON: times as ISO 8601, enumerations as strings, no internal fields."""
    task = make_task(
        status=Status.FAILED,
        reason=Reason.POLICY_REJECTED,
        stage=Stage.FIRST,
        progress=50,
        error=UpstreamError("413", "matches existing", 200),
        retryable=False,
        outputs=(make_output(title="Rain", duration_s=91.2),),
        due_at=None,
        polls=3,
        callbacks=1,
        version=4,
        model="V5",
    )
    shown = task_json(TaskRecord(task, {"prompt": "x"}, {"code": 413}, {"user": "42"}))
    assert shown["error"] == {"code": "413", "message": "matches existing", "http_status": 200}
    assert (shown["status"], shown["stage"], shown["reason"]) == ("FAILED", "first", "policy_rejected")
    assert shown["created_at"] == "2026-11-20T20:42:00.000Z"
    assert shown["next_poll_at"] is None
    assert shown["labels"] == {"user": "42"}
    (output,) = shown["outputs"]
    assert list(output) == OUTPUT_FIELDS
    assert output["title"] == "Rain"
    assert output["archived"] is False


def test_a_text_output() -> None:
    """A text is shown with its text and without a URL."""
    shown = task_json(TaskRecord(make_task(outputs=(Output("text", text="la la"),))))["outputs"][0]
    assert (shown["kind"], shown["text"], shown["url"]) == ("text", "la la", None)


def test_a_url_that_needs_the_key_is_not_shown() -> None:
    """Neither is inline data."""
    outputs = (make_output(authenticated=True), Output("image", inline="aGk="))
    shown = task_json(TaskRecord(make_task(outputs=outputs)))["outputs"]
    assert [output["url"] for output in shown] == [None, None]
    assert "inline" not in shown[1]


def test_event_fields() -> None:
    """An event shows every public field and none besides."""
    event = EventRecord(
        812,
        TASK_ID,
        START,
        Source.CALLBACK,
        Stage.FIRST,
        Outcome.APPLIED,
        Status.PENDING,
        Status.RUNNING,
        "RUNNING",
        {"a": 1},
    )
    shown = event_json(event)
    assert list(shown) == EVENT_FIELDS
    assert (shown["seq"], shown["from"], shown["to"], shown["payload"]) == (812, "PENDING", "RUNNING", {"a": 1})


def test_delivery_fields() -> None:
    """A delivery shows every public field and none besides."""
    delivery = DeliveryRecord(
        "dlv_1",
        TASK_ID,
        812,
        "publish",
        "task.succeeded",
        DeliveryStatus.PENDING,
        1,
        after(2),
        "exit 1",
        "…",
        START,
        None,
    )
    shown = delivery_json(delivery)
    assert list(shown) == DELIVERY_FIELDS
    assert (shown["status"], shown["next_attempt_at"]) == ("pending", "2026-11-20T20:42:02.000Z")


def test_times_of_annotated_members() -> None:
    """A time is text in every form, whatever describes its member."""
    health = HookHealth(HookState.FAILING, failing_since=START, last_success_at=START)
    shown = to_json(HookView, health, name="h")
    assert (shown["failing_since"], shown["last_success_at"]) == ("2026-11-20T20:42:00.000Z",) * 2
    assert shown["last_failure_at"] is None


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (None, None),
        (datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC), "2026-01-02T03:04:05.006Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05.000Z"),
    ],
)
def test_iso(time: datetime | None, text: str | None) -> None:
    """UTC, milliseconds, Z."""
    assert iso(time) == text


def test_a_large_result_is_encoded_as_it_is_stored() -> None:
    """It is not decoded and encoded again, with any encoder."""
    text = json.dumps([1.50, "x" * (1 << 20)])
    held = decode_payload(text)
    assert orjson.dumps({"result": held}) == b'{"result":' + text.encode() + b"}"
    assert json.loads(json.dumps({"result": held}, default=decode_fragment)) == {"result": json.loads(text)}
    assert decode_payload("[1.50]") == [1.5]
    with pytest.raises(TypeError):
        json.dumps(object(), default=decode_fragment)
