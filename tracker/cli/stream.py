"""Reads ``/v1/stream``: every event as it comes, without a gap or a repeat across restarts of the daemon.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation (read 2026-11).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tracker.cli.client import Client, Json
from tracker.cli.exits import UNAVAILABLE, Failure

PATH = "/v1/stream"
SILENCE_S = 40.0
"""The daemon sends something every 15 seconds: after so long without it, it is gone."""
RETRY_S = 0.5
RESTART_S = 30.0
"""How long to wait for a daemon that does not answer; it may be restarting."""


@dataclass(frozen=True, slots=True)
class Message:
    """What comes from the stream, or what became of it.

    Attributes:
        kind: ``task``: an event; ``gap``: events that retention has removed; ``open``: the connection is made;
            ``ping``: there is nothing new; ``lost``: the connection is lost, and is made again.
        data: of ``task`` the event with its ``task``; of ``gap`` ``from`` and ``to``; of ``lost`` why, one line.
    """

    kind: Literal["task", "gap", "open", "ping", "lost"]
    data: Json = None


def follow_stream(
    client: Client, query: Mapping[str, str], after: int | None = None, *, patience_s: float = RESTART_S
) -> Iterator[Message]:
    """Follow the stream for ever.

    Args:
        client: of the daemon.
        query: filters, as in the API: ``{"task": id}``, ``{"status": "FAILED"}``, ``{"label.user": "42"}``.
        after: begin after this seq; None: now.
        patience_s: how long a lost connection may take to be made again.

    Raises:
        Unreachable: no daemon answers, or not again in time.
        Failure: the daemon refuses the stream.
    """
    position = after
    was_open = False
    lost_at: float | None = None
    while True:
        headers = {"Accept": "text/event-stream"} | ({} if position is None else {"Last-Event-ID": str(position)})
        try:
            for event, seq, data in _parse(client.lines(PATH, query, headers, silence_s=SILENCE_S)):
                was_open, lost_at = True, None
                position = position if seq is None else seq
                if event in {"task", "gap"}:
                    yield Message("task" if event == "task" else "gap", json.loads(data))
                else:
                    yield Message("open" if event == "open" else "ping")
        except Failure as error:
            if not was_open or error.exit_code != UNAVAILABLE:
                raise
            now = time.monotonic()
            if lost_at is None:
                lost_at = now
                yield Message("lost", str(error))
            if now - lost_at > patience_s:
                raise
            time.sleep(RETRY_S)


def _parse(lines: Iterator[bytes]) -> Iterator[tuple[str, int | None, str]]:
    """Each message as its event, its id and its data; comments and messages without data as ``ping``."""
    event, seq, data = "open", None, ""
    for line in lines:
        text = line.decode().rstrip("\r\n")
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield "open", None, ""
            event = ""
        elif not text:
            yield (event if data else "ping"), seq, data
            event, data = "", ""
        elif not name:
            yield "ping", None, ""
        elif name == "event":
            event = value
        elif name == "id":
            seq = int(value)
        elif name == "data":
            data += value
