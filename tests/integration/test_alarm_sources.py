"""What alarms are raised for: each kind by its real cause on the parts of the daemon, and cleared when that is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.kits.clock import START, ManualClock, after
from tests.kits.factories import make_task
from tests.kits.hooks import make_hook
from tests.kits.providers import create
from tests.kits.world import World
from tracker.archive.archiver import RESERVE_BYTES, choose_all
from tracker.archive.tallies import ArchiveTallies
from tracker.daemon.alarm_checks import BACKUP_DAYS, DEAD_DAYS, READ_EVERY_S, WAITED_S, AlarmChecks
from tracker.daemon.alarm_sources import (
    LAG_S,
    LAGS,
    LOOP_LATE_S,
    RETENTION_LATE_S,
    SILENT_AFTER,
    AlarmSources,
    LookedAt,
)
from tracker.daemon.process_state import ProcessState
from tracker.domain.alarms import Alarm, AlarmKind
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Reading, Submission
from tracker.domain.prices import Budget
from tracker.domain.statuses import Status
from tracker.domain.task import Output, Reason, UpstreamError
from tracker.domain.upstream_http import WireReply
from tracker.hooks.health import OPENS_AFTER, HealthBook
from tracker.hooks.kinds.script import ScriptAction
from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.maintenance.alarms import RAISED_AFTER_S, RESTORED_S, Alarms
from tracker.maintenance.disk_space import DiskSpace
from tracker.store.sqlite.backup_files import backup_directory, name_backup, newest_backup_at
from tracker.store.values import AttemptResult
from tracker.tracking.account_alarms import AccountAlarms
from tracker.tracking.tallies import LOST_AFTER_S, TaskTallies
from tracker.upstream.breaker import POLICY, Breakers
from tracker.upstream.tallies import SKEW_EVERY_S, UpstreamTallies

HOOK = make_hook("publish", ("task.*",), ScriptAction.of(["/bin/true"]))
UNREACHED = retry("connection refused", unreachable=True)
GIB = 2**30


class Hooks:
    """Hooks with their health, and the progress of their loop."""

    def __init__(self, clock: ManualClock) -> None:
        self.book = HealthBook(clock)
        self.specs = (HOOK,)
        self.has_read_hooks = True
        self.last_progress = clock.monotonic()

    def health(self, hook: str) -> tuple[object, int]:
        """As the dispatcher has it."""
        return self.book.of(hook), 0


class Daemon(World):
    """The parts that alarms are about, on a real store. What has loops of its own stands still."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        clock = cast("ManualClock", self.clock)
        self.accounts: dict[str, object] = {"default": object()}
        self.base_urls = {"default": "https://a.example/v1"}
        self.keyless: list[str] = []
        self.budgets: dict[str, Budget] = {}
        self.unknown_models: dict[str, str] = {}
        self.jobs = {"pruning": 0.0}
        self.total_bytes = 100 * GIB
        self.free_bytes = self.archive_free_bytes = GIB
        self.outputs = path.parent / "outputs"
        self.breakers = Breakers(clock)
        self.refusals = AccountAlarms(clock, self.base_urls.__getitem__, bytes.decode)
        self.upstreams = UpstreamTallies(clock)
        self.tasks = TaskTallies(self.store, clock)
        self.hooks = Hooks(clock)
        self.poller = SimpleNamespace(is_stalled=False, last_tick=clock.monotonic())
        self.archive = SimpleNamespace(last_progress=clock.monotonic(), tallies=ArchiveTallies())
        self.process = ProcessState([], clock)
        self.alarms = Alarms(self.store, clock)
        live = SimpleNamespace(
            accounts=self.accounts,
            keyless_accounts=lambda: self.keyless,
            config=SimpleNamespace(public_url="https://tracker.example"),
            budget_of=self.budgets.get,
        )

        async def find_unknown() -> dict[str, str]:
            return self.unknown_models

        store_disk = DiskSpace(path.parent, lambda _: (self.total_bytes, self.free_bytes))
        sources = AlarmSources(
            self.alarms,
            LookedAt(
                clock=clock,
                live=cast("Any", live),
                accounts=self.refusals,
                breakers=self.breakers,
                client=cast("Any", SimpleNamespace(tallies=self.upstreams)),
                tasks=self.tasks,
                hooks=cast("Any", self.hooks),
                poller=cast("Any", self.poller),
                archive=cast("Any", self.archive),
                scheduler=cast("Any", SimpleNamespace(unsuccessful_s=self.jobs.__getitem__)),
                process=self.process,
                disk=store_disk,
            ),
        )
        self._checks = AlarmChecks(
            self.alarms,
            sources,
            store=self.store,
            clock=clock,
            live=cast("Any", live),
            models=cast("Any", SimpleNamespace(syncs=0, find_unknown=find_unknown)),
            archive=self.archive.tallies,
            store_disk=store_disk,
            archive_disk=DiskSpace(
                self.outputs, lambda _: (self.total_bytes, self.archive_free_bytes), reserve_bytes=RESERVE_BYTES
            ),
            backups=backup_directory(path),
            newest_backup=lambda: newest_backup_at(path),
        )

    async def raised(self, *, after_s: float = READ_EVERY_S) -> list[tuple[str, str]]:
        """Let time pass without any loop being late, and check; kind and subject of each alarm."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(after_s)
        self.hooks.last_progress = self.archive.last_progress = self.clock.monotonic()
        return await self.raised_now()

    async def raised_now(self) -> list[tuple[str, str]]:
        """Check; kind and subject of each alarm."""
        await self._checks.check()
        alarms = self.alarms.list_raised()
        for alarm in alarms:
            assert alarm.message.endswith("."), alarm
            assert alarm.fix
        return [(alarm.kind.value, alarm.subject) for alarm in alarms]

    def stall(self, part: Hooks | SimpleNamespace) -> None:
        """Have a loop complete no round for a while."""
        part.last_progress = self.clock.monotonic() - LOOP_LATE_S - 1

    def message(self) -> str:
        """That of the only alarm."""
        (alarm,) = self.alarms.list_raised()
        return alarm.message

    def announced(self) -> list[str]:
        """The events of alarms so far."""
        return [event for (event,) in self.edit("SELECT event FROM alarm_events ORDER BY seq")]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """The parts, after their start."""
    async with Daemon(tmp_path / "tracker.db") as parts:
        await parts.alarms.load()
        yield parts
        if parts.edit("SELECT count(*) FROM alarm_events") != [(0,)]:
            assert parts.announced() == ["system.alarm", "system.clear"], "one of each, however often it was looked"


async def test_nothing_is_wrong_at_first(daemon: Daemon) -> None:
    """No alarm."""
    assert await daemon.raised() == []


async def test_a_missing_account(daemon: Daemon) -> None:
    """Of tasks that have not ended; it clears when they have, or when the account is back."""
    await daemon.follow(1, account="gone")
    await daemon.follow(2, account="gone")
    assert await daemon.raised() == [("account_missing", "gone")]
    assert daemon.message() == "The configuration has no account gone, so the tracker does not follow its 2 open tasks."
    await daemon.poll(1, Status.SUCCEEDED, at=1)
    assert await daemon.raised() == [("account_missing", "gone")]
    assert "its open task." in daemon.message()
    daemon.accounts["gone"] = object()
    assert await daemon.raised() == []
    del daemon.accounts["gone"]
    await daemon.poll(2, Status.SUCCEEDED, at=1)
    assert await daemon.raised() == []


@pytest.mark.parametrize("is_reloaded", [False, True])
async def test_a_wrong_base_url(daemon: Daemon, *, is_reloaded: bool) -> None:
    """From the first create that finds no such path until one finds it, or until the address is another one."""
    task = (await daemon.get(await daemon.follow(1))).task
    refused = create("suno.generate", b"404 page not found", 404)
    daemon.refusals.apply_answer(task, refused, is_new=True)
    assert await daemon.raised() == [("address_wrong", "default")]
    assert daemon.message() == "The base URL of account default has no such path (HTTP 404) for suno."
    busy = replace(refused, submission=Submission.DEFERRED, detail=None)
    daemon.refusals.apply_answer(task, busy, is_new=True)
    assert await daemon.raised() == [("address_wrong", "default")]
    if is_reloaded:
        daemon.base_urls["default"] = "https://a.example"
    else:
        daemon.refusals.apply_answer(task, replace(busy, submission=Submission.ACCEPTED), is_new=True)
    assert await daemon.raised() == []


async def test_a_missing_key(daemon: Daemon) -> None:
    """Until there is one."""
    daemon.keyless.append("default")
    assert await daemon.raised() == [("key_missing", "default")]
    daemon.keyless.clear()
    assert await daemon.raised() == []


@pytest.mark.parametrize(
    ("reason", "kind"), [(Reason.AUTH_FAILED, "key_rejected"), (Reason.QUOTA_EXHAUSTED, "quota_exhausted")]
)
async def test_a_refused_account(daemon: Daemon, reason: Reason, kind: str) -> None:
    """From a refused create to the next one that is accepted."""
    refused = Reading(submission=Submission.REFUSED, reason=reason, error=UpstreamError(message="no way"))
    daemon.refusals.apply_answer(make_task(), refused, is_new=True)
    assert await daemon.raised() == [(kind, "default")]
    assert daemon.message().endswith(': "no way".')
    daemon.refusals.apply_answer(make_task(), Reading(submission=Submission.ACCEPTED), is_new=True)
    assert await daemon.raised() == []


async def test_a_failing_upstream(daemon: Daemon) -> None:
    """A provider behind a host, while its circuit is open or tested."""
    for _ in range(POLICY.opens_after):
        admission = daemon.breakers.admit("a.example", "kling")
        assert admission is not None
        daemon.breakers.server_failed(admission)
    assert await daemon.raised() == [("upstream_circuit_open", "a.example kling")]
    probe = daemon.breakers.admit("a.example", "kling")
    assert probe is not None
    daemon.breakers.succeeded(probe)
    assert await daemon.raised() == []


async def test_silent_callbacks(daemon: Daemon) -> None:
    """Polls find the ends of several tasks in a row, and no callback comes; the first one clears it."""
    for n in range(1, SILENT_AFTER + 2):
        await daemon.follow(n, expects_callback=True)
    for n in range(1, SILENT_AFTER + 1):
        await daemon.poll(n, Status.SUCCEEDED, at=1)
    assert await daemon.raised() == [], "they may still come"
    assert await daemon.raised(after_s=LOST_AFTER_S) == [("callbacks_silent", "suno")]
    assert "last 5 ends" in daemon.message()
    await daemon.call(SILENT_AFTER + 1, Status.SUCCEEDED, at=100)
    assert await daemon.raised() == []


async def test_a_skewed_clock(daemon: Daemon) -> None:
    """By the host's own date, for a minute; a smaller difference clears it."""

    async def look(date: str, after_s: float = SKEW_EVERY_S) -> list[tuple[str, str]]:
        daemon.clock.advance(after_s)
        reply = WireReply(200, {"date": date}, b"{}", received_at=after(0))
        daemon.upstreams.note("a.example", "GET", reply)
        return await daemon.raised(after_s=0)

    late = "Fri, 20 Nov 2026 20:41:00 GMT"
    assert await look(late) == []
    assert await look(late, RAISED_AFTER_S[AlarmKind.CLOCK_SKEWED]) == [("clock_skewed", "a.example")]
    assert "60 s ahead of that of a.example" in daemon.message()
    assert await look("Fri, 20 Nov 2026 20:41:36 GMT") == [("clock_skewed", "a.example")]
    assert await look("Fri, 20 Nov 2026 20:41:58 GMT") == []


async def test_a_hook_out_of_reach(daemon: Daemon) -> None:
    """While its circuit is open or half-open; a short wait that it asks for raises none."""
    daemon.hooks.book.note(HOOK, retry("slow down", unreachable=True, retry_after_s=5))
    assert await daemon.raised() == []
    for _ in range(OPENS_AFTER):
        daemon.hooks.book.note(HOOK, UNREACHED)
    assert await daemon.raised() == [("hook_circuit_open", "publish")]
    assert "connection refused" in daemon.message()
    daemon.hooks.book.note(HOOK, RunResult(RunOutcome.SUCCEEDED))
    assert await daemon.raised() == []


async def test_a_hook_that_is_gone(daemon: Daemon) -> None:
    """Until the next reload."""
    daemon.hooks.book.note(HOOK, RunResult(RunOutcome.GONE, "HTTP 410"))
    assert await daemon.raised() == [("hook_disabled", "publish")]
    daemon.hooks.book.forget()
    assert await daemon.raised() == []


@pytest.mark.parametrize(
    ("make_late", "subject"),
    [
        (lambda daemon: setattr(daemon.poller, "is_stalled", True), "sweep"),
        (lambda daemon: setattr(daemon.hooks, "last_progress", daemon.clock.monotonic() - LOOP_LATE_S - 1), "hooks"),
        (
            lambda daemon: setattr(daemon.archive, "last_progress", daemon.clock.monotonic() - LOOP_LATE_S - 1),
            "archive",
        ),
        (lambda daemon: daemon.jobs.update(pruning=RETENTION_LATE_S + 1), "retention"),
        (lambda daemon: daemon.process.last_lags.extend([LAG_S + 1] * LAGS), "event_loop"),
    ],
)
async def test_a_late_loop(daemon: Daemon, make_late: Callable[[Daemon], None], subject: str) -> None:
    """Each of them, until it completes a round."""
    make_late(daemon)
    assert await daemon.raised_now() == [("loop_late", subject)]
    daemon.poller.is_stalled = False
    daemon.jobs["pruning"] = 0.0
    daemon.process.last_lags.clear()
    assert await daemon.raised() == []


async def test_a_low_disk(daemon: Daemon) -> None:
    """That of the store; it is named once if the archive is on it, too."""
    daemon.outputs.mkdir()
    daemon.free_bytes = daemon.archive_free_bytes = 1000
    assert await daemon.raised() == [("disk_low", str(daemon.path.parent))]
    daemon.free_bytes = daemon.archive_free_bytes = GIB
    assert await daemon.raised() == []


async def test_a_small_disk_on_which_the_archive_waits(daemon: Daemon) -> None:
    """The archive needs its reserve on a disk of any size; the store on the same disk does not."""
    daemon.outputs.mkdir()
    daemon.total_bytes, daemon.free_bytes = GIB, 60 * 2**20
    daemon.archive_free_bytes = daemon.free_bytes
    assert await daemon.raised() == [("disk_low", str(daemon.outputs))]
    daemon.free_bytes = daemon.archive_free_bytes = 81 * 2**20
    assert await daemon.raised() == []


async def test_a_low_disk_of_the_archive(daemon: Daemon) -> None:
    """By itself, if it is another one: here its directory has no device."""
    daemon.archive_free_bytes = 1000
    assert await daemon.raised() == [("disk_low", str(daemon.outputs))]
    daemon.archive_free_bytes = GIB
    assert await daemon.raised() == []


async def test_a_configured_model_that_is_gone(daemon: Daemon) -> None:
    """By its key."""
    daemon.unknown_models["models.video"] = "wan-9"
    assert await daemon.raised() == [("model_gone", "models.video")]
    daemon.unknown_models.clear()
    assert await daemon.raised() == []


async def test_an_exhausted_budget(daemon: Daemon) -> None:
    """Until the next day, or until the limit is raised."""
    daemon.budgets["default"] = Budget(Decimal(0), "USD")
    assert await daemon.raised() == [("budget_exhausted", "default")]
    daemon.budgets["default"] = Budget(Decimal(1), "USD")
    assert await daemon.raised() == []


async def test_dead_deliveries(daemon: Daemon) -> None:
    """Of tasks, until they are retried; those of alarms count for none."""
    await daemon.follow()
    await daemon.poll(1, Status.SUCCEEDED)
    await daemon.store.fan_out(lambda _: ["publish"], 10)
    (job,) = await daemon.store.claim_deliveries("publish", 10, 60)
    await daemon.store.record_attempt(job.id, AttemptResult(DeliveryStatus.DEAD, error="no"), job.attempt)
    assert await daemon.raised() == [("dead_deliveries", "publish")]
    assert "1 delivery that" in daemon.message()
    await daemon.store.fan_out(lambda _: ["ring"], 10)
    (of_alarm,) = await daemon.store.claim_deliveries("ring", 10, 60)
    await daemon.store.record_attempt(of_alarm.id, AttemptResult(DeliveryStatus.DEAD, error="no"), of_alarm.attempt)
    assert await daemon.raised() == [("dead_deliveries", "publish")], "nothing about the hook ring"
    await daemon.store.retry_delivery(job.id)
    assert await daemon.raised() == []


async def test_dead_deliveries_of_long_ago(daemon: Daemon) -> None:
    """They stop counting after a week."""
    await daemon.follow()
    await daemon.poll(1, Status.SUCCEEDED)
    await daemon.store.fan_out(lambda _: ["publish"], 10)
    (job,) = await daemon.store.claim_deliveries("publish", 10, 60)
    await daemon.store.record_attempt(job.id, AttemptResult(DeliveryStatus.DEAD, error="no"), job.attempt)
    assert await daemon.raised() == [("dead_deliveries", "publish")]
    assert await daemon.raised(after_s=DEAD_DAYS * 86400) == []


async def archive_waiting(daemon: Daemon, expires_in_s: float) -> None:
    """A task with a file that waits to be archived, and whose URL expires."""
    daemon.store.choose_archives(choose_all)
    await daemon.follow()
    expires = int((START + timedelta(seconds=expires_in_s)).timestamp())
    await daemon.poll(1, Status.SUCCEEDED, outputs=(Output("audio", f"https://cdn.example/a.mp3?Expires={expires}"),))


async def test_an_archive_behind_expiry(daemon: Daemon) -> None:
    """At its rate the URL of a waiting file expires first; a file that was found just now does not count."""
    await archive_waiting(daemon, expires_in_s=1800)
    assert await daemon.raised() == []
    assert await daemon.raised(after_s=WAITED_S) == [("archive_behind", "archive")]
    daemon.archive.tallies.attempts["stored"] += 60
    assert await daemon.raised() == [], "it stores files now, and this one is the next"


async def test_an_archive_that_gave_up(daemon: Daemon) -> None:
    """For a day, or until the files are fetched again."""
    await archive_waiting(daemon, expires_in_s=86400)
    daemon.edit("UPDATE archives SET state = 'dead', due_at = NULL, finished_at = created_at")
    assert await daemon.raised() == [("archive_gave_up", "archive")]
    assert await daemon.raised(after_s=86400) == []


async def test_old_backups(daemon: Daemon) -> None:
    """Where there are any: where no copy was ever made, no timer is expected."""
    directory = backup_directory(daemon.path)
    directory.mkdir()
    assert await daemon.raised() == []
    (directory / name_backup(START - timedelta(days=BACKUP_DAYS, hours=1))).touch()
    assert await daemon.raised() == [("backup_old", str(directory))]
    (directory / name_backup(START)).touch()
    assert await daemon.raised() == []


@pytest.mark.parametrize(
    ("kind", "subject", "is_known"),
    [
        (AlarmKind.KEY_REJECTED, "default", False),
        (AlarmKind.QUOTA_EXHAUSTED, "default", False),
        (AlarmKind.KEY_REJECTED, "removed", True),
        (AlarmKind.UPSTREAM_CIRCUIT_OPEN, "a.example kling", False),
        (AlarmKind.CALLBACKS_SILENT, "suno", False),
        (AlarmKind.CLOCK_SKEWED, "a.example", False),
        (AlarmKind.HOOK_CIRCUIT_OPEN, "publish", False),
        (AlarmKind.HOOK_CIRCUIT_OPEN, "removed", True),
        (AlarmKind.DISK_LOW, "/srv", True),
        (AlarmKind.MODEL_GONE, "models.video", True),
    ],
)
async def test_what_a_start_knows(tmp_path: Path, kind: AlarmKind, subject: str, is_known: bool) -> None:
    """An alarm whose reason only requests can show stays for a while; any other is cleared at once."""
    async with Daemon(tmp_path / "tracker.db") as daemon:
        await daemon.store.record_alarms([Alarm(kind, subject, START, "Wrong.", "Fix it.")], [])
        await daemon.alarms.load()
        assert await daemon.raised(after_s=1) == ([] if is_known else [(kind.value, subject)])
        assert await daemon.raised(after_s=RESTORED_S) == []


async def test_a_dropped_in_hook_is_not_removed_before_its_directory_was_read(tmp_path: Path) -> None:
    """The first check of a start may come first."""
    async with Daemon(tmp_path / "tracker.db") as daemon:
        dropped = Alarm(AlarmKind.HOOK_CIRCUIT_OPEN, "dropped-in", START, "Wrong.", "Fix it.")
        await daemon.store.record_alarms([dropped], [])
        await daemon.alarms.load()
        daemon.hooks.has_read_hooks = False
        assert await daemon.raised(after_s=1) == [("hook_circuit_open", "dropped-in")]
        daemon.hooks.has_read_hooks = True
        assert await daemon.raised(after_s=1) == []


async def test_signs_that_all_is_well_clear_alarms_from_before_the_start(tmp_path: Path) -> None:
    """An answer of the host, a callback, a run of the hook."""
    before = [
        (AlarmKind.UPSTREAM_CIRCUIT_OPEN, "a.example kling"),
        (AlarmKind.CALLBACKS_SILENT, "suno"),
        (AlarmKind.HOOK_CIRCUIT_OPEN, "publish"),
    ]
    async with Daemon(tmp_path / "tracker.db") as daemon:
        alarms = [Alarm(kind, subject, START, "Wrong.", "Fix it.") for kind, subject in before]
        await daemon.store.record_alarms(alarms, [])
        await daemon.alarms.load()
        assert len(await daemon.raised(after_s=1)) == 3
        admission = daemon.breakers.admit("a.example", "kling")
        assert admission is not None
        daemon.breakers.succeeded(admission)
        await daemon.follow()
        await daemon.call(1, Status.SUCCEEDED)
        daemon.hooks.book.note(HOOK, RunResult(RunOutcome.SUCCEEDED))
        assert await daemon.raised(after_s=1) == []
