"""Scripts as hooks: real programs that misbehave in many ways."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import uvloop

from tests.kits.hooks import (
    Expiry,
    LinePipe,
    is_gone,
    make_hook,
    make_job,
    no_descriptors_left,
    open_descriptors,
    write_python,
    write_script,
)
from tracker.domain.deliveries import DeliveryJob
from tracker.hooks.kinds.script import ScriptAction, ScriptRunner
from tracker.hooks.runner import RunOutcome, RunResult, encode_event
from tracker.hooks.running import process

RUNNER = ScriptRunner(os.environ, start_patience_s=0.1)


async def run(
    script: Path, *, job: DeliveryJob | None = None, payload: bytes | None = None, timeout_s: float = 30.0
) -> RunResult:
    """Run a script once, for a test delivery."""
    job = job or make_job()
    spec = make_hook("publish", ("task.*",), ScriptAction.of([str(script)]), timeout_s=timeout_s)
    return await RUNNER.run(job, encode_event(job) if payload is None else payload, spec)


@pytest.fixture
async def expiry(monkeypatch: pytest.MonkeyPatch) -> Expiry:
    """The end of the 30 s that a run may take here."""
    return Expiry(monkeypatch)


async def test_a_script_gets_the_event(tmp_path: Path) -> None:
    """Standard input is the complete JSON; the environment has its main fields."""
    script = write_script(tmp_path / "hook", 'cat; echo; echo "$TRACKER_DELIVERY_ID $TRACKER_LABEL_USER"')
    job = make_job(labels={"user": "42"})
    result = await run(script, job=job)
    body, words = (result.output or "").splitlines()
    assert json.loads(body) == json.loads(encode_event(job))
    assert words == "dlv_812_0_publish 42"


@pytest.mark.parametrize("reader", ["cat /dev/stdin", "cat < /proc/self/fd/0"])
async def test_standard_input_can_be_opened_by_name(tmp_path: Path, reader: str) -> None:
    """``/dev/stdin`` works, which it does not when standard input is a socket."""
    result = await run(write_script(tmp_path / "hook", reader), payload=b'{"a": 1}')
    assert result == RunResult(RunOutcome.SUCCEEDED, output='{"a": 1}')


async def test_a_script_inherits_nothing_from_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the daemon's environment are not in the script's, nor are the daemon's open files."""
    monkeypatch.setenv("ANYINT_API_KEY", "sk-very-secret")
    monkeypatch.setenv("TRACKER_API_TOKEN", "also-secret")
    script = write_python(
        tmp_path / "hook",
        "import json, os\nprint(json.dumps([dict(os.environ), sorted(int(n) for n in os.listdir('/proc/self/fd'))]))",
    )
    with (tmp_path / "open").open("w") as inheritable:
        os.set_inheritable(inheritable.fileno(), True)
        spec = make_hook("publish", ("task.*",), ScriptAction.of([str(script)]))
        result = await ScriptRunner(os.environ).run(make_job(), b"{}", spec)
    seen, descriptors = json.loads(result.output or "")
    assert "secret" not in json.dumps(seen)
    listed = {"PATH", "HOME", "LANG", "TMPDIR", "TZ", "USER"}
    listed |= {"PWD", "OLDPWD", "SHLVL", "_"}  # of the shell that starts Python where its path has blanks
    assert all(name in listed or name.startswith(("LC_", "TRACKER_")) for name in seen)
    assert descriptors[:3] == [0, 1, 2]
    assert len(descriptors) == 4  # the fourth is the listing itself


async def test_the_last_8_kib_are_stored(tmp_path: Path) -> None:
    """The end of a long output is recorded, both streams together, in whole characters."""
    script = write_python(
        tmp_path / "hook",
        "import os\nfor n in range(20000): os.write(1 + n % 2, ('é' * 40 + str(n) + '\\n').encode())\nos._exit(3)",
    )
    result = await run(script)
    assert result.error == "exit 3"
    output = result.output or ""
    assert output.endswith("é19999\n")
    assert "19998\n" in output
    assert 8 * 1024 - 4 < len(output.encode()) <= 8 * 1024
    assert "\N{REPLACEMENT CHARACTER}" not in output


async def test_binary_output_is_stored_as_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, and NUL, are replaced, so that every store accepts them."""
    result = await run(write_script(tmp_path / "hook", r"printf 'a\000b\377c'"))
    assert result.output == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


async def test_a_script_without_output(tmp_path: Path) -> None:
    """An empty output is recorded as none."""
    assert await run(write_script(tmp_path / "hook", "true")) == RunResult(RunOutcome.SUCCEEDED)


async def test_a_script_need_not_read(tmp_path: Path) -> None:
    """A megabyte without a reader neither blocks nor fails."""
    script = write_script(tmp_path / "hook", "exit 0")
    assert (await run(script, payload=b"x" * 2**20)).outcome is RunOutcome.SUCCEEDED


async def test_a_script_may_read_slowly(tmp_path: Path) -> None:
    """A large event arrives completely."""
    result = await run(write_script(tmp_path / "hook", "wc -c"), payload=b"x" * 3_000_000)
    assert (result.output or "").strip() == "3000000"


async def test_a_timeout_ends_the_whole_group(tmp_path: Path, pipe: LinePipe, expiry: Expiry) -> None:
    """Children and grandchildren are killed with the script, also those that ignore SIGTERM."""
    script = write_script(
        tmp_path / "hook",
        f"(trap '' TERM; sleep 1000 & echo $! > {pipe.quoted}; wait) &\n"
        f"pipe={pipe.quoted} sh -c 'sleep 1001 & echo $! > \"$pipe\"; wait' &\n"
        f"echo working; echo $$ > {pipe.quoted}; wait",
    )
    hook = asyncio.create_task(run(script))
    pids = [int(await pipe.next_line()) for _ in range(3)]
    await expiry.comes(30)
    result = await hook
    assert result == RunResult(RunOutcome.RETRY, "timed out after 30 s", "working\n")
    assert [await is_gone(pid) for pid in pids] == [True, True, True]


async def test_a_script_may_clean_up_after_sigterm(tmp_path: Path, pipe: LinePipe, expiry: Expiry) -> None:
    """There is time for output between SIGTERM and SIGKILL."""
    script = write_python(
        tmp_path / "hook",
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidied up', flush=True), sys.exit(0)))\n"
        f"open('{pipe.path}', 'w').write('ready\\n')\ntime.sleep(1000)",
    )
    hook = asyncio.create_task(run(script))
    await pipe.next_line()
    await expiry.comes(30)
    result = await hook
    assert result.outcome is RunOutcome.RETRY
    assert result.output == "tidied up\n"


async def test_a_closed_output_is_not_the_end(tmp_path: Path, pipe: LinePipe, expiry: Expiry) -> None:
    """A script that closes its output and continues is waited for, and killed at its timeout."""
    script = write_script(tmp_path / "hook", f"exec >&- 2>&-\necho $$ > {pipe.quoted}\nexec sleep 1000")
    hook = asyncio.create_task(run(script))
    pid = int(await pipe.next_line())
    await asyncio.wait({hook}, timeout=0.05)
    assert not hook.done()
    await expiry.comes(30)
    assert (await hook).error == "timed out after 30 s"
    assert await is_gone(pid)


async def test_a_background_child_does_not_delay_the_run(tmp_path: Path, pipe: LinePipe) -> None:
    """The end of the script counts, even if a child holds its output; the child continues."""
    script = write_script(tmp_path / "hook", f"sleep 1000 & echo $! > {pipe.quoted}; echo done")
    assert await run(script, timeout_s=30) == RunResult(RunOutcome.SUCCEEDED, output="done\n")
    pid = int(await pipe.next_line())
    os.kill(pid, signal.SIGKILL)  # it was running, or this raises
    assert await is_gone(pid)


async def test_a_signal_is_reported(tmp_path: Path) -> None:
    """A script that was killed is retried, and the signal is named."""
    result = await run(write_script(tmp_path / "hook", "kill -KILL $$"))
    assert result == RunResult(RunOutcome.RETRY, "ended by SIGKILL")


async def test_a_failed_start_is_retried(tmp_path: Path) -> None:
    """Missing, not executable, without an interpreter: an error with the fix."""
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "no-line").write_text("exit 0\n")
    (tmp_path / "no-line").chmod(0o755)
    expected = {
        tmp_path / "missing": "No such file or directory",
        write_script(tmp_path / "gone", "", "/no/such/interpreter"): "interpreter in its #! line",
        tmp_path / "plain": "is it executable?",
        tmp_path / "no-line": "it needs a #! line",
        tmp_path: "Permission denied",
    }
    before = open_descriptors()
    for script, words in expected.items():
        result = await run(script)
        assert result.outcome is RunOutcome.RETRY
        assert result.error is not None
        assert result.error.startswith("cannot be started: ")
        assert words in result.error
        assert not result.blameless
    assert open_descriptors() == before


async def test_an_invalid_argument_is_a_failed_attempt() -> None:
    """A NUL character or a too long argument does not crash the runner."""
    for argument in ("a\0b", "x" * 200_000):
        spec = make_hook("publish", ("task.*",), ScriptAction.of(["/bin/echo", argument]))
        result = await RUNNER.run(make_job(), b"{}", spec)
        assert result.outcome is RunOutcome.RETRY
        assert "cannot be started" in (result.error or "")
        assert not result.blameless


async def test_a_removed_script_for_the_event() -> None:
    """A drop-in script that was removed from one event directory is an error."""
    spec = make_hook("publish", ("task.*",), ScriptAction((("task.failed", ("/bin/true",)),)))
    result = await RUNNER.run(make_job(event="task.running"), b"{}", spec)
    assert result == RunResult(RunOutcome.RETRY, "the script for task.running no longer exists")


async def test_the_largest_task_can_be_started(tmp_path: Path) -> None:
    """Labels and texts beyond every limit still start the script."""
    job = make_job(labels={f"l{n}": "é" * 100_000 for n in range(100)})
    assert (await run(write_script(tmp_path / "hook", "exit 0"), job=job)).outcome is RunOutcome.SUCCEEDED


async def test_a_shortage_of_descriptors_is_waited_out(tmp_path: Path) -> None:
    """No free file descriptor: the start waits for one, then releases the delivery without counting the attempt."""
    script = write_script(tmp_path / "hook", "exit 0")
    patient = ScriptRunner(os.environ, start_patience_s=20)
    spec = make_hook("publish", ("task.*",), ScriptAction.of([str(script)]))
    with no_descriptors_left():
        result = await RUNNER.run(make_job(), b"{}", spec)
        assert result.blameless
        assert result.outcome is RunOutcome.RETRY
        assert os.strerror(errno.EMFILE) in (result.error or "")
        waiting = asyncio.create_task(patient.run(make_job(), b"{}", spec))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
    assert (await waiting).outcome is RunOutcome.SUCCEEDED


async def test_a_script_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """A program whose file is still open for writing (ETXTBSY) is started as soon as it is complete."""
    program = tmp_path / "hook"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    patient = ScriptRunner(os.environ, start_patience_s=20)
    with program.open("r+b"):
        hook = asyncio.create_task(
            patient.run(make_job(), b"{}", make_hook("publish", ("task.*",), ScriptAction.of([str(program)])))
        )
        await asyncio.wait({hook}, timeout=0.05)
        assert not hook.done()
    assert (await hook).outcome is RunOutcome.SUCCEEDED


async def test_cancellation_ends_the_group_even_when_repeated(tmp_path: Path, pipe: LinePipe) -> None:
    """A second cancellation ends the grace period; no process, descriptor or zombie remains."""
    script = write_script(
        tmp_path / "hook", f"trap '' TERM; sleep 1000 & echo $! > {pipe.quoted}; echo $$ > {pipe.quoted}; wait"
    )
    before = open_descriptors()
    hook = asyncio.create_task(run(script))
    pids = [int(await pipe.next_line()) for _ in range(2)]
    hook.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hook.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hook
    assert [await is_gone(pid) for pid in pids] == [True, True]
    assert open_descriptors() == before
    await run(write_script(tmp_path / "next", "exit 0"))
    assert not process._late


async def test_exits_are_detected_without_a_pidfd(
    tmp_path: Path, pipe: LinePipe, monkeypatch: pytest.MonkeyPatch, expiry: Expiry
) -> None:
    """Without a pidfd of the kernel, the same ends are detected."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert (await run(write_script(tmp_path / "good", "exit 0"))).outcome is RunOutcome.SUCCEEDED
    assert (await run(write_script(tmp_path / "bad", "exit 9"))).error == "exit 9"
    hangs = write_script(tmp_path / "hangs", f"echo $$ > {pipe.quoted}; exec sleep 1000")
    hook = asyncio.create_task(run(hangs, timeout_s=100))
    pid = int(await pipe.next_line())
    await expiry.comes(100)
    assert (await hook).error == "timed out after 100 s"
    assert await is_gone(pid)
    monkeypatch.delattr(os, "waitid", raising=False)
    assert (await run(write_script(tmp_path / "good", "exit 0"))).outcome is RunOutcome.SUCCEEDED


def test_a_lost_exit_status_is_not_a_success(tmp_path: Path) -> None:
    """With SIGCHLD ignored the kernel discards exit statuses; a failing script must not count as delivered."""
    script = write_script(tmp_path / "hook", "exit 9")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        result = asyncio.run(run(script))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert result.outcome is RunOutcome.RETRY
    assert "the exit status was lost" in (result.error or "")


def test_the_same_under_uvloop(tmp_path: Path) -> None:
    """The daemon's event loop handles output, exits and timeouts like asyncio's own."""

    async def scenario() -> list[RunResult]:
        chatty = write_script(tmp_path / "chatty", "seq 1 20000; exit 4")
        hangs = write_script(tmp_path / "hangs", "exec sleep 1000")
        return [await run(chatty), await run(hangs, timeout_s=0.1), await run(tmp_path / "missing")]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        chatty, hangs, missing = runner.run(scenario())
    assert chatty.error == "exit 4"
    assert (chatty.output or "").endswith("19999\n20000\n")
    assert hangs.error == "timed out after 0.1 s"
    assert "cannot be started" in (missing.error or "")


async def test_no_zombie_is_left(tmp_path: Path) -> None:
    """Every program that was started was reaped."""
    script = write_script(tmp_path / "hook", "exit 0")
    await asyncio.gather(*(run(script) for _ in range(20)))
    undead = None
    with contextlib.suppress(ChildProcessError):
        undead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # noqa: ASYNC222 - does not block
    assert undead is None
    assert not subprocess._active  # type: ignore[attr-defined] # where Popen lists unreaped children
