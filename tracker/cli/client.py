"""The daemon for commands: `tracker.client`, with its errors as lines and exit codes.

Nothing is repeated, unless a command waits: commands tell at once that no daemon answers, or use the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tracker.cli.exits import BAD_CONFIG, FAILED, UNAVAILABLE, USAGE, Failure, Refused, Unreachable
from tracker.client import calls
from tracker.client.answers import Answer
from tracker.client.calls import ANSWER_S, SUBMIT_ANSWER_S, Call, task_path
from tracker.client.connections import accept_many_headers
from tracker.client.errors import AnswerInvalid, ApiError, ClientError
from tracker.client.errors import Unreachable as NoAnswer
from tracker.client.transport import Transport

__all__ = ["ANSWER_S", "SUBMIT_ANSWER_S", "Client", "Json", "task_path", "token_line"]

Json = Any

if TYPE_CHECKING:
    from tracker.client.sse import Message

_CODES = {400: USAGE, 401: BAD_CONFIG, 403: BAD_CONFIG, 413: USAGE, 422: USAGE}

accept_many_headers()


class Client:
    """Talks to one daemon.

    Args:
        url: ``http://host:port``, ``host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.
        token: the API token, None for none.

    Raises:
        Failure: the URL is invalid.
    """

    def __init__(self, url: str, token: str | None) -> None:
        try:
            self.transport = Transport(url, token, patience_s=0)
        except ValueError as error:
            raise Failure([f"--url: {error}"], USAGE) from None
        self.token = token

    @property
    def url(self) -> str:
        """The URL of the daemon."""
        return self.transport.url

    def send(
        self,
        call: Call,
        *,
        patience_s: float = 0,
        undecided_s: float = 0,
        on_failure: Callable[[ClientError], object] | None = None,
    ) -> Answer:
        """The answer to a call, see `Transport.send`.

        Raises:
            Failure: there is none, or the daemon refuses the call.
        """
        with self.failures():
            return self.transport.send(call, patience_s=patience_s, undecided_s=undecided_s, on_failure=on_failure)

    def read(self, call: Call) -> Json:
        """The JSON that a call is answered with; raises as `send`."""
        return self.send(call).json

    def get(self, path: str, query: Mapping[str, str] | None = None, *, answer_s: float = ANSWER_S) -> Json:
        """The JSON of a GET."""
        return self.read(Call("GET", path, query or {}, answer_s=answer_s))

    def post(
        self, path: str, body: Json = None, headers: Mapping[str, str] | None = None, *, answer_s: float = ANSWER_S
    ) -> Json:
        """The JSON that a POST is answered with."""
        return self.read(Call("POST", path, body=body, headers=headers or {}, answer_s=answer_s))

    def readiness(self) -> Json:
        """The JSON of ``/readyz``, which is an error response while the daemon is not ready."""
        with self.failures():
            try:
                return self.transport.read(Call("GET", "/readyz"))
            except ApiError as error:
                if "ready" not in error.problem:
                    raise
                return dict(error.problem)

    def check(self, body: Json, *, strict: bool, answer_s: float = ANSWER_S) -> tuple[Json, Json]:
        """Have a submit checked: the task of its key, if that is known, and the price of a new one."""
        answer = self.send(calls.check(body, strict=strict, answer_s=answer_s))
        return answer.json, calls.read_price(answer.headers)

    def save(self, call: Call, *sinks: Callable[[bytes], object]) -> None:
        """Pass the body that a call is answered with to each of the sinks; raises as `send`."""
        with self.failures():
            self.transport.save(call, *sinks)

    def follow(self, query: Mapping[str, str], *, patience_s: float) -> Iterator[Message]:
        """Follow the stream of events from now on, see `tracker.client.following`.

        Raises:
            Failure: no daemon answers, or not again in time; or it refuses the stream.
        """
        from tracker.client.following import follow

        with self.failures():
            yield from follow(self.transport, query, patience_s=patience_s)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn errors of the client into those of commands."""
        try:
            yield
        except NoAnswer as error:
            if error.is_sent:
                raise Unreachable(str(error), is_sent=True) from error
            line = f"no daemon answers at {self.url} ({error.why}); start one with: tracker serve"
            raise Unreachable(line) from error
        except AnswerInvalid as error:
            raise Refused([str(error)], _code_of(error.status), None) from error
        except ApiError as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise Failure([token_line(self.url, is_sent=self.token is not None)], BAD_CONFIG) from error
            lines = _lines_of(error)
            if error.kind == "scope":
                lines[-1] += " Set TRACKER_API_TOKEN to a token with that scope."
            raise Refused(lines, _code_of(error.status), error.problem) from error


def _code_of(status: int) -> int:
    return UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _CODES.get(status, FAILED)


def _lines_of(refusal: ApiError) -> list[str]:
    """One line per error of a refused call."""
    return [f"{_place(error.loc)}: {error.msg}" for error in refusal.errors] or [refusal.detail]


def _place(loc: Sequence[object]) -> str:
    """Where an error is: the option, or the field of the body."""
    place = ".".join(map(str, loc[1:] if loc[:1] == ("query",) else loc))
    return f"--{place}" if loc[:1] == ("query",) else place


def token_line(url: str, *, is_sent: bool) -> str:
    """The error line for a missing or wrong API token."""
    if is_sent:
        fix = "set TRACKER_API_TOKEN to the one that it was started with, or restart it"
        return f"the daemon at {url} refuses this API token: {fix}"
    return f"the daemon at {url} requires an API token: set TRACKER_API_TOKEN, or run as root"
