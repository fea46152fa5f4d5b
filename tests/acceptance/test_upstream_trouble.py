"""Upstream trouble: throttling, storms of errors, a rejected key. No task fails because of it."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from tests.kits.processes import DASHSCOPE, FAST, KEY, KLING, SUNO, Json, System, running_system
from tests.kits.waiting import until
from tracker.sandbox import Chaos

SLACK_S = 0.02
"""The clocks of two processes, and times in integer seconds, may differ by this."""


async def arrivals(system: System, marker: str, count: int) -> list[float]:
    """When the sandbox got the creates with this word, once there are that many."""

    async def look() -> list[Json]:
        found = system.creates(marker)
        return found if len(found) >= count else []

    return [create["at"] for create in await until(look)]


async def notes_of(system: System, task: Json, word: str) -> str:
    """The sentence of ``why`` with this word, once it appears."""

    async def look() -> str:
        why = await system.get(f"/v1/tasks/{task['id']}/why")
        return next((note for note in why["notes"] if word in note), "")

    return str(await until(look))


async def test_creates_follow_retry_after(tmp_path: Path) -> None:
    """A create rejected with 429 or 503 and Retry-After is sent again after that time, not before."""
    chaos = Chaos(retry_after_s=2)
    async with running_system(tmp_path, hook_before=None, sandbox={"chaos": chaos, "duration_s": 0.2}) as system:
        scripts = {"wait429": "create=rate_limited", "wait503": "create=503"}
        tasks = [await system.submit(KLING, f"{word} [sandbox: {script}]") for word, script in scripts.items()]
        for task, word in zip(tasks, scripts, strict=True):
            assert (task["status"], task["external_id"]) == ("PENDING", None)
            first, second = await arrivals(system, word, 2)
            assert second - first >= 2 - SLACK_S
            assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
            assert len(system.creates(word)) == 2


async def test_a_create_deferred_for_too_long_fails(tmp_path: Path) -> None:
    """A create that would have to wait longer than submit_retry_s fails at once and is retryable."""
    async with running_system(tmp_path, hook_before=None, sandbox={"chaos": Chaos(retry_after_s=60)}) as system:
        task = await system.submit(KLING, "never [sandbox: create=rate_limited]")
        assert (task["status"], task["reason"], task["retryable"]) == ("FAILED", "rate_limited", True)
        assert len(system.creates("never")) == 1


async def test_polls_follow_retry_after(tmp_path: Path) -> None:
    """After a poll got 429 with Retry-After, the account's polls pause for that time, then continue."""
    async with running_system(tmp_path, hook_before=None, called_back=False, sandbox={"duration_s": 0.2}) as system:
        system.sandbox.chaos = Chaos(poll_rate_limited=1.0, retry_after_s=2)
        task = await system.submit(DASHSCOPE, "a sea")
        await notes_of(system, task, "asked for fewer requests")  # refused repeatedly until this is seen
        system.sandbox.chaos = Chaos()
        assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        asked = sorted(system.event_log.times_of("poll.fault_injected") + system.event_log.times_of("poll.answered"))
        refused = len(system.event_log.times_of("poll.fault_injected"))
        assert refused >= 1
        for before, after in pairwise(asked[: refused + 1]):
            assert after - before >= 2 - SLACK_S


async def test_a_storm_of_errors_opens_the_circuit(tmp_path: Path) -> None:
    """When every poll of a provider fails, its circuit opens; when it works again, every task succeeds."""
    patient = {**FAST, "submit_retry_s": 60.0}
    async with running_system(
        tmp_path, hook_before=None, poll=patient, called_back=False, sandbox={"duration_s": 0.2}
    ) as system:
        tasks = [await system.submit(SUNO, "a sea") for _ in range(6)]
        system.sandbox.chaos = Chaos(poll_server_error=0.5, poll_bad_gateway=1.0, retry_after_s=0)
        note = await notes_of(system, tasks[0], "has failed for suno since")
        system.sandbox.chaos = Chaos()
        assert "The next try is" in note
        *_, opened = await system.daemon.wait_for_log("upstream.circuit_opened")
        late = await system.submit(SUNO, "meanwhile")
        assert (late["status"], late["external_id"]) == ("PENDING", None), "not sent during the storm, and not failed"
        other = await system.submit(KLING, "elsewhere")
        assert other["external_id"] is not None, "a storm of one provider does not stop others"
        for task in [*tasks, late, other]:
            assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        songs = [task["external_id"] for task in tasks]
        asked = system.event_log.times_of("poll.fault_injected")
        asked += [at for song in songs for at in system.event_log.times_of("poll.answered", id=song)]
        began = datetime.fromisoformat(opened["at"]).timestamp() - time.time() + time.monotonic()
        meanwhile = [at for at in asked if began < at < began + opened["wait_s"] / 2]
        assert len(meanwhile) <= len(tasks), "each may have one poll under way, and none has another"
        assert len(await system.daemon.wait_for_log("upstream.circuit_closed")) == 1
        assert len(system.creates("meanwhile")) == 1


async def test_a_rejected_key_fails_no_task(tmp_path: Path) -> None:
    """While the key is rejected, tasks wait and ``why`` shows the alarm; once accepted, all tasks finish."""
    slowly = {**FAST, "max_interval_s": 0.3}
    async with running_system(tmp_path, poll=slowly, called_back=False, sandbox={"duration_s": 0.2}) as system:
        tasks = [await system.submit(route, "a sea") for route in (SUNO, KLING, DASHSCOPE)]
        system.sandbox._gateway.key = "another"
        for task in tasks:
            note = await notes_of(system, task, "has rejected the key")
            assert KEY not in note
        await system.daemon.wait_for_log("alarm.raised", kind="key_rejected")
        refused = await system.submit(KLING, "no entry")
        assert (refused["status"], refused["reason"]) == ("FAILED", "auth_failed")
        system.sandbox._gateway.key = KEY
        for task in tasks:
            assert (await system.end_of(task["id"]))["status"] == "SUCCEEDED"
        await system.daemon.wait_for_log("alarm.cleared", kind="key_rejected")
        why = await system.get(f"/v1/tasks/{tasks[0]['id']}/why")
        assert not any("has rejected the key" in note for note in why["notes"])
        assert not any(KEY in line for line in system.daemon.lines)
