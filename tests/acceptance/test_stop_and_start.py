"""SIGTERM completes work under way; one daemon at a time serves a file; a restart continues."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.kits.processes import FAST, KLING, SUNO, Json, System, running_system, submission
from tests.kits.sandbox import release
from tests.kits.waiting import until
from tracker.sandbox import Chaos

SLOW = Chaos(latency_min_s=1.0, latency_max_s=1.0)


async def arrived(system: System, count: int) -> None:
    """Wait until the sandbox has so many creates under way."""

    async def look() -> bool:
        return len(system.sandbox.state()["creates"]) >= count

    await until(look)


def undecided(system: System) -> list[Json]:
    """Tasks whose create has an unknown outcome."""
    return system.rows(
        "SELECT id FROM tasks WHERE submit_state IN ('sending', 'ambiguous') OR reason = 'submit_unknown'"
    )


async def test_sigterm_lets_sends_polls_and_hooks_end(tmp_path: Path) -> None:
    """Work that is under way at SIGTERM is completed: exit 0, nothing ambiguous, no hook cut off."""
    async with running_system(tmp_path, hook_before="sleep 0.3") as system:
        running = await system.submit(SUNO, "early bird [sandbox: stage=hold]")
        await system.becomes(running["id"], status="RUNNING")
        system.sandbox.chaos = SLOW
        sends = [asyncio.create_task(system.submit(route, "on its way")) for route in (SUNO, KLING) * 3]
        await arrived(system, 7)
        await system.daemon.stop(within_s=25)
        system.daemon.assert_no_traceback()
        answered = await asyncio.gather(*sends)
        assert all(task["external_id"] for task in answered), "the waiting clients got their answers"
        assert not undecided(system)
        assert not system.rows("SELECT id FROM deliveries WHERE status = 'running'")
        assert {line.attempt for line in system.ran} <= {"1"}

        system.sandbox.chaos = Chaos()
        release(system.sandbox, running["external_id"])
        await system.daemon.start()
        for task in [running, *answered]:
            assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        await system.deliveries_settle()
        assert len(system.creates("way")) == 6
        assert len({line.delivery for line in system.ran}) == len(system.ran), "no hook ran twice"


async def test_sigterm_lets_a_repeated_send_end(tmp_path: Path) -> None:
    """A create that the sweep sends again after a refusal is waited for like a first one."""
    async with running_system(tmp_path, hook_before=None, sandbox={"duration_s": 0.2}) as system:
        task = await system.submit(KLING, "again [sandbox: create=rate_limited]")
        assert (task["status"], task["external_id"]) == ("PENDING", None)
        system.sandbox.chaos = Chaos(latency_min_s=4.0, latency_max_s=4.0)  # longer than the drain of polls
        await arrived(system, 2)
        await system.daemon.stop(within_s=25)
        system.daemon.assert_no_traceback()
        assert not undecided(system)
        system.sandbox.chaos = Chaos()
        await system.daemon.start()
        assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        assert [create["outcome"] for create in system.creates("again")] == ["rate_limited", "accepted"]


async def test_a_second_signal_does_not_wait_for_a_send(tmp_path: Path) -> None:
    """Ctrl-C while a slow create is waited for: it is cut off, and ambiguous after the restart."""
    async with running_system(tmp_path, hook_before=None, called_back=False) as system:
        system.sandbox.chaos = Chaos(latency_min_s=600.0, latency_max_s=600.0)
        sending = asyncio.create_task(system.submit(KLING, "slow", status=202))
        await arrived(system, 1)
        system.daemon.signal(signal.SIGTERM)
        assert (await sending)["status"] == "PENDING", "its client need not wait"
        system.daemon.signal(signal.SIGINT)
        assert await system.daemon.ended(25) == 0
        system.daemon.assert_no_traceback()
        assert await system.daemon.wait_for_log("tracker.stop_hurried")
        system.sandbox.chaos = Chaos()
        await system.daemon.start()
        assert (await system.end_of((await sending)["id"]))["reason"] == "submit_unknown"
        assert len(system.creates("slow")) == 1


async def test_requests_during_the_stop_are_complete_or_refused(tmp_path: Path) -> None:
    """A submit on an open connection during the drain is completed, or refused unsent; never cut off."""
    async with running_system(tmp_path, hook_before=None, sandbox={"chaos": SLOW}) as system:
        first = asyncio.create_task(system.submit(SUNO, "first"))
        others = asyncio.create_task(
            asyncio.to_thread(_keep_submitting, int(system.url.rpartition(":")[2]), submission(KLING, "late"))
        )
        await arrived(system, 2)
        system.daemon.signal(signal.SIGTERM)
        statuses = await others
        assert (await first)["external_id"]
        assert await system.daemon.ended(25) == 0
        system.daemon.assert_no_traceback()
        assert not undecided(system)
        assert set(statuses) <= {201, 503}, statuses
        assert statuses.count(201) == len(system.creates("late"))


def _keep_submitting(port: int, body: Json) -> list[int]:
    """Submit one after the other on one connection until it closes; the statuses."""
    import http.client

    import orjson

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    statuses = []
    try:
        connection.connect()
        connection.auto_open = 0  # the closed connection stays closed
        while True:
            connection.request("POST", "/v1/tasks", orjson.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
    except (http.client.HTTPException, OSError):
        return statuses
    finally:
        connection.close()


async def test_one_daemon_serves_a_file(tmp_path: Path) -> None:
    """A second daemon on the same file exits with one line; the first is not affected."""
    async with running_system(tmp_path, hook_before=None) as system:
        second = await system.run_second()
        assert second.code not in {0, 1}
        assert len(second.lines) == 1, second.lines
        assert "another tracker" in second.lines[0]
        assert str(system.daemon.pid) in second.lines[0]
        task = await system.submit(SUNO, "undisturbed")
        assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        await system.daemon.stop()
        system.daemon.assert_no_traceback()


async def test_sigterm_during_a_long_poll(tmp_path: Path) -> None:
    """A long poll is answered at once when the daemon stops, with the current task."""
    async with running_system(tmp_path, hook_before=None, poll=FAST) as system:
        task = await system.submit(SUNO, "endless [sandbox: stage=hold]")
        waiting = asyncio.create_task(system.get(f"/v1/tasks/{task['id']}?wait=60"))
        await system.becomes(task["id"], status="RUNNING")
        await system.daemon.stop(within_s=10)
        assert (await waiting)["status"] == "RUNNING"
