"""The service in a real systemd: installed, run, restarted, reloaded, wedged and uninstalled as in the README.

One machine is booted and one program installed for all of it, so this is one test with many named parts. It needs
root and namespaces; without them it is skipped, which proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.systemd.machine import Machine, find_obstacle
from tests.systemd.readme import read_blocks
from tests.systemd.service_client import Job, ServiceClient
from tests.systemd.wheels import pack_wheels
from tracker.sandbox import DEFAULT_KEY as KEY
from tracker.sandbox import Sandbox

REPOSITORY = Path(__file__).parents[2]
UNIT = "tracker.service"
CONFIG = "/etc/tracker/tracker.toml"
STATE = "/var/lib/tracker"

# Settings of this test alone.
DROP_IN = """[Service]
WatchdogSec=4
Environment=TRACKER_ACCOUNTS__DEFAULT__BASE_URL={gateway} TRACKER_ACCOUNTS__DEFAULT__MAX_REQUESTS_PER_S=5000
Environment=TRACKER_ARCHIVE__ENABLED=false TRACKER_POLL__FIRST_DELAY_S=600
"""
# What the README leaves to an editor.
EDITOR = """#!/bin/sh
sed -i 's|^# public_url = .*|public_url = "http://127.0.0.1:8780"|' "$1"
"""
# A signal that wedges the event loop, and leaves a file when it has: what the process accepted before dies with it.
# Python reads such a file at its start; the program does not depend on it.
WEDGED = f"{STATE}/wedged"
WEDGE = (
    "import signal; signal.signal(signal.SIGUSR2, "
    f"lambda *_: (open('{WEDGED}', 'x').close(), __import__('time').sleep(600)))\n"
)
# An ordinary hook, and one that tries to read secrets.
COUNTING_HOOK = f"""#!/bin/sh
echo "$TRACKER_DELIVERY_ID $TRACKER_TASK_ID" >> {STATE}/ends
"""
PRYING_HOOK = f"""#!/bin/sh
exec > {STATE}/pried 2>&1
env
cat /run/credentials/{UNIT}/ANYINT_API_KEY
tr '\\0' '\\n' < /proc/$PPID/environ
dd if=/proc/$PPID/mem bs=1 count=1
touch /etc/tracker/mine
touch /srv/media/mine && echo media is mine
echo the end
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A booted machine with wheels for an installation without a network."""
    obstacle = find_obstacle()
    if obstacle is not None:
        if os.environ.get("CI") and not obstacle.is_unfixable:
            pytest.fail(f"the systemd tests have to run here: {obstacle.message}")
        pytest.skip(f"NOT TESTED: no systemd can be booted here, so the service was not tested: {obstacle.message}")
    wheels, work = tmp_path / "wheels", tmp_path / "machine"
    wheels.mkdir()
    work.mkdir()
    pack_wheels([REPOSITORY / "requirements.txt", REPOSITORY / "requirements-build.txt"], wheels)
    with Machine(work, {wheels: "/wheels", REPOSITORY: "/checkout", Path(sys.base_prefix): "/opt/python"}) as machine:
        # a Python below a home directory, which services do not see, finds its own library and not the system's
        machine.write("/etc/ld.so.conf.d/00-python.conf", "/opt/python/lib\n")
        machine.run("ldconfig")
        yield machine


@pytest.mark.timeout(240)
def test_the_service(machine: Machine, subtests: pytest.Subtests) -> None:
    """From `make install` to `make uninstall`, nothing that was acknowledged is lost and no key gets out."""
    with machine.network():
        asyncio.run(_run_all_parts(machine, subtests))


async def _run_all_parts(machine: Machine, subtests: pytest.Subtests) -> None:
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        Sandbox(duration_s=3600) as gateway,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as client,
    ):
        service = ServiceClient(machine, gateway, client)
        first, *middle, last = read_blocks()
        machine.write("/usr/local/bin/editor", EDITOR, "0755")
        machine.write(f"/etc/systemd/system/{UNIT}.d/test.conf", DROP_IN.format(gateway=gateway.base_url))
        machine.write("/etc/tracker/hooks.d/task.finished/count", COUNTING_HOOK, "0755")
        machine.write("/etc/tracker/hooks.d/task.submitted/pry", PRYING_HOOK, "0755")
        machine.run("mkdir", "-p", "/srv/media")

        # the key replaces the placeholder of the README
        follow(machine, first, stdin=KEY)
        jobs = await service.submit(60, "first")
        with subtests.test("started: ready, with a status line, on systemd's socket"):
            await check_started(service)
        with subtests.test("the state directory is the daemon's alone"):
            check_modes(machine)
        with subtests.test("credentials reach the daemon and no other process"):
            await check_credentials(service)
        with subtests.test("the journal's fields"):
            await check_journal(service, jobs[0])
        with subtests.test("restarts under load refuse and lose no callback"):
            jobs += await check_restart(service)
        with subtests.test("reloads under load refuse and lose no callback"):
            jobs += await check_reload(service)
        with subtests.test("an invalid reload is refused with the reason"):
            await check_refused_reload(service)
        with subtests.test("a key that changed on disk needs a restart, and is named"):
            await check_rotated_key(service)
        with subtests.test("root's commands find the service's files, others get an error"):
            await check_root_commands(service)
        with subtests.test("the first key needs a restart, and the reload fails"):
            await check_first_key(service)
        with subtests.test("the watchdog ends a wedged daemon, and the next one has lost nothing"):
            jobs += await check_watchdog(service)
        with subtests.test("a drop-in gives a hook what it needs"):
            await check_loosened(service)
        with subtests.test("backups are named by date, and private"):
            older = await check_backups(service)
        mistake = await service.submit(1, "mistake")
        for n, block in enumerate(middle):
            with subtests.test("the README, verbatim", block=block.splitlines()[0], n=n):
                await asyncio.to_thread(follow, machine, block)
        with subtests.test("root's commands find an instance by its configuration"):
            check_instance(machine)
        with subtests.test("the restored backup has every task"):
            await check_restored(service, jobs, mistake, older)
        with subtests.test("uninstalled: the program is gone, the user's files stay"):
            follow(machine, last)
            check_uninstalled(machine)


def follow(machine: Machine, block: str, stdin: str = "") -> None:
    """Run a block of the README in the checkout."""
    environ = {"WHEELS": "/wheels"}
    name = f"python3.{sys.version_info.minor}"
    if machine.run(f"/usr/bin/{name}", "-c", "import ensurepip, venv", check=False).returncode:
        # the wheels are for the Python that the tests run with, and the system has another one
        environ["PYTHON"] = f"/opt/python/bin/{name}"
    machine.run("bash", "-euc", f"cd /checkout\n{block}", stdin=stdin, env=environ)


async def check_started(service: ServiceClient) -> None:
    """`systemctl start` returned when the daemon answered; the status line shows its state."""
    machine = service.machine
    assert machine.show(UNIT, "ActiveState") == "active"
    assert (await service.call("GET", "/readyz"))[0] == 200
    status = re.compile(r"0 running, 60 pending, \d+ due for a poll; \d+ hook deliveries open, \d+ under way")

    async def counts_are_live() -> bool:
        return status.fullmatch(machine.show(UNIT, "StatusText")) is not None

    await service.until(counts_are_live, "live counts in the status line")
    assert "tracker.socket" in machine.show(UNIT, "TriggeredBy")
    assert machine.show("tracker-backup.timer", "NextElapseUSecRealtime")


def check_modes(machine: Machine) -> None:
    """Only the daemon's user can read the data and the secret."""
    user = machine.show(UNIT, "UID")
    shown = machine.out(
        "stat", "-c", "%n %a %u", "/var/lib/private", f"{STATE}/.", f"{STATE}/tracker.db", f"{STATE}/callback.secret"
    )
    assert shown.splitlines() == [
        "/var/lib/private 700 0",
        f"{STATE}/. 700 {user}",
        f"{STATE}/tracker.db 600 {user}",
        f"{STATE}/callback.secret 600 {user}",
    ]
    assert user != "0"


async def check_credentials(service: ServiceClient) -> None:
    """The upstream accepted the key; no environment, hook, journal, database or other user has it."""
    machine = service.machine

    async def pried() -> str:
        text = machine.run("cat", f"{STATE}/pried", check=False).stdout
        return text if "the end" in text else ""

    seen = await service.until(pried, "the prying hook")
    assert KEY not in seen, seen
    assert "CREDENTIALS_DIRECTORY" not in seen
    assert re.search(r"ANYINT_API_KEY: Permission denied", seen), seen
    # the daemon's environment and memory are not visible
    assert re.search(r"/proc/\d+/environ: No such file", seen), seen
    assert re.search(r"/proc/\d+/mem': No such file", seen), seen
    assert "Read-only file system" in seen, seen  # a hook cannot write outside of the allowed directories
    assert "media is mine" not in seen
    pattern = f"[{KEY[0]}]{KEY[1:]}"  # which does not match the command that looks for it
    everywhere = f"grep -lsa -e '{pattern}' /proc/[0-9]*/environ /proc/[0-9]*/cmdline {STATE}/* || true"
    assert machine.out("bash", "-c", everywhere) == ""
    assert (
        machine.run("bash", "-c", f"journalctl --no-pager -o json | grep -e '{pattern}'", check=False).returncode == 1
    )
    stranger = ["systemd-run", "-q", "--pipe", "--wait", "-p", "DynamicUser=yes"]
    looked = machine.run(*stranger, "cat", f"/run/credentials/{UNIT}/ANYINT_API_KEY", check=False)
    assert (looked.returncode, looked.stdout) != (0, KEY)
    assert KEY not in looked.stdout
    assert machine.out("cat", f"/run/credentials/{UNIT}/ANYINT_API_KEY") == KEY  # the search would have found it


async def check_journal(service: ServiceClient, job: Job) -> None:
    """An event is found by its task, with its priority, without a time or colours in its text."""
    answers = await service.call_back([job], per_s=1)
    assert answers.counts == {"200 applied": 1}

    async def ended() -> object:
        return await service.entries(f"TRACKER_TASK_ID={job.task_id}", "TRACKER_EVENT=task.ended")

    (entry,) = await service.until(ended, "the entry of the end")
    assert entry["TRACKER_PROVIDER"] == "kling"
    assert (entry["PRIORITY"], entry["_SYSTEMD_UNIT"], entry["SYSLOG_IDENTIFIER"]) == ("6", UNIT, "tracker")
    assert entry["MESSAGE"].startswith("task.ended ")
    own = await service.entries("-u", UNIT, "_TRANSPORT=journal")
    text = "\n".join(str(entry["MESSAGE"]) for entry in own)
    assert "\x1b" not in text
    assert not re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d", text), "journald stores the time already"


async def check_restart(service: ServiceClient) -> list[Job]:
    """Two restarts while callbacks keep coming: each is answered 200 after it is on disk, and each is there."""
    jobs = await service.submit(300, "restart")
    enough = asyncio.Event()
    load = asyncio.create_task(service.go_on_calling_back(jobs, 100, enough))
    starts: list[tuple[float, float]] = []
    try:
        for _ in range(2):
            before = service.machine.show(UNIT, "MainPID")
            await service.run("systemctl", "restart", UNIT)
            assert service.machine.show(UNIT, "MainPID") != before
            started, ready = (
                int(service.machine.show(UNIT, f"{phase}TimestampMonotonic")) / 1e6
                for phase in ("ExecMainStart", "ActiveEnter")
            )
            starts.append((started, ready))
    finally:
        enough.set()
    answers = await load
    assert answers.counts.keys() <= {"200 applied", "200 duplicate"}, answers.counts
    assert answers.counts["200 applied"] == len(jobs)
    for started, ready in starts:
        waited = [None for began, ended in answers.times if began < ready and ended > started]
        assert waited, "no callback came while the daemon was down"
    assert await service.statuses(jobs) == {"SUCCEEDED": len(jobs)}
    await check_hooks_ran(service, jobs)
    return jobs


async def check_hooks_ran(service: ServiceClient, jobs: list[Job]) -> None:
    """The counting hook has run for each of these; a delivery that ran twice has one id."""
    wanted = {job.task_id for job in jobs}

    async def all_ran() -> bool:
        lines = service.machine.run("cat", f"{STATE}/ends", check=False).stdout.splitlines()
        deliveries = dict(line.split() for line in lines)
        return {task for task in deliveries.values() if task in wanted} == wanted

    await service.until(all_ran, "the hooks")


async def check_reload(service: ServiceClient) -> list[Job]:
    """Three reloads while callbacks keep coming: changeable keys change, others are named, nothing is lost."""
    machine = service.machine
    jobs = await service.submit(200, "reload")
    before = machine.show(UNIT, "MainPID")
    load = asyncio.create_task(service.call_back(jobs, per_s=100))
    edits = [
        r's|^level = "info"|level = "debug"|',
        r"s|^deadline_s = .*|deadline_s = 90000|",
        r"s|^max_callback_bytes = .*|max_callback_bytes = 2097152|",
    ]
    for number, edit in enumerate(edits, 1):
        machine.run("sed", "-i", edit, CONFIG)
        await service.run("systemctl", "reload", UNIT)

        async def reloaded(number: int = number) -> bool:
            return len(await service.entries("-u", UNIT, "TRACKER_EVENT=config.reloaded")) == number

        await service.until(reloaded, "the reload")
    answers = await load
    assert answers.counts == {"200 applied": len(jobs)}
    assert machine.show(UNIT, "MainPID") == before
    entries = await service.entries("-u", UNIT, "TRACKER_EVENT=config.reloaded")
    assert [entry["TRACKER_CHANGED"] for entry in entries] == ['["log.level"]', '["poll.deadline_s"]', "[]"]
    (stored,) = await service.entries("-u", UNIT, "TRACKER_EVENT=config.restart_needed")
    assert (stored["TRACKER_KEY"], stored["PRIORITY"]) == ("server.max_callback_bytes", "4")
    return jobs


async def check_refused_reload(service: ServiceClient) -> None:
    """A file with a mistake: `systemctl reload` fails, SIGHUP is refused in the log, and the old file holds."""
    machine = service.machine
    machine.run("cp", CONFIG, "/tmp/good.toml")
    machine.run("sed", "-i", "s|^deadline_s = .*|deadlin_s = 1|", CONFIG)
    code, _ = await service.run("systemctl", "reload", UNIT, check=False)
    assert code != 0
    assert machine.show(UNIT, "ActiveState") == "active"
    refusals = [e for e in await service.entries("-u", UNIT, "_TRANSPORT=stdout") if "deadlin_s" in e["MESSAGE"]]
    assert [entry["PRIORITY"] for entry in refusals] == ["3"]
    machine.run("kill", "-HUP", machine.show(UNIT, "MainPID"))

    async def refused() -> object:
        return await service.entries("-u", UNIT, "TRACKER_EVENT=config.reload_refused")

    (entry, *_) = await service.until(refused, "the refusal")
    assert entry["PRIORITY"] == "3"
    assert "did you mean deadline_s" in entry["MESSAGE"]
    assert machine.show(UNIT, "StatusText").startswith("Reload refused")
    assert (await service.call("GET", "/readyz"))[0] == 200
    machine.run("cp", "/tmp/good.toml", CONFIG)
    await service.run("systemctl", "reload", UNIT)


CREDSTORE = "/etc/credstore/tracker"
MORE_TOKENS = '\n[[server.tokens]]\nname = "grafana"\nscope = "read"\ntoken_env = "GRAFANA_TOKEN"\n'
STRANGER = ("systemd-run", "-q", "--pipe", "--wait", "-p", "DynamicUser=yes", "/usr/local/bin/tracker")


async def check_rotated_key(service: ServiceClient) -> None:
    """The reload itself is good; the journal names the account at warning level, and `doctor` fails."""
    machine = service.machine
    machine.write(f"{CREDSTORE}.ANYINT_API_KEY", "sk-another-key-not-real", "0600")
    await service.run("systemctl", "reload", UNIT)
    (entry,) = [e for e in await service.entries("-u", UNIT, "_TRANSPORT=stdout") if "on disk" in e["MESSAGE"]]
    named = "key of account default has changed on disk (credential ANYINT_API_KEY): needs a restart"
    assert (entry["MESSAGE"], entry["PRIORITY"]) == (named, "4")
    examined = (await asyncio.to_thread(machine.run, "tracker", "doctor", check=False)).stdout
    assert "failed   key of account default: changed on disk since the daemon started" in examined, examined
    assert "-> restart the daemon: systemctl restart tracker.service" in examined, examined
    machine.write(f"{CREDSTORE}.ANYINT_API_KEY", KEY, "0600")
    await service.run("systemctl", "reload", UNIT)


async def check_root_commands(service: ServiceClient) -> None:
    """`doctor` passes as root; with a token in the credential store root's commands work, other users' do not."""
    machine = service.machine

    async def examine() -> subprocess.CompletedProcess[str]:
        # on a thread: the gateway that it asks, by the address of the drop-in, is in this one
        return await asyncio.to_thread(machine.run, "tracker", "doctor", check=False)

    ran = await examine()
    assert (ran.returncode, KEY in ran.stdout) == (0, False), ran.stdout
    assert "serves this store at" in ran.stdout
    machine.write(f"{CREDSTORE}.TRACKER_API_TOKEN", "token-of-the-test", "0600")
    await service.run("systemctl", "restart", UNIT)
    assert (await service.call("GET", "/v1/tasks"))[0] == 401
    listed = machine.run("tracker", "list", "--limit", "1", "--json")
    assert (len(json.loads(listed.stdout)["items"]), listed.stderr) == (1, "")
    assert (await examine()).returncode == 0
    refused = machine.run(*STRANGER, "list", check=False)
    assert refused.returncode == 69
    assert "it is unknown whether it serves /var/lib/tracker/tracker.db" in refused.stderr
    refused = machine.run(*STRANGER, "list", "--url", "http://127.0.0.1:8780", check=False)
    assert refused.returncode == 78
    assert "requires an API token: set TRACKER_API_TOKEN, or run as root" in refused.stderr
    machine.run("rm", f"{CREDSTORE}.TRACKER_API_TOKEN")
    await service.run("systemctl", "stop", UNIT, "tracker.socket")
    stopped = await examine()
    assert "ok       key of default" in stopped.stdout, stopped.stdout
    assert "not running; its address 127.0.0.1:8780 is free" in stopped.stdout, stopped.stdout
    machine.run("cp", CONFIG, "/tmp/good.toml")
    machine.write(CONFIG, machine.out("cat", CONFIG) + MORE_TOKENS)
    machine.write(f"{CREDSTORE}.GRAFANA_TOKEN", "token-of-the-dashboard", "0600")
    advised = (await examine()).stdout
    assert "credential GRAFANA_TOKEN: /etc/credstore/tracker.GRAFANA_TOKEN is there, but" in advised, advised
    (line,) = set(re.findall(r"LoadCredential=\S+", " ".join(advised.split())))
    machine.write(f"/etc/systemd/system/{UNIT}.d/credentials.conf", f"[Service]\n{line}\n")
    assert "GRAFANA_TOKEN is there" not in (await examine()).stdout
    await service.run("sh", "-c", f"systemctl daemon-reload && systemctl restart {UNIT}")
    assert "ok       token grafana: " in (await examine()).stdout
    machine.run("cp", "/tmp/good.toml", CONFIG)
    machine.run("rm", f"/etc/systemd/system/{UNIT}.d/credentials.conf", f"{CREDSTORE}.GRAFANA_TOKEN")
    await service.run("sh", "-c", f"systemctl daemon-reload && systemctl stop {UNIT} tracker.socket")
    told = machine.run("tracker", "status", check=False).stdout
    assert "Start it with: systemctl start tracker.service" in told, told


async def check_first_key(service: ServiceClient) -> None:
    """Without a key the status line reports it; a key that is added later fails the reload and needs a restart."""
    machine = service.machine
    machine.run("mv", f"{CREDSTORE}.ANYINT_API_KEY", "/tmp/key")
    await service.run("systemctl", "start", UNIT)
    # without a token the daemon says where its store is, which replaces the unreadable file
    assert machine.run(*STRANGER, "list", "--limit", "1", check=False).returncode == 0
    assert machine.show(UNIT, "StatusText").endswith("Account default has no API key, so it sends nothing")
    machine.run("mv", "/tmp/key", f"{CREDSTORE}.ANYINT_API_KEY")
    code, _ = await service.run("systemctl", "reload", UNIT, check=False)
    assert code != 0
    assert machine.show(UNIT, "ActiveState") == "active"
    refused = (await service.entries("-u", UNIT, "TRACKER_EVENT=config.reload_refused"))[-1]
    assert "credential ANYINT_API_KEY was added after the start" in refused["MESSAGE"]
    assert "it needs a restart" in refused["MESSAGE"]
    assert "redacted" not in refused["MESSAGE"]
    await service.run("systemctl", "restart", UNIT)
    assert "no API key" not in machine.show(UNIT, "StatusText")


def check_instance(machine: Machine) -> None:
    """The instance's socket, store and keys are found by its configuration file."""
    listed = machine.run("tracker", "list", "--config", "/etc/tracker/studio/tracker.toml")
    assert (listed.stdout, listed.stderr) == ("", "no tasks\n")


async def check_watchdog(service: ServiceClient) -> list[Job]:
    """The loop is wedged; callbacks wait in systemd's queue; the new process answers them and knows all tasks."""
    machine = service.machine
    packages = machine.out("bash", "-c", "echo /usr/local/lib/tracker/current/lib/python3*/site-packages")
    machine.write(f"{packages}/wedge.pth", WEDGE)
    await service.run("systemctl", "restart", UNIT)
    jobs = await service.submit(40, "wedged")
    early, late = jobs[:20], jobs[20:]
    assert (await service.call_back(early, per_s=1000)).counts == {"200 applied": 20}
    restarts = int(machine.show(UNIT, "NRestarts"))
    machine.run("kill", "-USR2", machine.show(UNIT, "MainPID"))
    await service.run("bash", "-c", f"until test -e {WEDGED}; do sleep 0.01; done")
    answers = await service.call_back(late, per_s=100)
    assert answers.counts == {"200 applied": 20}, machine.log()
    assert answers.longest_s > 1, "the loop was not wedged"
    assert int(machine.show(UNIT, "NRestarts")) == restarts + 1
    assert await service.statuses(jobs) == {"SUCCEEDED": len(jobs)}
    await check_hooks_ran(service, jobs)
    log = "\n".join(str(entry["MESSAGE"]) for entry in await service.entries("-u", UNIT, "-n", "400"))
    assert "Watchdog timeout" in log
    assert "most recent call first" in log, "the log must show where the loop was stuck"
    return jobs


async def check_loosened(service: ServiceClient) -> None:
    """The documented drop-in lets the hook write where it could not before."""
    machine = service.machine
    example = (REPOSITORY / "systemd" / "examples" / "hooks.conf").read_text(encoding="utf-8")
    machine.run("groupadd", "-f", "media")
    machine.run("chgrp", "media", "/srv/media")
    machine.run("chmod", "2770", "/srv/media")
    machine.write(f"/etc/systemd/system/{UNIT}.d/hooks.conf", example)
    await service.run("systemctl", "daemon-reload")
    await service.run("systemctl", "restart", UNIT)
    await service.submit(1, "loosened")

    async def wrote() -> bool:
        return "media is mine" in machine.run("cat", f"{STATE}/pried", check=False).stdout

    await service.until(wrote, "the hook's file outside of the state directory")


async def check_backups(service: ServiceClient) -> list[str]:
    """The daily backup, made twice while the daemon works: two files that only its user reads."""
    machine = service.machine
    for _ in range(2):
        await service.run("systemctl", "start", "tracker-backup.service")
        await service.run("sleep", "1.1")  # their names differ by the second
    modes = machine.out("bash", "-c", f"stat -c '%a %U' {STATE}/backups/*").splitlines()
    assert len(modes) == 2
    assert {mode.split()[0] for mode in modes} == {"600"}
    return machine.out("bash", "-c", f"cd {STATE}/backups && sha256sum *").splitlines()


async def check_restored(service: ServiceClient, jobs: list[Job], mistake: list[Job], older: list[str]) -> None:
    """The service runs on the copy: the mistake is gone, everything before it and every backup is there."""
    machine = service.machine
    assert await service.statuses([jobs[0], *jobs[60:]]) == {"SUCCEEDED": len(jobs) - 59}
    assert await service.statuses(jobs[1:60]) == {"PENDING": 59}
    assert (await service.call("GET", f"/v1/tasks/{mistake[0].task_id}"))[0] == 404
    assert set(older) <= set(machine.out("bash", "-c", f"cd {STATE}/backups && sha256sum *").splitlines())
    user = machine.show(UNIT, "UID")
    assert machine.out("bash", "-c", f"stat -c '%a %u' {STATE}/tracker.db").strip() == f"600 {user}"
    (more,) = await service.submit(1, "restored")
    assert (await service.call_back([more], per_s=1)).counts == {"200 applied": 1}


def check_uninstalled(machine: Machine) -> None:
    """No program and no unit is left; configuration, keys and data are."""
    left = machine.out(
        "bash", "-c", "ls -d /usr/local/*/tracker* /usr/local/lib/systemd/system/tracker* 2>/dev/null || true"
    )
    assert left == ""
    assert (
        machine.run(
            "systemctl", "is-active", UNIT, "tracker.socket", "tracker@studio.service", check=False
        ).stdout.split()
        == ["inactive"] * 3
    )
    remaining = [CONFIG, "/etc/credstore/tracker.ANYINT_API_KEY", f"{STATE}/tracker.db", f"{STATE}/callback.secret"]
    machine.run("ls", *remaining, "/etc/tracker/hooks.d/task.finished/count", "/var/lib/tracker-studio/tracker.db")
    assert machine.out("bash", "-c", f"ls {STATE}/backups/*.db")
