"""The pages for whoever is on call: health, hooks and deliveries."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_pages import ADMIN, OWN_PAGE, READ, open_world, page_of, sign_in
from tests.kits.clock import after
from tests.kits.server import ServerWorld
from tests.kits.world import World
from tracker.domain.alarms import Alarm, AlarmKind
from tracker.domain.ends import EndsFilter
from tracker.domain.observation import Source
from tracker.domain.task import Output, Reason, Status, TaskId
from tracker.store.sqlite.lists import SearchLimits

Json = Any

SONG = (Output("audio", "https://cdn.example/a.mp3"),)


def text_of(html: str) -> str:
    """What a page says, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def part_of(html: str, marker: str) -> str:
    """What one article, list item or figure says."""
    found = re.search(rf'<(article|li|figure)[^>]* id="{marker}".*?</\1>', html, re.DOTALL)
    assert found is not None, marker
    return text_of(found[0])


async def make_ended(world: World, source: Source, *, awaits: bool = True, **fields: Json) -> TaskId:
    """A task that ends 30 seconds after its submit."""
    route = fields.pop("route", "suno.generate")
    assert isinstance(world, ServerWorld)
    new = world.new_task(route=route, external_id=fields.pop("external_id", None), expects_callback=awaits)
    task_id = (await world.store.create_task(new)).record.task.id
    world.clock.advance(30)
    status = fields.pop("status", Status.SUCCEEDED)
    outputs = SONG if status is Status.SUCCEEDED else ()
    await world.poll(task_id, status, source=source, at=world.elapsed_s, outputs=outputs, **fields)
    return task_id


async def test_callbacks_against_polls(tmp_path: Path) -> None:
    """Who brought the ends of each provider, what got lost, and one sentence that says what it means."""
    async with open_world(tmp_path, public_url=lambda: "https://tracker.example") as world:
        assert "Nothing has ended in the last 7 days" in text_of(await page_of(world, "/health"))
    async with open_world(tmp_path / "two", public_url=lambda: "https://tracker.example") as world:
        for _ in range(9):
            await make_ended(world, Source.CALLBACK)
        await make_ended(world, Source.POLL)
        await make_ended(world, Source.POLL, status=Status.FAILED, reason=Reason.NOT_FOUND)
        await make_ended(world, Source.POLL, awaits=False, route="dashscope.image")
        html = await page_of(world, "/health")
    suno = part_of(html, "provider-suno")
    assert "Works Callbacks bring nearly every end. 1 callback got lost, and a poll found the end." in suno
    assert "82 % first by callback" in suno
    assert "1 lost 3 duplicates 0 late" in suno
    assert 'class="band"' in html
    assert 'class="over"' in html
    assert "9 by callback, 1 by poll, 1 lost" in html
    dashscope = part_of(html, "provider-dashscope")
    assert "Polled only No callback URL was sent with these tasks. Polls find every end" in dashscope
    assert "1 ends" in dashscope


async def test_callbacks_that_stopped(tmp_path: Path) -> None:
    """The page says since when no callback comes; an alarm about it says it in its own words."""
    async with open_world(tmp_path) as world:
        await make_ended(world, Source.CALLBACK)
        world.clock.advance(2 * 3600)
        for _ in range(5):
            await make_ended(world, Source.POLL)
        since = (world.clock.now() - timedelta(seconds=150)).strftime("%A %H:00 UTC")
        line = part_of(await page_of(world, "/health"), "provider-suno")
        assert f"Silent No callback for tasks created since {since}; polls found 5 ends." in line
        assert "tracker doctor" in line
        world.alarms.append(Alarm(AlarmKind.CALLBACKS_SILENT, "suno", world.clock.now(), "They are silent.", "Look."))
        html = await page_of(world, "/health")
        assert "<h1>One thing needs you</h1>" in html
        assert "Silent They are silent. Look." in part_of(html, "provider-suno")
        assert "They are silent. Look. Unmatched callbacks" in part_of(html, "alarm-callbacks_silent-1")


async def test_time_to_finish_of_routes(tmp_path: Path) -> None:
    """A curve for each route of the day, its failures as a link to them, and a route that only fails."""
    async with open_world(tmp_path) as world:
        for _ in range(9):
            await make_ended(world, Source.POLL)
        await make_ended(world, Source.POLL, status=Status.FAILED, reason=Reason.POLICY_REJECTED)
        await make_ended(
            world, Source.POLL, status=Status.FAILED, reason=Reason.GENERATION_FAILED, route="dashscope.image"
        )
        html = await page_of(world, "/health")
        assert "Half within 0:30, nine of ten within 0:30. 1 of 10 failed ." in part_of(html, "route-suno.generate")
        assert "Nothing succeeded. 1 of 1 failed ." in part_of(html, "route-dashscope.image")
        assert '<polyline class="curve"' in html
        link = re.search(r'href="\./(\?route=suno.generate&amp;status=FAILED[^"]*)"', html)
        assert link is not None
        assert 'Failed <span class="n">1</span>' in await page_of(world, "/" + unescape(link[1]))


async def test_queues_and_circuits(tmp_path: Path) -> None:
    """Figures of the process and the store, each with what it means; circuits that are open say what to do."""
    async with open_world(tmp_path) as world:
        text = text_of(await page_of(world, "/health"))
        for expected in (
            "Nothing needs you No task waits, and no alarm is raised.",
            "Write queue 14 of 20,000",
            "A commit takes 3.0 ms.",
            "Disk 61 % of 200.0 GiB 61 % 78.0 GiB are free in /var/lib/tracker.",
            "Requests of account default 2 of 20 a second 10 % No request waits.",
            "Event loop 2 ms late at most No loop is stuck.",
            "a.example Closed Requests go out as usual.",
        ):
            assert expected in text
        now = world.clock.now()
        circuit = world.live_state.circuits[0]._replace(state="open", failures=7, since=now, retry_in_s=12.0)
        account = world.live_state.accounts[0]._replace(waiting=3)
        world.live_state = world.live_state._replace(
            circuits=[circuit], accounts=[account], loop_ages={"sweep": 90.0}, writes_waiting=15_000
        )
        text = text_of(await page_of(world, "/health"))
        assert "7 requests in a row failed. Polls and creates wait; one is tried in 0:12" in text
        assert "3 requests wait for their turn. Raise max_requests_per_s" in text
        assert "The loop sweep has completed no round for 90 s." in text
        assert "The disk is slow" in text


async def test_ends_are_cut_where_they_take_too_long(tmp_path: Path) -> None:
    """The newest tasks are counted, and the page says so."""
    async with open_world(tmp_path) as world:
        await make_ended(world, Source.CALLBACK)
        world.clock.advance(60)
        await make_ended(world, Source.CALLBACK)
        world.store.search_limits = SearchLimits(total_s=0, first_slice=1)
        ends = await world.store.read_ends(EndsFilter(after(-3600), after(-3600)))
        assert ends.cut_at is not None
        assert ends.providers["suno"].total().by_callback == 1
        assert "It took too long to add up" in await page_of(world, "/health")


# -- hooks and deliveries ------------------------------------------------------------------------------------------


def add_deliveries(world: ServerWorld, task_id: TaskId, **statuses: int) -> None:
    """Store deliveries that have ended."""
    n = 0
    for status, number in statuses.items():
        for _ in range(number):
            n += 1
            world.edit(
                "INSERT INTO deliveries (id, task_id, seq, hook, event, status, attempts, error, created_at,"
                " finished_at) VALUES (?, ?, ?, 'publish', 'task.succeeded', ?, 3, ?, ?, 1)",
                f"dlv_{n}",
                task_id,
                n,
                status,
                None if status == "succeeded" else "exit 1: no <database>",
                n,
            )


async def test_hooks_and_their_deliveries(tmp_path: Path) -> None:
    """Health and counts per hook, and a list by filter whose failures are retried together in two steps."""
    async with open_world(tmp_path) as world:
        assert "No delivery yet" in await page_of(world, "/deliveries")
        add_deliveries(world, await world.make_task(), succeeded=2, failed=1, dead=3)
        html = await page_of(world, "/hooks")
        assert "<h1>Four deliveries failed</h1>" in html
        assert "0 waiting 2 delivered 1 refused for good 3 given up" in part_of(html, "hook-publish")
        assert "hooks.d/task.failed/old.bak a leftover" in text_of(html)
        html = await page_of(world, "/deliveries?status=dead&hook=")
        assert len(re.findall(r'<tr id="dlv_', html)) == 3
        assert "exit 1: no &lt;database&gt;" in html
        assert "Retry 3 deliveries" in html
        assert dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html)) == {"status": "dead"}
        response = await world.client.post("/deliveries/retry", data={"status": "dead"}, headers=OWN_PAGE)
        text = text_of(await response.text())
        assert str(response.url.relative()) == "/deliveries?retried=3"
        assert "3 deliveries will be tried again." in text
        assert world.hooks.woken == 1
        assert (await world.store.count_deliveries())["publish"]["pending"] == 3
        response = await world.client.post("/deliveries/retry", data={}, headers=OWN_PAGE)
        assert response.status == 422
        assert "No delivery matches" in await page_of(world, "/deliveries?hook=other")
        await page_of(world, "/deliveries?status=late", 422)


async def test_pages_of_deliveries(tmp_path: Path) -> None:
    """The list continues where the page before ended."""
    async with open_world(tmp_path) as world:
        add_deliveries(world, await world.make_task(), succeeded=3)
        html = await page_of(world, "/deliveries?limit=2&hook=publish")
        link = re.search(r'rel="next" href="\./([^"]*)"', html)
        assert link is not None
        html = await page_of(world, "/" + unescape(link[1]))
        assert re.findall(r'<tr id="(dlv_\d)"', html) == ["dlv_1"]
        assert "Newest" in html


async def test_a_trial_run(tmp_path: Path) -> None:
    """It runs the hook twice, and shows what it printed and whether it is ready for repeated events."""
    async with open_world(tmp_path) as world:
        response = await world.client.post("/hooks/publish/trial", data={"event": ""}, headers=OWN_PAGE)
        text = text_of(await response.text())
        assert "It works: both runs with a synthetic task.succeeded succeeded with the same answer." in text
        assert text.count("published") == 2
        world.hooks.command = ["/bin/sh", "-c", "echo no database; exit 1"]
        response = await world.client.post("/hooks/publish/trial", data={"event": "task.failed"}, headers=OWN_PAGE)
        text = text_of(await response.text())
        assert "It does not work yet with a synthetic task.failed" in text
        assert "no database" in text
        for name, event, status in (("publsh", "", 404), ("publish", "task.done", 422)):
            response = await world.client.post(f"/hooks/{name}/trial", data={"event": event}, headers=OWN_PAGE)
            assert response.status == status
            assert "publish" in await response.text() or "task.failed" in await response.text()


@pytest.mark.parametrize("path", ["/deliveries/retry", "/hooks/publish/trial"])
async def test_a_token_that_reads_sees_no_action_and_can_do_none(tmp_path: Path, path: str) -> None:
    """Buttons are absent, and a request made by hand is refused."""
    async with open_world(tmp_path, ADMIN, READ) as world:
        add_deliveries(world, await world.make_task(), dead=1)
        await sign_in(world, READ.value)
        for page in ("/hooks", "/deliveries"):
            assert '<form method="post" action="./deliveries' not in await page_of(world, page)
            assert "Trial run" not in await page_of(world, page)
        response = await world.client.post(path, data={"status": "dead"}, headers=OWN_PAGE)
        assert response.status == 403
        assert "needs the scope admin" in await response.text()
        await sign_in(world, ADMIN.value)
        assert "Trial run" in await page_of(world, "/hooks")
