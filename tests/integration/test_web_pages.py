"""Web pages of other sites cannot use the API; programs can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.kits.server import ServerWorld, problem_of

JSON: Final = {"Content-Type": "application/json"}
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
HERE: Final = "127.0.0.1:8780"
"""The Host that each request names."""
OWN: Final = f"http://{HERE}"
SUBMIT: Final = b'{"route": "suno.generate", "request": {"prompt": "a summer breeze"}}'
PUBLIC_URL: Final = "https://tracker.example.com/base"
TOKEN: Final = "t0ken"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The surface without an API token."""
    async with ServerWorld(tmp_path, public_url=lambda: PUBLIC_URL) as world:
        yield world


async def check(
    world: ServerWorld,
    status: int,
    headers: dict[str, str],
    *,
    method: str = "POST",
    path: str = "/v1/tasks",
    body: bytes = SUBMIT,
) -> None:
    """Send a request with these headers and no others; a refused one reaches no handler."""
    skipped = {"Content-Type", "User-Agent", "Accept", "Accept-Encoding"}
    async with (
        ClientSession(skip_auto_headers=skipped) as session,
        session.request(
            method, str(world.client.make_url(path)), data=body or None, headers={"Host": HERE, **headers}
        ) as response,
    ):
        if status in {403, 415}:
            problem = await problem_of(response, status)
            assert ("curl --json" in problem["detail"]) is (status == 415)
            assert not world.submitter.asked
        else:
            assert response.status == status, await response.text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "file://"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://localhost:8780"},
        {"Origin": f"{OWN}.evil.example"},
        {"Origin": f"{OWN}@evil.example"},
        {"Origin": "http://[::1"},
        {"Origin": PUBLIC_URL.removesuffix("/base")},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": OWN, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "something-new"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_page_of_another_site_is_refused(world: ServerWorld, headers: dict[str, str], method: str) -> None:
    """Every header of a browser that names another site, or none, causes 403."""
    await check(world, 403, {**JSON, **headers}, method=method, body=SUBMIT if method == "POST" else b"")


@pytest.mark.parametrize("referer", ["https://evil.example/x", "about:blank", f"{OWN}@evil.example/", "null"])
async def test_a_referer_of_another_site_is_refused_for_writes(world: ServerWorld, referer: str) -> None:
    """It is checked if the browser sends no Sec-Fetch-Site; a link to a page that only reads is allowed."""
    await check(world, 403, {**JSON, "Referer": referer})
    await check(world, 200, {"Referer": referer}, method="GET", body=b"")
    await check(world, 201, {**JSON, "Referer": referer, "Sec-Fetch-Site": "none"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": OWN.upper().replace("HTTP", "http"), "Referer": f"{OWN}/page", "Sec-Fetch-Site": "same-origin"},
        {"Referer": f"{OWN}/page"},
        {"Referer": ""},
        {"Host": "localhost", "Origin": "http://localhost:80"},
        {"Host": "[::1]:8780", "Origin": "http://[::1]:8780"},
        {"Content-Type": "application/json; charset=utf-8", "Origin": OWN},
        {"Content-Type": "Application/JSON"},
        {"Content-Type": "application/vnd.tracker+json"},
    ],
)
async def test_the_daemons_own_pages_and_programs_may_write(world: ServerWorld, headers: dict[str, str]) -> None:
    """A page is the daemon's own when its origin is the one that the request was sent to."""
    await check(world, 201, {**JSON, **headers})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": PUBLIC_URL.removesuffix("/base")}, 201),
        ({"Host": "ops.example", "Origin": "https://ops.example"}, 201),
        ({"Origin": "http://tracker.example.com"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Referer": "https://evil.example/"}, 403),
    ],
)
async def test_with_a_token_a_proxy_is_supported(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    """The public URL and the host of the request are the daemon's own; other sites are refused."""
    async with ServerWorld(tmp_path, api_token=TOKEN, public_url=lambda: PUBLIC_URL) as world:
        await check(world, status, {**JSON, "Authorization": f"Bearer {TOKEN}", **headers})


@pytest.mark.parametrize("body", [SUBMIT, b""])
@pytest.mark.parametrize(
    "headers",
    [
        FORM,
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/plain; charset=application/json"},
        {"Content-Type": "text/plain;application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonp"},
        {**FORM, "User-Agent": "curl/8.5.0"},
        {**FORM, "User-Agent": "Python-urllib/3.11", "Origin": OWN},
        {"Referer": f"{OWN}/page"},
        {"sec-fetch-mode": "no-cors"},
        {"Content-Type": "application/octet-stream", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_write_must_be_json(world: ServerWorld, headers: dict[str, str], body: bytes) -> None:
    """What a page can send without a preflight is 415, with or without a body; the detail shows how to send it."""
    await check(world, 415, headers, body=body)


@pytest.mark.parametrize("headers", [{}, {**FORM, "User-Agent": "Python-urllib/3.11"}])
async def test_a_program_can_omit_the_type(world: ServerWorld, headers: dict[str, str]) -> None:
    """http.client sends none, and urllib that of a form: no browser sends either."""
    await check(world, 201, headers)
    task_id = await world.make_task()
    await check(world, 200, headers, path=f"/v1/tasks/{task_id}/cancel", body=b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Mode": "cors", "User-Agent": "node"},
    ],
)
async def test_a_write_without_a_body_needs_no_type(world: ServerWorld, headers: dict[str, str]) -> None:
    """``fetch`` adds none for the daemon's own pages and in Node.js; a body without one may be a page's Blob."""
    task_id = await world.make_task()
    await check(world, 200, headers, path=f"/v1/tasks/{task_id}/cancel", body=b"")
    await check(world, 415, headers)


async def test_no_preflight_is_granted(world: ServerWorld) -> None:
    """OPTIONS of another site is refused, and no response allows another site anything."""
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/v1/tasks"), ("GET", "/healthz"), ("OPTIONS", "/callbacks/suno")):
        async with world.client.request(method, path, headers=asked) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_callbacks_have_no_checks_for_web_pages(world: ServerWorld) -> None:
    """A provider is identified by its token, whatever headers its client sends."""
    task_id = await world.make_task()
    body = b'{"code": 200, "data": {"callbackType": "text", "task_id": "5c79aa10be8e4d0f9b1c2d3e4f5a6b7c", "data": []}}'
    await check(world, 200, {**FORM, "Origin": "https://provider.example"}, path=world.address(task_id), body=body)
