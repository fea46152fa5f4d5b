"""A browser for tests: Debian's Chromium, driven by Playwright; what it writes to its console is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

Json = Any

WITHIN_MS = 15_000
expect.set_options(timeout=WITHIN_MS)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = (360, 800), (1440, 1000)


def find_chromium() -> str:
    """The program; without it the test is skipped, and fails where CI has to install it."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        message = "NOT TESTED: no browser (Debian package chromium) is installed, so no page was opened"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return str(found)


@dataclass
class Window:
    """A browser that is running.

    Attributes:
        console: what pages wrote, and errors of their scripts.
    """

    browser: Browser
    console: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def page(
        self,
        base_url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
        javascript: bool = True,
    ) -> AsyncIterator[Page]:
        """A page in a context of its own, without cookies."""
        context = await self.browser.new_context(
            base_url=base_url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            java_script_enabled=javascript,
        )
        context.set_default_timeout(WITHIN_MS)
        page = await context.new_page()
        self.watch(page)
        try:
            yield page
        finally:
            await context.close()

    def watch(self, page: Page) -> None:
        """Keep what a page writes."""

        def note(message: ConsoleMessage) -> None:
            self.console.append(f"{message.type}: {message.text}")

        page.on("console", note)
        page.on("pageerror", lambda error: self.console.append(f"error: {error}"))


@asynccontextmanager
async def open_browser() -> AsyncIterator[Window]:
    """Start the browser."""
    program = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield Window(browser)
        finally:
            await browser.close()


def read_axe() -> str:
    """The script that checks a page for accessibility, https://github.com/dequelabs/axe-core."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    (file,) = Path(spec.origin).parent.rglob("axe.min.js")
    return file.read_text(encoding="utf-8")


async def check_accessibility(page: Page, axe: str, *rules: str) -> list[str]:
    """What is wrong with a page as it is, one line for each rule; by default all rules are checked."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    only: Json = {"runOnly": list(rules)} if rules else {}
    found: Json = await page.evaluate("only => axe.run(document, {resultTypes: ['violations'], ...only})", only)
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}" for one in found["violations"]
    ]
