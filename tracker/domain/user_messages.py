"""One sentence for end users about their job. It blames no one and promises nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.task import Reason, Status

if TYPE_CHECKING:
    from tracker.domain.task import Task

_FAILED = {
    Reason.INVALID_REQUEST: "The request for your {asset} was not accepted as it was written. "
    "Changing its settings may help.",
    Reason.AUTH_FAILED: "Your {asset} could not be requested: the service did not accept our credentials.",
    Reason.ENTITLEMENT: "Your {asset} could not be made: this model or feature is not part of the current plan.",
    Reason.QUOTA_EXHAUSTED: "Your {asset} could not be made: the account's balance or quota is used up.",
    Reason.RATE_LIMITED: "Your {asset} could not be started: the service was too busy. Trying again later may help.",
    Reason.POLICY_REJECTED: "Your {asset} was not made: the request or its result did not pass the content rules.",
    Reason.UPSTREAM_UNAVAILABLE: "Your {asset} could not be made: the service was not available. "
    "Trying again later may help.",
    Reason.GENERATION_FAILED: "Your {asset} could not be finished by the service. Trying again may help.",
    Reason.MISSING_OUTPUT: "The service reported your {asset} as ready but delivered no file. Trying again may help.",
    Reason.EXPIRED: "Your {asset} was not finished in time, and we stopped waiting for it.",
    Reason.SUBMIT_UNKNOWN: "We could not determine whether your {asset} was accepted. It may have been charged, "
    "so it was not sent again.",
    Reason.CANCELED: "Your {asset} was canceled.",
    Reason.NOT_FOUND: "The service no longer has your {asset}.",
}


def user_message(task: Task) -> str:
    """The state of a task for end users: plain text, never empty, without codes or provider names."""
    asset = task.asset
    match task.status:
        case Status.PENDING:
            return f"Your {asset} is waiting to be made."
        case Status.RUNNING:
            return f"Your {asset} is being made."
        case Status.SUCCEEDED:
            return f"Your {asset} is ready."
        case Status.FAILED:
            return _FAILED[task.reason or Reason.GENERATION_FAILED].format(asset=asset)
