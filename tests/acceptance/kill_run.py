"""A run of many tasks through chaos, with repeated kills of the daemon, and the check of its results.

The expected end of each task follows from what the sandbox saw and did, not from the daemon's answers.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from tests.kits.processes import DASHSCOPE, KLING, SUNO, Json, System, submission
from tests.kits.waiting import WITHIN_S, until
from tracker.sandbox import Chaos

CHAOS = Chaos(
    latency_max_s=0.1,
    create_rate_limited=0.04,
    create_throttled=0.03,
    create_unavailable=0.03,
    create_policy=0.03,
    create_quota=0.02,
    create_cut=0.04,
    create_garbled=0.04,
    create_refused=0.03,
    fail_policy=0.05,
    fail_error=0.05,
    poll_rate_limited=0.02,
    poll_throttled=0.02,
    poll_server_error=0.02,
    poll_bad_gateway=0.02,
    poll_html=0.02,
    poll_empty=0.02,
    poll_null=0.02,
    poll_cut=0.02,
    callback_duplicate=0.25,
    callback_lost=0.2,
    callback_late=0.2,
    callback_late_s=0.6,
    callback_early=0.2,
    callback_reordered=0.2,
)
SCRIPTS = (
    "create=cut",
    "create=garbled",
    "create=refused",
    "create=policy",
    "create=quota",
    "create=rate_limited",
    "fail=policy",
    "fail=error",
    "callback=lost",
    "callback=early,duplicate",
    "callback=late,reordered",
)
CERTAINLY_REFUSED = {"rate_limited", "throttled", "503", "maintenance", "quota"}
"""Refusals after which the daemon may send again: after ``quota`` where others of the account were refused as well."""
REFUSED_FOR_GOOD = {
    "policy": "policy_rejected",
    "quota": "quota_exhausted",
    "500": "upstream_unavailable",
    "error_body": "upstream_unavailable",
}
FAILED_BY = {
    "policy": {"policy_rejected"},
    "error": {"generation_failed"},
    "invalid": {"invalid_request", "generation_failed"},  # Kling has no code for it, only a message
    "silent": {"generation_failed"},
    "canceled": {"generation_failed"},
}
CUT_OFF = "the tracker stopped while the request was under way"
KILL_EVENTS = ("create.finished", "callback.sent", "poll.answered", "poll.fault_injected")
"""Events of the sandbox during which the daemon is killed: nothing after them has reached it yet."""


@dataclass
class KillRun:
    """One run.

    Args:
        system: where it happens.
        count: how many tasks.
        kills: how often the daemon is killed.
        seed: decides which tasks and when.
        at_once: how many submits are under way at once.
        patience_s: how long all may take to end once everything was submitted.

    Attributes:
        tasks: marker -> the id of the daemon's task.
        killed_at: the event of each kill.
    """

    system: System
    count: int
    kills: int
    seed: int
    at_once: int = 4
    patience_s: float = WITHIN_S
    tasks: dict[str, str] = field(default_factory=dict)
    killed_at: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._plan = [self._make(n) for n in range(self.count)]

    def _make(self, n: int) -> tuple[str, str, str]:
        route = (SUNO, KLING, DASHSCOPE)[n % 3]
        # one of each script first, for the routes in turn; then chaos alone
        script = f" [sandbox: {SCRIPTS[n // 3]}]" if n // 3 < len(SCRIPTS) and n % 2 == 0 else ""
        return f"n{n}", route, f"n{n} a calm sea{script}"

    async def go(self) -> dict[str, Json]:
        """Submit everything while the daemon is killed; wait for every end and every hook. Marker -> task."""
        killer = asyncio.create_task(self._kill_repeatedly())
        slots = asyncio.Semaphore(self.at_once)
        async with asyncio.TaskGroup() as group:
            for marker, route, prompt in self._plan:
                group.create_task(self._submit(slots, marker, route, prompt))
        await killer
        async with asyncio.timeout(self.patience_s):
            ended = {
                marker: await self.system.end_of(task_id, self.patience_s) for marker, task_id in self.tasks.items()
            }
        await self.system.deliveries_settle(self.patience_s)
        return ended

    async def _submit(self, slots: asyncio.Semaphore, marker: str, route: str, prompt: str) -> None:
        """Submit as a careful client does: the same key again until there is an answer."""
        async with slots:

            async def attempt() -> bool:
                with suppress(aiohttp.ClientConnectionError):
                    answer = await self.system.call(
                        "POST", "/v1/tasks", submission(route, prompt), {"Idempotency-Key": marker}
                    )
                    if answer.status in {200, 201}:
                        self.tasks[marker] = answer.body["id"]
                        return True
                    assert answer.status in {409, 503}, answer
                return False

            await until(attempt, self.patience_s)

    async def _kill_repeatedly(self) -> None:
        system = self.system
        for _ in range(self.kills):
            await self._kill_during(self._rng.choice(KILL_EVENTS), self._rng.randint(5, 40))
            await system.daemon.ended()
            await system.daemon.start()

    async def _kill_during(self, event_name: str, events: int) -> None:
        """Kill the daemon at this event, once so many events of any kind have passed; at any event when it is late."""
        struck = asyncio.Event()
        seen = 0

        def strike(event: str, _facts: Mapping[str, Json]) -> None:
            nonlocal seen
            seen += 1
            if not struck.is_set() and seen >= events and (event == event_name or seen >= events + 10):
                self.killed_at.append(event)
                self.system.daemon.kill_now()
                struck.set()

        self.system.event_log.listeners.append(strike)
        try:
            # when all tasks have ended there are no more events: then it is killed at rest
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await struck.wait()
            if not struck.is_set():
                struck.set()
                self.killed_at.append("rest")
                self.system.daemon.kill_now()
        finally:
            self.system.event_log.listeners.remove(strike)

    # -- expected results ----------------------------------------------------------------------------------

    def check(self, ended: Mapping[str, Json]) -> Counter[str]:
        """Compare every task with what the sandbox received and did; return how often each end occurred."""
        ends: Counter[str] = Counter()
        wrong = []
        for marker, route, _prompt in self._plan:
            task = ended[marker]
            end = task["reason"] or task["status"]
            ends[end] += 1
            creates = self.system.creates(marker)
            self._check_never_twice(marker, creates)
            allowed = self._allowed_ends(task, creates)
            if end not in allowed:
                wrong.append(f"{marker} {route} {task['id']}: {end}, not {allowed}; creates {creates}")
        assert not wrong, "\n".join(wrong)
        return ends

    def _check_never_twice(self, marker: str, creates: Sequence[Json]) -> None:
        """Only creates that were certainly refused are sent again, and no second job is ever made."""
        assert all(create["outcome"] in CERTAINLY_REFUSED for create in creates[:-1]), (marker, creates)
        assert sum(create["id"] is not None for create in creates) <= 1

    def _allowed_ends(self, task: Json, creates: Sequence[Json]) -> set[str]:
        """The allowed ends of a task; several only where the daemon cannot know the outcome."""
        last = creates[-1] if creates else None
        was_cut_off = self.system.rows(
            "SELECT 1 FROM events WHERE task_id = ? AND source = 'submit' AND detail LIKE ?", task["id"], f"%{CUT_OFF}%"
        )
        if last is not None and last["id"] is not None:
            fate = self.system.job(last["id"]).fate
            made = "missing_output" if fate.url_missing else "SUCCEEDED"
            expected = {made} if fate.fault is None else FAILED_BY[fate.fault.value]
            no_answer = bool(was_cut_off) or last["outcome"] in {"cut", "garbled"}
            if not no_answer:
                return expected
            calls = [call for call in self.system.sandbox.state()["callbacks"] if call["job_id"] == last["id"]]
            if any(call["http_status"] == HTTPStatus.OK for call in calls):
                return expected
            # the daemon never got a callback for this job, unless it was killed between storing and answering one
            return {"submit_unknown"} | (expected if any(call["attempt"] for call in calls) else set())
        if was_cut_off:
            return {"submit_unknown"}
        if last is None or last["outcome"] in CERTAINLY_REFUSED - REFUSED_FOR_GOOD.keys():
            # deferred or held for too long, certainly never started
            return {"rate_limited", "upstream_unavailable", "quota_exhausted"}
        return {REFUSED_FOR_GOOD.get(last["outcome"], "submit_unknown")}

    def resolved_by_callback(self) -> int:
        """How many creates without a clear answer came to the right end because of a callback."""
        ((count,),) = self.system.rows(
            "SELECT count(DISTINCT tasks.id) FROM tasks JOIN events ON events.task_id = tasks.id"
            " WHERE tasks.status = 'SUCCEEDED' AND events.detail LIKE 'no clear answer (%), so the tracker %'"
        )
        return int(count)

    def check_hooks(self, ended: Mapping[str, Json]) -> None:
        """Every change was delivered, each under one delivery id, in order, until it succeeded."""
        system = self.system
        deliveries = system.rows("SELECT id, task_id, seq, event, status, attempts FROM deliveries ORDER BY seq, rowid")
        ran = system.ran
        assert {row[4] for row in deliveries} == {"succeeded"}
        assert {line.delivery for line in ran} == {row[0] for row in deliveries}
        runs = Counter(line.delivery for line in ran)
        assert all(runs[row[0]] <= row[5] for row in deliveries), "a run without a counted attempt"
        assert len({(row[1], row[2], row[3]) for row in deliveries}) == len(deliveries)
        for marker, task in ended.items():
            event = "task.succeeded" if task["status"] == "SUCCEEDED" else "task.failed"
            delivered = [
                line for line in ran if line.task == task["id"] and line.event in {"task.succeeded", "task.failed"}
            ]
            final = [line for line in delivered if line.event == event]
            assert final, (marker, delivered)
            assert len({line.delivery for line in final}) == 1, (marker, delivered)
            assert {(line.status, line.reason) for line in final} == {(task["status"], task["reason"] or "")}
            first_runs = list(dict.fromkeys(line.delivery for line in ran if line.task == task["id"]))
            assert first_runs == [row[0] for row in deliveries if row[1] == task["id"]], (marker, first_runs)
