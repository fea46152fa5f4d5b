"""``max_in_flight`` from outside: fifty songs on a plan of three at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.kits.daemon import run_tracker
from tests.kits.processes import FAST, SUNO, Json, System, running_system, submission
from tests.kits.sandbox import hold_requests
from tests.kits.waiting import until
from tracker.sandbox.jobs import Job

LIMIT = "max_in_flight = 3"
ASYNC = {"Prefer": "respond-async"}


async def submit_songs(system: System, count: int) -> list[Json]:
    """Submit songs one after another; each is answered before it is sent."""
    answers = []
    for n in range(count):
        headers = {**ASYNC, "Idempotency-Key": f"song-{n}"}
        answers.append(await system.call("POST", "/v1/tasks", submission(SUNO, f"n{n} rain"), headers))
    assert {answer.status for answer in answers} == {202}
    return [answer.body for answer in answers]


def jobs_at_once(jobs: Iterable[Job]) -> int:
    """How many of these jobs the sandbox worked on at the same time, at most."""
    times = sorted(time for job in jobs for time in ((job.born_s, 1), (job.born_s + job.fate.duration_s, -1)))
    most = running = 0
    for _, change in times:
        running += change
        most = max(most, running)
    return most


def check(system: System, ends: list[Json], kills: int = 0) -> None:
    """Each song was sent once, never more than three at a time, in the order in which they were submitted.

    A kill cuts off at most three creates. They are never sent again: without a callback their outcome is unknown.
    """
    unknown = [n for n, task in enumerate(ends) if task["status"] != "SUCCEEDED"]
    assert {ends[n]["reason"] for n in unknown} <= {"submit_unknown"}
    assert len(unknown) <= 3 * kills
    creates = system.sandbox.state()["creates"]
    order = [int(create["prompt"].split()[0][1:]) for create in creates]
    assert len(order) == len(set(order)), "none was sent twice"
    assert set(range(len(ends))) - set(order) <= set(unknown), "a kill may come before the first byte"
    places = {n: place for place, n in enumerate(sorted(order))}
    assert all(abs(places[n] - place) < 3 for place, n in enumerate(order)), "those of one moment may change places"
    assert jobs_at_once(system.job(create["id"]) for create in creates if create["id"]) <= 3


async def test_fifty_songs_three_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are taken at once and succeed in their order, although they wait longer than ``submit_retry_s``."""
    may_go_on = hold_requests(monkeypatch)
    options = {"duration_s": 0.2}
    poll = {**FAST, "submit_retry_s": 1.0, "tick_s": 60.0}  # slots are refilled without a sweep
    async with running_system(tmp_path, hook_before=None, poll=poll, account=LIMIT, sandbox=options) as system:
        tasks = await submit_songs(system, 50)
        line = "Account default may run 3 tasks at once, and 3 tasks run now. 46 tasks wait before this one."

        async def waits() -> bool:
            return line in (await system.get(f"/v1/tasks/{tasks[-1]['id']}/why"))["notes"]

        await until(waits)
        may_go_on.set()
        ends = [await system.end_of(task["id"]) for task in tasks]
        check(system, ends)
        await system.daemon.stop()
        system.daemon.assert_no_traceback()


@pytest.mark.timeout(120)
async def test_kills_while_songs_wait(tmp_path: Path) -> None:
    """Three ``kill -9``: nothing is sent twice, the limit holds, and everything that waited goes out."""
    options = {"duration_s": 0.2, "callback_retry_s": 1.0}
    async with running_system(tmp_path, hook_before=None, account=LIMIT, sandbox=options) as system:
        tasks = await submit_songs(system, 24)
        for created in (4, 9, 14):
            await system.event_log.wait_for("create.finished", created)
            await system.daemon.kill()
            await system.daemon.start()
        ends = [await system.end_of(task["id"]) for task in tasks]
        check(system, ends, kills=3)
        system.daemon.assert_no_traceback()


async def test_a_submit_that_waits_is_answered_at_once(tmp_path: Path) -> None:
    """202 with the pending task, 200 for the same key; a reload with a higher limit sends it at once."""
    hold = "[sandbox: stage=hold]"
    async with running_system(tmp_path, hook_before=None, account="max_in_flight = 1") as system:
        first = await system.submit(SUNO, f"first {hold}")
        key = {"Idempotency-Key": "k"}
        second = await system.submit(SUNO, "second", headers=key, status=202)
        again = await system.submit(SUNO, "second", headers=key, status=200)
        assert (second["status"], second["submitted_at"], again["id"]) == ("PENDING", None, second["id"])
        third = await system.submit(SUNO, "third", status=202)
        await system.daemon.reload(("max_in_flight = 1", "max_in_flight = 2"))
        assert (await system.end_of(second["id"]))["status"] == "SUCCEEDED"
        assert (await system.end_of(third["id"]))["status"] == "SUCCEEDED"
        fourth = await system.submit(SUNO, f"fourth {hold}")
        await system.daemon.reload(("max_in_flight = 2", "max_in_flight = 1"))
        fifth = await system.submit(SUNO, "fifth", status=202)
        assert (await system.get(f"/v1/tasks/{fourth['id']}"))["status"] != "FAILED", "a lower limit cancels nothing"
        for task in (first, fourth):
            answer = await system.call("POST", f"/v1/tasks/{task['id']}/cancel")
            assert answer.status == 200

        async def is_sent() -> bool:
            return bool(system.creates("fifth"))

        await until(is_sent)
        assert (await system.end_of(fifth["id"]))["status"] == "SUCCEEDED"


@pytest.mark.timeout(120)
async def test_a_batch_goes_on_after_a_kill(tmp_path: Path) -> None:
    """The daemon dies in the middle: what was sent is printed, and the same command sends the rest, nothing twice."""
    file = tmp_path / "songs.jsonl"
    file.write_text("".join(f"{json.dumps(submission(SUNO, f'n{n} rain'))}\n" for n in range(40)))
    options = {"duration_s": 0.1, "callback_retry_s": 1.0}
    async with running_system(tmp_path, hook_before=None, account=LIMIT, sandbox=options) as system:
        command = ("submit", "--batch", "songs.jsonl", "--wait")
        env = {"TRACKER_URL": system.url, "TRACKER_API_TOKEN": "fake"}

        def strike(event: str, _facts: Mapping[str, Json]) -> None:
            if event == "create.finished":
                system.daemon.kill_now()

        system.event_log.listeners.append(strike)
        cut = await run_tracker(*command, directory=tmp_path, env=env)
        system.event_log.listeners.remove(strike)
        sent = cut.out.split()
        assert (cut.code, len(sent) < 40) == (69, True)
        assert f"\n{len(sent)} of 40 requests were submitted, and perhaps this one\n" in cut.err
        again = f"to go on, where nothing is sent twice: tracker {' '.join(command)}\n"
        assert cut.err.endswith(again)
        await system.daemon.ended()
        await system.daemon.start()
        ran = await run_tracker(*command, directory=tmp_path, env=env)
        assert (ran.out.split()[: len(sent)], len(ran.out.split())) == (sent, 40)
        assert "\n40 tasks: " in ran.err
        check(system, [await system.end_of(task_id) for task_id in ran.out.split()], kills=1)
