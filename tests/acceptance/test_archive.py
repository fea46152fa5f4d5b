"""The archive of the real daemon: killed during a download, with little memory, and served to clients and hooks."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.kits.archive import Asked, RawServer, film, head_of, serves, sha256
from tests.kits.daemon import REPOSITORY, Setting, run_tracker, running_daemon
from tests.kits.hooks import write_script
from tests.kits.processes import KEY, KEY_ENV, Daemon, find_free_port
from tests.kits.sandbox import url_clock
from tests.kits.waiting import until
from tracker.sandbox import Sandbox
from tracker.sandbox.media import Media, make_media

Json = Any


def songs(*urls: str) -> bytes:
    """The answer to a poll when the songs are ready."""
    tracks = [{"id": f"a{n}", "audioUrl": url, "title": "Autumn Rain", "duration": 9.5} for n, url in enumerate(urls)]
    body = {
        "code": 200,
        "msg": "success",
        "data": {"taskId": "x", "status": "SUCCESS", "response": {"sunoData": tracks}},
    }
    text = orjson.dumps(body)
    return head_of("200 OK", len(text), "application/json") + text


def finals(outputs: Path) -> list[Path]:
    """The files with a final name."""
    return [path for path in outputs.rglob("*") if path.is_file() and ".partial" not in path.parts]


async def test_a_killed_download_is_resumed(tmp_path: Path) -> None:
    """After kill -9 nothing is visible; after the restart the rest is fetched by range, and the hash is right."""
    data = film(6_000_000)
    half_sent, is_killed = asyncio.Event(), asyncio.Event()
    is_whole = False

    async def upstream(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if not asked.path.startswith("/file"):
            writer.write(songs(server.url("/file.mp3?sig=1")))
        elif is_whole:
            await serves(data)(asked, writer)
        else:
            writer.write(head_of("200 OK", len(data), ETag='"v1"') + data[:3_500_000])
            await writer.drain()
            half_sent.set()
            await is_killed.wait()

    async with RawServer(upstream) as server:
        port = find_free_port()
        config = tmp_path / "tracker.toml"
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\n[store]\npath = "{tmp_path}/tracker.db"\n'
            f'[accounts.default]\nbase_url = "{server.url("")}"\n[poll]\ntick_s = 0.05\nfirst_delay_s = 0.05\n'
            "[archive]\nallow_private_addresses = true\n"
        )
        daemon = await Daemon(config, {KEY_ENV: KEY}).start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                order = {"route": "suno.generate", "external_id": "x"}
                async with session.post("/v1/tasks", json=order) as response:
                    task_id = (await response.json())["id"]
                await asyncio.wait_for(half_sent.wait(), 20)
                outputs = tmp_path / "outputs"
                (partial,) = await until(lambda: _grown(outputs, 2_000_000))
                await daemon.kill()
                assert finals(outputs) == []
                left = partial.stat().st_size
                is_whole = True
                is_killed.set()
                await daemon.start()

                async def is_archived() -> Json:
                    async with session.get(f"/v1/tasks/{task_id}") as response:
                        (output,) = (await response.json())["outputs"]
                        return output if output["archived"] else None

                output = await until(is_archived)
            (file,) = finals(outputs)
            assert (file.read_bytes(), output["sha256"]) == (data, sha256(data))
            assert str(file) == str(outputs / output["path"])
            *_, last = (asked for asked in server.asked if asked.path.startswith("/file"))
            assert last.headers["range"] == f"bytes={left}-"
            db = sqlite3.connect(tmp_path / "tracker.db")
            archived = db.execute("SELECT count(*) FROM events WHERE announces = 'task.archived'").fetchone()
            db.close()
            assert archived == (1,)
        finally:
            is_killed.set()
            await daemon.close()


async def _grown(outputs: Path, size: int) -> list[Path]:
    """The partial files, once they have that many bytes."""
    return [path for path in (outputs / ".partial").glob("*.part") if path.stat().st_size >= size]


MEMORY = """
import asyncio, sys
from pathlib import Path
from dataclasses import replace
from tests.kits.archive import ArchiveWorld
from tracker.domain.task import Output

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])

async def main(small, large, directory):
    async with ArchiveWorld(Path(directory)) as world:
        await world.settle(await world.succeed(Output("video", small)))  # whatever is loaded late is loaded now
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        (record,) = await world.settle(await world.succeed(Output("video", large)))
        print(status("VmHWM") - before, record.file.bytes, record.file.sha256)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    """200 MB are downloaded while the process grows by a few MB only."""
    block, blocks = film(1 << 20), 200

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        count = blocks if asked.path == "/large" else 4
        writer.write(head_of("200 OK", count * len(block)))
        for _ in range(count):
            writer.write(block)
            await writer.drain()

    async with RawServer(answer) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MEMORY, server.url("/small"), server.url("/large"), str(tmp_path)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    grown_kib, size, digest = out.decode().splitlines()[-1].split()
    complete = hashlib.sha256()
    for _ in range(blocks):
        complete.update(block)
    assert (int(size), digest) == (blocks << 20, complete.hexdigest())
    assert int(grown_kib) < 12 * 1024


async def test_every_output_of_the_sandbox_is_archived_as_served(tmp_path: Path) -> None:
    """Songs, videos, images, ``/content`` with the key, truncated downloads: each file equals the gateway's."""
    hooks = tmp_path / "hooks.d"
    log = tmp_path / "hook.log"
    write_script(
        hooks / "task.archived" / "note",
        f'echo "$TRACKER_EVENT $TRACKER_TASK_ID $TRACKER_STATUS $(sha256sum < "$TRACKER_OUTPUT_PATH")" >> \'{log}\'',
    )
    cut = "[sandbox: file=cut]"
    orders: list[tuple[str, Json]] = [
        ("suno.generate", {"model": "V5", "customMode": False, "instrumental": True, "prompt": f"a {cut}"}),
        ("kling.omni-video", {"model_name": "kling-v3-omni", "prompt": f"b {cut}"}),
        ("openai.video", {"model": "kling-3.0", "prompt": f"c {cut}"}),
        ("openai.images", {"model": "kling-v2-1", "prompt": "d", "response_format": "b64_json"}),
        ("gemini.generate", {"model": "gemini-3-image", "contents": [{"parts": [{"text": "e"}]}]}),
    ]
    async with Sandbox(duration_s=0.3) as sandbox:
        setting = Setting(sandbox.base_url, tables="[archive]\nallow_private_addresses = true")
        async with running_daemon(tmp_path, setting) as api:
            tasks = [await api.submit(route, request) for route, request in orders]

            async def are_archived() -> list[Json] | None:
                shown = [await api.get(f"/v1/tasks/{task['id']}") for task in tasks]
                ended = [task["status"] == "SUCCEEDED" for task in shown]
                safe = [output["archived"] for task in shown for output in task["outputs"] if output["kind"] != "text"]
                return shown if all(ended) and all(safe) else None

            shown = await until(are_archived)
            await until(lambda: _lines(log, len(tasks)))
            reported = dict(line.split()[1:4:2] for line in log.read_text().splitlines())
            for task, (route, _) in zip(shown, orders, strict=True):
                files = [output for output in task["outputs"] if output["kind"] != "text"]
                assert files, route
                assert reported[task["id"]] == files[0]["sha256"]
                for output in files:
                    served = await _served(api.session, task["id"], output["n"])
                    assert sha256(served) == output["sha256"]
                    assert (tmp_path / "outputs" / output["path"]).read_bytes() == served
                    media = Media(output["path"].rpartition(".")[2])
                    if task["external_id"] is not None:
                        assert served == make_media(media, task["external_id"], output["n"]), route
            song = shown[0]["id"]
            where = tmp_path / "here"
            ran = await run_tracker("download", song, "here", "--url", api.tracker.url, directory=tmp_path)
            assert (ran.code, len(list(where.iterdir()))) == (0, 2), ran
            assert {sha256(path.read_bytes()) for path in where.iterdir()} == {o["sha256"] for o in shown[0]["outputs"]}
            shown_by = await run_tracker("show", song, "--url", api.tracker.url, directory=tmp_path)
            assert shown[0]["outputs"][0]["path"] in shown_by.out
            why = await api.get(f"/v1/tasks/{song}/why")
            assert "Both files are saved." in why["notes"]
            creates = sandbox.state()["creates"]
            assert len(creates) == len(orders), "nothing was paid twice"


async def _lines(log: Path, count: int) -> bool:
    """Whether the hook has written that many lines."""
    return log.exists() and len(log.read_text().splitlines()) == count


async def _served(session: aiohttp.ClientSession, task_id: str, n: int) -> bytes:
    async with session.get(f"/v1/tasks/{task_id}/outputs/{n}") as response:
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return await response.read()


async def test_an_expired_url_is_renewed_from_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reported URL has expired; a poll gets a fresh one, and the file is stored."""
    clock = url_clock(monkeypatch)
    async with Sandbox(duration_s=0.2, url_ttl_s=2000.0) as sandbox:
        setting = Setting(sandbox.base_url, tables="[archive]\nenabled = false\nallow_private_addresses = true")
        async with running_daemon(tmp_path, setting) as api:
            order = {"model_name": "kling-v3-omni", "prompt": "late"}
            task = await api.end_of(await api.submit("kling.omni-video", order))
            assert (task["status"], task["outputs"][0]["archived"]) == ("SUCCEEDED", False)
            clock.advance(2000)
            status, _ = await api.call("POST", f"/v1/tasks/{task['id']}/archive")
            assert status == 200

            async def is_archived() -> Json:
                shown = await api.get(f"/v1/tasks/{task['id']}")
                return shown if shown["outputs"][0]["archived"] else None

            shown = await until(is_archived)
            assert shown["outputs"][0]["url"] != task["outputs"][0]["url"]
            assert shown["outputs"][0]["sha256"] == sha256(make_media(Media.MP4, task["external_id"], 0))
            details = [event["detail"] for event in await api.events(task)]
            assert details[-2:] == ["names fresh URLs of the outputs", "archived: 1 file saved"]
