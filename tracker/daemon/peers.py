"""What listens at an address: nothing, a tracker (and for which store), or another program.

Owns the request. Sends a token only if it gets one. Uses the standard library only, since commands need it before
anything else.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tracker.client.connections import accept_many_headers, make_connection

ANSWER_S = 5.0
"""How long an answer may take."""
READY_S = 10.0
"""The same for ``/readyz``, which waits for a write of the store."""
_MIB = 2**20

accept_many_headers()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and when it arrived."""

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
    """There is no answer; the message says why.

    Attributes:
        is_refused: nothing listens there.
    """

    def __init__(self, message: str, *, is_refused: bool) -> None:
        super().__init__(message)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class Peer:
    """What listens at an address.

    Attributes:
        kind: ``free``: no program listens; ``silent``: one listens and does not answer; else which program answers.
        instance: the instance id of the tracker's store; None if it is not in the answer, as with old versions.
        store: the path of its store; None if unknown: the tracker may require another API token.
        detail: why there is no answer, or the status of the answer.
        reasons: why the tracker is not ready.
        troubles: what needs attention although it is ready.
    """

    kind: Literal["free", "silent", "tracker", "other"]
    instance: str | None = None
    store: str | None = None
    detail: str = ""
    reasons: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in messages."""
        if self.kind != "tracker":
            return "another program"
        named = self.store or (f"instance {self.instance}" if self.instance else None)
        return f"another tracker (store {named})" if named else "another tracker"


def look_at(url: str, within_s: float = READY_S) -> Peer:
    """Find out what listens at an address.

    Args:
        url: ``http://host:port``, ``https://…`` or ``unix:/path``.
        within_s: how long it may take.
    """
    try:
        answer = ask(url, "/readyz", within_s=within_s)
    except NoAnswer as error:
        return Peer("free" if error.is_refused else "silent", detail=str(error))
    body = answer.json
    # every tracker sends the header; old versions do not send the field
    if not isinstance(body, dict) or not (answer.headers.get("server") == "tracker" or "instance" in body):
        return Peer("other", detail=f"HTTP {answer.status}")
    instance, found = body.get("instance"), body.get("reasons")
    reasons = tuple(map(str, found)) if isinstance(found, list) else ()
    is_ready = body.get("ready") is not False
    return Peer(
        "tracker",
        instance if isinstance(instance, str) else None,
        detail=f"HTTP {answer.status}",
        reasons=() if is_ready else reasons,
        troubles=reasons if is_ready else (),
    )


def with_store(peer: Peer, url: str, token: str | None = None) -> Peer:
    """The same tracker with the path of its store, if it answers with that."""
    store = read_facts(url, token).get("store") if peer.kind == "tracker" else None
    return replace(peer, store=store) if isinstance(store, str) else peer


def read_facts(url: str, token: str | None = None) -> dict[str, Any]:
    """Facts about the daemon, see ``GET /v1/doctor``; of an error response only its ``status``; empty without one."""
    try:
        body = ask(url, "/v1/doctor", token).json
    except NoAnswer:
        return {}
    return body if isinstance(body, dict) else {}


def ask(base: str, path: str, key: str | None = None, *, within_s: float = ANSWER_S) -> Answer:
    """A GET without redirects or proxies.

    Args:
        base: ``http://host:port``, ``https://…`` or ``unix:/path``; a path is used as a prefix.
        path: of the request.
        key: sent as a bearer token.
        within_s: how long it may take.

    Raises:
        NoAnswer: no program listens, or none answers in time.
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
        message = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoAnswer(message, is_refused=False) from error
