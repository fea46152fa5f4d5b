"""What answers at an address: nothing, a tracker (and for which store), or another program.

Owns the question. Sends no token and no key unless it is given one. Built on the standard library, as commands need it
before anything else.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

ANSWER_S = 5.0
"""How long an answer may take."""
READY_S = 10.0
"""The same for ``/readyz``, which waits for a write of the store."""
MAX_FIELDS = 1000
"""Headers of an answer. The standard library stops at 100, and offers no other switch than this name."""
_MIB = 2**20

http.client._MAXHEADERS = MAX_FIELDS  # type: ignore[attr-defined]  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and when it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at_s: float

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        """The body as JSON; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class NoAnswer(Exception):
    """There is no answer; the text says why.

    Attributes:
        is_refused: nothing listens there.
    """

    def __init__(self, why: str, *, is_refused: bool) -> None:
        super().__init__(why)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class Peer:
    """Who answers.

    Attributes:
        kind: ``free``: no program listens; ``silent``: one listens and gives no answer; else which one answers.
        instance: the instance id of the tracker's store; None where the tracker does not say, as old ones do not.
        store: the path of its store; None where it does not say, as with an API token of its own.
        detail: why there is no answer, or what was answered.
        reasons: why the tracker is not ready.
    """

    kind: Literal["free", "silent", "tracker", "other"]
    instance: str | None = None
    store: str | None = None
    detail: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How to name it in a message."""
        if self.kind != "tracker":
            return "another program"
        named = self.store or (f"instance {self.instance}" if self.instance else None)
        return f"another tracker (store {named})" if named else "another tracker"


def look_at(url: str, within_s: float = READY_S) -> Peer:
    """Find out who answers at an address.

    Args:
        url: ``http://host:port``, ``https://…`` or ``unix:/path``.
        within_s: how long it may take.
    """
    try:
        answer = ask(url, "/readyz", within_s=within_s)
    except NoAnswer as error:
        return Peer("free" if error.is_refused else "silent", detail=str(error))
    body = answer.json
    # the header is on every answer of a tracker; the field is not in those of old ones
    if not isinstance(body, dict) or not (answer.headers.get("server") == "tracker" or "instance" in body):
        return Peer("other", detail=f"HTTP {answer.status}")
    instance, reasons = body.get("instance"), body.get("reasons")
    return Peer(
        "tracker",
        instance if isinstance(instance, str) else None,
        detail=f"HTTP {answer.status}",
        reasons=tuple(map(str, reasons)) if isinstance(reasons, list) and body.get("ready") is False else (),
    )


def with_store(peer: Peer, url: str, token: str | None = None) -> Peer:
    """The same tracker with the path of its store, if it says where that is."""
    store = read_facts(url, token).get("store") if peer.kind == "tracker" else None
    return replace(peer, store=store) if isinstance(store, str) else peer


def read_facts(url: str, token: str | None = None) -> dict[str, Any]:
    """What the daemon says of itself, see ``GET /v1/doctor``; a refusal has no more than its ``status``."""
    try:
        body = ask(url, "/v1/doctor", token).json
    except NoAnswer:
        return {}
    return body if isinstance(body, dict) else {}


def ask(base: str, path: str, key: str | None = None, *, within_s: float = ANSWER_S) -> Answer:
    """A GET without redirects or proxies.

    Args:
        base: ``http://host:port``, ``https://…`` or ``unix:/path``; a path is used as a prefix.
        path: what to ask for.
        key: sent as a bearer token; None for none.
        within_s: how long it may take.

    Raises:
        NoAnswer: there is none.
    """
    headers = {"User-Agent": "tracker", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection, prefix = make_connection(base.rstrip("/"), within_s)
        try:
            connection.request("GET", prefix + path, headers=headers)
            response = connection.getresponse()
            body = response.read(_MIB)
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, body, time.time())
        finally:
            connection.close()
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise NoAnswer(error.strerror or "Connection refused", is_refused=True) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoAnswer(why, is_refused=False) from error


def make_connection(base: str, within_s: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and the prefix of its paths."""
    if base.startswith("unix:"):
        return UnixConnection(base.removeprefix("unix:"), within_s), ""
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=within_s), parts.path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
