"""Launch checks of ``doctor --full``: what a gateway's documents ask to verify before an application goes live.

Owns what is read from the daemon about a task, and how a check becomes a line. `launch_sandbox` and `launch_account`
have the checks.

**Source**: https://anyint.ai/docs/en/media-and-music (read 2026-11): creation, polling, callback reachability,
duplicate callbacks, failed tasks, output storage, and messages about quota and policy.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tracker.cli.client import Client, Json, task_path
from tracker.cli.exits import Failure
from tracker.cli.local_checks import Line
from tracker.cli.render import clean, describe_error
from tracker.cli.waiting import has_ended
from tracker.client import calls
from tracker.domain.text import count, size

CREATION = "creation"
POLLING = "polling"
CALLBACK = "callback"
DUPLICATES = "duplicate callbacks"
FAILED_TASK = "task failure"
STORAGE = "output storage"
POLICY = "policy message"
QUOTA = "quota message"
HOOK = "hook"
ASK_S = 0.05
"""From one look at the daemon to the next."""
_OPEN = frozenset({"pending", "running"})


class CheckFailed(Exception):
    """A check failed.

    Attributes:
        fix: what to do; None: what is usual for the check.
    """

    def __init__(self, detail: str, fix: str | None = None) -> None:
        super().__init__(detail)
        self.fix = fix


class CheckSkipped(Exception):
    """There is nothing to check, or it cannot be checked; the message has the reason."""


Check = Callable[[], str]
"""Returns what was seen. Raises `CheckFailed`, `CheckSkipped`, or `Failure` if the daemon refuses a call."""


def run_check(name: str, check: Check, fixes: Mapping[str, str]) -> Line:
    """Run a check.

    Args:
        name: of its line.
        check: the check.
        fixes: what to do when a check fails, by name.
    """
    try:
        return Line(name, "ok", check())
    except CheckSkipped as reason:
        return Line(name, "skipped", str(reason))
    except CheckFailed as error:
        return Line(name, "failed", str(error), error.fix or fixes[name])
    except Failure as error:
        return Line(name, "failed", "; ".join(error.lines), fixes[name])


@dataclass(frozen=True, slots=True)
class Seen:
    """The task, as the daemon returns it."""

    task: Json
    events: Sequence[Json]
    deliveries: Sequence[Json]

    @property
    def has_ended(self) -> bool:
        """Whether it has succeeded or failed."""
        return has_ended(self.task)

    @property
    def is_delivered(self) -> bool:
        """Whether no hook still has to run for it; one that failed is not waited for, although it is tried again."""
        return not any(delivery["status"] in _OPEN and not delivery["error"] for delivery in self.deliveries)

    @property
    def is_stored(self) -> bool:
        """Whether every file of it is in the archive."""
        return all(output["archived"] for output in files_of(self.task))

    def count(self, source: str, outcome: str) -> int:
        """How many observations from a source had an outcome."""
        return sum(event["source"] == source and event["outcome"] == outcome for event in self.events)


def look(client: Client, task_id: str) -> Seen:
    """Read a task with its history and its deliveries."""
    task = client.get(task_path(task_id))
    events, deliveries = (client.get(task_path(task_id, name))["items"] for name in ("events", "deliveries"))
    return Seen(task, events, deliveries)


def look_until(client: Client, task_id: str, is_done: Callable[[Seen], bool], deadline: float) -> Seen:
    """Read a task until something holds, or until the deadline (of `time.monotonic`)."""
    while True:
        seen = look(client, task_id)
        if is_done(seen) or time.monotonic() >= deadline:
            return seen
        time.sleep(ASK_S)


def files_of(task: Json) -> list[Json]:
    """The outputs that are files; a text needs no archive."""
    return [output for output in task["outputs"] if output["kind"] != "text"]


def compare_files(client: Client, task: Json) -> str:
    """Read every file of a task back from the daemon's archive; what they are, as text.

    Raises:
        CheckFailed: one is not in the archive, or differs from what was recorded.
    """
    files = files_of(task)
    if missing := [output for output in files if not output["archived"]]:
        raise CheckFailed(f"{count(len(missing), 'file')} of {len(files)} not in the archive: {_why_not(client, task)}")
    for output in files:
        digest = hashlib.sha256()
        client.save(calls.get_output(str(task["id"]), output["n"]), digest.update)
        if digest.hexdigest() != output["sha256"]:
            raise CheckFailed(f"{clean(output['path'])} has another SHA-256 than when it was stored")
    total = size(sum(output["bytes"] for output in files))
    return f"{count(len(files), 'file')} ({total}) read back with the same SHA-256"


def _why_not(client: Client, task: Json) -> str:
    items = client.get(task_path(str(task["id"]), "archive"))["items"]
    errors = [clean(item["error"]) for item in items if item["error"]]
    return errors[0] if errors else "the download has not ended in time"


def describe_end(task: Json) -> str:
    """The end of a failed task: its reason, and the message of the service."""
    message = describe_error(task["error"] or {})
    return f"FAILED ({task['reason']}){f': {message}' if message else ''}"


def check_message(task: Json, reasons: Iterable[str]) -> str:
    """A task failed for one of these reasons, and has a message for operators and one for users.

    Raises:
        CheckFailed: it did not, or one is missing.
    """
    if not has_ended(task):
        raise CheckFailed(f"{task['route']}: still {task['status']}, must be FAILED")
    if task["status"] != "FAILED" or task["reason"] not in set(reasons):
        found = describe_end(task) if task["status"] == "FAILED" else task["status"]
        raise CheckFailed(f"{task['route']}: {found}, must be FAILED ({' or '.join(sorted(reasons))})")
    if not describe_error(task["error"] or {}):
        raise CheckFailed(f"{task['route']}: {describe_end(task)}, without the message of the service")
    return f'{describe_end(task)}; users read "{clean(task["user_message"])}"'


def check_deliveries(seen: Seen, find_fix: Callable[[Json], str | None] = lambda _delivery: None) -> str:
    """Every delivery of a task succeeded; which hooks ran, as text.

    Args:
        seen: the task.
        find_fix: what to do about a delivery that failed; None: what is usual.

    Raises:
        CheckFailed: one did not.
        CheckSkipped: there are none.
    """
    for delivery in seen.deliveries:
        if delivery["status"] != "succeeded":
            error = delivery["error"] or "it has not ended in time"
            what = f"{delivery['hook']} for {delivery['event']}: {delivery['status']} ({error})"
            raise CheckFailed(clean(what), find_fix(delivery))
    if not seen.deliveries:
        raise CheckSkipped("no hook is for the events of this task")
    ran = dict.fromkeys(f"{delivery['hook']} for {delivery['event']}" for delivery in seen.deliveries)
    return f"ran {', '.join(map(clean, ran))}"
