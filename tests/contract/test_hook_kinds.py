"""Every kind of hook keeps the contract of a runner: done, failed for good, again, in time, and cancellable.

The kinds come from the registry. A new kind adds its stand to `STANDS` and is tested here before its own tests
are written.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.hook_kit import NOW, Bell, make_job, open_descriptors, write_script
from tracker.clock import ManualClock
from tracker.hooks.base import HookSpec, Runner, RunOutcome, Tools, encode_event
from tracker.hooks.registry import KINDS, HookKind, make_runners
from tracker.hooks.script import ScriptAction

JOB = make_job()
PAYLOAD = encode_event(JOB)


class Stand(Protocol):
    """How one kind is made to behave."""

    def spec(self, behaviour: str) -> HookSpec:
        """A hook that ends ``done``, ``never``, ``again``, cannot be ``reached``, or ``hangs``."""
        ...

    async def begun(self) -> None:
        """Wait until the hook that hangs was begun."""
        ...


class ScriptStand:
    """Scripts that behave as asked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bell = Bell(directory / "bell")

    def spec(self, behaviour: str) -> HookSpec:
        """See `Stand`."""
        body = {
            "done": "exit 0",
            "never": "echo no use; exit 100",
            "again": "echo later; exit 7",
            "hangs": f"echo begun > {self._bell.path}; exec sleep 1000",
        }.get(behaviour)
        path = self._directory / behaviour
        if body is not None:
            write_script(path, body)
        return HookSpec("stand", ("task.*",), ScriptAction.of([str(path)]), timeout_s=30)

    async def begun(self) -> None:
        """See `Stand`."""
        await self._bell.heard()

    def close(self) -> None:
        """Take the bell down."""
        self._bell.close()


STANDS = {"script": ScriptStand}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> HookKind:
    """Each kind of the registry."""
    found: HookKind = request.param
    return found


@pytest.fixture
async def stand(kind: HookKind, tmp_path: Path) -> Iterator[Stand]:  # type: ignore[misc] # an async fixture is a generator to pytest
    """The stand of the kind."""
    made = STANDS[kind.name](tmp_path)
    yield made
    made.close()


@pytest.fixture
def runner(kind: HookKind) -> Runner:
    """The runner of the kind, as the daemon builds it."""
    return make_runners(Tools(environ=os.environ, clock=ManualClock(NOW)))[kind.name]


def test_every_kind_has_a_stand() -> None:
    """A kind without a stand would not be tested."""
    assert {kind.name for kind in KINDS} == set(STANDS)


def test_an_action_knows_its_kind(kind: HookKind, stand: Stand) -> None:
    """The name that an action gives itself finds its runner."""
    action = stand.spec("done").action
    assert isinstance(action, kind.action)
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
async def test_how_a_run_may_end(runner: Runner, stand: Stand, behaviour: str, outcome: RunOutcome) -> None:
    """Each end is told as what it is, with an error line for all but the good one."""
    result = await runner.run(JOB, PAYLOAD, stand.spec(behaviour))
    assert result.outcome is outcome
    assert (result.error is None) == (outcome is RunOutcome.SUCCEEDED)
    assert result.error is None or "\n" not in result.error
    assert not result.blameless


async def test_a_run_ends_in_time(runner: Runner, stand: Stand) -> None:
    """A hook that hangs is ended when its time is up, and is tried again."""
    spec = stand.spec("hangs")
    result = await runner.run(JOB, PAYLOAD, HookSpec("stand", spec.on, spec.action, timeout_s=0.05))
    assert result.outcome is RunOutcome.RETRY
    assert "0.05 s" in (result.error or "")


async def test_a_cancelled_run_lets_the_cancellation_through(runner: Runner, stand: Stand) -> None:
    """At the stop of the daemon a run is cancelled; it cleans up and does not swallow that."""
    run = asyncio.create_task(runner.run(JOB, PAYLOAD, stand.spec("hangs")))
    await stand.begun()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_runs_leave_nothing_open(runner: Runner, stand: Stand) -> None:
    """Whatever the end, no file descriptor stays behind."""
    before = open_descriptors()
    for behaviour in ("done", "never", "again", "unreached"):
        await runner.run(JOB, PAYLOAD, stand.spec(behaviour))
    assert open_descriptors() == before
