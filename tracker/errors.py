"""Every error of the tracker, arranged by what its catcher does.

::

    TrackerError
      ConfigError               refuse to start; one line per mistake
      StoreError
        StoreUnavailable        answer 503; the sender tries again, nothing was written
          StoreDamaged          the same; a command names the newest good copy
          WriteUnknown          answer 500 where a repetition may cost money: look before sending it again
        StoreUnusable           refuse to start: locked, newer, foreign or unwritable file
        TaskNotFound            answer 404
        DeliveryNotFound        answer 404
        IdempotencyConflict     answer 422: same key, other payload
        SubmitInFlight          answer 409: same key, first attempt not decided yet
      PayloadInvalid            callback: 400; poll: a failed attempt; names the field path
      RequestInvalid            answer 422 with the list of wrong fields
      SignatureInvalid          callback: 401; never states the expected value
      UpstreamFailure
        NotSent                 the request surely never left; it may be sent again
          HeldBack              the tracker itself did not send it; says nothing about the upstream
        Unanswered              it may have arrived; a paid create is never sent again
      ArchiveFailure
        OutputRefused           ask for a fresh URL, then try again
        OutputUnavailable       try again later
        OutputHopeless          no further attempt can help; an operator may redrive it
        PlaceUnavailable        the archive takes nothing now (disk full): try again, for as long as it takes
"""

from __future__ import annotations

from dataclasses import dataclass


class TrackerError(Exception):
    """Base of every error that the tracker raises on purpose."""


class ConfigError(TrackerError):
    """The configuration cannot be used.

    Attributes:
        problems: one line per mistake: file, key, what is wrong, how to mend it.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(TrackerError):
    """Something about the database."""


class StoreUnavailable(StoreError):
    """The store cannot be written or read now (disk full, I/O error, busy, closing); nothing was written."""


class WriteUnknown(StoreUnavailable):
    """A commit failed, and it is not known whether it will be found after a restart.

    What may be repeated is repeated, as after `StoreUnavailable`.
    """


class StoreDamaged(StoreUnavailable):
    """A page of the database that was needed is damaged.

    Attributes:
        error: what SQLite says about it.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(f"the database is damaged ({error}); stop the tracker and look at: tracker db check")


class StoreUnusable(StoreError):
    """The database file cannot be opened by this program; the message says why and how to mend it."""


class TaskNotFound(StoreError):
    """No task has this id."""


class DeliveryNotFound(StoreError):
    """No delivery has this id."""


class IdempotencyConflict(StoreError):
    """The idempotency key was used before with another payload."""


class SubmitInFlight(StoreError):
    """The idempotency key belongs to a submit whose first attempt is not decided yet."""


class PayloadInvalid(TrackerError):
    """A provider's payload cannot be read; the message names the field path."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong field of a request.

    Attributes:
        loc: path of the field from the outside in, for example ``("request", "prompt")``.
        msg: what is wrong and what is expected, one sentence.
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


class SignatureInvalid(TrackerError):
    """A callback's signature does not hold; the message never states the expected value."""


class UpstreamFailure(TrackerError):
    """A request to an upstream ended without an answer that can be read."""


class NotSent(UpstreamFailure):
    """The request surely never reached the upstream (no connection, or the tracker held it back)."""


class HeldBack(NotSent):
    """The tracker itself did not send the request (circuit open, no slot, no key): nobody was asked.

    Attributes:
        retry_in_s: seconds after which it is worth another try.
        circuit_open: a circuit breaker is open; False: something in the tracker is missing or used up.
    """

    def __init__(self, message: str, retry_in_s: float, *, circuit_open: bool = False) -> None:
        super().__init__(message)
        self.retry_in_s = retry_in_s
        self.circuit_open = circuit_open


class Unanswered(UpstreamFailure):
    """The request may have reached the upstream: no answer, a cut connection, an answer cut short.

    Attributes:
        status: HTTP status of an answer that was cut; None when none came, or nothing that could be read.
        body: the beginning of its body, decompressed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.status: int | None = None
        self.body = b""


class ArchiveFailure(TrackerError):
    """An output could not be archived; the message is one line for people, without query strings or keys."""


class OutputRefused(ArchiveFailure):
    """The URL is not honoured (any more); a fresh one may be."""


class OutputUnavailable(ArchiveFailure):
    """No whole file came: no connection, a cut body, a server error, a wrong length, a page instead of a file.

    Attributes:
        retry_after_s: seconds that the server asked to be left alone; None when it did not.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutputHopeless(ArchiveFailure):
    """Too large, an address that is not allowed, data that is no base64: trying again changes nothing."""


class PlaceUnavailable(ArchiveFailure):
    """The archive's own place cannot be written now; no fault of the output."""
