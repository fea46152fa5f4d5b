"""The statuses of a task and the reasons for failing.

Commands offer them as choices, so this module imports no library.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The state of a task. Statuses never move backwards."""

    PENDING = "PENDING"
    """Entered when the intent is on disk; left when the upstream reports that work began, or how it ended."""
    RUNNING = "RUNNING"
    """Entered when work is first reported, also by a success that still lacks its outputs."""
    SUCCEEDED = "SUCCEEDED"
    """Entered on a success with at least one output. Always final."""
    FAILED = "FAILED"
    """Entered with a `Reason`. Final, except for `GIVEN_UP_REASONS`."""

    is_terminal: bool
    """Whether the task has ended."""

    def __init__(self, value: str) -> None:
        self.is_terminal = value in {"SUCCEEDED", "FAILED"}


class Reason(StrEnum):
    """Why a task is FAILED."""

    INVALID_REQUEST = "invalid_request"
    AUTH_FAILED = "auth_failed"
    ENTITLEMENT = "entitlement"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RATE_LIMITED = "rate_limited"
    POLICY_REJECTED = "policy_rejected"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    GENERATION_FAILED = "generation_failed"
    MISSING_OUTPUT = "missing_output"
    EXPIRED = "expired"
    SUBMIT_UNKNOWN = "submit_unknown"
    CANCELED = "canceled"
    NOT_FOUND = "not_found"


class Source(StrEnum):
    """Where an observation came from."""

    SUBMIT = "submit"
    CALLBACK = "callback"
    POLL = "poll"
    OPERATOR = "operator"
    CLOCK = "clock"


class Origin(StrEnum):
    """How the tracker came to know a task."""

    SUBMIT = "submit"
    """It sends the create itself."""
    REGISTER = "register"
    """The job was created elsewhere."""
