"""Launch checks of ``doctor --full`` against the sandbox gateway: no key, no network, no money.

Owns their tasks and what must happen to each. A daemon of its own does the work, in the demo's environment and in a
temporary directory that is removed: intake, callback endpoint, poller, archive and hooks are those of ``serve``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path

from tracker.cli import launch_checks as checks
from tracker.cli.client import Client, Json
from tracker.cli.exits import Failure
from tracker.cli.launch_checks import CheckFailed, Seen, look_until, run_check
from tracker.cli.local_checks import Line
from tracker.demo.environment import Environment, Timing, start_environment
from tracker.demo.scenarios import Scenario
from tracker.domain.text import count
from tracker.errors import ConfigError, StoreError

WITHIN_S = 30.0
"""The tasks take about a second; a machine that needs longer than this fails the check."""
STOP_WITHIN_S = 30.0
_TIMING = Timing(
    0.5,
    """\
tick_s = 0.05
first_delay_s = 0.1
min_interval_s = 0.1
max_interval_s = 0.2
[poll.suno]                 # only callbacks report songs
first_delay_s = 300
min_interval_s = 300
max_interval_s = 300""",
)
_ELSEWHERE = "set TMPDIR to another directory"
_REPORT = "run it again on an idle machine; if it fails again, install tracker anew, then report this line"
_FIXES = {
    checks.CREATION: _REPORT,
    checks.POLLING: _REPORT,
    checks.CALLBACK: "allow connections to 127.0.0.1: a firewall of this machine may block them",
    checks.DUPLICATES: _REPORT,
    checks.FAILED_TASK: _REPORT,
    checks.STORAGE: f"free some disk space, or {_ELSEWHERE}",
    checks.POLICY: _REPORT,
    checks.QUOTA: _REPORT,
    checks.HOOK: f"programs must be able to run in the directory for temporary files: {_ELSEWHERE}",
}

# fmt: off
_SONG = Scenario("song", "suno.generate", "a paper kite [sandbox: callback=duplicate]", "every callback comes twice")
_CLIP = Scenario("clip", "kling.omni-video", "a paper kite [sandbox: callback=lost]", "every callback is lost")
_FAILED = Scenario("failed", "dashscope.video", "a paper kite [sandbox: fail=error]", "fails at its end")
_REFUSED = Scenario("refused", "kling.omni-video", "a paper kite [sandbox: create=policy]", "its create is refused")
_REJECTED = Scenario("rejected", "dashscope.video", "a paper kite [sandbox: fail=policy]", "its result is refused")
_UNPAID = Scenario("unpaid", "suno.generate", "a paper kite [sandbox: create=quota]", "the account has no credit")
# fmt: on
_IN_ORDER = (_SONG, _CLIP, _FAILED, _REFUSED, _REJECTED, _UNPAID)
"""The last one holds the account, so the others come first."""
_COPIES = 2


def check_sandbox() -> Iterator[Line]:
    """Run the checks; nothing of them is left."""
    try:
        with _running_environment() as environment:
            yield from _Checks(environment).run()
    except (ConfigError, StoreError, OSError) as error:
        what, _, fix = (getattr(error, "strerror", None) or str(error)).partition("; ")
        fix = f"{fix}, or {_ELSEWHERE}" if fix else _ELSEWHERE
        yield Line("sandbox", "failed", f"the daemon for the checks cannot start: {what}", fix)


class _Checks:
    """The checks, in the order of the gateway's list; each waits for what it needs."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._client = Client(environment.url, None)
        self._gateway = Client(environment.sandbox.base_url, None)
        self._deadline = time.monotonic() + WITHIN_S
        self._tasks: dict[str, Json] = {}

    def run(self) -> Iterator[Line]:
        for scenario in _IN_ORDER:
            try:
                self._submit(scenario)
            except Failure as error:
                detail = f"{scenario.route}: {'; '.join(error.lines)}"
                yield Line(checks.CREATION, "failed", detail, _FIXES[checks.CREATION])
                return
        for name, check in (
            (checks.CREATION, self._creation),
            (checks.POLLING, self._polling),
            (checks.CALLBACK, self._callback),
            (checks.DUPLICATES, self._duplicates),
            (checks.FAILED_TASK, self._failed_task),
            (checks.STORAGE, self._storage),
            (checks.QUOTA, self._quota),
            (checks.POLICY, self._policy),
            (checks.HOOK, self._hook),
        ):
            yield run_check(name, check, _FIXES)

    def _submit(self, scenario: Scenario) -> None:
        body = {"route": scenario.route, "request": scenario.request, "labels": {"scenario": scenario.name}}
        self._tasks[scenario.name] = self._client.post("/v1/tasks", body)

    def _end_of(self, scenario: Scenario) -> Seen:
        seen = self._look(scenario, lambda seen: seen.has_ended)
        if not seen.has_ended:
            raise CheckFailed(f"{scenario.route} ({scenario.description}): {seen.task['status']} after {WITHIN_S:g} s")
        return seen

    def _look(self, scenario: Scenario, is_done: Callable[[Seen], bool]) -> Seen:
        return look_until(self._client, self._tasks[scenario.name]["id"], is_done, self._deadline)

    def _creation(self) -> str:
        creates = [create["prompt"] for create in self._gateway.get("/sandbox/state")["creates"]]
        if (sent := creates.count(_SONG.prompt)) != 1:
            raise CheckFailed(f"{_SONG.route}: the gateway got {count(sent, 'create')}, must be 1")
        task = self._tasks[_SONG.name]
        if task["external_id"] is None:
            raise CheckFailed(f"{_SONG.route}: not accepted, it is {task['status']}")
        return f"{_SONG.route} was accepted as {task['external_id']}; the gateway got 1 create"

    def _polling(self) -> str:
        seen = self._end_of(_CLIP)
        task = seen.task
        if (task["status"], task["ended_by"]) != ("SUCCEEDED", "poll"):
            raise CheckFailed(f"{_CLIP.route}: {task['status']} by {task['ended_by']}, must be SUCCEEDED by poll")
        return f"{_CLIP.route}: its callbacks were lost, and {count(task['polls'], 'poll')} found SUCCEEDED"

    def _callback(self) -> str:
        self._look(_SONG, lambda seen: seen.has_ended)
        if refused := [one for one in self._posted() if one["http_status"] != HTTPStatus.OK]:
            answer = refused[0]["http_status"] or refused[0]["answer"]
            raise CheckFailed(f"{self._environment.url}/callbacks/ answered {answer} to the gateway")
        seen = self._end_of(_SONG)
        if (seen.task["status"], seen.task["ended_by"]) != ("SUCCEEDED", "callback"):
            ended = f"{seen.task['status']} by {seen.task['ended_by']}"
            raise CheckFailed(f"{_SONG.route}: {ended}, must be SUCCEEDED by callback")
        return f"{_SONG.route}: {self._environment.url}/callbacks/ answered 200, and a callback brought SUCCEEDED"

    def _duplicates(self) -> str:
        self._end_of(_SONG)
        while self._count_last() < _COPIES and time.monotonic() < self._deadline:
            time.sleep(checks.ASK_S)
        # the gateway notes the second copy when it is answered: by then its effect is on disk
        seen = look_until(self._client, self._tasks[_SONG.name]["id"], lambda seen: seen.is_delivered, self._deadline)
        if self._count_last() < _COPIES:
            raise CheckFailed(
                f"{_SONG.route}: the gateway posted its last callback {self._count_last()} times, not twice"
            )
        copies = seen.count("callback", "duplicate")
        runs = self._environment.hook_runs()[seen.task["id"]]
        if not copies:
            raise CheckFailed(f"{_SONG.route}: no callback was recognised as a duplicate")
        if len(seen.deliveries) > 1 or runs > 1:
            raise CheckFailed(f"{_SONG.route}: {len(seen.deliveries)} deliveries, the hook ran {count(runs, 'time')}")
        return f"{_SONG.route}: each of {len(self._posted()) // _COPIES} callbacks came twice and counted once"

    def _posted(self) -> list[Json]:
        """What the gateway posted about the song."""
        external_id = self._tasks[_SONG.name]["external_id"]
        return [one for one in self._gateway.get("/sandbox/state")["callbacks"] if one["job_id"] == external_id]

    def _count_last(self) -> int:
        return sum(one["phase"] == "complete" for one in self._posted())

    def _failed_task(self) -> str:
        return f"{_FAILED.route}: {checks.check_message(self._end_of(_FAILED).task, {'generation_failed'})}"

    def _storage(self) -> str:
        self._end_of(_SONG)
        seen = self._look(_SONG, lambda seen: seen.is_stored)
        compared = checks.compare_files(self._client, seen.task)
        directory = self._environment.directory / "outputs"
        if lost := [file["path"] for file in checks.files_of(seen.task) if not (directory / file["path"]).is_file()]:
            raise CheckFailed(f"{lost[0]} is not in {directory}")
        return f"{_SONG.route}: {compared}"

    def _quota(self) -> str:
        message = checks.check_message(self._end_of(_UNPAID).task, {"quota_exhausted"})
        troubles = self._client.readiness()["reasons"]
        if not any("quota" in trouble for trouble in troubles):
            raise CheckFailed(f"{_UNPAID.route}: {message}; but tracker status does not show it")
        return f"{_UNPAID.route}: {message}; tracker status shows it"

    def _policy(self) -> str:
        checks.check_message(self._end_of(_REJECTED).task, {"policy_rejected"})
        refused = checks.check_message(self._end_of(_REFUSED).task, {"policy_rejected"})
        return f"{_REFUSED.route} (at once; {_REJECTED.route} at its end): {refused}"

    def _hook(self) -> str:
        if self._ignored:
            raise CheckFailed("{file} does not run: {reason}".format_map(self._ignored[0]))
        for scenario in _IN_ORDER:
            self._end_of(scenario)
            seen = self._delivered(scenario)
            if not seen.deliveries:
                raise CheckFailed(f"{scenario.route}: no delivery after {WITHIN_S:g} s")
            checks.check_deliveries(seen)
            if (runs := self._environment.hook_runs()[seen.task["id"]]) != 1:
                raise CheckFailed(f"{scenario.route}: the hook ran {count(runs, 'time')}, must be 1")
        return f"a script ran once for each of {len(_IN_ORDER)} ends"

    def _delivered(self, scenario: Scenario) -> Seen:
        """A task whose hook has run; at once where the hook cannot run."""
        return self._look(scenario, lambda seen: bool(self._ignored or seen.deliveries) and seen.is_delivered)

    @functools.cached_property
    def _ignored(self) -> list[Json]:
        """The hook, if it cannot run."""
        return list(self._client.get("/v1/hooks")["ignored"])


@contextlib.contextmanager
def _running_environment() -> Iterator[Environment]:
    """Run gateway and daemon in a thread of their own; remove their files at the end.

    Raises:
        ConfigError, StoreError, OSError: they cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="tracker-doctor-") as directory:
        started: Future[Environment] = Future()
        asked_to_stop = threading.Event()
        thread = threading.Thread(target=_run, args=(Path(directory), started, asked_to_stop), daemon=True)
        thread.start()
        try:
            yield started.result(WITHIN_S)
        finally:
            asked_to_stop.set()
            thread.join(STOP_WITHIN_S)


def _run(directory: Path, started: Future[Environment], asked_to_stop: threading.Event) -> None:
    async def run() -> None:
        async with start_environment(directory, _TIMING) as environment:
            started.set_result(environment)
            await asyncio.to_thread(asked_to_stop.wait)

    try:
        asyncio.run(run())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
