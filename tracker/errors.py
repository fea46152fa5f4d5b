"""Every error of the tracker, arranged by what its catcher does.

::

    TrackerError
      ConfigError               refuse to start; one line per mistake
      StoreError
        StoreUnavailable        respond 503; nothing was written, the client retries
          SearchRefused         the same; the message says how to search instead
          StoreDamaged          the same; a command names the newest good backup
          WriteUnknown          respond 500 if a retry may cost money: the client must check first
        StoreUnusable           refuse to start: locked, newer, foreign or read-only file
        TaskNotFound            respond 404
        DeliveryNotFound        respond 404
        IdempotencyConflict     respond 422: same key, different payload
        SubmitInFlight          respond 409: same key, the first attempt has no result yet
        BudgetExceeded          respond 402: nothing was recorded or sent
        NotAdoptable            respond 409: an operator named an upstream id that the task cannot have
      PositionUnknown           respond 422: a client names a position after the newest event
      TooManyReaders            respond 503: as many streams are open as there may be
      PayloadInvalid            callback: 400; poll: a failed attempt; names the field path
      RequestInvalid            respond 422 with the list of wrong fields
      SignatureInvalid          callback: 401; never states the expected value
      UpstreamFailure
        NotSent                 the request did not leave; it may be sent again
          NotAttempted          the tracker itself did not send it
        Unanswered              it may have arrived; a paid create is never sent again
      ArchiveFailure
        OutputRefused           ask for a fresh URL, then retry
        OutputUnavailable       retry later
        OutputPermanentFailure  do not retry; an operator may redrive it
        ArchiveStorageUnavailable  retry without a limit: the archive's storage is full or down
"""

from __future__ import annotations

from dataclasses import dataclass


class TrackerError(Exception):
    """Base of the tracker's own errors."""


class ConfigError(TrackerError):
    """The configuration cannot be used.

    Attributes:
        problems: one line per mistake: file, key, what is wrong, how to fix it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(TrackerError):
    """Base of the errors of the store."""


class StoreUnavailable(StoreError):
    """The store cannot be written or read now (disk full, I/O error, busy, closing); nothing was written."""


class WriteUnknown(StoreUnavailable):
    """A commit failed, and a restart may or may not find it; writes that are safe to repeat are repeated."""


class SearchRefused(StoreUnavailable):
    """Too many searches are running, or a step of this one took too long; look-ups and writes are not affected."""


class StoreDamaged(StoreUnavailable):
    """A page of the database is damaged.

    Attributes:
        error: SQLite's error.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(f"the database is damaged ({error}); stop the tracker and run: tracker db check")


class StoreUnusable(StoreError):
    """This program cannot open the database file; the message says why and how to fix it."""


class TaskNotFound(StoreError):
    """No task has this id."""


class DeliveryNotFound(StoreError):
    """No delivery has this id."""


class IdempotencyConflict(StoreError):
    """The idempotency key was used before with a different payload."""


class SubmitInFlight(StoreError):
    """The idempotency key belongs to a submit whose first attempt has no result yet."""


class BudgetExceeded(StoreError):
    """A submit would spend more than its account may spend in a day; the message has the amount, and until when."""


class PositionUnknown(TrackerError):
    """A position in the history is after the newest event."""

    def __init__(self, after: int, newest: int) -> None:
        super().__init__(
            f"{after} is after the newest event, {newest}: was a backup restored? Read the tasks anew, and go on after "
            f"{newest}"
        )


class TooManyReaders(TrackerError):
    """As many streams are open as there may be."""


class PayloadInvalid(TrackerError):
    """A provider's payload cannot be read; the message names the field path."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong field of a request.

    Attributes:
        loc: path of the field from the outside in, for example ``("request", "prompt")``.
        msg: one sentence: what is wrong and what is expected.
    """

    loc: tuple[str | int, ...]
    msg: str


class RequestInvalid(TrackerError):
    """A request is well formed but wrong.

    Attributes:
        problems: every wrong field found, not only the first.
    """

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, p.loc))}: {p.msg}" for p in problems))
        self.problems = problems


class FieldsUnknown(RequestInvalid):
    """A strict request has fields that no document of its route names, and no other problem."""


class SignatureInvalid(TrackerError):
    """A callback's signature is wrong; the message never states the expected value."""


class UpstreamFailure(TrackerError):
    """A request to an upstream ended without a readable answer."""


class NotSent(UpstreamFailure):
    """The request did not reach the upstream: no connection, or the tracker did not send it."""


class NotRepeatable(TrackerError):
    """A task has no request that could be sent again; the message says why."""


class NotAdoptable(StoreError):
    """A task cannot be given an upstream id; the message says why."""


class NotAttempted(NotSent):
    """The tracker itself did not send the request (circuit open, no slot, no key).

    Attributes:
        retry_in_s: seconds until the next try.
        circuit_open: a circuit breaker is open; False: an account, key, address or slot is missing.
    """

    def __init__(self, message: str, retry_in_s: float, *, circuit_open: bool = False) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s
        self.circuit_open = circuit_open


class Unanswered(UpstreamFailure):
    """The request may have reached the upstream: no answer, a broken connection, a truncated answer.

    Attributes:
        status: HTTP status of a truncated answer; None without one.
        body: the beginning of its body, decompressed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.status: int | None = None
        self.body = b""


class ArchiveFailure(TrackerError):
    """An output could not be archived; the message is one line, without query strings or keys."""


class OutputRefused(ArchiveFailure):
    """The server rejects the URL; a fresh one may work."""


class OutputUnavailable(ArchiveFailure):
    """No complete file: no connection, a truncated body, a server error, a wrong length, a web page instead of a file.

    Attributes:
        retry_after_s: what ``Retry-After`` asks for; None without it.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutputPermanentFailure(ArchiveFailure):
    """A retry cannot help: too large, a forbidden address, invalid base64."""


class ArchiveStorageUnavailable(ArchiveFailure):
    """The archive's storage cannot be written now; the output is not the cause."""
