"""The page of a task: what it shows, how it stays up to date, and what can be done on it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.test_pages import BROWSER, OWN_PAGE, page_of, read_until, sign_in
from tests.kits.server import ServerWorld
from tracker.domain.scopes import ApiToken, Scope
from tracker.domain.task import Reason, Stage, Status, TaskId, UpstreamError
from tracker.pages.json_view import MAX_SHOWN, view_json
from tracker.pages.table import PAGES
from tracker.pages.waterfall import MAX_MARKS, draw

Json = Any

READ = ApiToken("viewer", Scope.READ, "token-that-reads-not-real")
SUBMIT = ApiToken("studio", Scope.SUBMIT, "token-that-submits-not-real")
ADMIN = ApiToken("ops", Scope.ADMIN, "token-of-operators-not-real")


async def make_failed(world: ServerWorld) -> TaskId:
    """A task that the service refused, with an odd prompt."""
    request = '{"prompt": "<script>alert(1)</script> \\u0645\\u0631\\u062d\\u0628\\u0627"}'
    new = world.new_task(external_id="up-1", request=request, labels={"user": "42"})
    task_id = (await world.store.create_task(new)).record.task.id
    error = UpstreamError("1301", "Failure to pass the <risk> control", 200)
    await world.poll(task_id, Status.FAILED, reason=Reason.POLICY_REJECTED, error=error)
    return task_id


async def test_a_failure_is_explained(tmp_path: Path) -> None:
    """The end user's sentence first, then our reason, then the service's own words, each to copy; texts are escaped."""
    async with ServerWorld(tmp_path, has_pages=True) as world:
        task_id = await make_failed(world)
        text = await page_of(world, f"/tasks/{task_id}")
        theirs = "Failure to pass the &lt;risk&gt; control"
        wanted = ["did not pass the content rules", 'data-copy="policy_rejected"', 'data-copy="1301"', f"“{theirs}”"]
        places = [text.index(part) for part in wanted]
        assert places == sorted(places)
        for copied in ("policy_rejected", "1301", "up-1", task_id):
            assert f'data-copy="{copied}"' in text
        assert "<script>alert" not in text
        assert re.search(r"<title>✕ · &lt;script", text)
        assert f'href="../tasks/{task_id}/resubmit"' in text
        assert "There is nothing here" in await page_of(world, "/tasks/01KB9ZZZZZZZZZZZZZZZZZZZZZ", 404)


async def test_a_token_that_reads_sees_no_actions_and_can_do_none(tmp_path: Path) -> None:
    """Actions are absent, and each is refused when it is made by hand; another scope is refused what it has not."""
    async with ServerWorld(tmp_path, tokens=[READ, SUBMIT, ADMIN], has_pages=True) as world:
        task_id = await make_failed(world)
        for token in (READ, SUBMIT, ADMIN):
            await sign_in(world, token.value)
            text = await page_of(world, f"/tasks/{task_id}")
            assert ("resubmit" in text) is (token is not READ)
            for page in PAGES:
                if page.scope is None or page.path == "/sign-out":
                    continue
                path = re.sub(r"\{\w+\}", "0", page.path)
                headers = OWN_PAGE | BROWSER | {"Sec-Fetch-Site": "same-origin"}
                async with world.client.request(page.method, path, headers=headers, allow_redirects=False) as response:
                    refused = response.status == 403
                    assert refused is not token.scope.includes(page.scope), (page, response.status)
            assert bool(world.poller.polled) is (token is not READ)


async def test_the_page_changes_with_its_task(tmp_path: Path) -> None:
    """Parts that changed are sent, media keep their element, and the title of the tab follows."""
    async with ServerWorld(tmp_path, has_pages=True) as world:
        task_id = await world.make_task()
        text = await page_of(world, f"/tasks/{task_id}")
        connect = re.search(r'hx-sse:connect="\.\./([^"]*)"', text)
        assert connect is not None
        async with world.client.get("/" + unescape(connect[1]), headers=OWN_PAGE) as response:
            await world.poll(task_id, Status.RUNNING, stage=Stage.FIRST, progress=62)
            text = await read_until(response, "62 %")
            assert "<title>▶ 62 %" in text
            await world.end_task(task_id)
            text = await read_until(response, "Succeeded")
            assert "<title>✓" in text
            assert 'hx-target="#hero" hx-swap="outerMorph"' in text


async def test_actions_do_what_the_api_does(tmp_path: Path) -> None:
    """A poll, a cancel in two steps, and the complete request as a file."""
    async with ServerWorld(tmp_path, has_pages=True) as world:
        task_id = await world.make_task()
        async with world.client.post(f"/tasks/{task_id}/poll", headers=OWN_PAGE, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, f"../../tasks/{task_id}")
        assert world.poller.polled == [task_id]
        assert "may be charged all the same" in await page_of(world, f"/tasks/{task_id}/cancel")
        assert (await world.get(task_id)).task.status is Status.PENDING
        async with world.client.post(f"/tasks/{task_id}/cancel", headers=OWN_PAGE, allow_redirects=False) as response:
            assert response.status == 303
        assert (await world.get(task_id)).task.reason is Reason.CANCELED
        async with world.client.get(f"/tasks/{task_id}/request.json") as response:
            assert await response.json() == {"prompt": "a summer breeze"}
            assert "attachment" in response.headers["Content-Disposition"]
        async with world.client.post(f"/tasks/{task_id}/resubmit", headers=OWN_PAGE) as response:
            assert response.status == 422
        assert not world.submitter.asked
        async with world.client.post(
            f"/tasks/{task_id}/resubmit", headers=OWN_PAGE, data={"confirm": "yes"}, allow_redirects=False
        ) as response:
            assert response.status == 303
        assert [wanted.retry_of for wanted in world.submitter.asked] == [task_id]


async def test_one_action_on_all_that_match(tmp_path: Path) -> None:
    """The number first, then, confirmed, the action on these tasks and no others; never without a filter."""
    async with ServerWorld(tmp_path, has_pages=True) as world:
        ids = []
        for n in range(3):
            new = world.new_task(external_id=f"up-{n}", labels={"user": str(n % 2)})
            ids.append((await world.store.create_task(new)).record.task.id)
        assert "Act on all that match" not in await page_of(world, "/")
        text = await page_of(world, "/?label.user=0")
        assert 'href="./all/cancel?label.user=0"' in text
        assert "Stop following: 2 tasks" in await page_of(world, "/all/cancel?label.user=0")
        assert (await world.get(ids[0])).task.status is Status.PENDING
        async with world.client.post("/all/cancel?label.user=0", headers=OWN_PAGE, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "../?label.user=0")
        reasons = [(await world.get(task_id)).task.reason for task_id in ids]
        assert reasons == [Reason.CANCELED, None, Reason.CANCELED]
        assert "Nothing to do" in await page_of(world, "/all/cancel?label.user=0")
        await page_of(world, "/all/cancel", 422)
        await page_of(world, "/all/resubmit?label.user=0", 404)


async def test_json_is_exact_and_bounded() -> None:
    """Integers of any size are exact; of a large value the head is shown, and its size is said."""
    view = await view_json({"id": 823094718820573184123456789, "text": "é"})
    assert view is not None
    assert "823094718820573184123456789" in view.text
    assert "é" in view.text
    large = await view_json(orjson.Fragment(orjson.dumps("x" * (MAX_SHOWN * 2))))
    assert large is not None
    assert (len(large.text), large.is_cut) == (MAX_SHOWN, True)
    assert large.size > 2 * MAX_SHOWN
    assert await view_json(None) is None


def make_event(source: str, seconds: float, outcome: str = "applied", **more: Json) -> Json:
    """An entry of a history."""
    at = f"2026-11-30T12:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"
    event = {"source": source, "at": at, "outcome": outcome, "detail": "d", "stage": None}
    return {**event, "from": "RUNNING", "to": "RUNNING", **more}


def make_task(**changes: Json) -> Json:
    """What a timeline needs of a task."""
    times = {"created_at": "12:00:10", "submitted_at": "12:00:11", "finished_at": "12:00:20"}
    task = {name: f"2026-11-30T{time}.000Z" for name, time in times.items()}
    return {**task, "status": "SUCCEEDED", "expected": None, "callbacks": 2, "polls": 70, **changes}


def test_nothing_on_the_timeline_is_negative() -> None:
    """Times before the creation, by a clock that was set back, are at its beginning; everything stays within."""
    events = [make_event("callback", 5), make_event("poll", 20, to="SUCCEEDED")]
    events.append(make_event("callback", 21, "duplicate"))
    attempt = {"started_at": "2026-11-30T12:00:01.000Z", "took_s": 0.5, "outcome": "retry"}
    deliveries = [{"hook": "h", "event": "e", "finished_at": None, "attempt_history": [attempt]}]
    drawn = draw(make_task(), events, deliveries, [], datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC))
    assert drawn.now is None
    for lane in drawn.lanes:
        for segment in lane.segments:
            assert 0 <= segment.x <= 100
            assert segment.width > 0
            assert segment.x + segment.width <= 101
        for mark in lane.marks:
            assert 0 <= mark.x <= 100
    callbacks, polls = drawn.lanes[1], drawn.lanes[2]
    assert [mark.look for mark in callbacks.marks] == ["solid", "hollow"]
    assert [mark.decided for mark in polls.marks] == [True]
    assert "1 of them not applied" in drawn.summary


def test_many_polls_are_drawn_as_how_dense_they_are() -> None:
    """Beyond a number of marks, bars stand for them; the one that decided the task stays."""
    events = [make_event("poll", 10 + n * 0.1) for n in range(MAX_MARKS)] + [make_event("poll", 20, to="SUCCEEDED")]
    polls = draw(make_task(), events, [], [], datetime(2026, 11, 30, 13, tzinfo=UTC)).lanes[2]
    assert len(polls.marks) == 1
    assert max(bar.width for bar in polls.bins) == 1


@pytest.mark.parametrize("seconds", [1, 10, 150, 32400, 86400 * 30])
def test_an_axis_of_any_length_has_few_ticks(seconds: int) -> None:
    """From a second to a month."""
    now = datetime(2026, 11, 30, 12, 0, 10, tzinfo=UTC) + timedelta(seconds=seconds)
    drawn = draw(make_task(status="RUNNING", finished_at=None), [], [], [], now)
    assert 2 <= len(drawn.ticks) <= 8
    assert drawn.now is not None
    assert 95 < drawn.now <= 100
