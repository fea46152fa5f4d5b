"""What all OpenAI-style routes share: the error object, refusals, failures.

Owns ``{"error": {message, type, param, code}}``. Must not know what is made.

Source: https://platform.openai.com/docs/guides/error-codes (statuses, types, codes);
https://anyint.ai/docs/api-reference/openai-extended (routes, passed through).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.routes import Refusal
from tracker.sandbox.wire import Answer, Call, Json, json_answer

REJECTED = "Your request was rejected by the safety system."

_BROKEN = (
    500,
    "The server had an error while processing your request. Sorry about that!",
    "server_error",
    "server_error",
)
_REFUSALS = MappingProxyType(
    {
        Refusal.POLICY: (400, REJECTED, "invalid_request_error", "moderation_blocked"),
        Refusal.QUOTA: (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        Refusal.THROTTLED: (429, "Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
        Refusal.MAINTENANCE: (
            503,
            "The engine is currently overloaded, please try again later.",
            "service_unavailable_error",
            "server_is_overloaded",
        ),
        Refusal.SERVER_ERROR: _BROKEN,
        Refusal.ERROR_BODY: (200, *_BROKEN[1:]),
    }
)


def openai_error(
    status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, *, param: str | None = None
) -> Answer:
    """Build an error in OpenAI's shape."""
    return json_answer({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def find_missing(body: Json, names: Iterable[str]) -> Answer | None:
    """Return the refusal of a request that lacks one of these text fields, or None."""
    for name in names:
        value = body.get(name)
        if not (isinstance(value, str) and value.strip()):
            return openai_error(400, f"Missing required parameter: '{name}'.", code="missing_parameter", param=name)
    return None


def answer_failure(fault: GenerationFault) -> Answer:
    """Answer a request whose work has failed, where the family has no word of its own for it."""
    match fault:
        case GenerationFault.POLICY:
            return openai_error(*_REFUSALS[Refusal.POLICY])
        case GenerationFault.ERROR:
            return openai_error(*_BROKEN)
        case GenerationFault.INVALID:
            return openai_error(400, "Invalid value for a parameter.", code="invalid_value")
        case _:
            return openai_error(500, "", "server_error")


class OpenAIWords:
    """The refusals, for routes with and without jobs."""

    __slots__ = ()

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal."""
        del call
        return openai_error(*_REFUSALS[refusal])
