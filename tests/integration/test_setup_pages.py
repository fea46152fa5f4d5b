"""The pages that only show: routes, models, accounts, unmatched callbacks, the configuration and the API reference."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from tests.integration.test_health_pages import add_deliveries, make_ended, text_of
from tests.integration.test_pages import BROWSER, open_world, page_of
from tests.kits.server import ServerWorld
from tracker.domain.ai_models import Model
from tracker.domain.live_state import AccountLoad
from tracker.domain.observation import Source
from tracker.domain.task import ExternalId
from tracker.pages.setup import Section, list_sections
from tracker.pages.table import NAVIGATION, PAGES
from tracker.server.operations import OPERATIONS
from tracker.server.responses import OPENAPI_PATH

Json = Any


async def fill(world: ServerWorld) -> None:
    """Something on every page."""
    task_id = await make_ended(world, Source.CALLBACK)
    add_deliveries(world, task_id, succeeded=1, dead=1)
    await world.store.request_polls("openai", [ExternalId("video_1")], '{"id": "<evt>"}')
    await world.store.record_rejected(provider="kling", http_status=401, why="wrong token", body='{"a": 1}')
    await world.store.replace_models("default", "openai", [Model("gpt-image-1", "openai", "GPT Image", "image")])


async def test_every_page_keeps_the_policy_and_has_one_heading(tmp_path: Path) -> None:
    """No page has what the content security policy forbids; ids are unique; each is whole with and without data."""
    paths = [page.path for page in PAGES if page.method == "GET" and page.scope is not None and page.is_html]
    named = {"{route}": "suno.generate", "{action}": "poll?label.user=0"}
    paths = [re.sub(r"{\w+}", lambda found: named[found[0]], path) for path in paths if "{id}" not in path]
    async with open_world(tmp_path) as world:
        for is_filled in (False, True):
            if is_filled:
                await fill(world)
            for path in paths:
                html = await page_of(world, path)
                assert not re.search(r"\sstyle=|<style|\son\w+=|<script>|javascript:", html), path
                assert len(re.findall(r"<h1\b", html)) == 1, path
                ids = re.findall(r'\sid="([^"]*)"', html)
                assert len(ids) == len(set(ids)), path
                for name in re.findall(r'(?:href|action)="(\.[^"#]*)', html):
                    target = "/" + re.sub(r"^(\.\./|\./)+", "", unescape(name)).partition("?")[0]
                    known = [re.sub(r"{\w+}", "[^/]+", page.path) for page in PAGES] + [OPENAPI_PATH]
                    assert any(re.fullmatch(pattern, target) for pattern in known), (path, name)


async def test_the_menu_leads_everywhere(tmp_path: Path) -> None:
    """Each entry opens a page that marks it."""
    async with open_world(tmp_path) as world:
        for _, path in (*NAVIGATION[0], *NAVIGATION[1]):
            html = await page_of(world, f"/{path}")
            assert f'href="./{path}" aria-current="page"' in html, path
            assert ('<summary aria-current="true">More' in html) is (path in {below for _, below in NAVIGATION[1]}), (
                path
            )


async def test_routes(tmp_path: Path) -> None:
    """Every route is listed, and has its fields and an example that a shell reads."""
    async with open_world(tmp_path) as world:
        html = await page_of(world, "/routes")
        listed = re.findall(r'href="\./routes/([^"]*)"', html)
        assert sorted(listed) == sorted(route.name for route in world.services.registry.routes())
        text = text_of(await page_of(world, "/routes/suno.generate"))
        assert "Makes a song. The service calls back" in text
        assert "tracker submit suno.generate -d '{" in text
        assert "customMode true or false, required" in text
        assert "Required with customMode true." in text
        assert "kling.image2video" in await page_of(world, "/routes/kling.image2vide", 404)
        for name in listed:
            await page_of(world, f"/routes/{name}")


async def test_models_and_accounts(tmp_path: Path) -> None:
    """Lists per account, how old they are, and accounts with what is wrong; never a key."""
    async with open_world(tmp_path) as world:
        assert "No list was fetched for this account" in await page_of(world, "/models")
        await fill(world)
        assert "gpt-image-1 GPT Image image openai" in text_of(await page_of(world, "/models"))
        world.clock.advance(3 * 86400)
        assert "which is old" in await page_of(world, "/models")
        assert "default Works https://a.example at most 20 a second at most 4" in text_of(
            await page_of(world, "/accounts")
        )
        load = AccountLoad("b", "https://b.example", 5, 0, 2, None, None, has_key=True, alarm="key_rejected")
        world.live_state = world.live_state._replace(accounts=[load, load._replace(name="c", has_key=False)])
        text = text_of(await page_of(world, "/accounts"))
        assert "b Key rejected https://b.example at most 5 a second, 2 wait any number" in text
        assert "c No key" in text
        world.live_state = world.live_state._replace(accounts=[])
        assert "[accounts.default]" in await page_of(world, "/accounts")


async def test_unmatched_callbacks(tmp_path: Path) -> None:
    """Those that wait and those that were rejected, with their bodies as text."""
    async with open_world(tmp_path) as world:
        text = text_of(await page_of(world, "/unmatched"))
        assert "No callback was rejected." in text
        assert "No callback waits." in text
        await fill(world)
        html = await page_of(world, "/unmatched")
        assert 'kling HTTP 401 wrong token Body {"a": 1}' in text_of(html)
        assert "openai video_1 Body" in text_of(html)
        assert "&lt;evt&gt;" in html


async def test_the_configuration(tmp_path: Path) -> None:
    """What is in force, table by table, and which secrets are set."""
    async with open_world(tmp_path) as world:
        text = text_of(await page_of(world, "/config"))
    assert "/etc/tracker.toml" in text
    assert "server.api_token Set" in text
    assert 'environment "test" [server] listen "127.0.0.1:8780"' in text


def test_sections_of_the_configuration() -> None:
    """As in the file: tables in tables, lists of tables, and keys that are not set."""
    values = {
        "environment": "production",
        "public_url": None,
        "poll": {"tick_s": 1.0, "suno": {"tick_s": 2.0}},
        "hooks": [{"name": "publish", "on": ["task.failed"]}, {"run": "two"}],
    }
    assert list(list_sections(values)) == [
        Section("", [("environment", '"production"'), ("public_url", "not set")]),
        Section("[poll]", [("tick_s", "1.0")]),
        Section("[poll.suno]", [("tick_s", "2.0")]),
        Section("[[hooks]] publish", [("name", '"publish"'), ("on", '["task.failed"]')]),
        Section("[[hooks]] 2", [("run", '"two"')]),
    ]


async def test_the_api_reference(tmp_path: Path) -> None:
    """Every operation and schema of ``/openapi.json`` is there, and every link inside leads somewhere."""
    async with open_world(tmp_path) as world:
        html = await page_of(world, "/docs")
        async with world.client.get("/openapi.json", headers=BROWSER) as response:
            document: Json = await response.json()
    ids = set(re.findall(r'\sid="([^"]*)"', html))
    assert {operation.name for operation in OPERATIONS} <= ids
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= ids
    assert set(re.findall(r'href="#([^"]*)"', html)) <= ids
    text = text_of(html)
    assert "GET /v1/tasks List tasks, newest first scope read" in text
    assert "cursor string next_cursor of the previous page." in text
    assert "Body: SubmitBody or RegisterBody" in text
