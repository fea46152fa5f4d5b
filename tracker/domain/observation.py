"""What is learned about a task, from any source.

A provider translates a payload into a `Reading`. The receiver adds the task, the source and the time: an `Observation`.
Everything after that is the same for all sources.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from tracker.domain.costs import Cost
from tracker.domain.outputs import output_identity
from tracker.domain.statuses import Source
from tracker.domain.task import ExternalId, Output, Reason, Stage, Status, TaskId, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    Payload = str | Callable[[], str | None] | None


__all__ = [
    "NOTHING",
    "Observation",
    "Reading",
    "Source",
    "Submission",
    "Trouble",
    "dedupe_key",
]


class Trouble(StrEnum):
    """Why an answer does not report the state of its task."""

    UNKNOWN_STATUS = "unknown_status"
    """A status value that is not in the contract: still running, counted, bounded by the deadline."""
    NOT_VISIBLE = "not_visible"
    """The record does not exist yet (seen just after a create)."""
    NOT_FOUND = "not_found"
    """The upstream does not know the id; tolerated for a grace."""
    UNAUTHORIZED = "unauthorized"
    """The key was rejected (401, 403): raises an alarm and slows the account down."""
    THROTTLED = "throttled"
    """Too many requests; `Reading.retry_after_s` may give the wait."""
    UNAVAILABLE = "unavailable"
    """5xx, maintenance, or no answer at all."""
    UNREADABLE = "unreadable"
    """An answer that breaks the contract: HTML, an empty body, not JSON."""
    REJECTED = "rejected"
    """Another explicit error."""


class Submission(StrEnum):
    """The result of one attempt to send the paid create."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DEFERRED = "deferred"
    """Certainly not accepted, may be sent again after a delay: rate limit, maintenance, or never sent."""
    AMBIGUOUS = "ambiguous"
    """May have been accepted and charged: never sent again."""


class Reading(Struct, frozen=True, gc=False, omit_defaults=True):
    """The meaning of one payload of a provider.

    Attributes:
        status: the reported state; None: not reported (see ``trouble``).
        upstream_status: the provider's own status value, verbatim.
        stage, progress, outputs: as in `Task`; empty where not reported.
        error: the upstream's code and message, for a failure or for trouble.
        reason: why status is FAILED, or a submit was refused or deferred.
        retryable: whether the same request may succeed as a new job, where the contract states it.
        trouble: why ``status`` is None.
        retry_after_s: the wait that the upstream asked for, seconds.
        expired_after_s: "unknown id" means expired once the task is older than this many seconds.
        submission: the result of a create.
        next_model: of a deferred create: the model to send it for instead, see `tracker.domain.ai_models`.
        held: of a deferred create: it waits until its account's key is accepted.
        finished_at: when the job ended, as the upstream reports it.
        usage: the upstream's own figures about an ended job, a JSON object as text.
        cost: what an ended job cost, as the upstream reports it; else an estimate by its result.
        detail: a short addition for the history, without secrets.
        renews: the poll came after the end of the task, only to renew the URLs of outputs.
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
    finished_at: datetime | None = None
    usage: str | None = None
    cost: Cost | None = None
    detail: str | None = None
    renews: bool = False


NOTHING = Reading()


class Observation(Struct, frozen=True, gc=False):
    """A reading about one task.

    Attributes:
        observed_at: when it was received.
        payload: the redacted upstream body as JSON text, stored with the event; None where there is none. Usually a
            function that makes the text, since most polls leave no event: see `payload_text`.
        is_trusted: False for a callback that a poll must confirm before it may end a task.
        attempt: number of the submit attempt (source ``submit``), part of its identity.
    """

    task_id: TaskId
    source: Source
    observed_at: datetime
    reading: Reading
    payload: Payload = None
    is_trusted: bool = True
    attempt: int = 0

    def payload_text(self) -> str | None:
        """The payload as text. Called by the store, on its writer thread, for recorded observations only."""
        return self.payload() if callable(self.payload) else self.payload


def dedupe_key(observation: Observation) -> str:
    """The identity of an observation within its task: source kind, stage, and canonical meaning.

    Repetitions have the same key although their bodies differ in timestamps, request ids or URL signatures; two stages
    of one task never have.
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
        "" if observation.is_trusted else "unbelieved",  # part of stored keys
        *map(output_identity, reading.outputs),
    )
    digest = hashlib.blake2b("\x1f".join(meaning).encode(errors="replace"), digest_size=9).hexdigest()
    stage = reading.stage or (f"try{observation.attempt}" if observation.attempt else "-")
    return ":".join((observation.source, stage, digest))  # noqa: FLY002 - formatting an enumeration is slow


def _canonical(error: UpstreamError, *, in_trouble: bool) -> str:
    """The identity of an error: messages of failed polls hold request ids, which would make each one new."""
    status = str(error.http_status or "")
    return error.code or (in_trouble and status) or error.message or status
