"""The web pages: who may see them, what protects them, and the list of tasks."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.kits.logs import captured_logs
from tests.kits.server import ServerWorld
from tests.kits.waiting import WITHIN_S
from tracker.domain.health import Health
from tracker.domain.scopes import ApiToken, Scope
from tracker.domain.task import Reason, Status
from tracker.pages.guard import cookies_of
from tracker.pages.live import TOO_FAR
from tracker.pages.table import PAGES

Json = Any

ADMIN = ApiToken("ops", Scope.ADMIN, "token-of-operators-not-real")
READ = ApiToken("viewer", Scope.READ, "token-that-reads-not-real")
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
BROWSER = {"Accept": "text/html,*/*", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


def open_world(tmp_path: Path, *tokens: ApiToken, **more: Json) -> ServerWorld:
    """The server with pages."""
    return ServerWorld(tmp_path, tokens=tokens, has_pages=True, **more)


async def page_of(world: ServerWorld, path: str, status: int = 200, **headers: str) -> str:
    """Open a page as a browser does; redirects are followed."""
    async with world.client.get(
        path, headers=BROWSER | {name.replace("_", "-"): headers[name] for name in headers}
    ) as response:
        text = await response.text()
        assert response.status == status, text
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        return text


async def sign_in(world: ServerWorld, token: str, origin: str = "http://127.0.0.1", **form: str) -> ClientResponse:
    """Send the form."""
    headers = OWN_PAGE if origin == "http://127.0.0.1" else {"Origin": origin, "Host": origin.partition("//")[2]}
    return await world.client.post("/sign-in", data={"token": token, **form}, headers=headers, allow_redirects=False)


async def test_a_machine_without_tokens_shows_everything(tmp_path: Path) -> None:
    """On loopback without a token no sign-in is needed; an empty list shows how to begin."""
    async with open_world(tmp_path) as world:
        text = await page_of(world, "/")
        assert "tracker submit" in text
        assert "Sign out" not in text
        async with world.client.get("/sign-in", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "./")


async def test_a_name_that_was_rebound_to_this_machine_is_refused(tmp_path: Path) -> None:
    """Without a token a page must be asked for by a local name: the browser says which name it used."""
    async with open_world(tmp_path) as world:
        for path in ("/", "/live", "/sign-in", "/tasks/x/outputs/0"):
            async with world.client.get(path, headers={"Host": "evil.example"}) as response:
                assert response.status == 403, path


async def test_sign_in_and_out(tmp_path: Path) -> None:
    """A token begins a session that opens pages, and only pages; the end of it closes them."""
    async with open_world(tmp_path, ADMIN, READ) as world:
        async with world.client.get("/?status=FAILED", headers=BROWSER, allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"] == "./sign-in?next=%3Fstatus%3DFAILED"
        assert 'value="?status=FAILED"' in await page_of(world, "/?status=FAILED")
        with captured_logs() as logs:
            refused = await sign_in(world, "wrong")
            assert refused.status == 401
            assert "is not known here" in await refused.text()
            assert not refused.cookies
            accepted = await sign_in(world, f" {READ.value} ", next="?status=FAILED")
        assert [line["event"] for line in logs] == ["page.sign_in_refused", "page.signed_in"]
        assert (accepted.status, accepted.headers["Location"]) == (303, "./?status=FAILED")
        ((name, cookie),) = accepted.cookies.items()
        assert name == cookies_of(world.services.store.instance)[1]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (
            True,
            "Strict",
            "/",
            "43200",
        )
        assert not cookie["secure"]
        assert READ.value not in cookie.value
        assert "Sign out" in await page_of(world, "/")
        async with world.client.get("/v1/tasks") as response:
            assert response.status == 401
        left = await world.client.post("/sign-out", headers=OWN_PAGE, allow_redirects=False)
        assert left.status == 303
        stolen = {"Cookie": f"{name}={cookie.value}"}
        async with world.client.get("/", headers=BROWSER | stolen, allow_redirects=False) as response:
            assert response.headers["Location"].startswith("./sign-in")


async def test_the_cookie_is_bound_to_the_host_over_https(tmp_path: Path) -> None:
    """A proxy with TLS is seen by the origin of the form."""
    async with open_world(tmp_path, ADMIN) as world:
        accepted = await sign_in(world, ADMIN.value, "https://tracker.example.com")
        ((name, cookie),) = accepted.cookies.items()
        assert name.startswith("__Host-")
        assert (cookie["secure"], cookie["domain"], cookie["path"]) == (True, "", "/")


async def test_a_session_ends_with_its_token_and_its_time(tmp_path: Path) -> None:
    """A token that is removed, or given another scope, holds at once; a session lasts 12 hours."""
    async with open_world(tmp_path, READ) as world:
        tokens = world.tokens
        await sign_in(world, READ.value)
        assert "Sign out" in await page_of(world, "/")
        tokens[:] = [ADMIN]
        assert "Sign in" in await page_of(world, "/")
        tokens[:] = [READ]
        assert "Sign out" in await page_of(world, "/")
        world.clock.advance(12 * 3600)
        assert "Sign in" in await page_of(world, "/")


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/tasks",
        "a\r\nX: y",
        "javascript:alert(1)//",
    ],
)
async def test_no_redirect_leads_to_another_site(tmp_path: Path, path: str) -> None:
    """Where a sign-in leads is a path below the top."""
    async with open_world(tmp_path, ADMIN) as world:
        response = await sign_in(world, ADMIN.value, next=path)
        location = response.headers["Location"]
        assert location.startswith("./")
        assert str(response.url.join(world.client.make_url(location))).startswith(str(world.client.make_url("/")))


async def test_a_proxy_with_single_sign_on_sends_the_token(tmp_path: Path) -> None:
    """A header in place of the session; there is nothing to sign out of."""
    async with open_world(tmp_path, READ) as world:
        assert "Sign out" not in await page_of(world, "/", Authorization=f"Bearer {READ.value}")
        assert "Sign in" in await page_of(world, "/", Authorization="Bearer wrong")


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, True),
        (OWN_PAGE, False),
        ({"Origin": "http://127.0.0.1:8780", "Host": "127.0.0.1:8780"}, False),
    ],
)
async def test_only_own_pages_may_change_something(tmp_path: Path, headers: dict[str, str], is_refused: bool) -> None:
    """Every write of every page is refused unless the browser says that one of our pages sends it."""
    writes = [re.sub(r"\{\w+\}", "0", page.path) for page in PAGES if page.method != "GET"]
    async with open_world(tmp_path, ADMIN) as world:
        for path in writes:
            await sign_in(world, ADMIN.value)
            async with world.client.post(
                path, headers=headers, data={"token": ADMIN.value}, allow_redirects=False
            ) as response:
                assert (response.status == 403) is is_refused, path


async def test_a_link_on_another_site_opens_a_page(tmp_path: Path) -> None:
    """It brings no cookie, so the page asks for itself once more; parts of pages are refused."""
    async with open_world(tmp_path, READ) as world:
        text = await page_of(world, "/", Sec_Fetch_Site="cross-site")
        assert '<meta http-equiv="refresh" content="0">' in text
        async with world.client.get(
            "/live", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        ) as response:
            assert response.status == 403


async def test_pages_allow_nothing_inline_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strict headers on each page, and no markup that they would forbid; static files are kept for ever."""
    async with open_world(tmp_path) as world:
        await world.make_task()
        for path in ("/", "/?view=gallery", "/?status=FAILED", "/no/such/page"):
            async with world.client.get(path, headers=BROWSER) as response:
                text = await response.text()
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
                assert response.headers["Referrer-Policy"] == "same-origin"
                assert response.headers["Cache-Control"] == "no-store"
            assert not re.search(r"\sstyle=|<style|\son\w+=|<script>|javascript:|https?://", text), path
            root = "../" * (path.count("/") - 1) or "./"
            for name in re.findall(r'(?:href|src)="([^"]*static/[^"]*)"', text):
                assert name.startswith(root)
                async with world.client.get("/" + name.removeprefix(root)) as response:
                    assert response.status == 200
                    assert "immutable" in response.headers["Cache-Control"]
        async with world.client.get("/static/tracker.css") as response:
            assert response.status == 404


async def test_what_does_not_exist_is_a_page_for_browsers_only(tmp_path: Path) -> None:
    """Programs get problem details, as before."""
    async with open_world(tmp_path) as world:
        assert "There is nothing here" in await page_of(world, "/nothing", 404)
        assert "status" in await page_of(world, "/?status=LATE", 422)
        async with world.client.get("/nothing") as response:
            assert response.headers["Content-Type"] == "application/problem+json"


async def test_the_banner_and_the_title_tell_that_the_daemon_is_not_well(tmp_path: Path) -> None:
    """The reasons of ``/readyz``, on every page."""
    async with open_world(tmp_path) as world:
        world.health[0] = Health(ready=False, reasons=["The disk is full."], alarms=1)
        text = await page_of(world, "/nothing", 404)
        assert "The disk is full." in text
        assert "<title>▲ not ready · " in text


async def test_the_list(tmp_path: Path) -> None:
    """Rows, counts that agree with the filter, pages by position, and an id that opens its task."""
    async with open_world(tmp_path) as world:
        ids = [
            (
                await world.store.create_task(world.new_task(external_id=f"up-{n}", labels={"user": str(n % 2)}))
            ).record.task.id
            for n in range(5)
        ]
        await world.poll(ids[0], Status.FAILED, reason=Reason.POLICY_REJECTED)
        text = await page_of(world, "/?limit=3")
        assert re.findall(r'<li id="t-(\w+)">', text) == ids[:1:-1]
        assert 'All <span class="n">5</span>' in text
        assert 'Failed <span class="n">1</span>' in text
        assert "of 5" in text
        older = re.search(r'rel="next" href="\./([^"]*)"', text)
        assert older is not None
        assert (
            re.findall(r'<li id="t-(\w+)">', await page_of(world, "/" + older[1].replace("&amp;", "&"))) == ids[1::-1]
        )
        text = await page_of(world, "/?label.user=1&status=PENDING")
        assert 'All <span class="n">2</span>' in text
        assert 'Pending <span class="n">2</span>' in text
        assert 'Failed <span class="n">0</span>' in text
        for typed, location in (
            (ids[2], f"./tasks/{ids[2]}"),
            ("up-3", f"./tasks/{ids[3]}"),
            ("reason:policy_rejected", "./?reason=policy_rejected"),
        ):
            async with world.client.get(f"/?q={typed}", headers=BROWSER, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, location)
        assert "No task matches" in await page_of(world, "/?label.user=7")


async def read_until(response: ClientResponse, wanted: str) -> str:
    """Read a stream until a text comes."""
    text = ""
    async with asyncio.timeout(WITHIN_S):
        while wanted not in text:
            line = await response.content.readline()
            assert line, text
            text += line.decode()
    return text


async def test_rows_change_and_new_ones_are_announced(tmp_path: Path) -> None:
    """The stream of a page replaces its rows, says how many new ones there are, and pushes none of them."""
    async with open_world(tmp_path) as world:
        known = await world.make_task()
        text = await page_of(world, "/")
        connect = re.search(r'hx-sse:connect="\./([^"]*)"', text)
        assert connect is not None
        async with world.client.get("/" + unescape(connect[1]), headers=OWN_PAGE) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            await world.end_task(known)
            text = await read_until(response, f"t-{known}")
            world.clock.advance(1)
            new = await world.make_task(external_id="other")
            text += await read_until(response, "1 new, show it")
        assert f'<hx-partial hx-target="#t-{known}" hx-swap="outerMorph">' in text
        assert "Succeeded" in text
        assert f"t-{new}" not in text


async def test_a_page_that_is_far_behind_loads_itself_again(tmp_path: Path) -> None:
    """It is told so at once, with the position from which it goes on."""
    async with open_world(tmp_path) as world:
        await world.make_task()
        world.edit("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events'", TOO_FAR + 1)
        await world.make_task(external_id="other")
        async with world.client.get("/live?after=1", headers=OWN_PAGE) as response:
            text = (await response.content.read()).decode()
        assert text == f"event: resync\ndata: 1\nid: {await world.store.last_seq()}\n\n"
