"""Launch checks of ``doctor --full --account NAME``: one paid job on a real account, by the user's own daemon.

Owns which job that is, the question before it, and what is checked with it. At most one job is paid: the first request
names a model that does not exist. Services refuse it without a charge; one that accepts it has made the job, and no
other is sent. Duplicate callbacks cannot be asked for, so the received one is posted to the daemon again.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from tracker.cli import launch_checks as checks
from tracker.cli.client import Client, Json, task_path
from tracker.cli.exits import Failure, Refused
from tracker.cli.launch_callbacks import FIX_OF_STATUS, SEE_LOG, count_rejected, post_again
from tracker.cli.launch_checks import CheckFailed, CheckSkipped, Seen, look, look_until, run_check
from tracker.cli.launch_job import LABEL, Job, Options, ask, choose_job
from tracker.cli.local_checks import Line
from tracker.cli.render import clean
from tracker.cli.waiting import follow, has_ended
from tracker.client import calls
from tracker.domain.ai_models import model_of, with_model
from tracker.domain.event_text import NOT_ACCEPTED, NOT_SENT, TROUBLES
from tracker.domain.observation import Trouble
from tracker.domain.text import about, count
from tracker.domain.transitions import HELD

if TYPE_CHECKING:
    from tracker.cli.session import Session
    from tracker.config import Config

NO_MODEL = "no-such-model-tracker-doctor"
ACCEPT_WITHIN_S = 60.0
CALLBACK_WITHIN_S = 120.0
"""From the end of the job to its last callback: providers send it within seconds, some within a minute and a half."""
SETTLE_WITHIN_S = 120.0
"""From the end of the job until its files are in the archive and its hooks have run."""
POLLS = 3
POLL_EVERY_S = 1.0
"""Right after the create some services do not list the job yet."""
DELIVERY_WITHIN_S = 3.0
"""From an event to the deliveries that follow from it."""
_FREE = frozenset({"invalid_request", "entitlement", "not_found", "policy_rejected"})
"""Reasons of a create that was refused because of the request, not because of the account or the service."""
_NOT_LISTED = TROUBLES[Trouble.NOT_VISIBLE]
_FIX_OF_REASON = {
    "auth_failed": "correct the key of the account, then restart the daemon",
    "quota_exhausted": "top up the account at the provider",
    "entitlement": "name a model that the account may use: --route ROUTE --data JSON",
    "invalid_request": "give a valid request: --route ROUTE --data JSON; tracker routes ROUTE shows the fields",
    "policy_rejected": "give another request: --route ROUTE --data JSON",
    "rate_limited": "wait, then run it again",
    "upstream_unavailable": "wait, then run it again",
    "submit_unknown": "look for the job in the console of the service, then: tracker adopt ID EXTERNAL_ID",
}
_FIXES = {
    checks.POLLING: "tracker why ID shows what the service answers; check base_url of the account",
    checks.CALLBACK: "let the proxy and the firewall pass POST to /callbacks/ of public_url from the internet",
    checks.DUPLICATES: "tracker events ID shows both; report it",
    checks.STORAGE: "free some disk space, or correct [archive]; then: tracker why ID",
    checks.HOOK: "tracker deliveries list shows all",
}
_ONLY_SANDBOX = "cannot be provoked on a real account; doctor --full without --account checks it"


def check_account(session: Session, options: Options) -> Iterator[Line]:
    """Run the checks.

    Args:
        session: finds the daemon.
        options: what the user named.

    Raises:
        Failure: the user does not agree.
    """
    try:
        client = session.client
        job = choose_job(client, options)
        hooks = [hook["name"] for hook in client.get("/v1/hooks")["items"] if hook["state"] != "absent"]
    except Failure as error:
        what, _, fix = error.lines[0].partition("; ")
        yield Line(checks.CREATION, "failed", f"nothing was sent: {what}", fix or "correct the options")
        return
    if not options.is_agreed:
        ask(options, job, hooks)
    run = _Run(client, options, job, session.config if session.is_configured_daemon else None)
    try:
        yield from run.lines()
    except (KeyboardInterrupt, GeneratorExit):  # the latter while a line is printed
        try:
            for line in run.interrupted():
                click.echo(line, err=True)
        except Failure as error:
            click.echo("; ".join(error.lines), err=True)
        raise


@dataclass(slots=True)
class _Run:
    """One run of the checks.

    Attributes:
        config: the configuration of the daemon; None if its URL was named, so that its secrets are not known here.
        name: the value of the label of its tasks.
        refused_id: the task whose request names a model that does not exist.
        job_id: the task that is paid.
        may_send: a job may be sent, since none was accepted and none can have been.
        poll_error: why the daemon did not poll.
        rejected: status -> how many callbacks of the provider the daemon had refused with it before the job.
    """

    client: Client
    options: Options
    job: Job
    config: Config | None
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    refused_id: str | None = None
    job_id: str | None = None
    may_send: bool = False
    poll_error: str | None = None
    rejected: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[Line]:
        """The checks, in the order in which they can be made."""
        yield self._line(checks.FAILED_TASK, self._refused)
        if not (self.may_send or self.job_id):
            yield Line(checks.CREATION, "skipped", f"no job was sent, because of the line {checks.FAILED_TASK}")
        else:
            created = self._line(checks.CREATION, self._created)
            yield created
            if created.state == "ok":
                yield from self._follow_job()
        yield Line(checks.QUOTA, "skipped", _ONLY_SANDBOX)
        yield Line(checks.POLICY, "skipped", _ONLY_SANDBOX)
        yield Line("left behind", "ok", self._left())

    def _follow_job(self) -> Iterator[Line]:
        task_id = str(self.job_id)
        self.rejected = count_rejected(self.client, self.job.route)
        self._poll(task_id)
        task = follow(self.client, [task_id], self.options.timeout_s)[task_id]
        if not has_ended(task):
            detail = f"not finished after {about(self.options.timeout_s)}; the task continues"
            yield Line("end of the job", "failed", detail, f"tracker wait {task_id} waits on; --timeout sets the limit")
            return
        if task["status"] == "FAILED":
            yield Line("end of the job", "failed", checks.describe_end(task), self._fix_of(task))
        for name, check in (
            (checks.POLLING, self._polling),
            (checks.CALLBACK, self._callback),
            (checks.DUPLICATES, self._duplicates),
            (checks.STORAGE, self._storage),
            (checks.HOOK, self._hook),
        ):
            yield self._line(name, check)

    def interrupted(self) -> Iterator[str]:
        """After Ctrl-C: cancel what was certainly not sent; what is charged or may be is followed on."""
        tasks = self.client.get("/v1/tasks", {f"label.{LABEL}": self.name})["items"]
        for task in tasks:
            task_id = str(task["id"])
            if task["external_id"] is None and not has_ended(task) and self._is_unsent(task_id):
                self.client.post(task_path(task_id, "cancel"))
                yield f"task {task_id} was not sent, and is canceled now"
            elif not has_ended(task):
                yield f"task {task_id} continues, and may be charged: tracker wait {task_id}"
        if tasks:
            yield f"its tasks stay in the database: tracker list --label {LABEL}={self.name}"

    # -- the two tasks ---------------------------------------------------------------------------------------

    def _refused(self) -> str:
        """A request for a model that does not exist fails without a charge."""
        route, request = self.job.route, self.job.request
        if model_of(request) is None:
            self.may_send = True
            raise CheckSkipped(f"a request of {route} names no model, so no request of it is certain to be refused")
        try:
            task = self._submit(with_model(request, NO_MODEL))
        except Refused as refusal:
            self.may_send = True
            raise CheckSkipped(f"the tracker refuses a model that does not exist itself: {refusal.lines[0]}") from None
        task_id = self.refused_id = str(task["id"])
        if task["external_id"] is not None or task["status"] in {"RUNNING", "SUCCEEDED"}:
            self.job_id, self.refused_id = task_id, None
            raise CheckSkipped(f"{route} accepts a model that does not exist, so this request is the job")
        if not has_ended(task):
            why, is_unsent = self._why(task_id), self._is_unsent(task_id)
            if not is_unsent:
                raise CheckFailed(f"{route}: {why}", f"tracker why {task_id} shows what you can do")
            self.client.post(task_path(task_id, "cancel"))
            self.may_send = self._is_unsent(task_id)
            raise CheckSkipped(f"{route} did not refuse a model that does not exist: {why}")
        if task["reason"] not in _FREE:
            raise CheckFailed(f"{route}: {checks.describe_end(task)}", self._fix_of(task))
        self.may_send = True
        return f"{route}, for a model that does not exist: {checks.check_message(task, _FREE)}"

    def _created(self) -> str:
        what = self.job.described() if self.job_id is None else f"{self.job.route} with model {NO_MODEL}"
        if self.job_id is None:
            self.job_id = str(self._submit(self.job.request)["id"])
        task_id, deadline = self.job_id, time.monotonic() + ACCEPT_WITHIN_S

        def is_decided(seen: Seen) -> bool:
            return seen.has_ended or seen.task["external_id"] is not None

        task = look_until(self.client, task_id, is_decided, deadline).task
        if task["status"] == "FAILED":
            raise CheckFailed(f"{what}: {checks.describe_end(task)}", self._fix_of(task))
        if not has_ended(task) and task["external_id"] is None:
            fix = f"tracker why {task_id} shows more; tracker cancel {task_id} stops it"
            if self._is_unsent(task_id):
                self.client.post(task_path(task_id, "cancel"))
                fix = f"fix what it says, then run the check again; task {task_id} is canceled"
            raise CheckFailed(
                f"{self.job.route}: not accepted after {about(ACCEPT_WITHIN_S)}: {self._why(task_id)}", fix
            )
        return f"{what}: accepted as {clean(task['external_id'])}, task {task_id}"

    def _submit(self, request: Mapping[str, Json]) -> Json:
        labels, account = {LABEL: self.name}, self.options.account
        return self.client.read(calls.submit(self.job.route, request, labels=labels, account=account))

    def _is_unsent(self, task_id: str) -> bool:
        """Whether the history of a task proves that the service has not accepted it."""
        events = self.client.get(task_path(task_id, "events"))["items"]
        attempts = [event["detail"] for event in events if event["source"] == "submit"]
        return bool(attempts) and attempts[-1].startswith((NOT_ACCEPTED, NOT_SENT, HELD))

    def _why(self, task_id: str) -> str:
        return str(clean(self.client.get(task_path(task_id, "why"))["summary"]))

    # -- the job ---------------------------------------------------------------------------------------------

    def _poll(self, task_id: str) -> None:
        """Poll while callbacks have not brought the end, which may come before the first scheduled poll."""
        for _ in range(POLLS):
            try:
                self.client.post(task_path(task_id, "poll"))
            except Failure as error:
                self.poll_error = "; ".join(error.lines)
            seen = look(self.client, task_id)
            if seen.has_ended or seen.count("poll", "applied"):
                return
            time.sleep(POLL_EVERY_S)

    def _polling(self) -> str:
        seen = look(self.client, str(self.job_id))
        polls = count(seen.task["polls"], "poll")
        if seen.count("poll", "applied"):
            return f"{polls}; the service answered with the status of the task"
        details = [str(event["detail"]) for event in seen.events if event["source"] == "poll"]
        if troubles := [detail for detail in details if not detail.startswith(_NOT_LISTED)]:
            raise CheckFailed(f"{polls}, none with a status: {clean(troubles[0])}")
        if not seen.task["polls"]:
            raise CheckFailed(f"the task was not polled: {self.poll_error or 'it ended before'}")
        return f"{polls}; the service answered, and callbacks reported every change first"

    def _callback(self) -> str:
        if not self.job.calls_back:
            raise CheckSkipped(f"{self.job.route} does not call back: tasks of it are polled")
        if self.config is not None and self.config.public_url is None:
            raise CheckSkipped("public_url is not set: no service gets a callback URL, and all tasks are polled")
        within_s = min(CALLBACK_WITHIN_S, self.options.timeout_s)
        if not look(self.client, str(self.job_id)).task["callbacks"]:
            click.echo(f"waiting for its callback, at most {about(within_s)}", err=True)
        deadline = time.monotonic() + within_s
        seen = look_until(self.client, str(self.job_id), lambda seen: seen.task["callbacks"] > 0, deadline)
        if not seen.task["callbacks"] and (refused := count_rejected(self.client, self.job.route) - self.rejected):
            ((status, times),) = refused.most_common(1)
            what = f"{count(times, 'callback')} of {seen.task['provider']} came, and the daemon answered {status}"
            raise CheckFailed(what, FIX_OF_STATUS.get(status, SEE_LOG))
        if not seen.task["callbacks"]:
            detail = f"no callback came until {about(within_s)} after the end"
            if self.config is None:
                raise CheckSkipped(f"{detail}; whether the daemon has a public_url is not known here")
            raise CheckFailed(f"{detail}, at {self.config.public_url}/callbacks/")
        return f"{count(seen.task['callbacks'], 'callback')} came; the task was ended by {seen.task['ended_by']}"

    def _duplicates(self) -> str:
        """Post the last callback again, and compare the task before and after."""
        task_id = str(self.job_id)
        before = self._delivered(task_id)
        received = [event for event in before.events if event["source"] == "callback" and event["payload"] is not None]
        if not received:
            raise CheckSkipped("no callback came that could be posted again")
        status, outcome = post_again(self.client.url, self.config, before.task, received[-1]["payload"])
        after = look(self.client, task_id)
        if status == HTTPStatus.NOT_FOUND:
            raise CheckSkipped("the daemon uses another callback secret than the one that is set here")
        if status >= HTTPStatus.BAD_REQUEST:
            raise CheckFailed(f"the same callback, posted again, was answered {status}")
        if len(after.deliveries) != len(before.deliveries) or after.task["outputs"] != before.task["outputs"]:
            raise CheckFailed("the same callback, posted again, changed the task or ran a hook again")
        return f"the last callback, posted again to the daemon, was answered {outcome} and changed nothing"

    def _storage(self) -> str:
        if self.config is not None and not self.config.archive.enabled:
            raise CheckSkipped("the archive is disabled: outputs are lost when their URLs expire")
        seen = look_until(self.client, str(self.job_id), lambda seen: seen.is_stored, self._settled_by())
        if not checks.files_of(seen.task):
            raise CheckSkipped("the job has made no file")
        return checks.compare_files(self.client, seen.task)

    def _hook(self) -> str:
        ran = []
        for task_id in filter(None, (self.job_id, self.refused_id)):
            with suppress(CheckSkipped):
                ran.append(checks.check_deliveries(self._delivered(task_id), _fix_of_delivery))
        if not ran:
            raise CheckSkipped("no hook is for the events of these tasks")
        return "; ".join(dict.fromkeys(ran))

    # -- parts -----------------------------------------------------------------------------------------------

    def _line(self, name: str, check: checks.Check) -> Line:
        task_id = self.job_id or self.refused_id or "ID"
        fixes = {key: fix.replace("ID", task_id) for key, fix in _FIXES.items()}
        unknown = f"tracker list --label {LABEL}={self.name} shows whether there is a task, and how it goes on"
        return run_check(name, check, {**fixes, checks.CREATION: unknown, checks.FAILED_TASK: unknown})

    def _fix_of(self, task: Json) -> str:
        fix = _FIX_OF_REASON.get(task["reason"], "tracker why ID shows more")
        return fix.replace(" ID", f" {task['id']}").replace("ROUTE", self.job.route)

    def _delivered(self, task_id: str) -> Seen:
        """A task whose hooks have run; without a delivery after some seconds it has none."""
        has_none_at = time.monotonic() + DELIVERY_WITHIN_S

        def is_done(seen: Seen) -> bool:
            return seen.is_delivered and (bool(seen.deliveries) or time.monotonic() >= has_none_at)

        return look_until(self.client, task_id, is_done, self._settled_by())

    def _settled_by(self) -> float:
        return time.monotonic() + SETTLE_WITHIN_S

    def _left(self) -> str:
        tasks = count(len(list(filter(None, (self.job_id, self.refused_id)))), "task")
        return f"{tasks} in the database, and what was archived of them: tracker list --label {LABEL}={self.name}"


def _fix_of_delivery(delivery: Json) -> str:
    hook, delivery_id = clean(delivery["hook"]), clean(delivery["id"])
    return f"tracker deliveries show {delivery_id} shows what it printed; tracker hooks test {hook} tries it"
