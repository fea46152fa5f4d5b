"""Hundreds of tasks through every fault at once, with the daemon killed at random; takes minutes. ``make soak``.

Another seed, and so another run: ``make soak ARGS="--soak-seed 7"``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.kill_run import CHAOS, KillRun
from tests.kits.processes import FAST, running_system

EVERYTHING = replace(
    CHAOS,
    latency_max_s=0.25,
    retry_after_date=0.3,
    create_hang=0.01,
    create_server_error=0.02,
    create_bad_gateway=0.02,
    create_error_body=0.02,
    create_maintenance=0.02,
    fail_invalid=0.03,
    fail_silent=0.03,
    fail_canceled=0.03,
    missing_url=0.04,
    poll_hang=0.002,
)
POLL = {**FAST, "submit_retry_s": 30.0, "missing_output_grace_s": 10.0}


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_hundreds_of_tasks_through_everything(tmp_path: Path, soak_seed: int) -> None:
    """400 tasks, 30 kills, every fault of the sandbox: each task ends correctly, each hook run succeeds."""
    options = {"chaos": EVERYTHING, "seed": soak_seed, "callback_retry_s": 4.0}
    async with running_system(tmp_path, poll=POLL, sandbox=options) as system:
        run = KillRun(system, count=400, kills=30, seed=soak_seed, at_once=16, patience_s=180.0)
        ended = await run.go()
        ends = run.check(ended)
        run.check_hooks(ended)
        await system.daemon.stop()
        system.daemon.assert_no_traceback()
        assert len(run.killed_at) == 30
        assert ends["SUCCEEDED"] >= 150, ends
        assert run.resolved_by_callback() >= 5
        assert ends["missing_output"] >= 1, ends
