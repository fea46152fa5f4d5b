"""Every example of ``tracker/client/README.md`` runs as it is written, against a daemon and the sandbox."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from tests.integration.test_client import SONG, TABLES
from tests.kits.daemon import POLLS_AT_ONCE, REPOSITORY, Setting, running_daemon
from tests.kits.http_server import serving
from tests.kits.processes import find_free_port
from tests.kits.waiting import WITHIN_S, until
from tracker.sandbox import Sandbox

PAGE = (REPOSITORY / "tracker/client/README.md").read_text(encoding="utf-8")
SECRET = "whsec_" + base64.b64encode(b"not a real secret of a hook!").decode()


def example(title: str) -> str:
    """The code below a heading of the page."""
    found = re.search(rf"^#+ {re.escape(title)}$.*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def load(title: str) -> ModuleType:
    """The example as a module."""
    module = ModuleType(f"example_{title.lower()}")
    exec(compile(example(title), f"README.md, {title}", "exec"), module.__dict__)  # noqa: S102 - it is ours
    return module


@asynccontextmanager
async def uvicorn_serves(app: Any, port: int) -> AsyncIterator[None]:  # noqa: ANN401 - an ASGI application
    """Serve with uvicorn in this event loop."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    running = asyncio.ensure_future(server.serve())
    try:
        await until(lambda: server.started or running.done())
        yield
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def threads_serve(app: Any, port: int) -> AsyncIterator[None]:  # noqa: ANN401 - a WSGI application
    """Serve with a thread for each request."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
        # a thread that streams finds out that the browser has left when it writes
        await until(lambda: not any("process_request_thread" in one.name for one in threading.enumerate()))
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


def serve_aiohttp(module: ModuleType, port: int) -> AbstractAsyncContextManager[Any]:
    """Serve as aiohttp does."""
    return serving(module.app, port)


def serve_fastapi(module: ModuleType, port: int) -> AbstractAsyncContextManager[Any]:
    """Serve as ASGI."""
    return uvicorn_serves(module.app, port)


def serve_flask(module: ModuleType, port: int) -> AbstractAsyncContextManager[Any]:
    """Serve as WSGI."""
    return threads_serve(module.app, port)


def serve_django(module: ModuleType, port: int) -> AbstractAsyncContextManager[Any]:
    """Serve as WSGI, with the settings of a project."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    sys.modules[module.__name__] = module
    settings.configure(
        ROOT_URLCONF=module.__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="for-this-test", LOGGING_CONFIG=None
    )
    django.setup()
    return threads_serve(get_wsgi_application(), port)


SERVERS: dict[str, Callable[[ModuleType, int], AbstractAsyncContextManager[Any]]] = {
    "aiohttp": serve_aiohttp,
    "FastAPI": serve_fastapi,
    "Django": serve_django,
    "Flask": serve_flask,
}


@pytest.mark.parametrize("name", SERVERS)
async def test_a_web_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An order twice is one task; the hook is verified and reports the end; a browser sees every event."""
    port = find_free_port()
    hook = f"""
[[hooks]]
name = "shop"
on = ["task.finished"]
url = "http://127.0.0.1:{port}/hook"
secret_env = "HOOK_SECRET"
allow_private_addresses = true
"""
    async with Sandbox(duration_s=0.2) as sandbox:
        setting = Setting(sandbox.base_url, poll=POLLS_AT_ONCE, tables=hook, env={"HOOK_SECRET": SECRET})
        monkeypatch.setenv("TRACKER_URL", setting.url)
        monkeypatch.setenv("HOOK_SECRET", SECRET)
        module = load(name)
        order = {"number": 7, "user": "ann", "request": SONG}
        async with (
            running_daemon(tmp_path, setting),
            SERVERS[name](module, port),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            asyncio.timeout(WITHIN_S),
        ):
            tasks = set()
            for _ in range(2):
                async with session.post("/orders", json=order) as response:
                    assert response.status == 202, await response.text()
                    tasks.add((await response.json())["task"])
            (task,) = tasks
            await until(lambda: module.results)
            assert module.results == {task: "SUCCEEDED"}
            seen = []
            async with session.get("/users/ann/events", headers={"Last-Event-ID": "0"}) as response:
                assert response.headers["Content-Type"].startswith("text/event-stream")
                async for line in response.content:
                    if line.startswith(b"data: "):
                        seen.append(json.loads(line.removeprefix(b"data: ")))
                        if len(seen) == 2:
                            break
            assert {one["task"] for one in seen} == {task}
            async with session.post("/hook", json={"type": "task.succeeded"}) as response:
                assert response.status == 401
                assert "is not accepted" in await response.text()
            for done in range(2, 4):  # events, for a thread that still streams: one by one, as a write fails later
                async with session.post("/orders", json={**order, "number": 6 + done}) as response:
                    assert response.status == 202

                def is_reported(count: int = done) -> bool:
                    return len(module.results) == count

                await until(is_reported)
        assert len(sandbox.state()["jobs"]) == 3


async def test_the_first_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes a song, prints its end, and copies the files."""
    async with Sandbox(duration_s=0.2) as sandbox:
        setting = Setting(sandbox.base_url, poll=POLLS_AT_ONCE, tables=TABLES)
        code = example("The Python client").replace("http://127.0.0.1:8780", setting.url)
        monkeypatch.chdir(tmp_path)
        async with running_daemon(tmp_path, setting):
            await asyncio.to_thread(exec, compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("SUCCEEDED ")
    assert all(Path(line).is_file() for line in printed[1:])
    assert len(printed) > 1
