"""The stream of events over a long run; takes minutes. ``make soak``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.stream_run import StreamRun
from tests.kits.processes import FAST, running_system


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_hundred_kills_during_thousands_of_tasks_lose_no_event(tmp_path: Path, soak_seed: int) -> None:
    """5,000 tasks, 100 kills of the client and ten of the daemon: the client has seen every event once, in order."""
    options = {"duration_s": 0.5, "callback_retry_s": 2.0}
    async with running_system(tmp_path, poll=FAST, hook_before=None, sandbox=options) as system:
        run = StreamRun(system, count=5000, kills=100, restarts=10, seed=soak_seed, at_once=32, patience_s=300.0)
        recorded = await run.go()
        assert run.seen == list(map(str, recorded))
        assert len(recorded) >= 15_000
        assert len(set(run.killed_at)) == 100
        system.daemon.assert_no_traceback()
