"""Worker hooks: one long-running program, one line in, one line out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import tracker.hooks.running.worker_process
from tests.kits.hooks import LinePipe, is_gone, make_hook, make_job, pass_time, write_python, write_script
from tests.kits.waiting import WITHIN_S
from tracker.config.hooks import HookSpec
from tracker.hooks.kinds.worker import WorkerAction, WorkerRunner
from tracker.hooks.runner import RunOutcome, RunResult, encode_event
from tracker.hooks.running.worker_process import read_reply

COUNTING = """
import json, os, sys
for n, line in enumerate(sys.stdin, 1):
    event = json.loads(line)
    print(json.dumps({"delivery_id": event["delivery_id"], "ok": True, "output": f"{os.getpid()} {n}"}), flush=True)
"""

FAILED = RunResult(RunOutcome.RETRY, "the worker replied that it failed")


@pytest.fixture
async def runner() -> AsyncIterator[WorkerRunner]:
    """A runner; its workers end with the test."""
    made = WorkerRunner({**os.environ, "ANYINT_API_KEY": "sk-very-secret"})
    yield made
    await made.close()


def spec_of(path: Path, timeout_s: float = 10) -> HookSpec:
    """A worker hook."""
    return make_hook("w", ("task.*",), WorkerAction((str(path),)), timeout_s=timeout_s)


async def ask(runner: WorkerRunner, spec: HookSpec, delivery_id: str = "dlv_1") -> RunResult:
    """Run the hook for a delivery."""
    job = make_job(delivery_id=delivery_id)
    return await runner.run(job, encode_event(job), spec)


async def test_one_process_serves_many_events(runner: WorkerRunner, tmp_path: Path) -> None:
    """A hundred events, sixteen at a time, each answered by the same process, which is stopped at the end."""
    spec = spec_of(write_python(tmp_path / "worker", COUNTING))
    results = await asyncio.gather(*(ask(runner, spec, f"dlv_{n}") for n in range(100)))
    assert {result.outcome for result in results} == {RunOutcome.SUCCEEDED}
    pids, numbers = zip(*((result.output or "").split() for result in results), strict=True)
    assert len(set(pids)) == 1
    assert sorted(map(int, numbers)) == list(range(1, 101))
    await runner.close()
    assert await is_gone(int(pids[0]))


async def test_events_that_come_together_are_one_write(
    runner: WorkerRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker gets the events of one round of the event loop in one piece."""
    spec = spec_of(write_python(tmp_path / "worker", COUNTING))
    await ask(runner, spec, "dlv_0")
    written: list[bytes] = []

    def write(self: asyncio.StreamWriter, data: bytes) -> None:
        written.append(data)
        self.transport.write(data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", write)
    monkeypatch.setattr(asyncio.StreamWriter, "writelines", lambda self, data: write(self, b"".join(data)))
    await asyncio.gather(*(ask(runner, spec, f"dlv_{n}") for n in range(1, 17)))
    assert [data.count(b"\n") for data in written] == [16]


async def test_answers_may_come_in_any_order(runner: WorkerRunner, tmp_path: Path) -> None:
    """An answer is matched by its delivery id."""
    spec = spec_of(
        write_python(
            tmp_path / "worker",
            "import json, sys\n"
            "first, second = (json.loads(sys.stdin.readline()) for _ in range(2))\n"
            "for event, ok in ((second, True), (first, False)):\n"
            '    print(json.dumps({"delivery_id": event["delivery_id"], "ok": ok}), flush=True)\n'
            "sys.stdin.read()",
        )
    )
    one, two = await asyncio.gather(ask(runner, spec, "dlv_1"), ask(runner, spec, "dlv_2"))
    assert (one.outcome, two.outcome) == (RunOutcome.RETRY, RunOutcome.SUCCEEDED)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ok": True, "output": "o"}, RunResult(RunOutcome.SUCCEEDED, output="o")),
        ({"ok": False}, FAILED),
        ({"ok": False, "error": "why", "retry_after_s": 3}, RunResult(RunOutcome.RETRY, "why", retry_after_s=3)),
        ({"ok": False, "retry_after_s": True, "final": 1}, FAILED),
        ({"ok": False, "final": True, "error": "never"}, RunResult(RunOutcome.FAILED_FOR_GOOD, "never")),
    ],
)
def test_the_meaning_of_an_answer(answer: dict[str, object], expected: RunResult) -> None:
    """Done, never, or again with a wait; members of a wrong type are ignored."""
    assert read_reply(answer) == expected


async def test_a_worker_that_ends_is_started_again(runner: WorkerRunner, tmp_path: Path) -> None:
    """Unanswered events are retried, with its last output; the next event starts a new one."""
    script = write_script(tmp_path / "worker", "read line; echo sorry >&2; exit 3")
    result = await ask(runner, spec_of(script))
    assert (result.outcome, result.error, result.output, result.unreachable) == (
        RunOutcome.RETRY,
        "the worker ended (exit 3)",
        "sorry\n",
        True,
    )
    write_python(script, COUNTING)
    assert (await ask(runner, spec_of(script))).outcome is RunOutcome.SUCCEEDED


@pytest.mark.parametrize("line", ["hello", "[1]", '{"delivery_id": "dlv_1"}', '{"ok": "yes"}'])
async def test_a_worker_with_malformed_replies_is_stopped(runner: WorkerRunner, tmp_path: Path, line: str) -> None:
    """After a malformed reply, the next one could be for any event."""
    script = write_script(tmp_path / "worker", f"read x; echo '{line}'; exec sleep 1000")
    result = await ask(runner, spec_of(script))
    assert result.error == 'the worker replied with a line that is not {"ok": …}'
    assert line in (result.output or "")


async def test_a_line_without_end_is_cut(runner: WorkerRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker cannot fill the memory."""
    monkeypatch.setattr(tracker.hooks.running.worker_process, "LINE_MAX_BYTES", 10_000)
    script = write_script(tmp_path / "worker", "read x; cat /dev/zero")
    result = await ask(runner, spec_of(script))
    assert result.error == "the worker replied with a line of more than 10000 bytes"


async def test_a_hanging_worker_is_killed_with_its_children(runner: WorkerRunner, tmp_path: Path) -> None:
    """At the timeout of one event the worker is stopped; its other events do not count as failed."""
    pipe = LinePipe(tmp_path / "pipe")
    script = write_script(tmp_path / "worker", f"sleep 1000 & echo $! > {pipe.quoted}; wait")
    hung = asyncio.create_task(ask(runner, spec_of(script, timeout_s=30), "dlv_1"))
    pid = int(await pipe.next_line())
    other = asyncio.create_task(ask(runner, spec_of(script, timeout_s=600), "dlv_2"))
    async with asyncio.timeout(WITHIN_S):
        # it may have rung the pipe before it is known here, and rings none when it is given an event
        while sum(len(worker._waiting) for _, worker in runner._workers.values()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    pass_time(30)
    assert (await hung).error == "no reply within 30 s; the worker was stopped"
    innocent = await other
    assert (innocent.outcome, innocent.blameless, innocent.unreachable) == (RunOutcome.RETRY, True, False)
    assert await is_gone(pid)
    pipe.close()


async def test_a_worker_inherits_nothing_from_the_daemon(runner: WorkerRunner, tmp_path: Path) -> None:
    """Its environment has only the documented variables and marks it as a worker."""
    script = write_python(
        tmp_path / "worker",
        "import json, os, sys\nsys.stdin.readline()\n"
        'print(json.dumps({"ok": True, "output": json.dumps(dict(os.environ))}), flush=True)',
    )
    output = (await ask(runner, spec_of(script))).output or ""
    assert "secret" not in output
    assert '"TRACKER_WORKER": "1"' in output


async def test_an_idle_worker_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without events it is stopped; the next event starts one."""
    monkeypatch.setattr(tracker.hooks.running.worker_process, "IDLE_S", 0.05)
    runner = WorkerRunner(os.environ)
    spec = spec_of(write_python(tmp_path / "worker", COUNTING))
    first = (await ask(runner, spec)).output or ""
    assert await is_gone(int(first.split()[0]))
    second = (await ask(runner, spec)).output or ""
    assert first != second
    await runner.close()
