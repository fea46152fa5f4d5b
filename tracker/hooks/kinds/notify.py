"""Notifications, through the library apprise and the services that it supports.

Owns the text of a notification. The library is the extra ``notify`` and is imported only if a hook needs it. Must
not decide when to retry.

The address may hold a token, which does not belong into a configuration file: ``{secret}`` in it stands for the
value of ``secret_env`` or ``secret_file``, which may also be the complete address.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import Field

from tracker.config.hooks import HookSpec
from tracker.domain.deliveries import AlarmJob, TaskJob
from tracker.domain.hook_events import SystemEvent
from tracker.domain.records import task_json
from tracker.domain.task import Status
from tracker.errors import ConfigError
from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.hooks.running.threads import in_thread
from tracker.hooks.spec import HookKind

if TYPE_CHECKING:
    from tracker.domain.deliveries import DeliveryJob

PLACEHOLDER: Final = "{secret}"
_TYPES = {Status.SUCCEEDED: "success", Status.FAILED: "failure"}
_HAPPENED = {
    "task.submitted": "submitted",
    "task.running": "is running",
    "task.progress": "made progress",
    "task.succeeded": "succeeded",
    "task.failed": "failed",
    "task.archived": "is archived",
}


class NotifyHook(HookSpec):
    """The keys of a notification: ``notify`` is an address of apprise (``ntfy://topic``, ``mailto://…``, …)."""

    notify: Annotated[str, Field(min_length=1)] | None = Field(None, repr=False)


@dataclass(frozen=True, slots=True)
class NotifyAction:
    """Where to send notifications; the address is complete."""

    kind: ClassVar[str] = "notify"
    address: str = field(repr=False)


class NotifyRunner:
    """Sends notifications."""

    def __init__(self) -> None:
        self._threads: dict[str, set[str]] = {}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Notify once; see `Runner.run`."""
        del payload  # the message is text, not JSON
        action = spec.action
        if not isinstance(action, NotifyAction):
            raise TypeError(f"hook {spec.name!r} is not a notification")
        held = self._threads.setdefault(spec.name, set())
        if job.id in held or len(held) >= spec.concurrency:
            return retry("earlier notifications still hang", unreachable=True)
        title, body, kind = message_of(job)

        def send() -> bool:
            try:
                sender = importlib.import_module("apprise").Apprise()
                sender.add(action.address)
                return bool(sender.notify(body=body, title=title, notify_type=kind))
            finally:
                held.discard(job.id)

        held.add(job.id)
        try:
            async with asyncio.timeout(spec.timeout_s):
                sent = await in_thread(send, name=f"hook {spec.name}")
        except TimeoutError:
            return retry(f"no response within {spec.timeout_s:g} s", unreachable=True)
        except Exception as error:  # noqa: BLE001 - the library may raise anything
            # its text may contain the address, and so a token
            return retry(f"the notification failed ({type(error).__name__})", unreachable=True)
        if not sent:
            return retry("the service did not accept the notification", unreachable=True)
        return RunResult(RunOutcome.SUCCEEDED, output=f"{title}\n{body}")


def make_action(hook: NotifyHook, secret: str | None) -> NotifyAction:
    """The action of a hook, with the secret in place of ``{secret}``.

    Raises:
        ConfigError: apprise is not installed, the secret is not set, or apprise does not support the address.
    """
    where = f"hooks[{hook.name}].notify"
    address = hook.notify or ""
    if PLACEHOLDER in address:
        if not secret:
            raise ConfigError([f"{where}: the secret for {PLACEHOLDER} is not set; set secret_env"])
        address = address.replace(PLACEHOLDER, secret)
    try:
        apprise: Any = importlib.import_module("apprise")
    except ImportError as error:
        fix = "install it with: pip install 'task-tracker[notify]'"
        raise ConfigError([f"{where}: needs the library apprise; {fix}"]) from error
    if not apprise.Apprise().add(address):
        raise ConfigError([f"{where}: is not an address that apprise supports; write for example ntfy://my-topic"])
    return NotifyAction(address)


def message_of(job: DeliveryJob) -> tuple[str, str, str]:
    """Title, text and apprise's type of a notification: the message for the end user, the error, the outputs."""
    if isinstance(job, AlarmJob):
        alarm, is_over = job.alarm, job.event == SystemEvent.CLEAR
        title = f"{'Over: ' if is_over else ''}{alarm.kind.replace('_', ' ')} ({alarm.subject})"
        text = alarm.message if is_over else f"{alarm.message}\n{alarm.fix}"
        return title, text, "success" if is_over else "warning"
    assert isinstance(job, TaskJob)  # noqa: S101 - there are no others
    task = task_json(job.record)
    lines = [task["user_message"]]
    error = (task["error"] or {}).get("message")
    if error:
        lines.append(f"Error of the provider: {error}")
    lines += [output["url"] or output["path"] or "" for output in task["outputs"]]
    labels = ", ".join(f"{name}={value}" for name, value in sorted(task["labels"].items()))
    lines.append(f"Task {task['id']}" + (f" ({labels})" if labels else ""))
    title = f"{task['route']} {_HAPPENED.get(job.event, job.event)}"
    return title, "\n".join(filter(None, lines)), _TYPES.get(job.record.task.status, "info")


KIND = HookKind("notify", "notify", NotifyHook, make_action, lambda _tools: NotifyRunner())
