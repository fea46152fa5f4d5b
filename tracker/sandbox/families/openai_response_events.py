"""The events in which an OpenAI response is streamed.

Owns their names, order and numbering. Must not make a response: it is given one that is done.

Source: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tracker.sandbox.speech import cut_in_pieces, write_event
from tracker.sandbox.wire import Json

_LAST = {"completed": "response.completed", "incomplete": "response.incomplete"}


def write_events(response: Json) -> Iterator[bytes]:
    """Write the events of a finished response: its beginning, its texts in pieces, its end."""
    numbers = count()

    def event(kind: str, **fields: object) -> bytes:
        return write_event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    begun = response | {"status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        (part,) = item["content"]
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        yield event(
            "response.output_item.added",
            output_index=index,
            item=item | {"status": "in_progress", "content": []},
        )
        yield event("response.content_part.added", **place, part=part | {"text": ""})
        for piece in cut_in_pieces(part["text"]):
            yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
        yield event("response.output_text.done", **place, text=part["text"], logprobs=[])
        yield event("response.content_part.done", **place, part=part)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(_LAST.get(response["status"], "response.failed"), response=response)
