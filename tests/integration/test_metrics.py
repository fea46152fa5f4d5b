"""``/metrics``: names, labels and types as listed, values as in the database, and no work that grows with the tasks."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kits.clock import RunningClock, after
from tests.kits.daemon import ApiClient, Setting, account, running_daemon
from tests.kits.hook_endpoint import SECRET
from tests.kits.http_server import serving
from tests.kits.metrics import METRICS, OF_PROCESS, PREFIX, Scrape
from tests.kits.processes import find_free_port
from tests.kits.sandbox import running
from tests.kits.waiting import until
from tests.kits.world import World
from tracker.domain.task import Reason, Status
from tracker.errors import StoreUnavailable
from tracker.metrics.scrape import READ_EVERY_S
from tracker.store.tallies import COUNTED_MOST, StoreGauges
from tracker.tracking.tallies import LOST_AFTER_S, TaskTallies

FILL_OUTBOX = """
    INSERT INTO outbox WITH RECURSIVE item (n) AS (VALUES (1000) UNION ALL SELECT n + 1 FROM item WHERE n < 1000 + ?)
    SELECT n FROM item
"""
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
SONG = {"customMode": False, "instrumental": False, "model": "V5"}
VIDEO = {"model_name": "kling-v3"}
PROMPTS = (
    "calm",
    "callback=duplicate",
    "callback=lost",
    "callback=reordered",
    "fail=policy",
    "create=quota",
    "create=rate_limited",
    "stage=strange",
    "poll=flaky",
    "create=cut",
)
TABLES = """
[archive]
allow_private_addresses = true
[[hooks]]
name = "works"
on = ["task.*"]
run = ["/bin/true"]
[[hooks]]
name = "breaks"
on = ["task.finished"]
run = ["/bin/false"]
max_attempts = 2
retry_first_s = 0.05
[prices]
"kling.text2video" = { per_call = 0.25 }
[callbacks]
placeholder_url = "https://callback.invalid/"
"""


async def scraped(api: ApiClient, accept: str = OPEN_METRICS) -> Scrape:
    """The metrics now."""
    async with api.session.get("/metrics", headers={"Accept": accept} if accept else {}) as response:
        assert response.status == 200
        is_open = response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert is_open is bool(accept)
        return Scrape(await response.text(), is_open_metrics=is_open)


def counts(path: Path, sql: str) -> dict[tuple[Any, ...], int]:
    """Rows of a database: all but the last column -> the last one."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return {tuple(map(str, row[:-1])): row[-1] for row in db.execute(sql)}


async def test_a_run_with_faults_agrees_with_the_database(tmp_path: Path) -> None:
    """Scraped under load, every name, type and label is listed. At the end, counters and gauges are counts of rows."""
    database, clock = tmp_path / "tracker.db", RunningClock()
    async with running() as gateway:
        unused = account("unused", "http://127.0.0.1:9")
        poll = {"tick_s": 0.05, "first_delay_s": 0.3, "min_interval_s": 0.3, "max_interval_s": 0.5, "submit_retry_s": 2}
        setting = Setting(gateway.sandbox.base_url, poll, tables=TABLES + unused)
        async with running_daemon(tmp_path, setting, clock=clock) as api:
            made: list[Any] = []

            async def submit(route: str, body: dict[str, Any], how: str) -> None:
                request = {**body, "prompt": f"a kite [sandbox: {how}]"}
                status, task = await api.call("POST", "/v1/tasks", {"route": route, "request": request})
                assert status in {201, 202}
                made.append(task)

            async def scrape_meanwhile() -> int:
                during = 0
                while len(made) < 4 * len(PROMPTS):
                    check_listed(await scraped(api))
                    during += 1
                return during

            work = [submit("suno.generate", SONG, how) for how in PROMPTS * 2]
            work += [submit("kling.text2video", VIDEO, how) for how in PROMPTS * 2]
            during, *_ = await asyncio.gather(scrape_meanwhile(), *work)
            assert during, "scraped under load"
            status, known = await api.call("POST", "/v1/tasks", {"route": "suno.generate", "external_id": "elsewhere"})
            assert status == 201
            await api.call("POST", f"/v1/tasks/{known['id']}/cancel")
            for task in made:
                ended = await api.end_of(task)
                assert ended["finished_at"] is not None, ended
            await api.call("POST", "/callbacks/suno/no-such-token", {})
            await api.call("POST", "/callbacks/nobody/no-such-token", {})
            await api.call("DELETE", "/v1/nothing")
            await until(lambda: is_quiet(database))
            async with api.session.get("/v1/stream"):
                assert (await scraped(api)).sum("stream_clients") == 1
            clock.advance(LOST_AFTER_S + 1)
            found = await scraped(api)
            check_listed(found)
            check_agreement(found, database)
            seen = {name for name, _, _ in found.samples()}
            assert METRICS.keys() - seen == {f"{PREFIX}task_oldest_unfinished_timestamp_seconds"}, "all have ended"


def is_quiet(database: Path) -> bool:
    """Whether no delivery and no output is open, and nothing waits in the outbox."""
    open_rows = counts(
        database,
        "SELECT 1, (SELECT count(*) FROM deliveries WHERE due_at IS NOT NULL)"
        " + (SELECT count(*) FROM archives WHERE due_at IS NOT NULL) + (SELECT count(*) FROM outbox)",
    )
    return open_rows == {("1",): 0}


def check_listed(found: Scrape) -> None:
    """Every sample has a listed name, its type and its labels."""
    for name, kind, sample in found.samples():
        if name in OF_PROCESS:
            continue
        listed = METRICS[name]
        assert (kind, sample.labels.keys() - {"le"}) == (listed.kind, set(listed.labels)), sample


def check_agreement(found: Scrape, database: Path) -> None:
    """What was counted since the start is what a database that began empty holds."""
    assert found.by("tasks_created_total", "route", "account", "origin") == counts(
        database, "SELECT route, account, origin, count(*) FROM tasks GROUP BY 1, 2, 3"
    )
    ends = "FROM tasks WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3, 4"
    assert found.by("tasks_ended_total", "route", "account", "status", "reason") == counts(
        database, f"SELECT route, account, status, coalesce(reason, ''), count(*) {ends}"
    )
    assert found.by("task_duration_seconds_count", "route", "status") == counts(
        database, "SELECT route, status, count(*) FROM tasks GROUP BY 1, 2"
    )
    lasted = counts(database, "SELECT route, status, sum(finished_at - created_at) FROM tasks GROUP BY 1, 2")
    summed = found.by("task_duration_seconds_sum", "route", "status")
    assert {key: round(seconds * 1000) for key, seconds in summed.items()} == lasted
    known = "FROM tasks WHERE upstream_finished_at IS NOT NULL GROUP BY 1, 2"
    assert found.by("task_time_to_know_seconds_count", "provider", "source") == counts(
        database, f"SELECT provider, ended_by, count(*) {known}"
    )
    given_up = "coalesce(reason, '') IN ('expired', 'submit_unknown', 'missing_output')"
    costs = f"FROM tasks WHERE cost_amount > 0 AND NOT {given_up} GROUP BY 1, 2, 3, 4"
    spent = found.by("cost_total", "route", "account", "currency", "kind")
    assert {key: round(amount * 1e9) for key, amount in spent.items()} == counts(
        database, f"SELECT route, account, cost_currency, cost_kind, sum(cost_amount) {costs}"
    )
    assert found.by("submits_total", "route", "outcome") == counts(
        database,
        "SELECT route, reading ->> 'submission', count(*) FROM events JOIN tasks ON tasks.id = task_id"
        " WHERE source = 'submit' GROUP BY 1, 2",
    )
    for source, column in (("callback", "callbacks"), ("poll", "polls")):
        assert found.by("observations_total", "provider", source=source) == counts(
            database, f"SELECT provider, sum({column}) FROM tasks WHERE {column} GROUP BY 1"
        )
    assert found.by("polls_total", "provider") == found.by("observations_total", "provider", source="poll")
    assert found.by("unknown_statuses_total", "provider") == counts(
        database, "SELECT provider, sum(unknown_statuses) FROM tasks WHERE unknown_statuses GROUP BY 1"
    )
    answered = found.by("callbacks_total", "provider", "http_status")
    assert (answered.pop(("suno", "404")), answered.pop(("other", "404"))) == (1, 1)
    assert sum(answered.values()) == found.sum("observations_total", source="callback")
    assert {(provider,) for provider, _ in answered} == set(found.by("callback_ack_duration_seconds_count", "provider"))
    assert found.by("callbacks_lost_total", "provider") == counts(
        database,
        "SELECT provider, count(*) FROM tasks JOIN events AS last ON last.task_id = tasks.id AND to_status = status"
        " AND from_status <> to_status WHERE ended_by = 'poll' AND expects_callback AND tasks.finished_at IS NOT NULL"
        " AND coalesce(reason, '') NOT IN ('not_found', 'expired', 'missing_output', 'submit_unknown') AND NOT EXISTS"
        " (SELECT 1 FROM events WHERE task_id = tasks.id AND source = 'callback' AND seq > last.seq) GROUP BY 1",
    )
    assert found.sum("callbacks_lost_total") >= 4
    assert found.sum("submit_duration_seconds_count") == found.sum("upstream_requests_total", method="POST")
    unanswered = found.sum("upstream_requests_total", code_class="none", method="POST")
    assert unanswered == found.sum("submits_total", outcome="ambiguous") == 4
    ended = counts(database, "SELECT hook, status, count(*) FROM deliveries GROUP BY 1, 2")
    assert found.by("hook_deliveries", "hook", "status") == ended
    retried = found.by("deliveries_total", "hook", outcome="retried")
    assert retried == {("breaks",): ended["breaks", "dead"]}, "two attempts each"
    tried = found.by("deliveries_total", "hook", "outcome")
    assert tried == ended | {(*hook, "retried"): count for hook, count in retried.items()}
    assert found.by("delivery_attempt_duration_seconds_count", "hook") == found.by("deliveries_total", "hook")
    assert found.by("delivery_delay_seconds_count", "hook") == counts(
        database, "SELECT hook, count(*) FROM deliveries GROUP BY 1"
    )
    stored = counts(database, "SELECT state, count(*) FROM archives GROUP BY 1")
    assert found.by("archive_outputs", "state") == stored
    assert found.sum("archive_attempts_total", outcome="stored") == stored[("stored",)]
    assert {("",): found.sum("archive_bytes_total")} == counts(database, "SELECT '', sum(bytes) FROM archives")
    assert found.by("tasks", "provider", "status") == counts(
        database, "SELECT provider, status, count(*) FROM tasks GROUP BY 1, 2"
    )
    assert found.sum("store_commits_total") == found.sum("store_commit_duration_seconds_count")
    assert found.sum("store_commits_total") == found.sum("store_batch_writes_count")
    assert found.sum("store_batch_writes_sum") >= found.sum("observations_total")
    assert found.sum("http_requests_total", route="/v1/tasks", method="POST", code="201") >= 20
    assert found.by("http_requests_total", "code", route="other", method="DELETE") == {("404",): 1}
    assert found.sum("store_size_bytes") > 0
    assert all(abs(skew) < 2 for skew in found.by("clock_skew_seconds", "host").values())


async def test_the_text_format_is_the_default(tmp_path: Path) -> None:
    """Without an Accept header, as a browser or curl sends it, the classic text format has the same metrics."""
    async with running_daemon(tmp_path, Setting()) as api:
        classic, new = await scraped(api, ""), await scraped(api)
        names = {sample.name for _, _, sample in classic.samples()}
        assert {f"{PREFIX}build_info", f"{PREFIX}store_commits_total", "process_open_fds"} <= names
        later = {name for name in (sample.name for _, _, sample in new.samples()) if "http_request" not in name}
        assert names == later, "the first scrape is counted when it is over"


async def test_a_token_is_required_where_one_is_configured(tmp_path: Path) -> None:
    """As for ``/v1``: 401 without it, the metrics with it."""
    setting = Setting(env={"TRACKER_SERVER__API_TOKEN_ENV": "API_TOKEN", "API_TOKEN": "t" * 32})
    async with running_daemon(tmp_path, setting) as api:
        async with api.session.get("/metrics") as response:
            assert response.status == 401
        async with api.session.get("/metrics", headers={"Authorization": f"Bearer {'t' * 32}"}) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_store_that_cannot_be_read_leaves_the_counters(tmp_path: Path) -> None:
    """The scrape goes without the gauges of the store, and says so in the log."""
    lines: list[Mapping[str, Any]] = []
    async with running_daemon(tmp_path, Setting(log='level = "warning"'), journal=lines.append) as api:

        async def fail() -> StoreGauges:
            raise StoreUnavailable("the disk is gone")

        api.tracker.store.measure = fail  # type: ignore[method-assign]
        names = {name for name, _, _ in (await scraped(api)).samples()}
        assert f"{PREFIX}store_commits_total" in names
        assert not {f"{PREFIX}tasks", f"{PREFIX}store_size_bytes"} & names
        assert [line["error"] for line in lines if line["event"] == "metrics.failed"] == ["the disk is gone"]


async def test_scrapes_share_a_read_of_the_store(tmp_path: Path) -> None:
    """Many scrapers cause one read a second."""
    async with running_daemon(tmp_path, Setting(), clock=(clock := RunningClock())) as api:
        measure, reads = api.tracker.store.measure, 0

        async def count() -> StoreGauges:
            nonlocal reads
            reads += 1
            return await measure()

        api.tracker.store.measure = count  # type: ignore[method-assign]
        await asyncio.gather(*(scraped(api) for _ in range(20)))
        assert reads == 1
        clock.advance(READ_EVERY_S)
        await scraped(api)
        assert reads == 2


async def test_callbacks_that_come_late_are_not_lost(tmp_path: Path) -> None:
    """A poll that is first loses nothing if the callback follows; only silence counts."""
    async with World(tmp_path / "t.db") as world:
        tallies = TaskTallies(world.store, world.clock)
        for n in range(3):
            await world.submit(n, expects_callback=True)
            await world.poll(n, Status.SUCCEEDED, at=1)
        await world.submit(3, expects_callback=False)
        await world.poll(3, Status.SUCCEEDED, at=1)
        await world.submit(4, expects_callback=True)
        await world.poll(4, Status.FAILED, reason=Reason.NOT_FOUND, at=1)
        await world.call(0, Status.SUCCEEDED, at=2)
        assert not tallies.lost_callbacks()
        world.clock.advance(LOST_AFTER_S + 1)
        assert tallies.lost_callbacks() == {"suno": 2}
        await world.call(1, Status.SUCCEEDED, at=world.elapsed_s)
        assert tallies.lost_callbacks() == {"suno": 2}, "a counter never falls"


async def test_the_gauges_of_the_store_are_bounded(tmp_path: Path) -> None:
    """What is due and what waits in the outbox is counted up to a limit; the oldest task of each provider is found."""
    async with World(tmp_path / "t.db") as world:
        await world.follow(1, provider="kling", route="kling.text2video", created_at=after(-50), due_at=after(-40))
        await world.follow(2, created_at=after(-30), due_at=after(-20))
        await world.follow(3, due_at=after(60))
        await world.poll(3, Status.RUNNING, at=0)
        found = await world.store.measure()
        assert found.due == {"kling": 1, "suno": 1}
        assert found.oldest_due == {"kling": after(-40), "suno": after(-20)}
        assert found.oldest_unfinished == {"kling": after(-50), "suno": after(-30)}
        assert found.tasks["suno"] == {"PENDING": 1, "RUNNING": 1, "SUCCEEDED": 0, "FAILED": 0}
        assert found.outbox == 1
        world.edit(FILL_OUTBOX, COUNTED_MOST + 5)
        assert (await world.store.measure()).outbox == COUNTED_MOST


async def test_troubles_show_and_pass(tmp_path: Path) -> None:
    """A refused key, a pause, an open circuit of an upstream and of a hook: 1 or a time while they last."""
    answers = {"refused": 401, "slow": 429, "down": 500}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"code": 1}, status=answers[name_of(request)], headers={"Retry-After": "600"})

    def name_of(request: web.Request) -> str:
        return next(name for name, url in urls.items() if url.endswith(request.headers["Host"]))

    urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name in answers:
            urls[name] = await stack.enter_async_context(serving(answer))
        accounts = "\n".join(account(name, url) for name, url in urls.items())
        hook = f'[[hooks]]\nname = "gone"\non = ["task.failed"]\nurl = "http://127.0.0.1:{find_free_port()}/"\n'
        hook += 'secret_env = "S"\nallow_private_addresses = true\nretry_first_s = 0.02\nretry_max_s = 0.02'
        setting = Setting(tables=f"{accounts}\n{hook}", env={"S": SECRET})
        api = await stack.enter_async_context(running_daemon(tmp_path, setting))
        followed: list[Any] = []
        for name, count in (("refused", 1), ("slow", 1), ("down", 8)):
            for n in range(count):
                body = {"route": "kling.text2video", "external_id": f"{name}-{n}", "account": name}
                followed.append((await api.call("POST", "/v1/tasks", body))[1])
        await api.call("POST", f"/v1/tasks/{followed[-1]['id']}/cancel")

        async def in_trouble() -> Scrape | None:
            found = await scraped(api)
            troubles = ("account_key_refused", "upstream_circuit_open", "hook_circuit_open")
            all_show = all(found.sum(name) for name in (*troubles, "account_paused_until_timestamp_seconds"))
            return found if all_show else None

        found: Scrape = await until(in_trouble)
        assert found.by("account_key_refused", "account") == {("refused",): 1}
        host = urls["down"].removeprefix("http://")
        assert found.by("upstream_circuit_open", "host", "family") == {(host, "kling"): 1}
        assert found.by("hook_circuit_open", "hook") == {("gone",): 1}
        alarms = {kind: count for (kind,), count in found.by("alarms", "kind").items() if count}
        assert alarms == {"key_rejected": 1, "upstream_circuit_open": 1, "hook_circuit_open": 1}
        subjects = {item["subject"] for item in (await api.get("/v1/alarms"))["items"]}
        assert subjects == {"refused", f"{host} kling", "gone"}
        (paused, until_s), *others = found.by("account_paused_until_timestamp_seconds", "account").items()
        assert (paused, others) == (("slow",), [])
        assert 0 < until_s - time.time() < 600
        assert {key[0] for key in found.by("upstream_requests_total", "code_class")} == {"4xx", "5xx"}
