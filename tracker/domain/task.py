"""Tasks: their statuses, reasons for failing and outputs, and the record that the rules work on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from tracker.domain.costs import Cost
from tracker.domain.ids import TaskId
from tracker.domain.statuses import Reason, Source, Status

__all__ = [
    "GIVEN_UP_REASONS",
    "RETRYABLE_REASONS",
    "ExternalId",
    "Output",
    "Reason",
    "Stage",
    "Status",
    "SubmitState",
    "Task",
    "TaskId",
    "UpstreamError",
    "stage_rank",
]

ExternalId = NewType("ExternalId", str)


class Stage(StrEnum):
    """Sub-stages of a running task, in the order in which they may follow each other.

    Source: the ``callbackType`` phases of the Suno-compatible API,
    https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks (read 2026-11).
    """

    TEXT = "text"
    FIRST = "first"
    COMPLETE = "complete"


_STAGE_RANK = {Stage.TEXT: 1, Stage.FIRST: 2, Stage.COMPLETE: 3}


def stage_rank(stage: Stage | None) -> int:
    """Order of a stage, 0 for none."""
    return 0 if stage is None else _STAGE_RANK[stage]


GIVEN_UP_REASONS = frozenset({Reason.EXPIRED, Reason.SUBMIT_UNKNOWN, Reason.MISSING_OUTPUT})
"""Decisions of the tracker itself: a provider's later success with outputs overrides them."""

RETRYABLE_REASONS = frozenset(
    {
        Reason.RATE_LIMITED,
        Reason.UPSTREAM_UNAVAILABLE,
        Reason.GENERATION_FAILED,
        Reason.MISSING_OUTPUT,
        Reason.EXPIRED,
    }
)
"""Reasons after which the same request may succeed as a new job, unless the provider states otherwise."""


class SubmitState(StrEnum):
    """The state of a task's paid create."""

    QUEUED = "queued"
    """The intent is on disk, nothing was sent: it may be sent, also after a restart."""
    SENDING = "sending"
    """On disk before the first byte leaves. Found after a restart, it is ambiguous."""
    ACCEPTED = "accepted"
    """The upstream accepted it (by its answer or a callback), or it was created elsewhere."""
    REFUSED = "refused"
    """The upstream refused it, or it was given up before it was sent."""
    AMBIGUOUS = "ambiguous"
    """It may have been accepted and charged; it is never sent again."""


class Output(Struct, frozen=True, gc=False, omit_defaults=True, rename={"identity_override": "known_as"}):
    """A file or a text that a task produced.

    Attributes:
        kind: ``video``, ``image``, ``audio``, ``text`` or ``file``.
        url: the upstream's temporary address; None for a text or inline data.
        mime: media type where the provider or its contract states it.
        title: a title from the provider.
        duration_s: length in seconds, where stated.
        text: the text itself, for kind ``text``.
        inline: base64 data that came inside the answer, or the reference to it, see `tracker.domain.outputs`.
        authenticated: the URL needs the account's key (OpenAI-style ``/content``) and is never shown.
        key_header: the header with that key, as an `AuthHeader` is written; None: ``Authorization: Bearer``.
        identity_override: its identity where that is not derived from its URL: a fresh URL replaced the first one, or
            several outputs share one URL. Stored outputs and the views name it ``known_as``.
    """

    kind: str
    url: str | None = None
    mime: str | None = None
    title: str | None = None
    duration_s: float | None = None
    text: str | None = None
    inline: str | None = None
    authenticated: bool = False
    key_header: str | None = None
    identity_override: str | None = None


class UpstreamError(Struct, frozen=True, gc=False, omit_defaults=True):
    """The upstream's own description of a failure.

    Attributes:
        http_status: None when it did not come as an HTTP answer.
    """

    code: str | None = None
    message: str | None = None
    http_status: int | None = None


class Task(Struct, frozen=True, gc=False, omit_defaults=True):
    """The part of a task that the rules work on. Requests, results and labels are in `TaskRecord`.

    Attributes:
        asset: what is made, for end users: ``song``, ``video``, ``image``, ``text``.
        due_at: when the tracker acts on it next (sends, polls or decides); None: never, or, while it is queued, when a
            slot of its account is free.
        size: the coarse size of what was asked for, see `tracker.domain.request_size`.
        progress: percent, 0 to 100; None while not reported.
        stage_at: when the stage last changed.
        upstream_finished_at: when the job ended, as the upstream reports it; None if that is not plausible.
        progress_at: when the task last made progress, or got a slot of its account; deadlines count from here.
        expects_callback: a callback URL of this tracker was sent with the create.
        polls, callbacks: how many polls were answered, and how many callbacks came.
        poll_step: polls since the last change; the interval grows with it.
        poll_trouble: why the last poll failed; None after a good one.
        poll_trouble_since: since when every poll has failed.
        not_found_since: since when the upstream has not known the id.
        unfinished_at: when a poll last found that it had not ended.
        missing_output_since: since when it has reported success without outputs.
        unknown_status: the last upstream status that is not in the contract.
        unknown_statuses: how often one was seen.
        usage: the usage that the upstream reports for the ended job, a JSON object as text.
        price: what it counts in the budget of its account: first an estimate of its request, then what it cost.
        cost: what it cost; None until it has ended, or if unknown.
        ended_by: the source of the observation that ended it; None for one that ended before this was recorded.
        version: grows by one with each change.
    """

    id: TaskId
    route: str
    provider: str
    account: str
    created_at: datetime
    progress_at: datetime
    asset: str = "file"
    external_id: ExternalId | None = None
    model: str | None = None
    size: str | None = None
    status: Status = Status.PENDING
    stage: Stage | None = None
    progress: int | None = None
    reason: Reason | None = None
    error: UpstreamError | None = None
    retryable: bool | None = None
    outputs: tuple[Output, ...] = ()
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    submit_state: SubmitState = SubmitState.QUEUED
    submit_attempts: int = 0
    expects_callback: bool = False
    polls: int = 0
    callbacks: int = 0
    poll_step: int = 0
    poll_trouble: str | None = None
    poll_trouble_since: datetime | None = None
    not_found_since: datetime | None = None
    unfinished_at: datetime | None = None
    missing_output_since: datetime | None = None
    unknown_status: str | None = None
    unknown_statuses: int = 0
    ended_by: Source | None = None
    result_seq: int | None = None
    stage_at: datetime | None = None
    upstream_finished_at: datetime | None = None
    usage: str | None = None
    price: Cost | None = None
    cost: Cost | None = None
    version: int = 1

    @property
    def is_given_up(self) -> bool:
        """Whether it FAILED by the tracker's own decision, which a provider's success overrides."""
        return self.reason in GIVEN_UP_REASONS and self.status is Status.FAILED

    @property
    def waits_for_slot(self) -> bool:
        """Whether its create waits until fewer tasks of its account are in flight."""
        return self.submit_state is SubmitState.QUEUED and self.due_at is None

    @property
    def is_canceled(self) -> bool:
        """Whether an operator ended it."""
        return self.status is Status.FAILED and self.reason is Reason.CANCELED
