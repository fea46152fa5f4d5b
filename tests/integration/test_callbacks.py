"""Callbacks over HTTP: the response, what is stored before it, and the limits for rejected ones."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from yarl import URL

from tests.kits.server import EXTERNAL_ID, ServerWorld, problem_of
from tracker.domain.ids import RANDOM_BYTES, make_task_id
from tracker.domain.records import Json
from tracker.domain.task import Status
from tracker.errors import SignatureInvalid
from tracker.server.callbacks import POLL_REQUEST_BURST, POLL_REQUEST_IDS_MAX

SONG = {"id": "clip-1", "audio_url": "https://cdn.example.com/song/1.mp3", "title": "Summer Breeze"}
JSON = {"Content-Type": "application/json"}


def song(phase: str = "complete", task_id: str = EXTERNAL_ID, **track: Json) -> bytes:
    """A callback body as the gateway documents it."""
    return json.dumps({"callbackType": phase, "task_id": task_id, "data": [{**SONG, **track}]}).encode()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The API, with trusted tokens."""
    async with ServerWorld(tmp_path, max_callback_bytes=4096) as world:
        yield world


async def post(world: ServerWorld, path: str, body: bytes, headers: Mapping[str, str] = JSON) -> tuple[int, str]:
    """Send a callback; the status and the outcome."""
    async with world.client.post(path, data=body, headers=headers) as response:
        return response.status, (await response.json())["outcome"]


# -- with a token ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "headers"),
    [
        pytest.param("", {}, id="plain"),
        pytest.param("?attempt=2", {}, id="query"),
        pytest.param("", {"Expect": "100-continue"}, id="expect"),
        pytest.param("%65", {}, id="escaped"),
    ],
)
async def test_callbacks_through_the_router_have_the_same_outcome(
    world: ServerWorld, suffix: str, headers: dict[str, str]
) -> None:
    """Plain callbacks take the fast path, others go through the router; the response is the same."""
    address = world.address(await world.make_task())
    if suffix == "%65":
        address = f"{address[:-1]}%{ord(address[-1]):02x}"
    elif suffix:
        address += suffix
    url = URL(str(world.client.make_url("/")).rstrip("/") + address, encoded=True)
    for outcome in ("applied", "duplicate"):
        async with world.client.session.post(url, data=song(), headers=headers) as response:
            assert (response.status, (await response.json())["outcome"]) == (200, outcome)
    wrong = URL(str(url).replace("/callbacks/suno/generate.", "/callbacks/suno/generate.0"), encoded=True)
    async with world.client.session.post(wrong, data=song(), headers=headers) as response:
        await problem_of(response, 404)


@pytest.mark.parametrize(
    "changed",
    [
        "{}/",
        "{}//",
        "/{}",
        "///callbacks//suno/{token}",
        "/callbacks/suno//{token}/",
        "/callbacks/SUNO/{token}",
        "/callbacks/Suno/{token}/?a=1",
        "/%63allbacks/suno/{token}",
        "/callbacks/s%75no/{token}",
        "{}&attempt=2",
        "{};v=1",
        "{}%3Fattempt=2",
        "{}?",
        "{}?attempt=2&x=/callbacks/other/token",
        "{}#part",
    ],
)
async def test_a_modified_address_reaches_the_handler(world: ServerWorld, changed: str) -> None:
    """Added slashes, case, escapes and parameters lose no result."""
    task_id = await world.make_task()
    address = world.address(task_id)
    path = changed.format(address, token=address.rpartition("/")[2])
    answers = [await send_raw(world, f"POST {path} HTTP/1.1\r\n", song()) for _ in range(2)]
    assert answers == [(200, {"outcome": "applied"}), (200, {"outcome": "duplicate"})]


@pytest.mark.parametrize("path", ["/callbacks/suno/", "//callbacks//SUNO", "/callbacks/Suno?a=1"])
async def test_a_modified_address_without_a_token_reaches_the_handler(world: ServerWorld, path: str) -> None:
    """The task is polled."""
    await world.make_task()
    assert await send_raw(world, f"POST {path} HTTP/1.1\r\n", song()) == (202, {"outcome": "polling"})


async def send_raw(world: ServerWorld, line: str, body: bytes, head: str = "") -> tuple[int, Json]:
    """Send a request as it is, on a connection of its own; the status and the JSON of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.client.port)
    length = "" if "chunked" in head else f"Content-Length: {len(body)}\r\n"
    writer.write(f"{line}Host: x\r\nConnection: close\r\n{head}{length}\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    return int(answer.split(b" ", 2)[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("form", ["HTTP/1.0", "chunked", "gzip", "Expect"])
async def test_every_form_of_a_request_is_read(world: ServerWorld, form: str, *, is_plain: bool) -> None:
    """Old versions, chunks with trailers, compressed bodies, Expect: 100-continue."""
    address = world.address(await world.make_task()) + ("" if is_plain else "/")
    body, head, version = song(), "", "HTTP/1.0" if form == "HTTP/1.0" else "HTTP/1.1"
    if form == "chunked":
        body, head = b"%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked\r\n"
    elif form == "gzip":
        body, head = gzip.compress(body), "Content-Encoding: gzip\r\n"
    elif form == "Expect":
        head = "Expect: 100-continue\r\n"
    assert await send_raw(world, f"POST {address} {version}\r\n", body, head) == (200, {"outcome": "applied"})


@pytest.mark.parametrize(
    "path",
    [
        "/callbacks",
        "/callbacks/",
        "/callbacks/suno/{token}/more",
        "/callbacks/suno/{token}%20",
        "/callbacks/suno/{token}%00",
        "/callbacks/suno%20/{token}",
        "/callbacks/suno/{token}%C3%A9",
        "/x/callbacks/suno/{token}",
    ],
)
async def test_wrong_addresses_are_404(world: ServerWorld, path: str) -> None:
    """Too short, too long, or with a prefix."""
    path = path.format(token=world.address(await world.make_task()).rpartition("/")[2])
    assert (await send_raw(world, f"POST {path} HTTP/1.1\r\n", song()))[0] == 404


@pytest.mark.parametrize("suffix", ["", "/"])
async def test_another_method_polls_the_task(world: ServerWorld, suffix: str) -> None:
    """405, since 200 would confirm the receipt of a result; a valid token still causes a poll."""
    task_id = await world.make_task()
    assert not await world.is_due(task_id)
    status, problem = await send_raw(world, f"GET {world.address(task_id)}{suffix} HTTP/1.1\r\n", b"")
    assert (status, problem["detail"]) == (405, "GET is not allowed on this path; allowed: POST.")
    assert await world.is_due(task_id)


async def test_a_callback_is_stored_before_the_response(world: ServerWorld) -> None:
    """200 applied, and a reader sees the task ended, its event and its payload."""
    task_id = await world.make_task()
    assert await post(world, world.address(task_id), song()) == (200, "applied")
    record = await world.store.get_task(task_id)
    assert record.task.status is Status.SUCCEEDED
    assert record.result["task_id"] == EXTERNAL_ID
    events = await world.store.list_events(task_id)
    assert [(event.source, event.outcome) for event in events] == [("callback", "applied")]


async def test_a_repeated_callback_is_a_duplicate(world: ServerWorld) -> None:
    """Retries of a provider are answered, and change nothing."""
    task_id = await world.make_task()
    await post(world, world.address(task_id), song())
    assert await post(world, world.address(task_id), song()) == (200, "duplicate")


async def test_an_older_callback_is_stale(world: ServerWorld) -> None:
    """A first stage after the end."""
    task_id = await world.make_task()
    await post(world, world.address(task_id), song())
    assert await post(world, world.address(task_id), song("text", audio_url="")) == (200, "stale")


async def test_a_callback_of_another_upstream_task_is_a_conflict(world: ServerWorld) -> None:
    """The token names the task; a body that names another is not applied."""
    task_id = await world.make_task()
    assert await post(world, world.address(task_id), song(task_id="someone-else")) == (200, "conflict")
    assert (await world.store.get_task(task_id)).task.status is Status.PENDING


async def test_a_callback_before_the_response_to_the_submit_sets_the_id(world: ServerWorld) -> None:
    """The create is still in progress; the callback is applied."""
    task_id = await world.make_task(external_id=None)
    assert await post(world, world.address(task_id), song("first")) == (200, "applied")
    assert (await world.store.get_task(task_id)).task.external_id == EXTERNAL_ID


async def test_a_callback_without_a_status_causes_a_poll(world: ServerWorld) -> None:
    """An unknown phase changes nothing, but is a reason to poll."""
    task_id = await world.make_task()
    assert await post(world, world.address(task_id), song("mastering")) == (202, "polling")
    assert await world.is_due(task_id)


async def test_a_callback_without_a_status_of_an_ended_task_is_stale(world: ServerWorld) -> None:
    """There is nothing left to poll."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    assert await post(world, world.address(task_id), song("mastering")) == (200, "stale")


async def test_with_trust_confirm_only_a_poll_ends_a_task(tmp_path: Path) -> None:
    """An end is confirmed by a poll; progress is applied."""
    async with ServerWorld(tmp_path, trust="confirm") as world:
        task_id = await world.make_task()
        assert await post(world, world.address(task_id), song("first")) == (200, "applied")
        assert await post(world, world.address(task_id), song()) == (202, "polling")
        assert (await world.store.get_task(task_id)).task.status is Status.RUNNING
        assert await world.is_due(task_id)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "nonsense"])
async def test_a_wrong_content_type_is_accepted(world: ServerWorld, content_type: str) -> None:
    """The body must be JSON, whatever its declared type."""
    task_id = await world.make_task()
    answer = await post(world, world.address(task_id), song(), {"Content-Type": content_type})
    assert answer == (200, "applied")


async def test_a_compressed_callback_is_read(world: ServerWorld) -> None:
    """Content-Encoding: gzip."""
    task_id = await world.make_task()
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert await post(world, world.address(task_id), gzip.compress(song()), headers) == (200, "applied")


async def test_a_callback_in_pieces_is_read(world: ServerWorld) -> None:
    """A slow sender's body arrives in several chunks."""
    task_id = await world.make_task()

    async def pieces() -> AsyncIterator[bytes]:
        body = song()
        for start in range(0, len(body), 50):
            yield body[start : start + 50]
            await asyncio.sleep(0)

    async with world.client.post(world.address(task_id), data=pieces()) as response:
        assert (response.status, await response.json()) == (200, {"outcome": "applied"})


async def test_secrets_in_a_callback_are_not_stored(world: ServerWorld) -> None:
    """The payload in the history is redacted."""
    task_id = await world.make_task()
    await post(world, world.address(task_id), song(prompt="sk-known-secret"))
    (event,) = await world.store.list_events(task_id)
    assert "sk-known-secret" not in json.dumps(event.payload)


async def test_a_callback_of_a_deleted_task_is_stale_and_stored(world: ServerWorld) -> None:
    """Retention deletes ended tasks only: the address stays valid, so providers do not disable it."""
    task_id = make_task_id(world.clock.now(), bytes(RANDOM_BYTES))
    assert await post(world, world.address(task_id), song()) == (200, "stale")
    ((provider, status, why, body),) = await world.rejected()
    assert (provider, status) == ("suno", 200)
    assert task_id in why
    assert EXTERNAL_ID in body


async def test_an_unavailable_store_is_503(world: ServerWorld) -> None:
    """With Retry-After: nothing was acknowledged, so nothing is lost."""
    task_id = await world.make_task()
    world.store.fail()
    for path in (world.address(task_id), "/callbacks/suno"):
        async with world.client.post(path, data=song()) as response:
            assert int(response.headers["Retry-After"]) > 0
            await problem_of(response, 503)
    world.store.repair()
    assert await post(world, world.address(task_id), song()) == (200, "applied")


# -- without a token ---------------------------------------------------------------------------------------


async def test_a_callback_without_a_token_is_not_trusted(world: ServerWorld) -> None:
    """The task is polled now, and that is all."""
    task_id = await world.make_task()
    assert await post(world, "/callbacks/suno", song()) == (202, "polling")
    assert (await world.store.get_task(task_id)).task.status is Status.PENDING
    assert await world.is_due(task_id)


async def test_a_callback_without_a_token_of_an_unknown_task_is_parked(world: ServerWorld) -> None:
    """When the task is registered later, it is polled at once."""
    assert await post(world, "/callbacks/suno", song()) == (202, "parked")
    task_id = await world.make_task()
    assert await world.is_due(task_id)


async def test_a_lone_surrogate_loses_no_result(world: ServerWorld) -> None:
    """JavaScript can cut a title in the middle of an emoji: the song and its history are readable."""
    task_id = await world.make_task()
    body = song(title="cut").replace(b'"cut"', rb'"cut \ud83d"')
    assert await post(world, world.address(task_id), body) == (200, "applied")
    assert (await world.store.get_task(task_id)).task.outputs[0].title == "cut \ufffd"
    (event,) = await world.store.list_events(task_id)
    assert event.payload["data"][0]["title"] == "cut \ufffd"


async def test_a_callback_without_a_token_names_few_tasks(tmp_path: Path) -> None:
    """More are refused and stored for inspection; each named task counts as a callback."""

    def naming(count: int) -> bytes:
        return json.dumps({"data": [{"task_id": f"k{n}", "task_status": "processing"} for n in range(count)]}).encode()

    async with ServerWorld(tmp_path) as world:
        async with world.client.post("/callbacks/kling", data=naming(POLL_REQUEST_IDS_MAX + 1)) as response:
            problem = await problem_of(response, 400)
        assert problem["detail"] == "Names 21 tasks; the limit for a callback without a token is 20."
        ((_, status, _, _),) = await world.rejected()
        assert status == 400
        for _ in range(int(POLL_REQUEST_BURST) // POLL_REQUEST_IDS_MAX - 1):
            assert await post(world, "/callbacks/kling", naming(POLL_REQUEST_IDS_MAX)) == (202, "parked")
        async with world.client.post("/callbacks/kling", data=naming(POLL_REQUEST_IDS_MAX)) as response:
            await problem_of(response, 429)


@pytest.mark.parametrize(
    "secret",
    [
        {"noise": f"{'n' * 16_000}sk-known-secret"},
        {"secret": ["hunter22"]},
        {"credentials": {"user": "hunter22"}},
        {"noise": "n" * 15_000, "access_token": "hunter22" * 800},
    ],
)
async def test_no_secret_of_a_large_rejected_body_is_stored(tmp_path: Path, secret: Json) -> None:
    """The stored beginning is cut before it is redacted."""
    async with ServerWorld(tmp_path) as world:
        body = json.dumps({"callbackType": "complete", "task_id": "x", **secret, "pad": "n" * 50_000})
        assert await post(world, "/callbacks/suno", body.encode()) == (202, "parked")
        ((stored,),) = world.edit("SELECT payload FROM parked")
        assert len(stored) == 16_384
        assert "hunter22" not in stored
        assert "sk-known-secret" not in stored


async def test_large_bodies_without_a_token_count_for_many(tmp_path: Path) -> None:
    """A megabyte takes as long to decode as hundreds of callbacks."""
    body = json.dumps({"callbackType": "complete", "task_id": "x", "pad": "n" * 1_000_000}).encode()
    async with ServerWorld(tmp_path) as world:
        for _ in range(2):
            assert await post(world, "/callbacks/suno", body) == (202, "parked")
        async with world.client.post("/callbacks/suno", data=body) as response:
            await problem_of(response, 429)
        for _ in range(4):
            async with world.client.post("/callbacks/suno", data=body[:-1]) as response:
                await problem_of(response, 400)
        assert len(await world.rejected()) == 2, "each of them is answered, and few are stored"


async def test_callbacks_without_a_token_have_a_rate_limit(world: ServerWorld) -> None:
    """After a burst they get 429 with Retry-After."""
    statuses = []
    for _ in range(1001):
        async with world.client.post("/callbacks/suno", data=b"?") as response:
            statuses.append(response.status)
    assert statuses == [400] * 1000 + [429]
    world.clock.advance(1.0)
    assert await post(world, "/callbacks/suno", song()) == (202, "parked")


# -- rejected ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe{}",
        b"[" * 3000,
        b"NaN",
        b"null",
        b"[]",
        b'"complete"',
        b'{"callbackType": 7, "task_id": ["x"], "data": "?"}',
    ],
)
@pytest.mark.parametrize("with_token", [True, False])
async def test_malformed_bodies_are_refused_and_stored(world: ServerWorld, body: bytes, with_token: bool) -> None:
    """400, stored for inspection; with a valid token the task is polled."""
    task_id = await world.make_task()
    path = world.address(task_id) if with_token else "/callbacks/suno"
    async with world.client.post(path, data=body, headers=JSON) as response:
        problem = await problem_of(response, 400)
    assert "Traceback" not in problem["detail"]
    ((provider, status, _why, _kept),) = await world.rejected()
    assert (provider, status) == ("suno", 400)
    assert await world.is_due(task_id) is with_token


async def test_an_error_of_the_store_does_not_replace_the_rejection(world: ServerWorld) -> None:
    """The store is unavailable and the body malformed: the response is 400."""
    task_id = await world.make_task()
    world.store.fail()
    async with world.client.post(world.address(task_id), data=b"{") as response:
        await problem_of(response, 400)


async def test_stored_rejections_have_a_rate_limit(world: ServerWorld) -> None:
    """Each request gets its response; writes and log lines are limited."""
    task_id = await world.make_task()
    for _ in range(80):
        async with world.client.post(world.address(task_id), data=b"{") as response:
            assert response.status == 400
    assert len(await world.rejected()) == 50


async def test_wrong_tokens_are_404(world: ServerWorld) -> None:
    """Wrong, cut, of another task, malformed: without a look-up of the task."""
    task_id = await world.make_task()
    good = world.address(task_id)
    mac = good.rpartition(".")[2]
    bad = [
        good[:-1],
        good.replace("/suno/", "/kling/"),
        good.replace(mac, "0" * 32),
        good.replace("generate", "extend"),
        "/callbacks/suno/x",
        "/callbacks/suno/..",
        "/callbacks/suno/%00%ff.a.b",
        "/callbacks/suno/" + "x" * 4000,
        "/callbacks/suno/ü.b.c",
        "/callbacks/nobody/x",
        "/callbacks/nobody",
    ]
    for path in bad:
        async with world.client.post(path, data=song()) as response:
            await problem_of(response, 404)
    assert (await world.store.get_task(task_id)).task.callbacks == 0
    assert {(provider, status) for provider, status, _, _ in await world.rejected()} == {("suno", 404), ("kling", 404)}


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_refused_and_the_task_polled(world: ServerWorld, declared: bool) -> None:
    """413, with or without a Content-Length; the task is polled instead."""
    task_id = await world.make_task()
    body = song(padding="x" * 5000)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with world.client.post(world.address(task_id), data=body if declared else pieces()) as response:
        problem = await problem_of(response, 413)
    assert "4096" in problem["detail"]
    assert await world.is_due(task_id)
    ((_, status, _, _),) = await world.rejected()
    assert status == 413


async def test_a_decompression_bomb_is_refused(world: ServerWorld) -> None:
    """50 MiB in 50 KiB: 413, and memory stays small."""
    task_id = await world.make_task()
    bomb = gzip.compress(b" " * (50 << 20))
    headers = {**JSON, "Content-Encoding": "gzip"}

    async def undeclared() -> AsyncIterator[bytes]:
        yield bomb  # without Content-Length, only what it unfolds to betrays it

    tracemalloc.start()
    try:
        async with world.client.post(world.address(task_id), data=undeclared(), headers=headers) as response:
            await problem_of(response, 413)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"no gzip"), ("deflate", b"\xff\xff\xff"), ("gzip", b"")])
async def test_a_body_that_does_not_decompress_is_malformed(world: ServerWorld, encoding: str, body: bytes) -> None:
    """400, not 500."""
    task_id = await world.make_task()
    headers = {**JSON, "Content-Encoding": encoding}
    async with world.client.post(world.address(task_id), data=body, headers=headers) as response:
        await problem_of(response, 400)


async def test_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    """Where a scheme is configured, the raw body is checked first; the response gives no details."""
    checked = []

    def check(provider: str, headers: Mapping[str, str], body: bytes, task_ids: Sequence[str]) -> bool:
        checked.append((provider, headers.get("webhook-id"), body, tuple(task_ids)))
        if headers.get("webhook-signature") not in {"right", "of the id alone"}:
            raise SignatureInvalid("the signature is another one")
        return headers["webhook-signature"] == "of the id alone"

    async with ServerWorld(tmp_path, check_signature=check) as world:
        task_id = await world.make_task()
        async with world.client.post(world.address(task_id), data=b"{", headers={"webhook-id": "1"}) as response:
            problem = await problem_of(response, 401)
        assert "another" not in problem["detail"]
        assert (await world.store.get_task(task_id)).task.callbacks == 0
        of_the_id = {"webhook-signature": "of the id alone"}
        assert await post(world, world.address(task_id), song(), of_the_id) == (202, "polling")
        assert not (await world.store.get_task(task_id)).task.status.is_terminal
        assert await post(world, world.address(task_id), song(), {"webhook-signature": "right"}) == (200, "applied")
        assert (await world.store.get_task(task_id)).task.status.is_terminal
    assert checked[0] == ("suno", "1", b"{", ())
    assert checked[1][3] == (EXTERNAL_ID,)


async def test_every_other_method_is_refused(world: ServerWorld) -> None:
    """405 with Allow."""
    task_id = await world.make_task()
    for path in (world.address(task_id), "/callbacks/suno"):
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            async with world.client.request(method, path, data=song()) as response:
                assert response.headers["Allow"] == "POST"
                await problem_of(response, 405)


async def test_callbacks_require_no_api_token(tmp_path: Path) -> None:
    """Providers do not have it."""
    async with ServerWorld(tmp_path, api_token="t0ken") as world:
        task_id = await world.make_task()
        assert await post(world, world.address(task_id), song()) == (200, "applied")
        assert await post(world, "/callbacks/suno", song()) == (202, "polling")
