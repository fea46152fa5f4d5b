"""What all Suno routes share: envelope, refusals, failures, ids, callback address and signature.

Owns the shapes that do not depend on what is made. The body's ``code`` decides; HTTP
says 200 but for outages.

Source: https://anyint.ai/docs/api-reference/ai-music (routes, body codes);
https://docs.sunoapi.org/suno-api/generate-music (create answer);
https://docs.kie.ai/common-api/webhook-verification (signature).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from tracker.sandbox.jobs import Job, Snapshot
from tracker.sandbox.prompts import find_scripted
from tracker.sandbox.routes import Context, JobRoute, Notice, Refusal
from tracker.sandbox.signatures import sign_task
from tracker.sandbox.wire import Answer, Call, Json, json_answer

Mistake = tuple[int, str]
"""Body code and message."""

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
MODELS = ("V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5")
STRANGE = "QUEUED_V2"
"""A status that no document names."""

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


@dataclass(frozen=True, slots=True)
class Failure:
    """How a failed job shows: status, error code and message of the query; code and msg of the callback."""

    status: str
    code: int | None
    message: str | None
    callback_code: int
    callback_msg: str


def envelope(code: int, msg: str, data: object = None, status: int = 200) -> Answer:
    """Build ``{code, msg, data}``; a refusal carries null data."""
    return json_answer({"code": code, "msg": msg, "data": data}, status)


def text_of(body: Mapping[str, object], name: str) -> str:
    """Return a string field without surrounding space; empty if it is missing or no string."""
    value = body.get(name)
    return value.strip() if isinstance(value, str) else ""


def find_missing(body: Json, names: Iterable[str]) -> Mistake | None:
    """Return the mistake of lacking one of these text fields, or None."""
    return next(((400, f"Please enter {name}.") for name in names if not text_of(body, name)), None)


class SunoWords:
    """The refusals, for routes with and without jobs."""

    __slots__ = ()

    def prompt_of(self, body: Json) -> str:
        """Return ``prompt``; without one, whatever text holds directives."""
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) and prompt else find_scripted(body)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal: HTTP 200 and a body code; a server error is HTTP 500 as well."""
        del call
        code, message = _REFUSALS[refusal]
        return envelope(code, message, status=500 if refusal is Refusal.SERVER_ERROR else 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoRoute(SunoWords, JobRoute, ABC):
    """A Suno route that makes a job."""

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


def write_notice(phase: str, payload: Json, job: Job, context: Context) -> Notice:
    """Make a callback, signed over task id and time if there is a secret."""
    secret = context.secrets.suno
    return Notice(phase, payload, None if secret is None else partial(_sign, secret, job.id))


def _sign(secret: str, task_id: str, body: bytes, at_s: float) -> dict[str, str]:
    del body  # not covered
    return sign_task(secret, task_id, at_s)
