"""The reverse proxy examples, with real proxies: what they pass, what they reject, and what they buffer."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.kits.certificates import make_certificate
from tests.kits.processes import find_free_port
from tests.kits.short_paths import short_directory
from tests.kits.waiting import WITHIN_S

CONFIG = Path(__file__).parents[2] / "config"
BODY_S = 4
"""How long the proxy waits for a body here, instead of 30 s and more."""
MOST = 2_000_000
"""A larger body is refused, by the proxy or the tracker."""
NGINX_AROUND = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/tracker.conf;
}}
"""


def edited(name: str, edits: Mapping[str, str]) -> str:
    """An example, changed as its comments ask for; what is changed has to be there."""
    text = (CONFIG / name).read_text(encoding="utf-8")
    for pattern, replacement in edits.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return text


def nginx(directory: Path, backend: int, public: int, internal: int) -> list[str]:
    """Prepare nginx; its command line."""
    conf = edited(
        "nginx.conf",
        {
            "/etc/ssl/tracker/fullchain.pem": str(directory / "cert.pem"),
            "/etc/ssl/tracker/privkey.pem": str(directory / "key.pem"),
            "/var/log/nginx/tracker.error.log": "stderr",
            r"127\.0\.0\.1:8780": f"127.0.0.1:{backend}",
            "listen 443 ssl": f"listen 127.0.0.1:{public} ssl",
            r"listen 127\.0\.0\.1:8443": f"listen 127.0.0.1:{internal}",
            "client_body_timeout 30s": f"client_body_timeout {BODY_S}s",
        },
    )
    (directory / "tracker.conf").write_text(conf, encoding="utf-8")
    around = directory / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""  # pytest's directory is its owner's alone
    around.write_text(user + NGINX_AROUND.format(directory=directory), encoding="utf-8")
    return ["nginx", "-p", str(directory), "-c", str(around), "-e", "stderr"]


def caddy(directory: Path, backend: int, public: int, internal: int) -> list[str]:
    """Prepare Caddy; its command line."""
    certificate = f"tls {directory}/cert.pem {directory}/key.pem"
    conf = edited(
        "Caddyfile",
        {
            r"127\.0\.0\.1:8780": f"127.0.0.1:{backend}",
            r"(?m)^tracker\.example\.com \{": f"https://tracker.example.com:{public} {{\n\t{certificate}",
            "tracker.internal:8443": f"tracker.internal:{internal}",
            "tls internal": certificate,
            r"(?m)^\{$": "{\n\tadmin off\n\tauto_https off",
            "servers :443": f"servers :{public}",
            "read_body 60s": f"read_body {BODY_S}s",
        },
    )
    file = directory / "Caddyfile"
    file.write_text(conf, encoding="utf-8")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


Prepare = Callable[[Path, int, int, int], list[str]]


class Proxied:
    """A proxy in front of a stand-in for the tracker.

    Attributes:
        seen: paths that reached the stand-in.
        trust: makes a client trust its certificate.
        port: of the public side.
        hold: the stand-in's stream waits for it before it ends.
    """

    def __init__(self, client: aiohttp.ClientSession, trust: ssl.SSLContext, public: int, internal: int) -> None:
        self.client = client
        self.trust = trust
        self.port = public
        self.public = f"https://tracker.example.com:{public}"
        self.internal = f"https://tracker.internal:{internal}"
        self.seen: list[tuple[str, str, int]] = []
        self.hold = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Accept what the tracker might accept, refuse other bodies unread; stream on the stream's path."""
        if (request.content_length or 0) > MOST:
            return web.Response(status=413, headers={"Connection": "close"})
        try:
            async with asyncio.timeout(BODY_S / 2):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408, headers={"Connection": "close"})
        self.seen.append((request.path, request.headers["Host"], len(body)))
        if request.path != "/v1/stream":
            return web.json_response({"outcome": "applied"})
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"id: 1\ndata: {}\n\n")
        await self.hold.wait()
        await stream.write_eof()
        return stream


class Resolver(aiohttp.abc.AbstractResolver):
    """Both names are this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Any name."""
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def proxied(directory: Path, prepare: Prepare) -> AsyncIterator[Proxied]:
    """Start a proxy by its example."""
    make_certificate(directory, "DNS:tracker.example.com,DNS:tracker.internal")
    public, internal = find_free_port(), find_free_port()
    trust = ssl.create_default_context(cafile=str(directory / "cert.pem"))
    connector = aiohttp.TCPConnector(ssl=trust, resolver=Resolver())
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as client:
        proxied_app = Proxied(client, trust, public, internal)
        app = web.Application(client_max_size=100_000_000)
        app.router.add_route("*", "/{path:.*}", proxied_app.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        command = prepare(directory, runner.addresses[0][1], public, internal)
        environ = {
            **os.environ,
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        with (directory / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env=environ, stdout=asyncio.subprocess.DEVNULL, stderr=log
            )
        try:
            await until_listening(process, directory / "log", public, internal)
            yield proxied_app
        finally:
            proxied_app.hold.set()
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await runner.cleanup()


async def until_listening(process: asyncio.subprocess.Process, log: Path, *ports: int) -> None:
    """Wait until the proxy accepts connections."""
    async with asyncio.timeout(WITHIN_S):
        for port in ports:
            while True:
                assert process.returncode is None, log.read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a proxy's files are: its configuration names them without quotes, so there is no blank in the path."""
    with short_directory() as found:
        yield found


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def prepare(request: pytest.FixtureRequest) -> Prepare:
    """One of the proxies that is installed here."""
    chosen: Prepare = request.param
    if shutil.which(chosen.__name__) is None:
        pytest.skip(f"NOT TESTED: {chosen.__name__} is not installed, so its example was not started")
    return chosen


async def test_the_example_starts_and_works(directory: Path, prepare: Prepare) -> None:
    """Only callbacks are public; bodies that the tracker accepts pass; streams are not buffered."""
    async with proxied(directory, prepare) as proxied_app:
        client = proxied_app.client
        async with client.post(
            f"{proxied_app.public}/callbacks/kling/token", data=io.BytesIO(b"x" * 1_500_000)
        ) as answer:
            assert (answer.status, await answer.json()) == (200, {"outcome": "applied"})
        assert [(path, size) for path, _, size in proxied_app.seen] == [("/callbacks/kling/token", 1_500_000)]
        for path in ("/", "/v1/tasks", "/v1/stream", "/healthz", "/metrics", "/callbacks", "/callbacks/../v1/tasks"):
            async with client.get(f"{proxied_app.public}{path}", allow_redirects=False) as answer:
                assert answer.status in {404, 301, 400}, path
        assert len(proxied_app.seen) == 1, "a path besides the callbacks is public"
        async with client.post(
            f"{proxied_app.public}/callbacks/kling/token", data=io.BytesIO(b"x" * 3_000_000)
        ) as answer:
            # Caddy 2.6 says 502 when it meets its own limit before the answer of the tracker
            assert answer.status in ({413} if prepare is nginx else {413, 502})
        async with client.get(f"{proxied_app.internal}/v1/tasks") as answer:
            assert answer.status == 200
        assert proxied_app.seen[-1][1].startswith("tracker.internal"), (
            "the tracker must see that the request came through the proxy"
        )
        async with client.get(f"{proxied_app.internal}/v1/stream") as stream:
            # the stand-in has not ended its answer: received data has passed unbuffered
            assert await stream.content.readuntil(b"\n\n") == b"id: 1\ndata: {}\n\n"


async def test_callback_tokens_are_not_logged(directory: Path, prepare: Prepare) -> None:
    """Neither for a callback that passes nor for one while the backend is down."""
    async with proxied(directory, prepare) as proxied_app:
        async with proxied_app.client.post(
            f"{proxied_app.public}/callbacks/suno/secret-in-the-path", data=b"{}"
        ) as answer:
            assert answer.status == 200
        files = [path for path in directory.rglob("*") if path.is_file()]
        assert not [path for path in files if b"secret-in-the-path" in path.read_bytes()]


async def test_a_stalled_sender_is_disconnected(directory: Path, prepare: Prepare) -> None:
    """A body that stalls is answered 408 or not at all, never as accepted; its connection is closed."""
    async with proxied(directory, prepare) as proxied_app:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", proxied_app.port, ssl=proxied_app.trust, server_hostname="tracker.example.com"
        )
        head = "POST /callbacks/kling/token HTTP/1.1\r\nHost: tracker.example.com\r\nContent-Length: 99\r\n\r\n{"
        writer.write(head.encode())
        async with asyncio.timeout(WITHIN_S):
            answer = await reader.read()  # up to the end of the connection
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ") or (prepare is nginx and not answer)
        assert proxied_app.seen == []
