"""The pages in a real browser, with a real daemon and the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect

from tests.kits.browser import DESKTOP, PHONE, Window, check_accessibility, find_chromium, open_browser, read_axe
from tests.kits.daemon import NEVER_POLLS, POLLS_AT_ONCE, ApiClient, Setting, run_tracker, running_daemon
from tests.kits.sandbox import Client
from tests.kits.sandbox import running as running_sandbox
from tests.kits.waiting import until
from tracker.domain.observation import Observation, Reading, Source
from tracker.domain.task import Output, Stage, Status, TaskId

Json = Any

TOKEN, READ_TOKEN = "token-of-operators-not-real", "token-that-reads-not-real"
SONG = '{"prompt": "a summer breeze", "customMode": false, "instrumental": true, "model": "V5"}'
TABLES = """
[archive]
allow_private_addresses = true
[prices]
"kling.text2video" = { per_call = 0.5 }
[[server.tokens]]
name = "viewer"
scope = "read"
token_env = "READ_TOKEN"
"""
FULLY = {(DESKTOP, "light"), (PHONE, "dark")}
TOKENS = '\napi_token_env = "API_TOKEN"\n'


@dataclass(frozen=True, slots=True)
class Place:
    """A daemon, its sandbox and a browser."""

    api: ApiClient
    sandbox: Client
    window: Window
    directory: Path

    @property
    def url(self) -> str:
        """Of the daemon."""
        return self.api.tracker.url


@asynccontextmanager
async def open_place(
    directory: Path, *, poll: Json = POLLS_AT_ONCE, hooks: str = "", token: bool = False
) -> AsyncIterator[Place]:
    """Start everything; without a browser nothing is started."""
    find_chromium()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running_sandbox())
        env = {"API_TOKEN": TOKEN, "READ_TOKEN": READ_TOKEN}
        tables = TABLES + hooks if token else TABLES.partition("[[server.tokens]]")[0] + hooks
        form = TokenSetting if token else Setting
        setting = form(sandbox.sandbox.base_url, poll=poll, tables=tables, env=env)
        api = await stack.enter_async_context(running_daemon(directory, setting))
        api.session.headers["Authorization"] = f"Bearer {TOKEN}"
        window = await stack.enter_async_context(open_browser())
        yield Place(api, sandbox, window, directory)


class TokenSetting(Setting):
    """A daemon that wants a token."""

    def write(self, directory: Path) -> Path:
        """Write the configuration file."""
        path = Setting.write(self, directory)
        text = path.read_text()
        path.write_text(text.replace("\n[store]", f"{TOKENS}[store]", 1))
        return path


async def holds(page: Page, script: str) -> None:
    """Wait until a script says so. Playwright's own way needs an eval, which the pages forbid."""

    async def check() -> bool:
        return bool(await page.evaluate(script))

    await until(check)


async def test_from_a_submit_to_the_song(tmp_path: Path) -> None:
    """Sign in, see a task arrive and end without a reload, open it, and hear its song; the console stays empty."""
    async with open_place(tmp_path, token=True) as place, place.window.page(place.url) as page:
        await page.goto("/?status=")
        await page.get_by_label("API token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("is not known here")).to_be_visible()
        place.window.console.clear()  # Chromium writes that the answer was 401
        await page.get_by_label("API token").fill(TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="No task yet")).to_be_visible()
        await expect(page.locator("#live-state")).to_have_text("Live")
        await page.evaluate("window.sameDocument = true")
        env = {"TRACKER_API_TOKEN": TOKEN, "TRACKER_URL": place.url}
        ran = await run_tracker(
            "submit", "suno.generate", "-d", SONG, "--label", "user=42", directory=tmp_path, env=env
        )
        assert ran.code == 0, ran.err
        row = page.locator(".rows > li")
        await expect(row.get_by_text("Succeeded")).to_be_visible()
        await expect(row.get_by_text("user 42")).to_be_visible()
        assert await page.evaluate("window.sameDocument")
        await row.get_by_role("link", name="a summer breeze").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("a summer breeze")
        await expect(page.get_by_text("Your song is ready.")).to_be_visible()
        await page.evaluate("document.querySelector('audio').play()")
        await holds(page, "document.querySelector('audio').currentTime > 0.1")
        assert (await page.title()).startswith("✓")
        await page.get_by_role("button", name="Copy " + row_id(page)).first.click()
        await expect(page.get_by_text("copied")).to_be_visible()
        assert place.window.console == []


def row_id(page: Page) -> str:
    """The id in the address of a task's page."""
    return page.url.rpartition("/")[2]


async def test_a_song_plays_on_through_live_updates(tmp_path: Path) -> None:
    """The element that plays is the same after 50 changes of its task, and so is what was unfolded."""
    async with open_place(tmp_path, poll=NEVER_POLLS) as place:
        task = await place.api.submit(
            "suno.generate", {"prompt": "x", "customMode": False, "instrumental": True, "model": "V5"}
        )
        (url, *_) = [output["url"] for output in (await place.api.end_of(task))["outputs"]]
        _, other = await place.api.call(
            "POST", "/v1/tasks", {"route": "suno.generate", "external_id": "made-elsewhere"}
        )
        reconciler = place.api.tracker.reconciler

        async def change(**reading: Json) -> None:
            seen = Reading(status=Status.RUNNING, **reading)
            await reconciler.apply(Observation(TaskId(other["id"]), Source.CALLBACK, datetime.now(UTC), seen))

        await change(stage=Stage.FIRST, progress=1, outputs=(Output("audio", url),))

        async def is_archived() -> bool:
            return bool((await place.api.get(f"/v1/tasks/{other['id']}"))["outputs"][0]["archived"])

        await until(is_archived)
        async with place.window.page(place.url) as page:
            await page.goto(f"/tasks/{other['id']}")
            await expect(page.locator("#live-state")).to_have_text("Live")
            await page.evaluate("window.song = document.querySelector('audio'); song.loop = true; song.play()")
            await page.get_by_text("Details").click()
            await holds(page, "song.currentTime > 0")
            await page.evaluate("window.turns = 0; song.addEventListener('pause', () => { window.paused = true; })")
            for progress in range(2, 52):
                await change(progress=progress)
            await expect(page.locator("#hero")).to_contain_text("51 %")
            before = await page.evaluate("song.currentTime")
            await holds(page, f"Math.abs(song.currentTime - {before}) > 0.2")
            assert await page.evaluate("song === document.querySelector('audio') && !song.paused && !window.paused")
            assert await page.locator("#why details[open]").count() == 1
            assert (await page.title()).startswith("▶ 51 % · ")
            assert place.window.console == []


async def test_eight_tabs_stay_alive(tmp_path: Path) -> None:
    """Each tab loads; the last ones have a stream, the others say that they are paused, and go on when looked at."""
    async with open_place(tmp_path, poll=NEVER_POLLS) as place, place.window.page(place.url) as first:
        _, task = await place.api.call("POST", "/v1/tasks", {"route": "suno.generate", "external_id": "made-elsewhere"})
        pages = [first, *[await first.context.new_page() for _ in range(7)]]
        for page in pages:
            place.window.watch(page)
            await page.goto(f"/tasks/{task['id']}")
            await expect(page.locator("#live-state")).to_have_text("Live")
        await expect(first.locator("#live-state")).to_have_text("Paused")
        async with place.api.session.post(f"/v1/tasks/{task['id']}/cancel", json={}) as response:
            assert response.status == 200
        await expect(pages[-1].locator("#hero")).to_contain_text("canceled")
        await expect(first.locator("#hero")).not_to_contain_text("canceled")
        await first.bring_to_front()
        await first.mouse.move(10, 10)
        await expect(first.locator("#hero")).to_contain_text("canceled")
        assert place.window.console == []


async def test_a_delivery_is_run_again_and_a_request_is_paid_again(tmp_path: Path) -> None:
    """A failed delivery by its button; a failed task in two steps, with its cost: one more create at the sandbox."""
    script = tmp_path / "hook.sh"
    script.write_text("#!/bin/sh\necho no such account\nexit 100\n")
    script.chmod(0o755)
    hooks = f'[[hooks]]\nname = "publish"\non = ["task.failed"]\nrun = ["{script}"]\n'
    request = {"model_name": "kling-v3", "prompt": "a kite [sandbox: fail=policy]"}
    async with open_place(tmp_path, hooks=hooks) as place, place.window.page(place.url) as page:
        task = await place.api.submit("kling.text2video", request)
        await place.api.end_of(task)
        await page.goto("/?q=kite")
        await page.get_by_role("link", name="a kite").first.click()
        again = page.get_by_role("button", name="Run it again")
        await expect(again).to_be_visible()
        await page.locator("#deliveries summary").first.click()
        await expect(page.get_by_text("no such account", exact=True)).to_be_visible()
        script.write_text("#!/bin/sh\necho published\n")
        await again.click()
        await expect(page.locator("#deliveries")).to_contain_text("Delivered")

        creates = len(place.sandbox.creates())
        await page.get_by_role("link", name="Send again").first.click()
        await expect(page.get_by_text("$0.50")).to_be_visible()
        send = page.get_by_role("button", name="Send and pay")
        await send.click()  # the browser insists on the tick
        assert (await place.api.get("/v1/tasks"))["items"][0]["id"] == task["id"]
        await page.get_by_label("I want to pay for it").check()
        await send.click()
        await page.wait_for_url(lambda url: "/tasks/" in url and task["id"] not in url)
        items = (await place.api.get("/v1/tasks"))["items"]
        assert [item["retry_of"] for item in items] == [task["id"], None]
        assert len(place.sandbox.creates()) == creates + 1
        assert place.window.console == []


async def test_pages_are_accessible_and_read_without_javascript(tmp_path: Path) -> None:
    """Axe finds nothing on any page, light and dark, on a phone and a desktop; nothing scrolls sideways."""
    axe = read_axe()
    async with open_place(tmp_path, token=True) as place:
        song = await place.api.submit(
            "suno.generate",
            {"prompt": "a long " * 200, "customMode": False, "instrumental": True, "model": "V5"},
            labels={f"name-{n}": "x" * 30 for n in range(30)},
        )
        failed = await place.api.submit(
            "kling.text2video", {"model_name": "kling-v3", "prompt": "no [sandbox: fail=policy]"}
        )
        running = await place.api.submit(
            "suno.generate",
            {"prompt": "[sandbox: duration=600]", "customMode": False, "instrumental": True, "model": "V5"},
        )
        for task in (song, failed):
            await place.api.end_of(task)
        paths = [
            "/",
            "/?view=gallery",
            "/?label.user=0",
            f"/tasks/{song['id']}",
            f"/tasks/{failed['id']}",
            f"/tasks/{running['id']}",
        ]
        paths += [f"/tasks/{failed['id']}/resubmit", f"/tasks/{running['id']}/cancel", "/nothing"]
        paths += ["/health", "/hooks", "/deliveries", "/all/cancel?route=suno.generate"]
        paths += ["/models", "/routes", "/routes/suno.generate", "/accounts", "/unmatched", "/config", "/docs"]
        async with place.window.page(place.url, javascript=False) as page:
            await page.goto("/")
            await page.get_by_label("API token").fill(TOKEN)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator(".rows > li")).to_have_count(3)
            await expect(page.get_by_text("copy", exact=True)).to_have_count(0)
            await page.get_by_role("link", name="no [sandbox").click()
            await expect(page.get_by_role("heading", name="Why it failed")).to_be_visible()
            await page.get_by_text("Request 4 lines").click()
            await expect(page.get_by_text('"model_name": "kling-v3"')).to_be_visible()
        problems = []
        async with place.window.page(place.url) as page:
            await page.goto("/sign-in")
            problems += await look_at(page, axe, "/sign-in")
            await page.get_by_label("API token").fill(TOKEN)
            await page.get_by_role("button", name="Sign in").click()
            for path in paths:
                await page.goto(path)
                problems += await look_at(page, axe, path)
        assert problems == []


async def look_at(page: Page, axe: str, path: str) -> list[str]:
    """What is wrong with the page in both sizes and schemes."""
    problems = []
    for size in (DESKTOP, PHONE):
        await page.set_viewport_size({"width": size[0], "height": size[1]})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            where = f"{path} {size[0]} {scheme}"
            rules = () if (size, scheme) in FULLY else ("color-contrast",)  # nothing else depends on the scheme
            problems += [f"{where}: {one}" for one in await check_accessibility(page, axe, *rules)]
        if (width := await page.evaluate("document.documentElement.scrollWidth")) > size[0]:
            problems.append(f"{path} {size[0]}: scrolls sideways to {width}")
    return problems
