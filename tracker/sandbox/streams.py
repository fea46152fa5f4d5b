"""How the language models stream: a finished answer as server-sent events.

Owns their names, order and numbering. Must not make an answer.

Source: https://platform.openai.com/docs/api-reference/chat/streaming (chunks, ``[DONE]``), …/responses-streaming,
https://docs.anthropic.com/en/docs/build-with-claude/streaming (named events).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from tracker.sandbox.speech import cut_in_pieces, write_event
from tracker.sandbox.templates import dig
from tracker.sandbox.wire import Json

_LAST_EVENTS = {"completed": "response.completed", "incomplete": "response.incomplete"}


def _stream_chat(completion: Json, request: Json) -> Iterator[bytes]:
    (choice,) = completion["choices"]
    head = {key: completion[key] for key in ("id", "object", "created", "model")} | {"object": "chat.completion.chunk"}

    def chunk(delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return write_event(head | {"choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in cut_in_pieces(choice["message"]["content"] or ""):
        yield chunk({"content": piece})
    yield chunk({}, choice["finish_reason"])
    if dig(request, "stream_options.include_usage") is True:
        yield write_event(head | {"choices": [], "usage": completion["usage"]})
    yield write_event("[DONE]")


def _stream_message(message: Json, _request: Json) -> Iterator[bytes]:
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


def _stream_response(response: Json, _request: Json) -> Iterator[bytes]:
    numbers = count()

    def event(kind: str, **fields: object) -> bytes:
        return write_event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    begun = response | {"status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        (part,) = item["content"]
        at = {"item_id": item["id"], "output_index": index, "content_index": 0}
        added = item | {"status": "in_progress", "content": []}
        yield event("response.output_item.added", output_index=index, item=added)
        yield event("response.content_part.added", **at, part=part | {"text": ""})
        for piece in cut_in_pieces(part["text"]):
            yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
        yield event("response.output_text.done", **at, text=part["text"], logprobs=[])
        yield event("response.content_part.done", **at, part=part)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(_LAST_EVENTS.get(response["status"], "response.failed"), response=response)


STREAMS: Mapping[str, Callable[[Json, Json], Iterator[bytes]]] = {
    "chat": _stream_chat,
    "message": _stream_message,
    "response": _stream_response,
}
"""From a finished answer and its request to the events."""
