"""What all Kling routes share: envelope, refusals, states, callbacks.

Owns the fields, words and errors of Kling as the gateway passes them on, but for what is made. An id is
valid only on the sibling query route of its create.

Source: https://anyint.ai/docs/api-reference/kling-video (routes, required fields);
https://kling.ai/document-api/api/video/3-0-omni (bodies, states, callbacks);
https://kling.ai/document-api/api/get-started/error-codes (HTTP status and body code);
https://kling.ai/document-api/api/get-started/callbacks (flat callback, the newer field names).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.jobs import Snapshot
from tracker.sandbox.routes import Context, JobRoute, Notice, Refusal
from tracker.sandbox.signatures import sign_webhook
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_STATUSES = {
    "submitted": "submitted",
    "processing": "processing",
    "succeeded": "succeed",  # so spelt in the legacy dialect, which the gateway's route speaks
    "failed": "failed",
}
_STRANGE = "transcoding"
_UNITS = "1"

# (HTTP status, body code, message).
_REFUSALS = MappingProxyType(
    {
        Refusal.POLICY: (400, 1301, "content blocked by safety policy"),
        Refusal.QUOTA: (429, 1102, "Account balance not enough"),
        Refusal.THROTTLED: (429, 1303, "parallel task over resource pack limit"),
        Refusal.MAINTENANCE: (503, 5001, "Service unavailable, under maintenance"),
        Refusal.SERVER_ERROR: (500, 5000, "Internal server error"),
        Refusal.ERROR_BODY: (200, 5000, "Internal server error"),
    }
)

# The only reason Kling gives: ``task_status_msg``. There is no code.
_REASONS = MappingProxyType(
    {
        GenerationFault.POLICY: "Failure to pass the risk control system",
        GenerationFault.ERROR: "Internal generation error, please try again",
        GenerationFault.INVALID: "Image pixel is invalid",
    }
)


def _epoch_ms(epoch_s: float) -> int:
    return round(epoch_s * 1000)


def kling_error(status: int, code: int, message: str, call: Call) -> Answer:
    """Build an error: the code decides, ``data`` is absent."""
    return json_answer({"code": code, "message": message, "request_id": call.request_id}, status)


def _sign(secrets: str, message_id: str, body: bytes, at_s: float) -> dict[str, str]:
    return sign_webhook(secrets, message_id, at_s, body)


def _success(data: Json, call: Call) -> Answer:
    # ``message`` reads SUCCEED even when the task has failed (QuantumNous/new-api pull request 2532).
    return json_answer({"code": 0, "message": "SUCCEED", "request_id": call.request_id, "data": data})


@dataclass(frozen=True, slots=True, kw_only=True)
class KlingRoute(JobRoute, ABC):
    """A Kling route: everything but what it makes.

    Attributes:
        result_key: Where ``task_result`` lists the outputs, such as ``videos``; without its s, what the newer
            dialect calls each of them.
        required: String fields that must not be empty.
    """

    result_key: str
    required: tuple[str, ...] = ("model_name", "prompt")

    @abstractmethod
    def outputs(self, snapshot: Snapshot, context: Context) -> list[Json]:
        """Return the finished outputs, each with its ``url``."""

    def arrange(self, request: Json, outputs: list[Json]) -> Json:
        """Return the ``task_result`` that lists these outputs."""
        del request
        return {self.result_key: outputs}

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Refuse missing or mistyped fields with HTTP 400, code 1201."""
        del context
        for name in self.required:
            value = call.body.get(name)
            if not (isinstance(value, str) and value.strip()):
                return kling_error(400, 1201, f"{name} is required", call)
        for name in ("callback_url", "external_task_id"):
            if not isinstance(call.body.get(name, ""), str):
                return kling_error(400, 1201, f"{name} must be a string", call)
        return None

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal: ``code``, ``message``, ``request_id``."""
        return kling_error(*_REFUSALS[refusal], call)

    def make_id(self, context: Context, nth: str) -> str:
        """Task ids are decimal numbers of 18 digits, in a string."""
        number = int.from_bytes(context.dice.draw_bytes(8, "id", self.name, nth), "big")
        return str(860_000_000_000_000_000 + number % 10_000_000_000_000_000)

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.task_id`` and the first status."""
        del context
        job = snapshot.job
        created = _epoch_ms(job.created_at_s)
        return _success(
            {
                "task_id": job.id,
                "task_status": "submitted",
                "task_info": {"external_task_id": job.request.get("external_task_id")},
                "created_at": created,
                "updated_at": created,
            },
            call,
        )

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.task_status``, ``task_status_msg``, ``task_result``."""
        job = snapshot.job
        if job.script.dialect == "new":
            return _success(self._new_dialect(snapshot, context), call)
        data: Json = {
            "task_id": job.id,
            "task_status": self._status(snapshot),
            "task_info": {"external_task_id": job.request.get("external_task_id")},
            "created_at": _epoch_ms(job.created_at_s),
            "updated_at": _epoch_ms(snapshot.updated_at_s),
            "task_status_msg": self._reason(snapshot),
            "task_result": self._result(snapshot, context),
        }
        if snapshot.stage.name == "succeeded":
            data["final_unit_deduction"] = _UNITS
        return _success(data, call)

    def unknown(self, call: Call) -> Answer:
        """HTTP 404, code 1203: unknown, or the id of a sibling route."""
        return kling_error(404, 1203, "resource not found", call)

    def callback_url_of(self, body: Json, context: Context) -> str | None:
        """Return ``callback_url``."""
        del context
        url = body.get("callback_url")
        return url if isinstance(url, str) and url else None

    def notice(self, snapshot: Snapshot, context: Context) -> Notice | None:
        """A flat object without wrapper, on every change of status; signed if there is a secret."""
        job = snapshot.job
        sign = None
        if context.secrets.kling is not None:
            message_id = "msg_" + context.dice.draw_bytes(12, "message", job.id, snapshot.stage.name).hex()
            sign = partial(_sign, context.secrets.kling, message_id)
        if job.script.dialect == "new":
            return Notice(snapshot.stage.name, self._new_dialect(snapshot, context), sign)
        payload: Json = {
            "task_id": job.id,
            "task_status": self._status(snapshot),
            "task_status_msg": self._reason(snapshot),
            "created_at": _epoch_ms(job.created_at_s),
            "updated_at": _epoch_ms(snapshot.updated_at_s),
            "final_unit_deduction": _UNITS,
            "task_info": {"parent_video": None, "external_task_id": job.request.get("external_task_id")},
        }
        if snapshot.stage.name == "succeeded":
            payload["task_result"] = self._result(snapshot, context)
        return Notice(self._status(snapshot), payload, sign)

    def _status(self, snapshot: Snapshot) -> str:
        return _STRANGE if snapshot.strange else _STATUSES[snapshot.stage.name]

    def _reason(self, snapshot: Snapshot) -> str:
        fault = snapshot.job.fate.fault
        return _REASONS.get(fault, "") if fault and snapshot.stage.name == "failed" else ""

    def _result(self, snapshot: Snapshot, context: Context) -> Json:
        if snapshot.stage.name != "succeeded":
            return {}
        outputs = self.outputs(snapshot, context) if snapshot.shows_outputs else []
        return self.arrange(snapshot.job.request, outputs)

    def _new_dialect(self, snapshot: Snapshot, context: Context) -> Json:
        """The field names of Kling 3.x: ``id``, ``status``, ``outputs``."""
        job = snapshot.job
        data: Json = {
            "id": job.id,
            "status": _STRANGE if snapshot.strange else snapshot.stage.name,
            "message": self._reason(snapshot),
            "create_time": _epoch_ms(job.created_at_s),
            "update_time": _epoch_ms(snapshot.updated_at_s),
            "external_id": job.request.get("external_task_id"),
        }
        if snapshot.stage.name == "succeeded":
            kind = self.result_key.removesuffix("s")
            outputs = self.outputs(snapshot, context) if snapshot.shows_outputs else []
            data["outputs"] = [{"type": kind, **output} for output in outputs]
            data["billing"] = [{"charge_type": "unit", "amount": "6.0"}]
        return data
