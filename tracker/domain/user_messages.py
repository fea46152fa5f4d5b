"""One sentence for end users about their job. It blames no one and promises nothing.

``[messages]`` of the configuration replaces sentences, for another tone or language; `use_messages` applies it to this
process, as a program chooses its language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracker.domain.task import Reason, Status, SubmitState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracker.domain.task import Task

MESSAGES: Final[Mapping[str, str]] = {
    "pending": "Your {asset} is waiting to be made.",
    "checking": "We are checking whether your {asset} was accepted.",
    "running": "Your {asset} is being made.",
    "succeeded": "Your {asset} is ready.",
    Reason.INVALID_REQUEST: "The request for your {asset} was not accepted as it was written. "
    "Changing its settings may help.",
    Reason.AUTH_FAILED: "Your {asset} could not be requested just now. We have been notified.",
    Reason.ENTITLEMENT: "Your {asset} could not be made with these settings. We have been notified.",
    Reason.QUOTA_EXHAUSTED: "Your {asset} could not be made just now. We have been notified.",
    Reason.RATE_LIMITED: "Your {asset} could not be started: the service was too busy. Trying again later may help.",
    Reason.POLICY_REJECTED: "Your {asset} was not made: the request or its result did not pass the content rules.",
    Reason.UPSTREAM_UNAVAILABLE: "Your {asset} could not be made: the service was not available. "
    "Trying again later may help.",
    Reason.GENERATION_FAILED: "Your {asset} could not be finished by the service. Trying again may help.",
    Reason.MISSING_OUTPUT: "The service reported your {asset} as ready but delivered no file. Trying again may help.",
    Reason.EXPIRED: "Your {asset} was not finished in time, and we stopped waiting for it.",
    Reason.SUBMIT_UNKNOWN: "Something went wrong with your {asset}. We are looking into it; "
    "you do not need to order it again.",
    Reason.CANCELED: "Your {asset} was canceled.",
    Reason.NOT_FOUND: "The service lost your {asset}. Please try again.",
}
"""State -> its sentence; of a failed task, the state is the reason. ``{asset}`` is what is made: ``song``, for example.

``checking``: pending, and its create got no clear answer.
"""

_FAILED, _AMBIGUOUS = Status.FAILED, SubmitState.AMBIGUOUS  # Python 3.11 takes 60 ns to look up each
_STATES: Final = {status: status.lower() for status in Status}
_used: dict[str, str] = dict(MESSAGES)
_nouns: dict[str, str] = {}


def use_messages(sentences: Mapping[str, str], nouns: Mapping[str, str]) -> None:
    """Use other sentences in this process from now on.

    Args:
        sentences: key of `MESSAGES` -> the sentence to use instead; the others stay as they are there.
        nouns: what is made -> the word for it, in place of ``{asset}``.
    """
    _used.update(MESSAGES)
    _used.update(sentences)
    _nouns.clear()
    _nouns.update(nouns)


def user_message(task: Task) -> str:
    """The state of a task for end users: plain text, never empty, without codes or provider names."""
    return _used[_state(task)].replace("{asset}", _nouns.get(task.asset, task.asset))


def _state(task: Task) -> str:
    if task.status is _FAILED:
        return task.reason or Reason.GENERATION_FAILED
    if task.submit_state is _AMBIGUOUS and task.status is Status.PENDING:
        return "checking"
    return _STATES[task.status]
