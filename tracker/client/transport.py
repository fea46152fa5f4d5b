"""Sends calls to a daemon, with the standard library only, for a fast start; the commands use it as it is.

Each call has its own connection, so several threads may use one transport. Redirects are not followed, and proxies of
the environment are not used: the token must not reach another host.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Any

from tracker.client.answers import Answer, check_answer
from tracker.client.calls import Call
from tracker.client.connections import make_connection, read_url
from tracker.client.errors import AnswerInvalid, ClientError, Unreachable
from tracker.client.retries import PATIENCE_S, Attempts

CONNECT_S = 5.0
PIECE_BYTES = 256 * 1024
USER_AGENT = "tracker"
_ERRORS = (OSError, http.client.HTTPException)
_CONNECTION_ERRORS = (TimeoutError, ConnectionError, http.client.HTTPException)


class Transport:
    """Talks to one daemon.

    Args:
        url: ``http://host:port``, ``host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.
        token: the API token, None for none.
        patience_s: how long a call is repeated that gets no answer, or 503, in seconds; 0: not at all.

    Raises:
        ValueError: the URL is invalid.
    """

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self.url = read_url(url)
        self.patience_s = patience_s
        self._headers = make_headers(token)

    def send(
        self,
        call: Call,
        *,
        patience_s: float | None = None,
        undecided_s: float | None = None,
        on_failure: Callable[[ClientError], object] | None = None,
    ) -> Answer:
        """The answer to a call.

        Args:
            call: the call.
            patience_s: in place of the transport's.
            undecided_s: see `Attempts`.
            on_failure: gets each failure after which the call is repeated.

        Raises:
            ClientError: see `tracker.client.errors`.
        """
        attempts = Attempts(call, self.patience_s if patience_s is None else patience_s, undecided_s)
        while True:
            try:
                with self.request(call) as answer:
                    body = answer.read()
                return check_answer(self.url, answer.status, dict(answer.headers), body)
            except ClientError as failure:
                pause_s = attempts.pause_after(failure)
                if on_failure is not None:
                    on_failure(failure)
            time.sleep(pause_s)

    def read(self, call: Call) -> Any:  # noqa: ANN401 - JSON of any shape
        """The JSON that a call is answered with; raises as `send`."""
        return self.send(call).json

    def save(self, call: Call, *sinks: Callable[[bytes], object]) -> None:
        """Pass the body that a call is answered with to each of the sinks, piece by piece; it is sent once.

        Raises:
            ClientError: see `tracker.client.errors`; the sinks may have got a part.
        """
        with self.request(call, _CONNECTION_ERRORS) as answer:  # other errors of the system are those of the sinks
            if answer.status != HTTPStatus.OK:
                check_answer(self.url, answer.status, dict(answer.headers), answer.read())
                raise AnswerInvalid(f"{self.url} answered {answer.status} instead of a file", answer.status)
            while piece := answer.read(PIECE_BYTES):
                for sink in sinks:
                    sink(piece)

    @contextmanager
    def request(self, call: Call, errors: tuple[type[Exception], ...] = _ERRORS) -> Iterator[http.client.HTTPResponse]:
        """Send a call once.

        Args:
            call: the call.
            errors: those of the body of the ``with`` that are about the connection.

        Raises:
            Unreachable: no daemon answers; also while the body is read.
        """
        connection, prefix = make_connection(self.url, CONNECT_S)
        body, headers = encode(call, self._headers)
        with closing(connection):
            try:
                connection.connect()
            except _ERRORS as error:
                raise Unreachable(self.url, describe(error), is_sent=False) from error
            try:
                connection.sock.settimeout(call.answer_s)
                connection.request(call.method, prefix + call.target, body, headers)
                yield connection.getresponse()
            except errors as error:
                raise Unreachable(self.url, describe(error), is_sent=True) from error


def make_headers(token: str | None) -> dict[str, str]:
    """The headers of every request."""
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    return headers | {"Authorization": f"Bearer {token}"} if token else headers


def encode(call: Call, headers: Mapping[str, str]) -> tuple[bytes | None, dict[str, str]]:
    """The body and the headers of a request."""
    if call.body is None:
        return None, {**headers, **call.headers}
    return json.dumps(call.body).encode(), {**headers, "Content-Type": "application/json", **call.headers}


def describe(error: Exception) -> str:
    """Why a connection failed, as a short message."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno).lower()  # asyncio has a text of its own
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
