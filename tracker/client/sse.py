"""Reads ``/v1/stream``: every event as it comes, without a gap or a repeat across restarts of the daemon.

Pure: bytes in, messages out. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from tracker.client.calls import Call, stream
from tracker.client.errors import AnswerInvalid

STREAM_ENDED = "it ended"
"""Why a stream is lost that the daemon closed."""
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Message:
    """What comes from the stream, or what became of it.

    Attributes:
        kind: ``task``: an event; ``gap``: events that retention has removed; ``open``: the connection is made;
            ``ping``: there is nothing new; ``lost``: the connection is lost, and is made again.
        data: the JSON of ``task``, the event with its ``task``, and of ``gap``, ``from`` and ``to``.
        why: of ``lost``, one line.
    """

    kind: Literal["task", "gap", "open", "ping", "lost"]
    data: bytes = b""
    why: str = ""

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The decoded data."""
        return json.loads(self.data)


class StreamReader:
    """Where a client is in the stream, and how its bytes are read.

    Args:
        query: filters, as in the API: ``{"task": id}``, ``{"status": "FAILED"}``, ``{"label.user": "42"}``.
        after: begin after this seq; None: now.
    """

    def __init__(self, query: Mapping[str, str], after: int | None) -> None:
        self._query = query
        self.position = after
        self._reset()

    def call(self) -> Call:
        """The request that goes on where the reader is; what was read in part is forgotten."""
        self._reset()
        return stream(self._query, self.position)

    def _reset(self) -> None:
        self._rest = b""
        self._event = ""
        self._seq: int | None = None
        self._data = b""

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that a piece of the body completes; comments and messages without data are ``ping``.

        Raises:
            AnswerInvalid: it is not the stream of a tracker.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._take(line.rstrip(b"\r"))

    def _take(self, line: bytes) -> Iterator[Message]:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            event, data, seq = self._event, self._data, self._seq
            self._event, self._data, self._seq = "", b"", None
            self.position = self.position if seq is None else seq
            if data and event in {"task", "gap"}:
                yield Message("task" if event == "task" else "gap", data)
            else:
                yield Message("ping")
        elif not name:
            yield Message("ping")
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id":
            try:
                self._seq = int(value)
            except ValueError:
                raise AnswerInvalid("the stream has an id that is not a number: is it of a tracker?", 200) from None
        elif name == b"data":
            self._data += value


def refuse_no_stream(url: str, status: int, content_type: str | None) -> None:
    """See that an answer is a stream.

    Raises:
        AnswerInvalid: it is not.
    """
    if status != HTTPStatus.OK or (content_type or "").partition(";")[0].strip() != EVENT_STREAM:
        raise AnswerInvalid(f"{url} answered {status} without a stream of events; check the address", status)
