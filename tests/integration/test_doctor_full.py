"""``tracker doctor --full``: the launch checks against the sandbox, and with one paid job on an account."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from tests.kits.daemon import KEY_ENV, REPOSITORY, Ran, Setting, account, run_tracker, running_daemon
from tests.kits.route_requests import Json
from tests.kits.waiting import WITHIN_S
from tracker.cli.main import cli
from tracker.daemon.provider_files import list_shipped
from tracker.sandbox import DEFAULT_KEY, Chaos, Sandbox

ENV = {KEY_ENV: DEFAULT_KEY}
CONFIG = "tracker.toml"
CHECKS = (
    *("creation", "polling", "callback", "duplicate callbacks", "task failure", "output storage"),
    *("quota message", "policy message", "hook"),
)
HOOK = '[[hooks]]\nname = "note"\non = ["task.finished"]\nrun = ["/bin/true"]\n'
ARCHIVE = "[archive]\nallow_private_addresses = true\n"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = '[callbacks.kling]\nscheme = "standard-webhooks"\nsecret_env = "KLING_SECRET"\n'


async def examine(directory: Path, *more: str, **env: str) -> Ran:
    """Run it beside the configuration, with a directory of its own for temporary files."""
    temporary = directory / "temporary"
    temporary.mkdir(exist_ok=True)
    arguments = ("doctor", "--full", "--config", str(directory / CONFIG), *more)
    return await run_tracker(*arguments, directory=directory, env={**ENV, "TMPDIR": str(temporary), **env})


def launch_lines(ran: Ran) -> dict[str, Json]:
    """The lines after those of the plain checklist."""
    lines = ran.json["checks"]
    first = next(n for n, line in enumerate(lines) if line["check"] in {"creation", "task failure", "sandbox"})
    assert all((line["state"] == "failed") is bool(line["fix"]) for line in lines)
    assert ran.json["ok"] is (ran.code == 0)
    return {line["check"]: line for line in lines[first:]}


def states(lines: Mapping[str, Json]) -> dict[str, str]:
    """The state of each line."""
    return {check: line["state"] for check, line in lines.items()}


async def test_the_sandbox_passes_and_nothing_is_left(tmp_path: Path) -> None:
    """Every launch check passes without a key or a daemon of the user; the account gets no request for a job."""
    async with Sandbox() as gateway:
        Setting(gateway=gateway.base_url, is_called_back=False).write(tmp_path)
        ran = await examine(tmp_path, "--json")
        assert gateway.state()["creates"] == []
    lines = launch_lines(ran)
    assert (ran.code, ran.err) == (0, ""), lines
    assert states(lines) == dict.fromkeys(CHECKS, "ok")
    assert "callbacks came twice" in lines["duplicate callbacks"]["detail"]
    assert "quota_exhausted" in lines["quota message"]["detail"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["temporary", CONFIG]


async def test_a_full_disk_names_the_directory(tmp_path: Path) -> None:
    """The daemon for the checks cannot write its files: one failed line."""
    Setting(is_called_back=False).write(tmp_path)
    command = f"ulimit -f 1; exec {sys.executable} -m tracker doctor --full --json --config {tmp_path}/tracker.toml"
    env = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    line = launch_lines(Ran(process.returncode or 0, out.decode(), ""))["sandbox"]
    assert (line["state"], line["fix"]) == ("failed", "set TMPDIR to another directory")
    assert "cannot start: File too large" in line["detail"]


def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM, like Ctrl-C, stops the daemon for the checks and removes its files."""
    Setting(is_called_back=False).write(tmp_path)
    command = [sys.executable, "-u", "-m", "tracker", "doctor", "--full", "--config", str(tmp_path / CONFIG)]
    env = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "creation:" in line:
                assert list(tmp_path.glob("tracker-doctor-*"))
                running.send_signal(signal.SIGTERM)
                break
        _, err = running.communicate(timeout=WITHIN_S)
    assert (running.returncode, err.strip()) == (130, "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == [CONFIG]


async def test_an_account_pays_for_one_job(tmp_path: Path) -> None:
    """A refused request without a charge, then one job; the price list decides which, and its callback is repeated."""
    prices = '[prices]\n"suno.generate" = { per_call = 0.08 }\n"dashscope.video" = { per_call = 0.4 }\n'
    async with Sandbox(duration_s=0.3) as gateway:
        setting = Setting(gateway=gateway.base_url, tables=HOOK + ARCHIVE + prices)
        async with running_daemon(tmp_path, setting) as api:
            ran = await examine(tmp_path, "--account", "default", "--yes", "--json")
            lines = launch_lines(ran)
            tasks = (await api.get("/v1/tasks"))["items"]
            events = await api.events(tasks[0])
        creates = [(create["route"], create["outcome"]) for create in gateway.state()["creates"]]
    assert ran.code == 0, lines
    assert creates == [("suno.generate", "invalid"), ("suno.generate", "accepted")]
    assert {check for check, state in states(lines).items() if state != "ok"} == {"quota message", "policy message"}
    assert "about 0.08 USD: accepted as" in lines["creation"]["detail"]
    assert lines["hook"]["detail"] == "ran note for task.succeeded; ran note for task.failed"
    assert [task["status"] for task in tasks] == ["SUCCEEDED", "FAILED"]
    assert [event["outcome"] for event in events if event["source"] == "callback"][-1] == "duplicate"
    (label,) = {task["labels"]["doctor"] for task in tasks}
    assert lines["left behind"]["detail"].endswith(f"tracker list --label doctor={label}")


async def test_a_callback_that_the_daemon_refuses(tmp_path: Path) -> None:
    """A wrong secret for signatures is not reported as a callback that never came."""
    other = "whsec_" + "QUJD" * 8
    async with Sandbox(duration_s=0.3, kling_secret=other) as gateway:
        setting = Setting(gateway=gateway.base_url, tables=HOOK + ARCHIVE + SIGNED, env={"KLING_SECRET": SECRET})
        async with running_daemon(tmp_path, setting):
            arguments = ("--account", "default", "--yes", "--json", "--timeout", "2")
            ran = await examine(tmp_path, *arguments, KLING_SECRET=SECRET)
    line = launch_lines(ran)["callback"]
    assert line["detail"].endswith("of kling came, and the daemon answered 401")
    assert line["fix"].startswith("the signature is wrong: correct the secret")


async def test_a_request_that_is_not_refused_is_the_job(tmp_path: Path) -> None:
    """A service that accepts a model that does not exist gets no second job; signed callbacks are repeated, too."""
    async with Sandbox(duration_s=0.3, kling_secret=SECRET) as gateway:
        setting = Setting(gateway=gateway.base_url, tables=HOOK + ARCHIVE + SIGNED, env={"KLING_SECRET": SECRET})
        async with running_daemon(tmp_path, setting):
            ran = await examine(tmp_path, "--account", "default", "--yes", "--json", KLING_SECRET=SECRET)
        creates = [(create["route"], create["outcome"]) for create in gateway.state()["creates"]]
    lines = launch_lines(ran)
    assert (ran.code, creates) == (0, [("kling.image", "accepted")]), lines
    assert "is the job" in lines["task failure"]["detail"]
    assert (lines["duplicate callbacks"]["state"], lines["callback"]["state"]) == ("ok", "ok")


async def test_a_callback_that_never_comes_and_a_hook_that_fails(tmp_path: Path) -> None:
    """Polling finds the end; the lines say how long the callback was waited for, which delivery failed, what to do."""
    request = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a kite [sandbox: callback=lost]"}
    data = ("--route", "suno.generate", "--data", orjson.dumps(request).decode(), "--timeout", "2")
    async with Sandbox(duration_s=0.3) as gateway:
        tables = HOOK.replace("/bin/true", "/bin/false") + "[archive]\nenabled = false\n"
        setting = Setting(gateway=gateway.base_url, tables=tables)
        async with running_daemon(tmp_path, setting):
            ran = await examine(tmp_path, "--account", "default", "--yes", "--json", *data)
    lines = launch_lines(ran)
    assert (ran.code, lines["polling"]["state"]) == (1, "ok")
    assert lines["callback"]["detail"] == f"no callback came until 2 s after the end, at {setting.url}/callbacks/"
    assert "let the proxy and the firewall pass POST to /callbacks/" in lines["callback"]["fix"]
    assert lines["hook"]["detail"].startswith("note for task.succeeded: ")
    assert lines["hook"]["detail"].endswith("(exit 1)")
    assert "tracker hooks test note tries it" in lines["hook"]["fix"]
    assert (lines["duplicate callbacks"]["state"], lines["output storage"]["state"]) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("chaos", "fix"),
    [
        (Chaos(create_quota=1.0), "top up the account at the provider"),
        (Chaos(create_garbled=1.0), "tracker why"),
    ],
)
async def test_no_job_follows_a_request_that_may_be_charged(tmp_path: Path, chaos: Chaos, fix: str) -> None:
    """The first request is refused for lack of credit, or may have been accepted: no other follows it."""
    async with Sandbox(chaos=chaos) as gateway:
        async with running_daemon(tmp_path, Setting(gateway=gateway.base_url)):
            ran = await examine(tmp_path, "--account", "default", "--yes", "--json")
        assert len(gateway.state()["creates"]) == 1
    lines = launch_lines(ran)
    assert ran.code == 1
    assert (lines["task failure"]["state"], lines["creation"]["state"]) == ("failed", "skipped")
    assert fix in lines["task failure"]["fix"]


async def test_a_busy_service_gets_the_job_after_the_refusal_is_canceled(tmp_path: Path) -> None:
    """A 503 for a model that does not exist does not count as a refusal: its task is canceled, and the job is sent."""
    data = {"model_name": "kling-v3", "prompt": "a kite [sandbox: create=503]"}
    arguments = ("--route", "kling.image", "--data", orjson.dumps(data).decode())
    async with Sandbox(duration_s=0.3) as gateway:
        async with running_daemon(tmp_path, Setting(gateway=gateway.base_url, tables=HOOK + ARCHIVE)) as api:
            ran = await examine(tmp_path, "--account", "default", "--yes", "--json", *arguments)
            job, canceled = (await api.get("/v1/tasks"))["items"]
        creates = [create["outcome"] for create in gateway.state()["creates"]]
    lines = launch_lines(ran)
    assert (ran.code, lines["task failure"]["state"], lines["creation"]["state"]) == (0, "skipped", "ok")
    assert (canceled["reason"], job["status"]) == ("canceled", "SUCCEEDED")
    assert creates == ["503", "503", "accepted"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--full", "--account", "default"), "to agree, add --yes"),
        (("--full", "--yes"), "--yes needs --full --account NAME"),
        (("--account", "default"), "--account needs --full"),
        (("--full", "--account", "default", "--yes", "--data", "{}"), "--data: needs the --route"),
        (
            ("--full", "--account", "default", "--yes", "--route", "fal.queue"),
            "tracker routes fal.queue shows the fields",
        ),
    ],
)
def test_wrong_usage_checks_nothing(arguments: tuple[str, ...], text: str) -> None:
    """Consent that is missing, and options that do not go together, end the command before the first check."""
    ran = CliRunner().invoke(cli, ["doctor", *arguments])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert text in ran.stderr


async def test_what_cannot_be_a_job_sends_nothing(tmp_path: Path) -> None:
    """An account that does not exist, and one of a declared provider, whose routes have no complete examples."""
    (tmp_path / "providers.d").mkdir()
    (tmp_path / "providers.d" / "luma.toml").write_bytes(list_shipped()["luma"].read_bytes())
    async with Sandbox() as gateway:
        setting = Setting(gateway=gateway.base_url, tables=account("luma", gateway.base_url))
        async with running_daemon(tmp_path, setting):
            unknown = await examine(tmp_path, "--account", "nope", "--yes", "--json")
            declared = await examine(tmp_path, "--account", "luma", "--yes", "--json")
        assert gateway.state()["creates"] == []
    assert launch_lines(unknown)["creation"]["fix"] == "configured accounts: default, luma"
    assert launch_lines(declared)["creation"]["fix"].startswith("name --route ROUTE and --data JSON")


async def test_a_fault_of_the_installation_sends_nothing(tmp_path: Path) -> None:
    """Without a daemon, with a key that the service rejects, or with a hook that cannot run, no job is paid."""
    async with Sandbox() as gateway:
        Setting(gateway=gateway.base_url, is_called_back=False).write(tmp_path)
        alone = launch_lines(await examine(tmp_path, "--account", "default", "--yes", "--json"))
        wrong = await examine(tmp_path, "--account", "default", "--yes", "--json", GATEWAY_KEY="sk-wrong-not-real")
        Setting(gateway=gateway.base_url, is_called_back=False, tables=HOOK.replace("true", "no-such")).write(tmp_path)
        hookless = await examine(tmp_path, "--account", "default", "--yes", "--json")
        assert gateway.state()["creates"] == []
    assert launch_lines(hookless)["creation"]["detail"] == "no job was sent: first fix hook note"
    assert alone["creation"]["fix"] == f"start one with: tracker serve --config {tmp_path}/tracker.toml"
    assert launch_lines(wrong)["creation"]["detail"] == "no job was sent: first fix service of default"


@pytest.mark.parametrize(("answer", "code", "sent"), [("n", 1, 0), ("y", 0, 2)])
async def test_it_asks_on_a_terminal(tmp_path: Path, answer: str, code: int, sent: int) -> None:
    """The question names account, route, model, price and hooks; no means that nothing is sent."""
    prices = '[prices]\n"suno.generate" = { per_call = 0.08 }\n'
    async with Sandbox(duration_s=0.3) as gateway:
        setting = Setting(gateway=gateway.base_url, tables=HOOK + ARCHIVE + prices)
        async with running_daemon(tmp_path, setting):
            terminal, tty = os.openpty()
            command = [
                "-m",
                "tracker",
                "doctor",
                "--full",
                "--account",
                "default",
                "--config",
                f"{tmp_path}/tracker.toml",
            ]
            env = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), **ENV}
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=tty, stdout=pipe, stderr=pipe, env=env
            )
            os.write(terminal, f"{answer}\n".encode())
            _, err = await process.communicate()
            os.close(tty)
            os.close(terminal)
        assert len(gateway.state()["creates"]) == sent
    asked = err.decode()
    assert process.returncode == code, asked
    assert "one job on account default: suno.generate with model V5, about 0.08 USD." in asked
    assert "as for any task (label doctor): note." in asked
    assert ("nothing was sent" in asked) is (answer == "n")


async def test_ctrl_c_says_what_goes_on(tmp_path: Path) -> None:
    """The job is paid already, so the daemon follows it on, and the command says so."""
    data = {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a kite [sandbox: stage=hold]"}
    async with Sandbox() as gateway, running_daemon(tmp_path, Setting(gateway=gateway.base_url)) as api:
        command = ["doctor", "--full", "--account", "default", "--yes", "--route", "suno.generate", "--data"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tracker", *command, orjson.dumps(data).decode()),
            *("--config", str(tmp_path / CONFIG)),
            env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), **ENV},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            await process.stderr.readline()  # it follows the job
            process.send_signal(signal.SIGINT)
            err = (await process.stderr.read()).decode()
            await process.wait()
        (job, _refused) = (await api.get("/v1/tasks"))["items"]
    assert process.returncode == 130
    assert f"task {job['id']} continues, and may be charged: tracker wait {job['id']}\n" in err
    assert job["status"] != "FAILED"
