"""The record of creates, polls and callbacks, for tests to count.

Owns the record behind ``GET /sandbox/state``. Every create request that arrives is entered before anything
is decided about it, so the list proves that no paid job was submitted twice. Must not influence anything.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import orjson

from tracker.sandbox.wire import Json

OnEvent = Callable[[str, Json], None]

_MAX_CHARACTERS = 500
_VISIBLE_SEGMENTS = 2


@dataclass(slots=True)
class CreateRecord:
    """One create request.

    Attributes:
        ordinal: The ordinal number of the create request of this run, from 1.
        route: The route's name.
        nth: The ordinal number of the create request of this route, from 1.
        at: When it arrived, seconds since the epoch.
        id: The task id if a job was made, even if the client got no answer.
        prompt: Its prompt, the beginning of it.
        outcome: ``accepted``, ``unauthorized``, ``malformed``, ``bad_directive``, ``invalid``, the name of
            a create fault, or ``incomplete`` while or because it did not arrive completely.
        digest: SHA-256 of the body's bytes, hexadecimal.
        idempotency_key: The Idempotency-Key header, if any.
    """

    ordinal: int
    route: str
    nth: int
    at: float
    id: str | None = None
    prompt: str | None = None
    outcome: str = "incomplete"
    digest: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """One attempt to post a callback.

    Attributes:
        job_id: The job it is about.
        phase: What it announces.
        url_path: The path it went to; what follows the second segment is left out, it may be a token.
        attempt: From 1; 0 if nothing was sent.
        http_status: The receiver's status, or None without an answer.
        answer: The receiver's answer (JSON if it is that), or why there is none: ``lost``,
            ``undeliverable`` or the kind of connection error.
        at: When it ended, seconds since the epoch.
    """

    job_id: str
    phase: str
    url_path: str
    attempt: int
    http_status: int | None
    answer: object
    at: float


def redact_path(url: str) -> str:
    """Return a URL's path without what may be a secret: the query, and all after the second segment."""
    try:
        segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    except ValueError:
        return "[unreadable]"
    visible = segments[:_VISIBLE_SEGMENTS]
    if len(segments) > len(visible):
        visible.append("[redacted]")
    return "/" + "/".join(visible)


@dataclass(slots=True)
class Journal:
    """The record of one run.

    Attributes:
        on_event: Called with a dotted past fact and its fields; must not raise.
    """

    on_event: OnEvent | None = None
    creates: list[CreateRecord] = field(default_factory=list)
    polls: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    callbacks: list[CallbackRecord] = field(default_factory=list)
    _per_route: Counter[str] = field(default_factory=Counter)

    def emit(self, event: str, **facts: object) -> None:
        """Call the observer, if there is one."""
        if self.on_event is not None:
            self.on_event(event, facts)

    def record_create(self, route: str, idempotency_key: str | None) -> CreateRecord:
        """Enter a create request that has just arrived."""
        self._per_route[route] += 1
        record = CreateRecord(
            len(self.creates) + 1,
            route,
            self._per_route[route],
            time.time(),
            idempotency_key=idempotency_key,
        )
        self.creates.append(record)
        return record

    def record_body(self, record: CreateRecord, raw: bytes, prompt: str) -> None:
        """Add the digest and the prompt of the request."""
        record.digest = hashlib.sha256(raw).hexdigest()
        record.prompt = prompt[:_MAX_CHARACTERS]

    def finish_create(self, record: CreateRecord, outcome: str, job_id: str | None = None) -> None:
        """Add the outcome of the request."""
        record.outcome, record.id = outcome, job_id
        self.emit("create.finished", route=record.route, ordinal=record.ordinal, outcome=outcome, id=job_id)

    def record_callback(self, record: CallbackRecord) -> None:
        """Enter one attempt to post a callback."""
        self.callbacks.append(record)
        self.emit("callback.sent", **asdict(record))

    def to_json(self) -> Json:
        """Return everything, ready for JSON."""
        return {
            "creates": [asdict(record) for record in self.creates],
            "polls": dict(self.polls),
            "downloads": dict(self.downloads),
            "callbacks": [asdict(record) for record in self.callbacks],
        }

    def clear(self) -> None:
        """Start a new record."""
        self.creates.clear()
        self.polls.clear()
        self.downloads.clear()
        self.callbacks.clear()
        self._per_route.clear()


def readable(raw: bytes) -> object:
    """Return a receiver's answer for the record: as JSON if it is that, else as text, cut short."""
    try:
        return orjson.loads(raw) if len(raw) <= _MAX_CHARACTERS else raw[:_MAX_CHARACTERS].decode(errors="replace")
    except orjson.JSONDecodeError:
        return raw.decode(errors="replace")
