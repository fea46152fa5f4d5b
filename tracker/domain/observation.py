"""What can be learnt about a task, whoever says it.

A provider module translates wire payloads into a `Reading`. The door that heard it makes an `Observation` of
it: the same reading, plus which task, from where, and when. Everything after that is the same for all doors.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from tracker.domain.outputs import output_identity
from tracker.domain.task import ExternalId, Output, Reason, Stage, Status, TaskId, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    Payload = str | Callable[[], str | None] | None


class Source(StrEnum):
    """Where an observation came from."""

    SUBMIT = "submit"
    CALLBACK = "callback"
    POLL = "poll"
    OPERATOR = "operator"
    CLOCK = "clock"


class Trouble(StrEnum):
    """Why an answer says nothing about the state of its task."""

    UNKNOWN_STATUS = "unknown_status"
    """A status value that is not in the contract: still running, counted, bounded by the deadline."""
    NOT_VISIBLE = "not_visible"
    """The record is not there yet (seen just after a create); says nothing."""
    NOT_FOUND = "not_found"
    """The upstream does not know the id; tolerated for a grace."""
    UNAUTHORIZED = "unauthorized"
    """The key was refused (401, 403): says nothing of the task, alerts, slows the account down."""
    THROTTLED = "throttled"
    """Asked too often; `Reading.retry_after_s` may say how long to wait."""
    UNAVAILABLE = "unavailable"
    """5xx, maintenance, or no answer at all."""
    UNREADABLE = "unreadable"
    """An answer that is not what the contract says: HTML, an empty body, no JSON."""
    REJECTED = "rejected"
    """Another explicit error; says nothing of the task."""


class Submission(StrEnum):
    """What became of one attempt to send the paid create."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DEFERRED = "deferred"
    """Surely not accepted, may be sent again after a delay: rate limit, maintenance, or never left."""
    AMBIGUOUS = "ambiguous"
    """May have been accepted and charged: never sent again."""


class Reading(Struct, frozen=True, gc=False, omit_defaults=True):
    """What one payload of a provider says, in our words.

    Attributes:
        status: what it says of the state; None: nothing (see ``trouble``).
        external_id: the task id in it.
        upstream_status: the provider's own status value, verbatim.
        stage, progress, outputs: as in `Task`; empty where it says nothing.
        error: the upstream's code and message, for a failure or for trouble.
        reason: why, when status is FAILED (or a submit was refused or deferred).
        retryable: whether the same request may succeed as a new job, where the contract says so.
        trouble: why ``status`` is None.
        retry_after_s: seconds the upstream asked us to wait.
        expired_after_s: "unknown id" that means expired once the task is older than this many seconds.
        submission: for the answer to a create: what became of it.
        next_model: for a create that was put off: send it for this model instead, see `tracker.domain.ai_models`.
        held: for a create that was put off: its account is refused, and it waits until that is over.
        detail: a short plain addition for the history, without secrets.
        renews: it was asked for the sake of the outputs' URLs alone, after the end of its task.
    """

    status: Status | None = None
    external_id: ExternalId | None = None
    upstream_status: str | None = None
    stage: Stage | None = None
    progress: int | None = None
    outputs: tuple[Output, ...] = ()
    error: UpstreamError | None = None
    reason: Reason | None = None
    retryable: bool | None = None
    trouble: Trouble | None = None
    retry_after_s: float | None = None
    expired_after_s: float | None = None
    submission: Submission | None = None
    next_model: str | None = None
    held: bool = False
    detail: str | None = None
    renews: bool = False


NOTHING = Reading()


class Observation(Struct, frozen=True, gc=False):
    """A reading, heard.

    Attributes:
        task_id: whom it is about.
        source: which door it came through.
        observed_at: when we heard it.
        reading: what it says.
        payload: the redacted upstream body as JSON text, stored with the event; None where there is none. Usually a
            function that makes the text, since most polls leave no event: see `payload_text`.
        believed: False for a callback that must be confirmed by a poll before it may end a task.
        attempt: number of the submit attempt (source ``submit``), part of what makes it unique.
    """

    task_id: TaskId
    source: Source
    observed_at: datetime
    reading: Reading
    payload: Payload = None
    believed: bool = True
    attempt: int = 0

    def payload_text(self) -> str | None:
        """The payload as text. Called by the store, on its writer thread, for recorded observations only."""
        return self.payload() if callable(self.payload) else self.payload


def dedupe_key(observation: Observation) -> str:
    """The identity of an observation within its task: source kind, stage, and canonical meaning.

    Two deliveries of the same news are equal although their bodies differ in timestamps, request ids or the
    signatures inside result URLs; two stages of one task are never equal.

    Args:
        observation: what was heard.

    Returns:
        A short printable key, unique per (source, stage, meaning).
    """
    reading = observation.reading
    error = reading.error
    meaning = (
        reading.status or reading.upstream_status or reading.trouble or "",
        reading.submission or "",
        "" if reading.progress is None else str(reading.progress),
        reading.external_id or "",
        reading.reason or "",
        "" if error is None else _canonical(error, in_trouble=reading.trouble is not None),
        "" if observation.believed else "unbelieved",
        *map(output_identity, reading.outputs),
    )
    digest = hashlib.blake2b("\x1f".join(meaning).encode(errors="replace"), digest_size=9).hexdigest()
    stage = reading.stage or (f"try{observation.attempt}" if observation.attempt else "-")
    return f"{observation.source}:{stage}:{digest}"


def _canonical(error: UpstreamError, *, in_trouble: bool) -> str:
    """What makes an error the same one: messages of refused polls hold request ids, and would each be news."""
    status = str(error.http_status or "")
    return error.code or (in_trouble and status) or error.message or status
