"""Follows the stream of events over a `Transport`: reads it, and connects anew when it is cut."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from tracker.client.answers import check_answer
from tracker.client.errors import ClientError, Unreachable
from tracker.client.retries import Attempts
from tracker.client.sse import STREAM_ENDED, Message, StreamReader, refuse_no_stream
from tracker.client.transport import PIECE_BYTES, Transport


def follow(
    transport: Transport, query: Mapping[str, str], after: int | None = None, *, patience_s: float | None = None
) -> Iterator[Message]:
    """Follow the stream of events for ever.

    Args:
        transport: to the daemon.
        query: filters, see `StreamReader`.
        after: begin after this seq; None: now.
        patience_s: how long a lost connection may take to be made again; the first one takes the transport's.

    Raises:
        ClientError: no daemon answers, or not again in time; or it refuses the stream.
    """
    reader = StreamReader(query, after)
    call = reader.call()
    attempts = Attempts(call, transport.patience_s)
    again_s = transport.patience_s if patience_s is None else patience_s
    while True:
        is_open = False
        try:
            with transport.request(call) as answer:
                _check_stream(transport.url, answer)
                is_open = True
                yield Message("open")
                while piece := answer.read1(PIECE_BYTES):
                    yield from reader.feed(piece)
            raise Unreachable(transport.url, STREAM_ENDED, is_sent=True)
        except ClientError as failure:
            if is_open:
                attempts = Attempts(call, again_s)
                why = failure.why if isinstance(failure, Unreachable) else str(failure)
                yield Message("lost", why=f"the daemon at {transport.url} closed the stream ({why})")
            pause_s = attempts.pause_after(failure)
        call = reader.call()
        time.sleep(pause_s)


def _check_stream(url: str, answer: http.client.HTTPResponse) -> None:
    """See that an answer is a stream.

    Raises:
        ApiError, AnswerInvalid: it is not.
    """
    if answer.status != HTTPStatus.OK:
        check_answer(url, answer.status, dict(answer.headers), answer.read())
    refuse_no_stream(url, answer.status, answer.headers.get("Content-Type"))
