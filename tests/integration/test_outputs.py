"""The outputs route: ranges, entity tags, names and refusals; and the storage in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from obstore import store as obstore

from tests.kits.archive import ArchiveWorld, RawServer, film, refuses, serves, sha256
from tests.kits.server import ServerWorld, problem_of
from tracker.archive.file_storage import DirectoryStorage, make_storage
from tracker.archive.object_storage import BucketStorage
from tracker.archive.partial import FinishedFile, Partial, PartialFiles
from tracker.domain.archives import ArchivedFile
from tracker.domain.task import Output
from tracker.errors import ArchiveStorageUnavailable, ConfigError
from tracker.server.app import make_app
from tracker.server.outputs import disposition_of

DATA = film(300_000)


@dataclass
class Served:
    """An archive with the HTTP surface over it."""

    world: ArchiveWorld
    surface: ServerWorld
    client: TestClient[web.Request, web.Application]


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Served]:
    """Run both on one store."""
    (directory / "other").mkdir()
    async with ArchiveWorld(directory) as world, ServerWorld(directory / "other") as surface:
        services = replace(surface.services, store=world.store, reconciler=world.reconciler, archive=world.archiver)
        async with TestClient(TestServer(make_app(services))) as client:
            yield Served(world, surface, client)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An empty archive behind the API."""
    async with serving(tmp_path) as both:
        yield both


async def archived(served: Served, **fields: str) -> str:
    """The path of the first output of a task whose file is safe."""
    async with RawServer(serves(DATA)) as server:
        task_id = await served.world.succeed(Output("video", server.url(), **{"title": 'a "b" ü', **fields}))  # type: ignore[arg-type]  # texts
        await served.world.settle(task_id)
        return f"/v1/tasks/{task_id}/outputs/0"


async def test_the_complete_file(served: Served) -> None:
    """Content, type, length, tag and name; a browser may render it but run nothing."""
    path = await archived(served)
    async with served.client.get(path) as response:
        assert (response.status, await response.read()) == (200, DATA)
        headers = response.headers
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Content-Length"] == str(len(DATA))
    assert headers["ETag"] == f'"{sha256(DATA)}"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Content-Disposition"] == "inline; filename=\"0-a-b-_.mp4\"; filename*=UTF-8''0-a-b-%C3%BC.mp4"
    async with served.client.head(path) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("asked", "status", "first", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=299990-", 206, 299_990, 300_000),
        ("bytes=-10", 206, 299_990, 300_000),
        ("bytes=100-999999", 206, 100, 300_000),
        ("bytes=0-1,5-6", 200, 0, 300_000),
        ("lines=1-2", 200, 0, 300_000),
        ("bytes=300000-", 416, 0, 0),
        ("bytes=9-3", 200, 0, 300_000),
    ],
)
async def test_ranges(served: Served, asked: str, status: int, first: int, stop: int) -> None:
    """One range is served; several, or another unit, get the complete file; an impossible one gets 416."""
    path = await archived(served)
    async with served.client.get(path, headers={"Range": asked}) as response:
        assert response.status == status
        body = await response.read()
        if status == 416:
            assert response.headers["Content-Range"] == "bytes */300000"
            return
        assert body == DATA[first:stop]
        if status == 206:
            assert response.headers["Content-Range"] == f"bytes {first}-{stop - 1}/300000"


async def test_conditions(served: Served) -> None:
    """If-None-Match gets 304; If-Range with another tag gets the complete file."""
    path = await archived(served)
    tag = f'"{sha256(DATA)}"'
    for condition in (tag, f'"x", W/{tag}', "*"):
        async with served.client.get(path, headers={"If-None-Match": condition}) as response:
            assert (response.status, await response.read()) == (304, b"")
    for given, status in ((tag, 206), ('"old"', 200)):
        async with served.client.get(path, headers={"Range": "bytes=0-4", "If-Range": given}) as response:
            assert response.status == status


async def test_until_it_is_archived(served: Served) -> None:
    """A public URL is redirected to; one that needs the key, and inline data, are not sent."""
    async with RawServer(refuses("503 Busy")) as server:
        url = server.url("/a.mp4?sig=%2F")
        outputs = [Output("video", url), Output("video", "/v1/videos/1/content", authenticated=True)]
        task_id = await served.world.succeed(*outputs, Output("text", text="la <b>"), Output("video", "ftp://x/y"))
        base = f"/v1/tasks/{task_id}/outputs"
        async with served.client.get(f"{base}/0", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, url)
        for n in (1, 3):
            async with served.client.get(f"{base}/{n}", allow_redirects=False) as response:
                assert (await problem_of(response, 409))["type"] == "urn:tracker:problem:not-archived-yet"
        async with served.client.get(f"{base}/2") as response:
            assert (response.headers["Content-Type"], await response.text()) == ("text/plain; charset=utf-8", "la <b>")
        for name in ("4", "-1", "x", "99999999999999999999"):
            async with served.client.get(f"{base}/{name}") as response:
                await problem_of(response, 404)
    async with served.client.get("/v1/tasks/nope/outputs/0") as response:
        await problem_of(response, 404)


async def test_a_redirect_to_the_upstream_keeps_the_urls_bytes(served: Served) -> None:
    """Characters that are invalid in a header are escaped, and nothing else."""
    async with RawServer(refuses("503 Busy")) as server:
        given = server.url("/小 猫/%28a%29/../b.mp4?sig=a%2Fb+c&x=%7e")
        task_id = await served.world.succeed(Output("video", given))
        async with served.client.get(f"/v1/tasks/{task_id}/outputs/0", allow_redirects=False) as response:
            wanted = server.url("/%E5%B0%8F%20%E7%8C%AB/%28a%29/../b.mp4?sig=a%2Fb+c&x=%7e")
            assert (response.status, response.headers["Location"]) == (302, wanted)


async def test_a_missing_or_changed_file(served: Served) -> None:
    """A file that is missing or changed is not served; a redrive fixes it."""
    path = await archived(served)
    (file,) = served.world.outputs.glob("*/0-*.mp4")
    file.write_bytes(b"tampered")
    async with served.client.get(path) as response:
        assert "archive" in (await problem_of(response, 410))["detail"]
    file.unlink()
    task_path = path.partition("/outputs")[0]
    async with served.client.post(f"{task_path}/archive") as response:
        (item,) = (await response.json())["items"]
        assert (item["state"], item["path"], item["attempts"]) == ("pending", None, 0)
    async with served.client.get("/v1/tasks/nope/archive") as response:
        await problem_of(response, 404)
    async with served.client.post("/v1/tasks/nope/archive") as response:
        await problem_of(response, 404)


@pytest.mark.parametrize(
    ("mime", "path", "shown"),
    [
        ("text/html", "T/0-x.html", "attachment; filename=\"0-x.html\"; filename*=UTF-8''0-x.html"),
        ("image/svg+xml", "T/0-x.svg", "attachment; filename=\"0-x.svg\"; filename*=UTF-8''0-x.svg"),
        ("image/png", 'T/0-"\r\n.png', "inline; filename=\"0-___.png\"; filename*=UTF-8''0-%22%0D%0A.png"),
    ],
)
def test_dispositions(mime: str, path: str, shown: str) -> None:
    """Active content is downloaded, not rendered; no name breaks its header."""
    assert disposition_of(ArchivedFile(path, 1, "0", mime)) == shown


def make_whole(directory: Path, data: bytes) -> Callable[[], FinishedFile]:
    """Finishes a download."""
    partial = Partial(PartialFiles(directory / "partial_dir"), hashlib.sha256(data).hexdigest()[:32])
    partial.begin(None)
    partial.add(data)
    return partial.finish


@pytest.mark.parametrize("place", ["directory", "bucket"])
async def test_storages_behave_alike(tmp_path: Path, place: str) -> None:
    """Same file, same path; other file, next name; ranges, sizes, removal, and paths that leave the storage."""
    memory = obstore.MemoryStore()
    storage = DirectoryStorage(tmp_path / "storage") if place == "directory" else BucketStorage("memory:///pre", memory)

    def name_of(again: int) -> str:
        return f"0-song-{again}.mp3"

    data = film(3_000_000)
    path, finished = await storage.store(make_whole(tmp_path, data), "T1", name_of, "audio/mpeg")
    assert (finished.size, finished.path.exists()) == (len(data), False)
    assert path == "T1/0-song-0.mp3"
    assert (await storage.store(make_whole(tmp_path, data), "T1", name_of, "audio/mpeg"))[0] == path
    other, _ = await storage.store(make_whole(tmp_path, b"other"), "T1", name_of, "audio/mpeg")
    assert other == "T1/0-song-1.mp3"
    assert list((tmp_path / "partial_dir").iterdir()) == []
    assert (await storage.size_of(path), await storage.size_of("T1/none")) == (len(data), None)
    assert b"".join([piece async for piece in storage.read(path, 10, 2_900_000)]) == data[10:2_900_000]
    with pytest.raises(ArchiveStorageUnavailable):
        _ = [piece async for piece in storage.read("T1/none", 0, 5)]
    await storage.remove(path)
    await storage.remove(path)
    assert await storage.size_of(path) is None
    assert storage.locate(other).endswith(f"/{other}")


async def test_paths_stay_in_the_directory(tmp_path: Path) -> None:
    """A path from a manually edited database reads and removes nothing outside."""
    (tmp_path / "secret").write_text("x")
    storage = DirectoryStorage(tmp_path / "storage")
    assert await storage.size_of("../secret") is None
    with pytest.raises(OSError, match="outside the archive"):
        await storage.remove("../secret")
    assert (tmp_path / "secret").exists()


def test_an_invalid_bucket_is_a_configuration_error(tmp_path: Path) -> None:
    """One line that names the key."""
    assert isinstance(make_storage(tmp_path, None), DirectoryStorage)
    assert isinstance(make_storage(tmp_path, "s3://bucket/prefix"), BucketStorage)
    with pytest.raises(ConfigError, match=r"archive\.url"):
        make_storage(tmp_path, "nowhere://x")


async def test_the_archiver_on_a_bucket(tmp_path: Path) -> None:
    """A file is uploaded completely and hashed, and nothing remains on this machine."""
    memory = obstore.MemoryStore()
    async with RawServer(serves(DATA)) as server, ArchiveWorld(tmp_path) as world:
        bucket = BucketStorage("memory:///", memory)
        world.archiver.storage = bucket
        world.archiver._context = replace(world.archiver._context, storage=bucket)
        task_id = await world.succeed(Output("video", server.url()))
        (record,) = await world.settle(task_id)
        assert record.file is not None
        stored = b"".join([piece async for piece in bucket.read(record.file.path, 0, record.file.bytes)])
        assert (stored, record.file.sha256) == (DATA, sha256(DATA))
        assert (world.partials(), world.files()) == ([], {})
