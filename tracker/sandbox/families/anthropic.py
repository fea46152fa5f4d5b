"""Anthropic messages: ``/anthropic/v1/messages`` and ``…/messages/count_tokens``.

Owns the message object, its events, and the other family of headers: ``x-api-key`` and
``anthropic-version``. A Bearer key is refused here, as ``x-api-key`` is everywhere else.

Source: https://anyint.ai/docs/api-reference/anthropic-compatible (routes, headers);
https://docs.anthropic.com/en/api/messages, …/messages-count-tokens, …/errors (529 included),
https://docs.anthropic.com/en/docs/build-with-claude/streaming (events), …/handling-stop-reasons
(``refusal``). That a wrong header family is refused in Anthropic's shape is inferred.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.fate import JobFate
from tracker.sandbox.prompts import find_last_said
from tracker.sandbox.routes import Context, Refusal, SyncRoute
from tracker.sandbox.speech import count_tokens, cut_in_pieces, reply_to, stream, write_event
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_REFUSALS = MappingProxyType(
    {
        Refusal.POLICY: (400, "invalid_request_error", "Output blocked by content filtering policy"),
        Refusal.QUOTA: (402, "billing_error", "Your credit balance is too low to access the API."),
        Refusal.THROTTLED: (429, "rate_limit_error", "This request would exceed your rate limit."),
        Refusal.MAINTENANCE: (529, "overloaded_error", "Overloaded"),
        Refusal.SERVER_ERROR: (500, "api_error", "Internal server error"),
        Refusal.ERROR_BODY: (200, "api_error", "Internal server error"),
    }
)
_FAILURES = MappingProxyType(
    {
        GenerationFault.ERROR: (500, "api_error", "Internal server error"),
        GenerationFault.INVALID: (400, "invalid_request_error", "messages: could not be processed"),
        GenerationFault.SILENT: (500, "api_error", ""),
        GenerationFault.CANCELED: (500, "api_error", ""),
    }
)


def anthropic_error(status: int, kind: str, message: str, request_id: str | None = None) -> Answer:
    """Build an error in Anthropic's shape: the type decides, there is no code."""
    error: Json = {"type": "error", "error": {"type": kind, "message": message}}
    return json_answer(error if request_id is None else error | {"request_id": f"req_{request_id}"}, status)


class AnthropicKey:
    """The headers of this family, for paid and free routes."""

    __slots__ = ()

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Tell whether ``x-api-key`` carries the key; Bearer does not count."""
        return headers.get("x-api-key") == key

    def refuse_key(self) -> Answer:
        """HTTP 401 in Anthropic's shape."""
        return anthropic_error(401, "authentication_error", "invalid x-api-key")

    def refuse_version(self, call: Call) -> Answer | None:
        """Return the refusal of a request without ``anthropic-version``, or None."""
        if call.headers.get("anthropic-version"):
            return None
        message = "anthropic-version: header is required"
        return anthropic_error(400, "invalid_request_error", message, call.request_id)


class AnthropicRoute(AnthropicKey, SyncRoute, ABC):
    """One of the POSTs."""

    __slots__ = ()

    def prompt_of(self, body: Json) -> str:
        """Return what the user said last."""
        return find_last_said(body.get("messages"))

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want the version header, ``model`` and ``messages``."""
        del context
        unversioned = self.refuse_version(call)
        if unversioned is not None:
            return unversioned
        body = call.body
        messages = body.get("messages")
        message = None
        if not (isinstance(body.get("model"), str) and body["model"]):
            message = "model: Field required"
        elif not (isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages)):
            message = "messages: Field required"
        if message is None:
            return None
        return anthropic_error(400, "invalid_request_error", message, call.request_id)

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal."""
        return anthropic_error(*_REFUSALS[refusal], call.request_id)


class Messages(AnthropicRoute):
    """A message, whole or streamed."""

    __slots__ = ()

    def reject(self, call: Call, context: Context) -> Answer | None:
        """``max_tokens`` is required, too."""
        rejected = AnthropicRoute.reject(self, call, context)
        limit = call.body.get("max_tokens")
        if rejected is None and not (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0):
            return anthropic_error(400, "invalid_request_error", "max_tokens: Field required", call.request_id)
        return rejected

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """``content`` and ``stop_reason``; a refused request stops with ``refusal`` and says nothing."""
        refused = fate.fault is GenerationFault.POLICY
        if fate.fault is not None and not refused:
            return anthropic_error(*_FAILURES[fate.fault], call.request_id)
        silent = refused or fate.url_missing
        text = "" if silent else reply_to(self.prompt_of(call.body))
        message: Json = {
            "id": "msg_" + context.dice.draw_bytes(12, "message", call.request_id).hex(),
            "type": "message",
            "role": "assistant",
            "model": call.body["model"],
            "content": [] if silent else [{"type": "text", "text": text}],
            "stop_reason": "refusal" if refused else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": count_tokens(call.body["messages"]), "output_tokens": count_tokens(text)},
        }
        return stream(_write_events(message)) if call.body.get("stream") is True else json_answer(message)


def _write_events(message: Json) -> Iterator[bytes]:
    """Write the events in which a message is streamed."""

    def event(kind: str, **fields: object) -> bytes:
        return write_event({"type": kind, **fields}, kind)

    usage = message["usage"]
    begun = {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield event("message_start", message=message | begun)
    for index, block in enumerate(message["content"]):
        yield event("content_block_start", index=index, content_block=block | {"text": ""})
        yield event("ping")
        for piece in cut_in_pieces(block["text"]):
            yield event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})
        yield event("content_block_stop", index=index)
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": usage["output_tokens"]})
    yield event("message_stop")


class CountTokens(AnthropicRoute):
    """How many tokens a request would be."""

    __slots__ = ()

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """``input_tokens``."""
        del context
        if fate.fault is not None:
            failure = _FAILURES.get(fate.fault, _REFUSALS[Refusal.POLICY])
            return anthropic_error(*failure, call.request_id)
        counted = [call.body["messages"], call.body.get("system"), call.body.get("tools")]
        return json_answer({} if fate.url_missing else {"input_tokens": count_tokens(counted)})


ROUTES = (
    Messages(name="anthropic.messages", path="/anthropic/v1/messages"),
    CountTokens(name="anthropic.count-tokens", path="/anthropic/v1/messages/count_tokens"),
)
