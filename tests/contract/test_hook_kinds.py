"""Every kind of hook fulfils the contract of a runner: done, failed permanently, retried, in time, cancellable.

The kinds come from the registry. A new kind adds its harness to `HARNESSES`; without one it is skipped.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import apprise.decorators
import pytest

from tests.kits.clock import START, ManualClock
from tests.kits.hook_endpoint import SECRET, Endpoint
from tests.kits.hooks import LinePipe, make_hook, make_job, open_descriptors, write_script
from tests.kits.waiting import WITHIN_S
from tracker.config.hooks import HookSpec
from tracker.domain.records import Json
from tracker.hooks import PermanentFailure
from tracker.hooks.kinds.http import HttpAction
from tracker.hooks.kinds.notify import NotifyAction
from tracker.hooks.kinds.plugins import PluginAction
from tracker.hooks.kinds.registry import KINDS, make_runners
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.kinds.worker import WorkerAction
from tracker.hooks.runner import Closes, Runner, RunOutcome, Tools, encode_event
from tracker.hooks.spec import HookKind

_numbers = itertools.count()
JOB = make_job()
PAYLOAD = encode_event(JOB)


class Harness(Protocol):
    """How one kind is made to behave."""

    def spec(self, behaviour: str) -> HookSpec:
        """A hook that ends ``done``, ``never``, ``again``, cannot be ``reached``, or ``hangs``."""
        ...

    async def begun(self) -> None:
        """Wait until the hook that hangs has started."""
        ...

    async def close(self) -> None:
        """Release everything."""
        ...


class ScriptHarness:
    """Scripts that behave as asked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pipe: LinePipe | None = LinePipe(directory / "pipe")
        self._path = directory / "pipe"

    def spec(self, behaviour: str) -> HookSpec:
        """See `Harness`."""
        body = {
            "done": "exit 0",
            "never": "echo no use; exit 100",
            "again": "echo later; exit 7",
            "hangs": f"echo begun > {shlex.quote(str(self._path))}; exec sleep 1000",
        }.get(behaviour)
        path = self._directory / behaviour
        if body is not None:
            write_script(path, body)
        return make_hook("harness", ("task.*",), ScriptAction.of([str(path)]), timeout_s=30)

    async def begun(self) -> None:
        """See `Harness`."""
        assert self._pipe is not None
        await self._pipe.next_line()

    async def close(self) -> None:
        """Close the pipe."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


class WorkerHarness(ScriptHarness):
    """Workers that behave as asked."""

    def spec(self, behaviour: str) -> HookSpec:
        """See `Harness`."""
        path = self._directory / behaviour
        answer = {"done": '{"ok": true}', "never": '{"ok": false, "final": true}', "again": '{"ok": false}'}
        if behaviour == "hangs":
            write_script(path, f"read line; echo begun > {shlex.quote(str(self._path))}; exec sleep 1000")
        elif behaviour in answer:
            write_script(path, f"while read line; do echo '{answer[behaviour]}'; done")
        return make_hook("harness", ("task.*",), WorkerAction((str(path),)), timeout_s=30)


class HttpHarness:
    """An endpoint on this machine that answers as asked."""

    def __init__(self, _directory: Path) -> None:
        self._endpoint = Endpoint()

    async def start(self) -> None:
        """Listen."""
        await self._endpoint.start()

    def spec(self, behaviour: str) -> HookSpec:
        """See `Harness`."""
        self._endpoint.status = {"done": 204, "never": 422, "again": 500}.get(behaviour, 200)
        self._endpoint.hangs = behaviour == "hangs"
        url = "http://127.0.0.1:1/" if behaviour == "unreached" else self._endpoint.url
        return make_hook("harness", ("task.*",), HttpAction(url, (SECRET,), True), timeout_s=30)

    async def begun(self) -> None:
        """See `Harness`."""
        await self._endpoint.called()

    async def close(self) -> None:
        """Stop it."""
        await self._endpoint.close()


class PluginHarness:
    """A plug-in on a thread that behaves as asked."""

    def __init__(self, _directory: Path) -> None:
        self._begun = threading.Event()
        self._over = threading.Event()

    def spec(self, behaviour: str) -> HookSpec:
        """See `Harness`."""

        def handle(event: Json) -> str:
            assert event["type"] == JOB.event
            if behaviour == "never":
                raise PermanentFailure("no use")
            if behaviour in {"again", "unreached"}:
                raise ConnectionError("later")
            if behaviour == "hangs":
                self._begun.set()
                self._over.wait()
            return "handled"

        return make_hook("harness", ("task.*",), PluginAction("harness", handle, ("event",)), timeout_s=30)

    async def begun(self) -> None:
        """See `Harness`."""
        await asyncio.to_thread(self._begun.wait, WITHIN_S)

    async def close(self) -> None:
        """End what hangs."""
        self._over.set()


class NotifyHarness(PluginHarness):
    """A test service that apprise sends to; it cannot report a permanent failure."""

    def spec(self, behaviour: str) -> HookSpec:
        """See `Harness`."""

        def take(body: str, title: str, notify_type: str, *_: object, **__: object) -> bool:
            assert body.startswith("Your ")
            assert (title, notify_type) == ("suno.generate succeeded", "success")
            if behaviour == "hangs":
                self._begun.set()
                self._over.wait()
            return behaviour == "done"

        # the library never unregisters a service: each gets a unique name
        name = f"standin{next(_numbers)}"
        apprise.decorators.notify(on=name)(take)  # type: ignore[no-untyped-call]  # the library annotates it not
        return make_hook("harness", ("task.*",), NotifyAction(f"{name}://"), timeout_s=30)


HARNESSES: dict[str, Callable[[Path], Harness]] = {
    "script": ScriptHarness,
    "worker": WorkerHarness,
    "http": HttpHarness,
    "plugin": PluginHarness,
    "notify": NotifyHarness,
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> HookKind:
    """Each kind of the registry."""
    found: HookKind = request.param
    return found


@pytest.fixture
async def harness(kind: HookKind, tmp_path: Path) -> AsyncIterator[Harness]:
    """The harness of the kind."""
    if kind.name not in HARNESSES:
        pytest.skip(f"NOT TESTED: the hook kind {kind.name} has no harness in this file")
    made = HARNESSES[kind.name](tmp_path)
    if isinstance(made, HttpHarness):
        await made.start()
    yield made
    await made.close()


@pytest.fixture
async def runner(kind: HookKind) -> AsyncIterator[Runner]:
    """The runner of the kind, as the daemon builds it."""
    made = make_runners(Tools(environ=os.environ, clock=ManualClock(START)))[kind.name]
    yield made
    if isinstance(made, Closes):
        await made.close()


def test_every_harness_is_of_a_kind() -> None:
    """A harness under a wrong name would leave its kind untested."""
    assert set(HARNESSES) <= {kind.name for kind in KINDS}


def test_an_action_knows_its_kind(kind: HookKind, harness: Harness) -> None:
    """The kind's name of an action finds its runner."""
    action = harness.spec("done").action
    assert action.kind == kind.name


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("done", RunOutcome.SUCCEEDED),
        ("never", RunOutcome.FAILED_FOR_GOOD),
        ("again", RunOutcome.RETRY),
        ("unreached", RunOutcome.RETRY),
    ],
)
async def test_how_a_run_may_end(
    kind: HookKind, runner: Runner, harness: Harness, behaviour: str, outcome: RunOutcome
) -> None:
    """Each end has its outcome, and an error line unless it is a success."""
    if (kind.name, behaviour) == ("notify", "never"):
        outcome = RunOutcome.RETRY  # apprise reports only that it failed
    result = await runner.run(JOB, PAYLOAD, harness.spec(behaviour))
    assert result.outcome is outcome
    assert (result.error is None) == (outcome is RunOutcome.SUCCEEDED)
    assert result.error is None or "\n" not in result.error
    assert not result.blameless


async def test_a_run_ends_in_time(runner: Runner, harness: Harness) -> None:
    """A hook that hangs is stopped at its timeout and retried."""
    spec = harness.spec("hangs")
    result = await runner.run(JOB, PAYLOAD, make_hook("harness", spec.on, spec.action, timeout_s=0.05))
    assert result.outcome is RunOutcome.RETRY
    assert "0.05 s" in (result.error or "")


async def test_a_cancelled_run_lets_the_cancellation_through(runner: Runner, harness: Harness) -> None:
    """At the stop of the daemon a run is cancelled; it cleans up and does not swallow that."""
    run = asyncio.create_task(runner.run(JOB, PAYLOAD, harness.spec("hangs")))
    await harness.begun()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_runs_leave_nothing_open(runner: Runner, harness: Harness) -> None:
    """Whatever the end, no file descriptor stays behind once the runner is closed."""
    await asyncio.to_thread(int)
    before = open_descriptors()
    for behaviour in ("done", "never", "again", "unreached"):
        await runner.run(JOB, PAYLOAD, harness.spec(behaviour))
    if isinstance(runner, Closes):
        await runner.close()
    await harness.close()
    after = open_descriptors()
    assert [name for name in after if name not in before] == []
