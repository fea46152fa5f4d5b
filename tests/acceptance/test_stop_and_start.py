"""SIGTERM ends what is under way in order; one daemon at a time serves a file; a restart goes on where it was."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.kits.processes import FAST, KLING, SUNO, House, Json, open_house, submission
from tests.kits.sandbox import release
from tests.kits.waiting import until
from tracker.sandbox import Chaos

SLOW = Chaos(latency_min_s=1.0, latency_max_s=1.0)


async def arrived(house: House, count: int) -> None:
    """Wait until the sandbox has so many creates before it."""

    async def look() -> bool:
        return len(house.sandbox.state()["creates"]) >= count

    await until(look)


def undecided(house: House) -> list[Json]:
    """Tasks of which nobody knows whether the upstream has them."""
    return house.rows(
        "SELECT id FROM tasks WHERE submit_state IN ('sending', 'ambiguous') OR reason = 'submit_unknown'"
    )


async def test_sigterm_lets_sends_polls_and_hooks_end(tmp_path: Path) -> None:
    """What is on its way when SIGTERM comes is brought to its end: exit 0, nothing ambiguous, no hook cut off."""
    async with open_house(tmp_path, hook_before="sleep 0.3") as house:
        running = await house.submit(SUNO, "early bird [sandbox: stage=hold]")
        await house.becomes(running["id"], status="RUNNING")
        house.sandbox.chaos = SLOW
        sends = [asyncio.create_task(house.submit(route, "on its way")) for route in (SUNO, KLING) * 3]
        await arrived(house, 7)
        await house.daemon.stop(within_s=25)
        house.daemon.assert_no_traceback()
        answered = await asyncio.gather(*sends)
        assert all(task["external_id"] for task in answered), "who had asked got their answers"
        assert not undecided(house)
        assert not house.rows("SELECT id FROM deliveries WHERE status = 'running'")
        assert {line.attempt for line in house.ran} <= {"1"}

        house.sandbox.chaos = Chaos()
        release(house.sandbox, running["external_id"])
        await house.daemon.start()
        for task in [running, *answered]:
            assert (await house.end_of(task["id"]))["status"] == "SUCCEEDED"
        await house.deliveries_settle()
        assert len(house.creates("way")) == 6
        assert len({line.delivery for line in house.ran}) == len(house.ran), "no hook ran twice"


async def test_sigterm_lets_a_put_off_send_end(tmp_path: Path) -> None:
    """A create that the sweep sends again after a refusal is no less paid than the first: it is waited for as well."""
    async with open_house(tmp_path, hook_before=None, sandbox={"duration_s": 0.2}) as house:
        task = await house.submit(KLING, "again [sandbox: create=rate_limited]")
        assert (task["status"], task["external_id"]) == ("PENDING", None)
        house.sandbox.chaos = Chaos(latency_min_s=4.0, latency_max_s=4.0)  # longer than polls are waited for
        await arrived(house, 2)
        await house.daemon.stop(within_s=25)
        house.daemon.assert_no_traceback()
        assert not undecided(house)
        house.sandbox.chaos = Chaos()
        await house.daemon.start()
        assert (await house.end_of(task["id"]))["status"] == "SUCCEEDED"
        assert [create["outcome"] for create in house.creates("again")] == ["rate_limited", "accepted"]


async def test_who_asks_twice_does_not_wait_for_a_send(tmp_path: Path) -> None:
    """Ctrl-C while a create of minutes is waited for: it is cut off, and told as what it is after the restart."""
    async with open_house(tmp_path, hook_before=None, called_back=False) as house:
        house.sandbox.chaos = Chaos(latency_min_s=600.0, latency_max_s=600.0)
        sending = asyncio.create_task(house.submit(KLING, "slow", status=202))
        await arrived(house, 1)
        house.daemon.signal(signal.SIGTERM)
        assert (await sending)["status"] == "PENDING", "its client need not wait"
        house.daemon.signal(signal.SIGINT)
        assert await house.daemon.ended(25) == 0
        house.daemon.assert_no_traceback()
        assert await house.daemon.heard("tracker.stop_hurried")
        house.sandbox.chaos = Chaos()
        await house.daemon.start()
        assert (await house.end_of((await sending)["id"]))["reason"] == "submit_unknown"
        assert len(house.creates("slow")) == 1


async def test_requests_during_the_stop_are_whole_or_refused(tmp_path: Path) -> None:
    """A submit on an open connection while the daemon drains is sent to its end, or turned away unsent; never cut."""
    async with open_house(tmp_path, hook_before=None, sandbox={"chaos": SLOW}) as house:
        first = asyncio.create_task(house.submit(SUNO, "first"))
        others = asyncio.create_task(
            asyncio.to_thread(_keep_submitting, int(house.url.rpartition(":")[2]), submission(KLING, "late"))
        )
        await arrived(house, 2)
        house.daemon.signal(signal.SIGTERM)
        statuses = await others
        assert (await first)["external_id"]
        assert await house.daemon.ended(25) == 0
        house.daemon.assert_no_traceback()
        assert not undecided(house)
        assert set(statuses) <= {201, 503}, statuses
        assert statuses.count(201) == len(house.creates("late"))


def _keep_submitting(port: int, body: Json) -> list[int]:
    """Submit one after the other on one connection until it closes; the statuses."""
    import http.client

    import orjson

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    statuses = []
    try:
        connection.connect()
        connection.auto_open = 0  # what was closed stays closed
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
    """A second daemon on the same file says so in one line and leaves; the first does not notice."""
    async with open_house(tmp_path, hook_before=None) as house:
        second = await house.run_second()
        assert second.code not in {0, 1}
        assert len(second.lines) == 1, second.lines
        assert "another tracker" in second.lines[0]
        assert str(house.daemon.pid) in second.lines[0]
        task = await house.submit(SUNO, "undisturbed")
        assert (await house.end_of(task["id"]))["status"] == "SUCCEEDED"
        await house.daemon.stop()
        house.daemon.assert_no_traceback()


async def test_sigterm_while_somebody_waits(tmp_path: Path) -> None:
    """Who long-polls a task is answered at once when the daemon stops, with the task as it stands."""
    async with open_house(tmp_path, hook_before=None, poll=FAST) as house:
        task = await house.submit(SUNO, "endless [sandbox: stage=hold]")
        waiting = asyncio.create_task(house.get(f"/v1/tasks/{task['id']}?wait=60"))
        await house.becomes(task["id"], status="RUNNING")
        await house.daemon.stop(within_s=10)
        assert (await waiting)["status"] == "RUNNING"
