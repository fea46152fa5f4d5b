"""What all Suno routes share: envelope, refusals, ids, callback address.

Owns the shapes that do not depend on what is made. The body's ``code`` decides; HTTP
says 200 but for outages.

Source: https://anyint.ai/docs/api-reference/ai-music (routes, body codes);
https://docs.sunoapi.org/suno-api/generate-music (create answer).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tracker.sandbox.jobs import Snapshot
from tracker.sandbox.routes import Context, JobRoute, Refusal
from tracker.sandbox.wire import Answer, Call, Json, json_answer

# Body code and message. 429 is the quota, 430 the rate: not HTTP semantics.
_REFUSALS = MappingProxyType(
    {
        Refusal.POLICY: (400, "The prompt contains sensitive words"),
        Refusal.QUOTA: (429, "The current credits are insufficient. Please top up."),
        Refusal.THROTTLED: (430, "Your call frequency is too high. Please try again later."),
        Refusal.MAINTENANCE: (455, "System maintenance"),
        Refusal.SERVER_ERROR: (500, "Server error"),
        Refusal.ERROR_BODY: (500, "Server error"),
    }
)


def envelope(code: int, msg: str, data: object = None, status: int = 200) -> Answer:
    """Build ``{code, msg, data}``; a refusal carries null data."""
    return json_answer({"code": code, "msg": msg, "data": data}, status)


def text_of(body: Mapping[str, object], name: str) -> str:
    """Return a string field without surrounding space; empty if it is missing or no string."""
    value = body.get(name)
    return value.strip() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoRoute(JobRoute, ABC):
    """A Suno route that makes a job."""

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal: HTTP 200 and a body code; a server error is HTTP 500 as well."""
        del call
        code, message = _REFUSALS[refusal]
        return envelope(code, message, status=500 if refusal is Refusal.SERVER_ERROR else 200)

    def make_id(self, context: Context, nth: str) -> str:
        """Task ids are 32 hexadecimal digits."""
        return context.dice.draw_bytes(16, "id", self.name, nth).hex()

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.taskId`` and nothing else."""
        del call, context
        return envelope(200, "success", {"taskId": snapshot.job.id})

    def task_id_of(self, call: Call) -> str:
        """Return the query parameter ``taskId``."""
        return call.query.get("taskId", "")

    def unknown(self, call: Call) -> Answer:
        """HTTP 200 with body code 404."""
        if not self.task_id_of(call):
            return envelope(400, "Please enter taskId.")
        return envelope(404, "task not found")

    def callback_url_of(self, body: Json, context: Context) -> str | None:
        """Return ``callBackUrl``."""
        del context
        return text_of(body, "callBackUrl") or None
