"""Client of the daemon's HTTP API, over TCP or a Unix socket.

Built on the standard library for a fast start. Redirects are never followed: the token must not reach another host.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tracker.cli.exits import BAD_CONFIG, FAILED, UNAVAILABLE, USAGE, Failure, Refused, Unreachable
from tracker.daemon.peers import make_connection

CONNECT_S = 5.0
ANSWER_S = 30.0
_PIECE_BYTES = 256 * 1024

Json = Any

_CODES = {400: USAGE, 401: BAD_CONFIG, 403: BAD_CONFIG, 413: USAGE, 422: USAGE}


class Client:
    """Talks to one daemon.

    Args:
        url: ``http://host:port``, ``host:port``, ``https://…`` or ``unix:/path``; a path becomes a prefix.
        token: the API token, None for none.

    Raises:
        Failure: the URL is invalid.
    """

    def __init__(self, url: str, token: str | None) -> None:
        if re.fullmatch(r"[^/:@]+:\d+|\[[^/@]+\]:\d+", url):  # host:port, as in server.listen
            url = f"http://{url}"
        self.url = url.rstrip("/")
        self._has_token = token is not None
        self._headers = {"User-Agent": "tracker"} | ({"Authorization": f"Bearer {token}"} if token else {})
        with suppress(ValueError):  # an invalid host or port
            parts = urlsplit(self.url)
            if parts.scheme == "unix" or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0):
                return
        raise Failure([f"--url: {url!r} is not a daemon URL; write http://host:port or unix:/path"], USAGE)

    def get(self, path: str, query: Mapping[str, str] | None = None, *, answer_s: float = ANSWER_S) -> Json:
        """The JSON of a GET."""
        return self._read(*self._call("GET", f"{path}?{urlencode(query)}" if query else path, None, {}, answer_s))

    def readiness(self) -> Json:
        """The JSON of ``/readyz``, which is an error response while the daemon is not ready."""
        status, value = self._call("GET", "/readyz", None, {}, ANSWER_S)
        is_known = isinstance(value, dict) and "ready" in value
        return value if is_known else self._read(status, value)

    def post(
        self, path: str, body: Json = None, headers: Mapping[str, str] | None = None, *, answer_s: float = ANSWER_S
    ) -> Json:
        """The JSON that a POST is answered with."""
        return self._read(*self._call("POST", path, body, headers or {}, answer_s))

    def check(self, body: Json, headers: Mapping[str, str], *, answer_s: float = ANSWER_S) -> tuple[Json, Json]:
        """Have a submit checked: the task of its key, if that is known, and the price of a new one."""
        payload = {**body, "dry_run": True}
        status, value, priced = self._exchange("POST", "/v1/tasks", payload, headers, answer_s)
        return self._read(status, value), _decode((priced.get("Tracker-Price") or "").encode())

    def save(self, path: str, *sinks: Callable[[bytes], object], answer_s: float = ANSWER_S) -> None:
        """Pass the body of a GET to each of the sinks, piece by piece."""
        try:
            with self._request("GET", path, None, {}, answer_s) as answer:
                if answer.status != HTTPStatus.OK:
                    self._read(answer.status, _decode(answer.read()))
                    raise Failure([f"{self.url} answered {answer.status} instead of a file"], FAILED)
                while piece := answer.read(_PIECE_BYTES):
                    for sink in sinks:
                        sink(piece)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise Unreachable(f"the daemon at {self.url} closed the connection ({_why(error)})") from error

    def lines(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], *, silence_s: float
    ) -> Iterator[bytes]:
        """The lines of the body of a GET as they come, each with its end.

        Raises:
            Unreachable: the connection ended, or nothing came for ``silence_s`` seconds.
        """
        try:
            with self._request(
                "GET", f"{path}?{urlencode(query)}" if query else path, None, headers, silence_s
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    self._read(answer.status, _decode(answer.read()))
                    raise Failure([f"{self.url} answered {answer.status} instead of a stream"], FAILED)
                yield b""  # it has begun
                while line := answer.readline():
                    yield line
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the daemon at {self.url} closed the stream ({_why(error)})") from error
        raise Unreachable(f"the daemon at {self.url} closed the stream")

    def _call(
        self, method: str, path: str, body: Json, headers: Mapping[str, str], answer_s: float
    ) -> tuple[int, Json]:
        """The status of a response, and its JSON; None without."""
        return self._exchange(method, path, body, headers, answer_s)[:2]

    def _exchange(
        self, method: str, path: str, body: Json, headers: Mapping[str, str], answer_s: float
    ) -> tuple[int, Json, Mapping[str, str]]:
        """The same with the headers of the response."""
        payload = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", **headers}
        if payload is not None:
            sent["Content-Type"] = "application/json"
        try:
            with self._request(method, path, payload, sent, answer_s) as answer:
                status, text, received = answer.status, answer.read(), dict(answer.headers)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the daemon at {self.url} gave no answer ({_why(error)})", is_sent=True) from error
        return status, _decode(text), received

    @contextmanager
    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], answer_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection, prefix = make_connection(self.url, CONNECT_S)
        with closing(connection):
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                line = f"no daemon answers at {self.url} ({_why(error)}); start one with: tracker serve"
                raise Unreachable(line) from error
            connection.sock.settimeout(answer_s)
            connection.request(method, prefix + path, body, {**self._headers, **headers})
            yield connection.getresponse()

    def _read(self, status: int, value: Json) -> Json:
        """The JSON of a success; of any other response the error."""
        is_empty = value is None and status != HTTPStatus.NO_CONTENT
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and not is_empty:
            return value
        code = UNAVAILABLE if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _CODES.get(status, FAILED)
        if status == HTTPStatus.UNAUTHORIZED:
            raise Failure([token_line(self.url, is_sent=self._has_token)], code)
        refusal = Refused(problem_lines(status, value, self.url), code, value)
        if refusal.kind == "scope":
            refusal.lines[-1] += " Set TRACKER_API_TOKEN to a token with that scope."
        raise refusal


def _decode(text: bytes) -> Json:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def task_path(task_id: str, *rest: str) -> str:
    """The path of a task, or of something below it."""
    return "/".join(["/v1/tasks", quote(task_id, safe=""), *rest])


def problem_lines(status: int, problem: Json, url: str) -> list[str]:
    """One line per error of an RFC 9457 answer."""
    if not isinstance(problem, dict) or "title" not in problem:
        return [f"{url} answered {status}, which is not an answer of a tracker; check the address"]
    errors = problem.get("errors") or []
    if not errors:
        return [str(problem.get("detail") or problem["title"])]
    return [f"{_place(error.get('loc') or ())}: {error.get('msg', '')}" for error in errors]


def _place(loc: Sequence[object]) -> str:
    """Where an error is: the option, or the field of the body."""
    place = ".".join(map(str, loc[1:] if loc[:1] == ["query"] else loc))
    return f"--{place}" if loc[:1] == ["query"] else place


def token_line(url: str, *, is_sent: bool) -> str:
    """The error line for a missing or wrong API token."""
    if is_sent:
        fix = "set TRACKER_API_TOKEN to the one that it was started with, or restart it"
        return f"the daemon at {url} refuses this API token: {fix}"
    return f"the daemon at {url} requires an API token: set TRACKER_API_TOKEN, or run as root"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
