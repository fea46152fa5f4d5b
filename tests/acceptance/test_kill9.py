"""``kill -9`` at any time: every task ends correctly, no create is sent twice, every hook run succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.kill_run import CHAOS, KillRun
from tests.kits.processes import FAST, running_system


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1])
async def test_kills_at_any_time_lose_nothing(tmp_path: Path, seed: int) -> None:
    """Fifty tasks of three families through chaos, six kills: nothing is lost or doubled."""
    options = {"chaos": CHAOS, "seed": seed, "callback_retry_s": 2.0}
    async with running_system(tmp_path, poll={**FAST, "submit_retry_s": 8.0}, sandbox=options) as system:
        run = KillRun(system, count=50, kills=6, seed=seed)
        ended = await run.go()
        ends = run.check(ended)
        run.check_hooks(ended)
        await system.daemon.stop()
        system.daemon.assert_no_traceback()
        assert len(run.killed_at) == 6
        assert ends["SUCCEEDED"] >= 25, ends
        assert ends["submit_unknown"] >= 1, ends
        assert ends["policy_rejected"] >= 1, ends
        assert run.resolved_by_callback() >= 1
