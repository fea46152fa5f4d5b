"""Accounts that an upstream refuses: the key is rejected, or the quota is used up.

Owns since when an account is refused, which creates wait because of it, which create probes it, and which base URLs
are wrong. Must not send or record anything.

When an account is refused, every create of it would be refused. The first one fails like any refused create; the later
ones wait in the queue. For each provider one waiting create at a time is sent as a probe, the oldest first, with
growing delays. An accepted create of a provider releases those that wait for it, so a used-up package of one provider
stops no other provider behind the same key. Another key or address releases all. In memory only: after a restart every
held create is sent again, and a refusal fails no create that has waited before, unless the account has accepted others
meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tracker.domain.alarms import AlarmKind, Finding
from tracker.domain.event_text import WRONG_ADDRESS
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.records import iso
from tracker.domain.retry import growing_delay_s
from tracker.domain.task import Reason, SubmitState
from tracker.logs import get_logger
from tracker.store.values import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from tracker.clock import Clock
    from tracker.domain.task import Task, TaskId, UpstreamError

log = get_logger(__name__)

FIRST_WAIT_S: Final = 2.0
MAX_WAIT_S: Final = 60.0
"""From a refused probe to the next one; doubling."""
PICK_AGAIN_S: Final = 5.0
"""When a create that was picked as a probe has not been sent after so long, another one is picked."""


_KIND_OF = {Reason.AUTH_FAILED: AlarmKind.KEY_REJECTED, Reason.QUOTA_EXHAUSTED: AlarmKind.QUOTA_EXHAUSTED}
"""Refusals of a create that concern its account. A model that the account may not use (`entitlement`) does not."""
_REASON_OF = {kind: reason for reason, kind in _KIND_OF.items()}
_SENTENCES = {
    AlarmKind.KEY_REJECTED: "The service has rejected the key of account {} since {}",
    AlarmKind.QUOTA_EXHAUSTED: "The balance or quota of account {} has been used up since {}",
}
_NOW = {
    AlarmKind.KEY_REJECTED: "The service rejects the key of account {}",
    AlarmKind.QUOTA_EXHAUSTED: "The balance or quota of account {} is used up",
}
_FIXES = {
    AlarmKind.KEY_REJECTED: "Check the key of the account and its base_url. tracker doctor asks with it.",
    AlarmKind.QUOTA_EXHAUSTED: "Top up the account, or raise its quota at the service.",
}


@dataclass(slots=True)
class _Probe:
    """The probes of a provider; monotonic seconds.

    Attributes:
        task_id: the task whose create is under way as a probe; None for none.
        at: when the next probe may be sent.
        step: how often the wait between probes has grown; 0 before the first probe.
        picked_at: when a waiting create was picked as the next probe.
    """

    task_id: TaskId | None = None
    at: float = 0.0
    step: int = 0
    picked_at: float = -math.inf


@dataclass(slots=True)
class _Alarm:
    """An account that is refused.

    Attributes:
        since: when it was refused first.
        message: of the upstream, without secrets.
        error: the same as it is stored with a task.
        credentials: what was refused; the alarm ends when they change.
        refused: providers that refused a create. While it is empty, only polls were refused: no create is held yet.
        accepted: providers that have accepted a create since.
        probes: by provider.
    """

    kind: AlarmKind
    since: datetime
    message: str
    error: UpstreamError | None
    credentials: Hashable
    refused: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    probes: dict[str, _Probe] = field(default_factory=dict)


class AccountAlarms:
    """Remembers which accounts are refused, and which creates wait.

    Args:
        clock: its monotonic time is for probes, the wall clock for messages.
        credentials_of: a value that changes with the key or address of an account; never shown.
        redact: masks secrets in messages of an upstream.
    """

    def __init__(self, clock: Clock, credentials_of: Callable[[str], Hashable], redact: Callable[[bytes], str]) -> None:
        self._clock = clock
        self._credentials_of = credentials_of
        self._redact = redact
        self._alarms: dict[str, _Alarm] = {}
        self._held: dict[Lane, dict[TaskId, None]] = {}
        """Lane -> creates that wait, the oldest first."""
        self._released: list[TaskId] = []
        self._accepted: set[str] = set()
        """Accounts that have accepted a create in this process."""
        self._proven: set[str] = set()
        """Accounts whose key was accepted in this process."""
        self._misrouted: dict[Lane, tuple[str, Hashable]] = {}
        """Lane whose latest create found a wrong base URL -> what it found, and the credentials that it used."""
        self._not_entitled: set[tuple[str, str, str | None]] = set()
        """Account, route and model that were refused by entitlement, each logged once."""

    # -- creates -------------------------------------------------------------------------------------------

    def admit(self, task: Task) -> bool:
        """Whether a create may be sent now; if so, `finish` must follow."""
        self._check_credentials(task.account)
        alarm = self._alarms.get(task.account)
        if alarm is None or not alarm.refused or task.provider in alarm.accepted:
            self._forget(task)
            return True
        probe = alarm.probes.setdefault(task.provider, _Probe())
        if probe.task_id != task.id and (probe.task_id is not None or self._clock.monotonic() < probe.at):
            return False
        probe.task_id, probe.picked_at = task.id, -math.inf
        self._forget(task)
        return True

    def finish(self, task_id: TaskId) -> None:
        """The attempt of a create is over; if it was a probe, the next one may be sent."""
        for alarm in self._alarms.values():
            for probe in alarm.probes.values():
                if probe.task_id == task_id:
                    probe.task_id = None

    def hold(self, task: Task) -> Reading:
        """What to record about a create that `admit` refused; call `wait` once it is recorded."""
        alarm = self._alarms[task.account]
        return Reading(
            submission=Submission.DEFERRED,
            reason=_REASON_OF[alarm.kind],
            error=alarm.error,
            retryable=False,
            held=True,
            detail=_headline(task.account, alarm, is_start=False),
        )

    def wait(self, task: Task) -> None:
        """Let a create whose hold is recorded wait until its account is accepted, which may have happened by now."""
        self._held.setdefault(Lane(task.account, task.provider), {})[task.id] = None
        alarm = self._alarms.get(task.account)
        if alarm is None or task.provider in alarm.accepted:
            self._release(Lane(task.account, task.provider))

    def apply_answer(self, task: Task, reading: Reading, *, is_new: bool) -> Reading:
        """Update the alarms by the answer to a create.

        Args:
            task: the task of the create.
            reading: the answer.
            is_new: whether it is the first attempt, right after the submit.

        Returns:
            The answer, or what to record instead: a create whose account is known to be refused waits.
        """
        self._note_address(task, reading)
        kind = _KIND_OF.get(reading.reason) if reading.reason is not None else None
        if reading.submission is Submission.REFUSED and kind is not None:
            return self._refused(task, reading, kind, is_new=is_new)
        if reading.submission is Submission.ACCEPTED:
            self._accepted.add(task.account)
            self._accept(task.account, task.provider)
        elif reading.submission is Submission.REFUSED:
            self._accept(task.account, task.provider, AlarmKind.KEY_REJECTED)  # its key was accepted
        self._log_entitlement(task, reading)
        return reading

    def _refused(self, task: Task, reading: Reading, kind: AlarmKind, *, is_new: bool) -> Reading:
        alarm = self._alarms.get(task.account)
        was_known = alarm is not None and alarm.kind is kind and bool(alarm.refused)
        alarm = self._raise(task, kind, reading)
        alarm.accepted.discard(task.provider)
        probe = alarm.probes.setdefault(task.provider, _Probe())
        if was_known and task.provider in alarm.refused:
            if probe.task_id == task.id or not probe.step:
                probe.step += 1
            probe.at = self._clock.monotonic() + growing_delay_s(probe.step - 1, FIRST_WAIT_S, MAX_WAIT_S)
        alarm.refused.add(task.provider)
        if not was_known and (is_new or task.account in self._accepted):
            self._accepted.discard(task.account)
            return reading  # the create that raises the alarm fails
        return replace(self.hold(task), error=reading.error)

    def take_due(self) -> list[TaskId]:
        """Creates to be sent now: the released ones, and one probe of each provider."""
        for account in list(self._alarms):
            self._check_credentials(account)
        now = self._clock.monotonic()
        for (account, provider), waiting in self._held.items():
            alarm = self._alarms.get(account)
            probe = alarm and alarm.probes.setdefault(provider, _Probe())
            if waiting and probe and probe.task_id is None and now >= max(probe.at, probe.picked_at + PICK_AGAIN_S):
                probe.picked_at = now
                self._released.append(next(iter(waiting)))
                del waiting[self._released[-1]]
        due, self._released = self._released, []
        return due

    def put_back(self, due: list[TaskId]) -> None:
        """Return creates that could not be made due: the next `take_due` returns them again."""
        self._released += due

    # -- polls ---------------------------------------------------------------------------------------------

    def record_poll(self, task: Task, reading: Reading) -> None:
        """Raise an alarm when a poll is refused, and end it when one is answered."""
        if reading.trouble is Trouble.UNAUTHORIZED:
            self._raise(task, AlarmKind.KEY_REJECTED, reading)
        elif reading.trouble is None:
            self._accept(task.account, task.provider, AlarmKind.KEY_REJECTED)

    def is_key_rejected(self, account: str, provider: str) -> bool:
        """Whether polls of a provider with this account are refused now."""
        alarm = self._alarms.get(account)
        return alarm is not None and alarm.kind is AlarmKind.KEY_REJECTED and provider not in alarm.accepted

    def kind_of(self, account: str) -> AlarmKind | None:
        """Why an account is refused now; None if it is not."""
        alarm = self._alarms.get(account)
        return None if alarm is None else alarm.kind

    # -- messages ------------------------------------------------------------------------------------------

    def find(self) -> list[Finding]:
        """Each account that is refused."""
        refused = [
            Finding(alarm.kind, account, f"{_NOW[alarm.kind].format(account)}: {_quoted(alarm)}.", _FIXES[alarm.kind])
            for account, alarm in sorted(self._alarms.items())
        ]
        return [*refused, *self._find_misrouted()]

    def is_accepted(self, kind: AlarmKind, account: str) -> bool:
        """Whether the upstream has shown since the start that the account has no such alarm."""
        return account in (self._proven if kind is AlarmKind.KEY_REJECTED else self._accepted)

    def describe_account(self, account: str) -> str | None:
        """The alarm of an account in one sentence, None without one."""
        alarm = self._alarms.get(account)
        return None if alarm is None else f"{_headline(account, alarm)}."

    def describe_task(self, task: Task) -> list[str]:
        """What an alarm means for a task."""
        alarm = self._alarms.get(task.account)
        if alarm is None:
            return []
        if task.submit_state is SubmitState.QUEUED and task.id in self._held.get(Lane(task.account, task.provider), ()):
            return []  # its history says so
        line = f"{_headline(task.account, alarm)}."
        if alarm.kind is AlarmKind.KEY_REJECTED and task.submit_state is SubmitState.ACCEPTED:
            return [f"{line} Check the key. Until then the tracker asks the service less often."]
        return [line]

    # -- parts ---------------------------------------------------------------------------------------------

    def _note_address(self, task: Task, reading: Reading) -> None:
        lane = Lane(task.account, task.provider)
        if reading.detail is not None and reading.detail.startswith(WRONG_ADDRESS):
            what = reading.detail.removeprefix(WRONG_ADDRESS).partition(";")[0]
            self._misrouted[lane] = (what, self._credentials_of(task.account))
        elif reading.submission is not Submission.DEFERRED:
            self._misrouted.pop(lane, None)

    def _find_misrouted(self) -> list[Finding]:
        """Each account with a wrong base URL that was not corrected yet."""
        found: dict[str, list[str]] = {}
        for (account, provider), (what, credentials) in sorted(self._misrouted.items()):
            if self._credentials_of(account) == credentials:
                found.setdefault(account, []).append(f"{what} for {provider}")
        fix = "Every create there fails. Correct base_url of the account and reload; tracker doctor tests it."
        return [
            Finding(AlarmKind.ADDRESS_WRONG, account, f"The base URL of account {account} {', '.join(lines)}.", fix)
            for account, lines in found.items()
        ]

    def _log_entitlement(self, task: Task, reading: Reading) -> None:
        """Log once that an account may not use a route or model: each such create fails until that is fixed."""
        what = (task.account, task.route, task.model)
        if reading.submission is Submission.ACCEPTED:
            self._not_entitled.discard(what)
        elif reading.reason is Reason.ENTITLEMENT and what not in self._not_entitled:
            self._not_entitled.add(what)
            message = self._message_of(reading)
            log.warning(
                "account.not_entitled", account=task.account, route=task.route, model=task.model, message=message
            )

    def _message_of(self, reading: Reading) -> str:
        """The upstream's own message, without secrets."""
        error = reading.error
        return self._redact(((error and (error.message or error.code)) or "no message given").encode())

    def _raise(self, task: Task, kind: AlarmKind, reading: Reading) -> _Alarm:
        """The alarm of an account; raised once."""
        alarm = self._alarms.get(task.account)
        if alarm is None or alarm.kind is not kind:
            message = self._message_of(reading)
            credentials = self._credentials_of(task.account)
            alarm = _Alarm(kind, self._clock.now(), message, reading.error, credentials)
            self._alarms[task.account] = alarm
            self._proven.discard(task.account)
        return alarm

    def _accept(self, account: str, provider: str, only: AlarmKind | None = None) -> None:
        """An upstream has accepted the key of an account, or a create of it."""
        self._proven.add(account)
        alarm = self._alarms.get(account)
        if alarm is None or only not in {None, alarm.kind}:
            return
        alarm.refused.discard(provider)
        alarm.accepted.add(provider)
        self._release(Lane(account, provider))
        if not alarm.refused:
            self._end(account)

    def _end(self, account: str) -> None:
        del self._alarms[account]
        for lane in self._held:
            if lane.account == account:
                self._release(lane)

    def _release(self, lane: Lane) -> None:
        waiting = self._held.get(lane)
        if waiting:
            self._released += waiting
            waiting.clear()

    def _forget(self, task: Task) -> None:
        self._held.get(Lane(task.account, task.provider), {}).pop(task.id, None)

    def _check_credentials(self, account: str) -> None:
        alarm = self._alarms.get(account)
        if alarm is not None and self._credentials_of(account) != alarm.credentials:
            self._end(account)
            log.info("account.credentials_changed", account=account)


def _headline(account: str, alarm: _Alarm, *, is_start: bool = True) -> str:
    text = f"{_SENTENCES[alarm.kind].format(account, iso(alarm.since))}: {_quoted(alarm)}"
    return text if is_start else f"{text[0].lower()}{text[1:]}"


def _quoted(alarm: _Alarm) -> str:
    return f'"{alarm.message.strip().rstrip(".")}"'
