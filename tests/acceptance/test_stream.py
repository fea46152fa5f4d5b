"""The stream of events across kills of its client and of the daemon: every event once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.stream_run import StreamRun
from tests.kits.processes import FAST, running_system


@pytest.mark.timeout(120)
async def test_a_client_that_is_killed_again_and_again_sees_every_event_once(tmp_path: Path) -> None:
    """400 tasks, 12 kills of the client and three of the daemon."""
    options = {"duration_s": 0.3, "callback_retry_s": 2.0}
    async with running_system(tmp_path, poll=FAST, hook_before=None, sandbox=options) as system:
        run = StreamRun(system, count=400, kills=12, restarts=3, seed=1)
        recorded = await run.go()
        assert run.seen == list(map(str, recorded))
        assert len(recorded) >= 1200
        assert recorded == list(range(1, len(recorded) + 1))
        assert len(set(run.killed_at)) == 12, "each kill came after further events"
        system.daemon.assert_no_traceback()
