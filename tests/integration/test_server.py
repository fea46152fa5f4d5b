"""The API over HTTP: every promised response, and a clear error for every bad input."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.kits.clock import START
from tests.kits.factories import make_alarm, make_answer
from tests.kits.server import ServerWorld, locs, problem_of
from tests.kits.waiting import until
from tracker.domain.alarms import AlarmKind
from tracker.domain.health import Health
from tracker.domain.hook_events import DeliveryStatus
from tracker.domain.observation import Source, Submission
from tracker.domain.records import SEARCH_CUT, Json
from tracker.domain.task import ExternalId, Status, TaskId
from tracker.errors import FieldProblem, IdempotencyConflict, NotAttempted, RequestInvalid, SubmitInFlight, WriteUnknown
from tracker.hooks.health import HookHealth, HookState
from tracker.store.sqlite.connections import MAX_SEARCHES
from tracker.store.sqlite.lists import SearchLimits
from tracker.store.sqlite.reads import SEARCHES
from tracker.store.values import Announcement, AttemptResult

SUBMIT = {"route": "suno.generate", "request": {"prompt": "a summer breeze"}, "labels": {"user": "42"}}
JSON = {"Content-Type": "application/json"}
NO_TASK = "01JD0000000000000000000000"


async def get(world: ServerWorld, path: str, status: int = 200) -> Json:
    """The JSON behind a path."""
    async with world.client.get(path) as response:
        assert response.status == status, await response.text()
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()


# -- submit and register -----------------------------------------------------------------------------------


async def test_a_submit_is_created(world: ServerWorld) -> None:
    """201, Location, and the task."""
    async with world.client.post("/v1/tasks", json=SUBMIT) as response:
        task = await response.json()
        assert response.status == 201
        assert response.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert (task["route"], task["provider"], task["labels"]) == ("suno.generate", "suno", {"user": "42"})
    assert await get(world, f"/v1/tasks/{task['id']}") == task
    (asked,) = world.submitter.asked
    assert (asked.account, asked.idempotency_key, asked.respond_async) == (None, None, False)


@pytest.mark.parametrize(
    ("prefer", "is_async"),
    [
        ("respond-async", True),
        ("Respond-Async, wait=10", True),
        ("wait=10, respond-async; x=y", True),
        ("wait=10", False),
        ("", False),
    ],
)
async def test_prefer_respond_async_responds_at_once(world: ServerWorld, prefer: str, is_async: bool) -> None:
    """202 and Preference-Applied, or the ordinary 201."""
    async with world.client.post("/v1/tasks", json=SUBMIT, headers={"Prefer": prefer}) as response:
        assert response.status == (202 if is_async else 201)
        assert response.headers.get("Preference-Applied") == ("respond-async" if is_async else None)
        assert "Location" in response.headers
    assert world.submitter.asked[0].respond_async is is_async


async def test_the_same_key_finds_the_same_task(world: ServerWorld) -> None:
    """200, with the key in the header, in the body, or in both."""
    headers = {"Idempotency-Key": "k1"}
    async with world.client.post("/v1/tasks", json=SUBMIT, headers=headers) as response:
        first = await response.json()
        assert response.status == 201
    bodies = [SUBMIT, {**SUBMIT, "idempotency_key": "k1"}]
    for body, sent in ((bodies[0], headers), (bodies[1], {}), (bodies[1], headers)):
        async with world.client.post("/v1/tasks", json=body, headers=sent) as response:
            assert (response.status, (await response.json())["id"]) == (200, first["id"])


async def test_two_different_keys_are_refused(world: ServerWorld) -> None:
    """Header and body must agree."""
    body = {**SUBMIT, "idempotency_key": "k1"}
    async with world.client.post("/v1/tasks", json=body, headers={"Idempotency-Key": "k2"}) as response:
        assert locs(await problem_of(response, 422)) == [["idempotency_key"]]
    assert world.submitter.asked == []


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_invalid_key_is_refused(world: ServerWorld, key: str) -> None:
    """With an empty key, unrelated requests would be the same."""
    async with world.client.post("/v1/tasks", json=SUBMIT, headers={"Idempotency-Key": key}) as response:
        assert locs(await problem_of(response, 422)) == [["header", "Idempotency-Key"]]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IdempotencyConflict("the key was used with another payload"), 422),
        (SubmitInFlight("the task is being submitted right now"), 409),
        (RequestInvalid([FieldProblem(("request", "model"), "is required")]), 422),
    ],
)
async def test_refusals_of_the_submitter(world: ServerWorld, error: Exception, status: int) -> None:
    """Each has its status and its reason."""
    world.submitter.fails_with = error
    async with world.client.post("/v1/tasks", json=SUBMIT) as response:
        problem = await problem_of(response, status)
    if isinstance(error, RequestInvalid):
        assert problem["errors"] == [{"loc": ["request", "model"], "msg": "is required"}]
    else:
        assert str(error) in problem["detail"]


async def test_an_internal_error_shows_no_details(world: ServerWorld) -> None:
    """500 without the text of the exception."""
    world.submitter.fails_with = RuntimeError("secret detail")
    async with world.client.post("/v1/tasks", json=SUBMIT) as response:
        problem = await problem_of(response, 500)
    assert "secret detail" not in json.dumps(problem)


async def test_registering_twice_finds_the_same_task(world: ServerWorld) -> None:
    """201, then 200."""
    body = {"route": "kling.omni-video", "external_id": "k-1", "labels": {"a": "b"}, "account": "default"}
    async with world.client.post("/v1/tasks", json=body) as response:
        first = await response.json()
        assert response.status == 201
        assert response.headers["Location"] == f"/v1/tasks/{first['id']}"
    async with world.client.post("/v1/tasks", json=body) as response:
        assert (response.status, (await response.json())["id"]) == (200, first["id"])
    assert first["external_id"] == "k-1"


DEEP = b'{"route":"suno.generate","request":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"\xef\xbb\xbf", b'{"a":"\\ud800"}', b"[" * 5000, b"NaN", b"{'a': 1}", DEEP],
)
async def test_malformed_json_is_400(world: ServerWorld, body: bytes) -> None:
    """Not JSON, not UTF-8, or nested too deeply."""
    async with world.client.post("/v1/tasks", data=body, headers=JSON) as response:
        await problem_of(response, 400)
    assert world.submitter.asked == []


async def test_a_byte_order_mark_is_ignored(world: ServerWorld) -> None:
    """UTF-8 with a BOM is accepted; the detail names UTF-16."""
    body = json.dumps({"route": "kling.omni-video", "external_id": "k-1"}).encode()
    async with world.client.post("/v1/tasks", data=b"\xef\xbb\xbf" + body, headers=JSON) as response:
        assert response.status == 201
    async with world.client.post("/v1/tasks", data=body.decode().encode("utf-16"), headers=JSON) as response:
        assert (await problem_of(response, 400))["detail"] == "The body is UTF-16; send it as UTF-8."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], [["body"]]),
        ("text", [["body"]]),
        (None, [["body"]]),
        ({}, [["route"], ["request"]]),
        ({"route": "suno.generate"}, [["request"]]),
        ({"request": {}}, [["route"]]),
        ({**SUBMIT, "route": 7}, [["route"]]),
        ({**SUBMIT, "route": ""}, [["route"]]),
        ({**SUBMIT, "request": []}, [["request"]]),
        ({**SUBMIT, "request": None}, [["request"]]),
        ({**SUBMIT, "labels": []}, [["labels"]]),
        ({**SUBMIT, "labels": {"user": 42}}, [["labels", "user"]]),
        ({**SUBMIT, "labels": {"a b": "x"}}, [["labels", "a b"]]),
        ({**SUBMIT, "labels": {"a": "\x00"}}, [["labels", "a"]]),
        ({**SUBMIT, "labels": {f"l{n}": "" for n in range(65)}}, [["labels"]]),
        ({**SUBMIT, "account": ""}, [["account"]]),
        ({**SUBMIT, "idempotency_key": 1}, [["idempotency_key"]]),
        ({**SUBMIT, "lables": {}}, [["lables"]]),
        ({**SUBMIT, "external_id": "x"}, [["external_id"]]),
        ({"route": "suno.generate", "external_id": 5}, [["external_id"]]),
        ({"route": "suno.generate", "external_id": ""}, [["external_id"]]),
        ({"route": "suno.generate", "external_id": "a\nb"}, [["external_id"]]),
        ({"route": "suno.generate", "external_id": "x", "idempotency_key": "k"}, [["idempotency_key"]]),
        ({"route": "nobody.knows", "request": {}}, [["route"]]),
    ],
)
async def test_wrong_fields_are_listed(world: ServerWorld, body: Json, expected: list[list[str]]) -> None:
    """422 with the location of every wrong field."""
    async with world.client.post("/v1/tasks", data=json.dumps(body), headers=JSON) as response:
        problem = await problem_of(response, 422)
    assert locs(problem) == expected


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        ('{"seed": 999999999999999999999999999999}', [["request", "seed"]]),
        ('{"seed": 18446744073709551616}', [["request", "seed"]]),
        ('{"seed": -9223372036854775809}', [["request", "seed"]]),
        ('{"a": {"b": [1, 2e30, 20000000000000000000]}}', [["request", "a", "b", 2]]),
        ('{"a": 20000000000000000000, "b": 20000000000000000000}', [["request", "a"], ["request", "b"]]),
        ('{"a": [' + ", ".join(["20000000000000000000"] * 500) + "]}", [["request", "a", n] for n in range(20)]),
    ],
)
async def test_an_integer_that_would_be_rounded_is_refused(
    world: ServerWorld, request_body: str, expected: Json
) -> None:
    """Beyond 64 bits it would be stored and paid for as another number; the response names the field."""
    body = f'{{"route": "suno.generate", "request": {request_body}}}'
    async with world.client.post("/v1/tasks", data=body, headers=JSON) as response:
        problem = await problem_of(response, 422)
    assert locs(problem) == expected
    assert "is an integer beyond 64 bits" in problem["errors"][0]["msg"]
    assert world.submitter.asked == []


async def test_exact_numbers_are_accepted(world: ServerWorld) -> None:
    """The largest exact integers, floats of that size, and digits in a text."""
    numbers = "[18446744073709551615, -9223372036854775808, 1e30, -2.0e25, 0.1]"
    body = f'{{"route": "suno.generate", "request": {{"n": {numbers}, "t": "99999999999999999999999"}}}}'
    async with world.client.post("/v1/tasks", data=body, headers=JSON) as response:
        assert response.status == 201
    sent = world.submitter.asked[0].request
    assert sent == {"n": [2**64 - 1, -(2**63), 1e30, -2e25, 0.1], "t": "9" * 23}


async def test_wrong_values_are_not_repeated(world: ServerWorld) -> None:
    """They can be secret or huge."""
    async with world.client.post("/v1/tasks", json={**SUBMIT, "account": ["sk-secret" * 100]}) as response:
        assert "sk-secret" not in json.dumps(await problem_of(response, 422))


async def test_a_body_that_is_too_large_is_413(world: ServerWorld) -> None:
    """As sent, and decompressed."""

    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(33):
            yield b" " * (1 << 20)

    bomb = gzip.compress(b" " * (33 << 20))
    for data, headers in ((undeclared(), {}), (bomb, {"Content-Encoding": "gzip"})):
        async with world.client.post("/v1/tasks", data=data, headers=headers) as response:
            await problem_of(response, 413)


async def test_a_compressed_submit_is_read(world: ServerWorld) -> None:
    """Content-Encoding: gzip, for inline images."""
    data = gzip.compress(json.dumps(SUBMIT).encode())
    async with world.client.post("/v1/tasks", data=data, headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 201


# -- list --------------------------------------------------------------------------------------------------


async def test_a_list_has_pages(world: ServerWorld) -> None:
    """Every task once, newest first, the last page without a cursor."""
    made = []
    for n in range(5):
        world.clock.advance(1.0)
        made.append(await world.make_task(external_id=f"x-{n}"))
    seen: list[str] = []
    cursor = ""
    while True:
        page = await get(world, f"/v1/tasks?limit=2{cursor}")
        seen += [task["id"] for task in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_a_filter_that_names_nothing(world: ServerWorld) -> None:
    """An unknown route, provider or account is an error with the nearest names, unless tasks of it are left."""
    for query, message in (
        ("route=suno.generat", "no such route: suno.generat; did you mean suno.generate, "),
        ("provider=klin", "no such provider: klin; did you mean kling?"),
        ("account=nobody", "no such account: nobody; known are default"),
    ):
        async with world.client.get(f"/v1/tasks?{query}") as response:
            (problem,) = (await problem_of(response, 422))["errors"]
            assert problem["loc"] == ["query", query.partition("=")[0]]
            assert message in problem["msg"]
    assert (await get(world, "/v1/tasks?route=suno.generate&account=default"))["items"] == []
    known = {"route": "suno.generate", "external_id": "x-1", "account": "removed"}
    async with world.client.post("/v1/tasks", json=known) as response:
        task = await response.json()
    assert [item["id"] for item in (await get(world, "/v1/tasks?account=removed"))["items"]] == [task["id"]]


ENDLESS = "WITH RECURSIVE n (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@asynccontextmanager
async def busy_searches(world: ServerWorld) -> AsyncIterator[None]:
    """Every connection for searches runs a statement without an end."""
    pool = world.store._searches
    running = [asyncio.create_task(pool.bounded_rows(ENDLESS)) for _ in range(SEARCHES)]
    await asyncio.sleep(0)
    try:
        yield
    finally:
        for one in running:
            one.cancel()
        await asyncio.wait(running)


async def test_a_search_that_is_cut_says_so(world: ServerWorld) -> None:
    """The page has a notice and a cursor to continue, also without a hit; a complete page has no notice."""
    for n in range(3):
        await world.make_task(external_id=f"k-{n}")
    complete = await get(world, "/v1/tasks?q=k-0")
    assert (len(complete["items"]), complete["next_cursor"], "notice" in complete) == (1, None, False)
    world.store.search_limits = SearchLimits(total_s=0.0, first_slice=1)
    page = await get(world, "/v1/tasks?q=k-0")
    assert (page["items"], page["notice"]) == ([], SEARCH_CUT)
    found = []
    while page["next_cursor"] is not None:
        page = await get(world, f"/v1/tasks?q=k-0&cursor={page['next_cursor']}")
        found += page["items"]
    assert found == complete["items"]


async def test_searches_beyond_the_queue_are_refused(world: ServerWorld) -> None:
    """503 with Retry-After and what to do, while look-ups and counts are answered."""
    task_id = await world.make_task()
    async with busy_searches(world):
        waiting = [asyncio.create_task(world.client.get("/v1/tasks")) for _ in range(MAX_SEARCHES)]
        await until(lambda: world.store._searches.searches == MAX_SEARCHES)
        async with world.client.get("/v1/deliveries") as response:
            problem = await problem_of(response, 503)
            assert (problem["type"], response.headers["Retry-After"]) == ("urn:tracker:problem:search-refused", "2")
            assert problem["detail"] == f"{MAX_SEARCHES} searches are running already: retry later."
        assert (await get(world, f"/v1/tasks/{task_id}"))["id"] == task_id
        assert (await get(world, "/v1/stats"))["tasks"]["PENDING"] == 1
        assert (await get(world, "/v1/hooks"))["items"]
    assert {(await one).status for one in waiting} == {200}


async def test_a_client_that_disconnects_ends_its_search(world: ServerWorld) -> None:
    """The place in the queue is free again, though nothing was found for it."""
    async with busy_searches(world):
        search = asyncio.create_task(world.client.get("/v1/tasks"))
        await until(lambda: world.store._searches.searches == 1)
        search.cancel()
        await until(lambda: world.store._searches.searches == 0)


async def test_filters(world: ServerWorld) -> None:
    """Each filter restricts the list."""
    async with world.client.post("/v1/tasks", json=SUBMIT) as response:
        song = (await response.json())["id"]
    world.clock.advance(10.0)
    video = await world.make_task(external_id="k-1", route="kling.omni-video")
    await world.end_task(video)
    expected = {
        "status=PENDING": song,
        "status=SUCCEEDED": video,
        "provider=kling": video,
        "route=suno.generate": song,
        "label.user=42": song,
        "q=K-1": video,
        "q=user=42": song,
        "q=SER%3d4": song,
        "since=2026-11-20T20:42:05Z": video,
        "since=2026-11-20T21:42:05%2B01:00": video,
        "since=2026-11-20T21:42:05+01:00": video,
        "until=2026-11-20T20:42:05": song,
    }
    for query, task_id in expected.items():
        page = await get(world, f"/v1/tasks?{query}")
        assert [task["id"] for task in page["items"]] == [task_id], query
    for query in ("route=suno.extend", "reason=expired", "label.user=43", "until=2026-11-20", "provider=gemini"):
        assert (await get(world, f"/v1/tasks?{query}"))["items"] == [], query
    assert len((await get(world, "/v1/tasks?account=default&limit=500"))["items"]) == 2


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=0", ["limit"]),
        ("limit=501", ["limit"]),
        ("limit=ten", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=%D9%A3", ["limit"]),
        ("limit=" + "9" * 6000, ["limit"]),
        ("cursor=x", ["cursor"]),
        ("cursor=", ["cursor"]),
        ("since=yesterday", ["since"]),
        ("until=2026-13-01", ["until"]),
        ("since=0001-01-01T00:00:00%2B14:00", ["since"]),
        ("status=running", ["status"]),
        ("reason=because", ["reason"]),
        ("provider=", ["provider"]),
        ("q=%00", ["q"]),
        ("state=PENDING", ["state"]),
        ("label.=x", ["label."]),
        ("status=FAILED&status=RUNNING", ["status"]),
        ("label.a=1&label.a=2", ["label.a"]),
        ("limit=0&cursor=x&bogus", ["limit", "cursor", "bogus"]),
    ],
)
async def test_wrong_queries_are_listed(world: ServerWorld, query: str, names: list[str]) -> None:
    """422 with every wrong parameter."""
    async with world.client.get(f"/v1/tasks?{query}") as response:
        problem = await problem_of(response, 422)
    assert locs(problem) == [["query", name] for name in names]


async def test_an_unknown_parameter_is_answered_with_the_known_ones(world: ServerWorld) -> None:
    """And with the nearest of them."""
    async with world.client.get("/v1/tasks?statsu=FAILED") as response:
        (error,) = (await problem_of(response, 422))["errors"]
    assert "did you mean status?" in error["msg"]
    assert "label.NAME" in error["msg"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tasks"),
        ("GET", f"/v1/tasks/{NO_TASK}"),
        ("GET", f"/v1/tasks/{NO_TASK}/events"),
        ("GET", f"/v1/tasks/{NO_TASK}/deliveries"),
        ("GET", f"/v1/tasks/{NO_TASK}/why"),
        ("POST", f"/v1/tasks/{NO_TASK}/poll"),
        ("POST", f"/v1/tasks/{NO_TASK}/cancel"),
        ("POST", "/v1/deliveries/x/retry"),
        ("GET", "/v1/stats"),
        ("GET", "/v1/routes"),
    ],
)
async def test_no_operation_ignores_an_unknown_parameter(world: ServerWorld, method: str, path: str) -> None:
    """A misspelt parameter must not be without effect."""
    async with world.client.request(method, f"{path}?bogus=1") as response:
        assert locs(await problem_of(response, 422)) == [["query", "bogus"]]


# -- one task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", [NO_TASK, "x", "%00", "..%2F..%2Fetc", "ü", "x" * 3000])
async def test_an_unknown_task_is_404_everywhere(world: ServerWorld, task_id: str) -> None:
    """For every operation on a task."""
    calls = [("GET", ""), ("GET", "?wait=1"), ("GET", "/events"), ("GET", "/deliveries"), ("GET", "/why")]
    for method, rest in [*calls, ("POST", "/cancel")]:
        async with world.client.request(method, f"/v1/tasks/{task_id}{rest}") as response:
            await problem_of(response, 404)


async def test_the_history_of_a_task(world: ServerWorld) -> None:
    """Events, oldest first, with what each changed."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    items = (await get(world, f"/v1/tasks/{task_id}/events"))["items"]
    assert [(event["source"], event["outcome"], event["from"], event["to"]) for event in items] == [
        ("poll", "applied", "PENDING", "SUCCEEDED")
    ]
    assert items[0]["payload"] == {"ok": True}


async def test_why(world: ServerWorld) -> None:
    """The explanation, with notes that only the daemon has."""
    task_id = await world.make_task()
    account = await get(world, f"/v1/tasks/{task_id}/why")
    assert (account["id"], account["status"]) == (task_id, "PENDING")
    assert f"a note on {task_id}" in account["notes"]


async def test_what_is_expected_of_a_task(world: ServerWorld) -> None:
    """As soon as eight such tasks have succeeded; then in the task, in lists, and in the explanation."""
    task_id, shown = TaskId(""), {}
    for n in range(9):
        task_id = await world.submit(n, size="5s", expects_callback=False)
        await world.store.mark_sending(task_id, 60)
        await world.apply(make_answer(Submission.ACCEPTED, task_id=task_id, external_id=ExternalId(f"up-{n}"), at=0))
        shown = await get(world, f"/v1/tasks/{task_id}")
        assert (shown["expected"] is None) == (n < 8)
        assert shown["poll_after_s"] == (5.0 if n < 8 else 30.0), "when the tracker polls"
        if n < 8:
            await world.call(n, Status.SUCCEEDED, at=60.0 + n)
            world.learning.learn()
            assert (await get(world, f"/v1/tasks/{task_id}"))["poll_after_s"] is None
    expected = {"p50_s": 63.5, "p90_s": 66.3, "samples": 8, "ready_at": "2026-11-20T20:43:03.500Z"}
    assert shown["expected"] == expected
    (listed,) = (await get(world, "/v1/tasks?status=PENDING"))["items"]
    assert listed["expected"] == expected
    world.clock.advance(10)
    notes = (await get(world, f"/v1/tasks/{task_id}/why"))["notes"]
    assert "Such a task usually takes 1:04 to 1:06. This one has taken 0:10 so far." in notes


async def make_delivery(world: ServerWorld, task_id: TaskId, status: DeliveryStatus) -> str:
    """A delivery of the task's end that came to an end itself."""

    def match(announcement: Announcement) -> tuple[str, ...]:
        return ("publish",) if announcement.task_id == task_id else ()

    await world.store.fan_out(match, 100)
    (job,) = await world.store.claim_deliveries("publish", 1, 0)
    result = AttemptResult(status, error="exit 1", output="no space left", started_at=START, took_s=0.25)
    await world.store.record_attempt(job.id, result, job.attempt)
    return job.id


async def test_why_names_the_alarms_that_concern_a_task(world: ServerWorld) -> None:
    """With what to do: silent callbacks of its provider while it waits for one, and nothing of others."""
    task_id = await world.make_task()
    own = make_alarm(AlarmKind.CALLBACKS_SILENT, "suno", message="Callbacks do not arrive.", fix="Check public_url.")
    world.alarms += [own, make_alarm(AlarmKind.CALLBACKS_SILENT, "kling"), make_alarm()]
    note = "Callbacks do not arrive. Check public_url."

    async def alarm_notes() -> list[str]:
        return [one for one in (await get(world, f"/v1/tasks/{task_id}/why"))["notes"] if "a note on" not in one]

    world.edit("UPDATE tasks SET expects_callback = 1")
    assert note in await alarm_notes()
    assert "disk" not in str(await alarm_notes())
    assert [item["subject"] for item in (await get(world, "/v1/alarms"))["items"]] == ["suno", "kling", "/srv"]
    await world.end_task(task_id)
    assert note not in await alarm_notes()


async def test_why_names_a_hook_that_is_failing(world: ServerWorld) -> None:
    """With its start and last error, for tasks with a delivery to it only."""
    world.hooks.health = HookHealth(HookState.FAILING, last_error="exit 100: failed for good", failing_since=START)
    task_id, other = await world.make_task(), await world.make_task(external_id="other")
    await world.end_task(task_id)
    await make_delivery(world, task_id, DeliveryStatus.FAILED)
    note = "The hook publish has failed since 2026-11-20T20:42:00.000Z: exit 100: failed for good."
    assert note in (await get(world, f"/v1/tasks/{task_id}/why"))["notes"]
    assert note not in (await get(world, f"/v1/tasks/{other}/why"))["notes"]
    ((hook,),) = [(await get(world, "/v1/hooks"))["items"]]
    assert (hook["state"], hook["failing_since"]) == ("failing", "2026-11-20T20:42:00.000Z")


async def test_a_dead_delivery_is_retried(world: ServerWorld) -> None:
    """It is pending again, and its attempts start at zero."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    delivery_id = await make_delivery(world, task_id, DeliveryStatus.DEAD)
    (shown,) = (await get(world, f"/v1/tasks/{task_id}/deliveries"))["items"]
    assert (shown["id"], shown["status"], shown["output"]) == (delivery_id, "dead", "no space left")
    attempt = {"attempt": 1, "outcome": "dead", "started_at": "2026-11-20T20:42:00.000Z", "took_s": 0.25}
    history = [attempt | {"error": "exit 1", "output": "no space left"}]
    assert await get(world, f"/v1/deliveries/{delivery_id}") == shown | {"attempt_history": history}
    async with world.client.post(f"/v1/deliveries/{delivery_id}/retry") as response:
        assert response.status == 200
        assert (await response.json())["status"] == "pending"


async def test_an_unknown_delivery_is_404(world: ServerWorld) -> None:
    """There is nothing to retry."""
    async with world.client.post("/v1/deliveries/nope/retry") as response:
        await problem_of(response, 404)


async def test_a_manual_poll_that_is_not_sent_is_503(world: ServerWorld) -> None:
    """With the time after which to retry; the task is unchanged."""
    task_id = await world.make_task()

    async def refuse(_: TaskId) -> None:
        raise NotAttempted("account 'default' has no API key", 9.2)

    world.poller.brings = refuse
    async with world.client.post(f"/v1/tasks/{task_id}/poll") as response:
        problem = await problem_of(response, 503)
        assert response.headers["Retry-After"] == "10"
    assert problem["detail"] == "The tracker did not ask the service: account 'default' has no API key."


async def test_a_manual_poll_shows_the_task_afterwards(world: ServerWorld) -> None:
    """The response has the result of the poll."""
    task_id = await world.make_task()
    world.poller.brings = world.end_task
    async with world.client.post(f"/v1/tasks/{task_id}/poll") as response:
        assert (response.status, (await response.json())["status"]) == (200, "SUCCEEDED")
    assert world.poller.polled == [task_id]


async def test_cancel_ends_a_task_once(world: ServerWorld) -> None:
    """FAILED canceled by an operator; a second time 409."""
    task_id = await world.make_task()
    async with world.client.post(f"/v1/tasks/{task_id}/cancel") as response:
        task = await response.json()
        assert response.status == 200
    assert (task["status"], task["reason"], task["retryable"]) == ("FAILED", "canceled", False)
    (event,) = await world.store.list_events(task_id)
    assert (event.source, "canceled by an operator" in event.detail) == ("operator", True)
    async with world.client.post(f"/v1/tasks/{task_id}/cancel") as response:
        assert "canceled" in (await problem_of(response, 409))["detail"]


async def test_cancel_of_a_finished_task_is_a_conflict(world: ServerWorld) -> None:
    """The result stays."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    async with world.client.post(f"/v1/tasks/{task_id}/cancel") as response:
        assert "SUCCEEDED" in (await problem_of(response, 409))["detail"]
    assert (await world.store.get_task(task_id)).task.status is Status.SUCCEEDED


# -- waiting -----------------------------------------------------------------------------------------------


async def test_wait_responds_when_the_task_ends(world: ServerWorld) -> None:
    """Before the time limit; other changes of the task do not end the wait."""
    task_id = await world.make_task()
    waiting = asyncio.create_task(get(world, f"/v1/tasks/{task_id}?wait=60"))
    changes = world.services.feed.changes
    async with asyncio.timeout(10):
        while task_id not in changes._watched:  # noqa: ASYNC110 - the handler gives no signal that it waits
            await asyncio.sleep(0)
        await world.end_task(task_id, Source.CALLBACK)
        assert (await waiting)["status"] == "SUCCEEDED"
    assert task_id not in changes._watched


@pytest.mark.parametrize("depth", [101, 300, 3000])
async def test_deep_json_of_older_versions_is_shown_as_its_digest(world: ServerWorld, depth: int) -> None:
    """Payloads, the result and usage, which older versions stored at any depth."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    deep = '{"a":' * depth + "1" + "}" * depth
    world.edit("UPDATE tasks SET usage = ?", deep)
    world.edit("UPDATE events SET payload = ? WHERE payload IS NOT NULL", deep)
    shown = {"not_shown": {"bytes": len(deep), "sha256": hashlib.sha256(deep.encode()).hexdigest()}}
    task = await get(world, f"/v1/tasks/{task_id}")
    listed = (await get(world, "/v1/tasks"))["items"][0]
    history = (await get(world, f"/v1/tasks/{task_id}/events"))["items"]
    assert (task["usage"], task["result"], listed["usage"], listed["result"]) == (shown,) * 4
    assert history[-1]["payload"] == shown
    async with world.client.get(f"/v1/tasks/{task_id}/export") as response:
        assert response.status == 200, await response.text()


async def test_wait_of_an_ended_task_responds_at_once(world: ServerWorld) -> None:
    """There is nothing to wait for."""
    task_id = await world.make_task()
    await world.end_task(task_id)
    async with asyncio.timeout(10):
        assert (await get(world, f"/v1/tasks/{task_id}?wait=60"))["status"] == "SUCCEEDED"


async def test_wait_responds_after_the_time_limit(world: ServerWorld) -> None:
    """With the task."""
    task_id = await world.make_task()
    for wait in ("0", "0.05"):
        assert (await get(world, f"/v1/tasks/{task_id}?wait={wait}"))["status"] == "PENDING"
    assert task_id not in world.services.feed.changes._watched


async def test_wait_responds_when_the_daemon_stops(world: ServerWorld) -> None:
    """Waiting clients do not delay a stop."""
    task_id = await world.make_task()
    waiting = asyncio.create_task(get(world, f"/v1/tasks/{task_id}?wait=60"))
    async with asyncio.timeout(10):
        while task_id not in world.services.feed.changes._watched:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        world.services.stopping.set()
        assert (await waiting)["status"] == "PENDING"


@pytest.mark.parametrize("wait", ["-1", "60.1", "soon", "", "nan", "inf", "1e9"])
async def test_an_invalid_wait_is_refused(world: ServerWorld, wait: str) -> None:
    """0 to 60 seconds."""
    async with world.client.get(f"/v1/tasks/{await world.make_task()}?wait={wait}") as response:
        assert locs(await problem_of(response, 422)) == [["query", "wait"]]


# -- the daemon itself -------------------------------------------------------------------------------------


async def test_stats(world: ServerWorld) -> None:
    """Counts by status, provider and reason."""
    await world.make_task()
    assert (await get(world, "/v1/stats"))["tasks"]["PENDING"] == 1


async def test_routes(world: ServerWorld) -> None:
    """Every route of the registry with its paths."""
    items = {item["route"]: item for item in (await get(world, "/v1/routes"))["items"]}
    assert set(items) == {route.name for route in world.services.registry.routes()}
    song = items["suno.generate"]
    assert (song["provider"], song["mode"], song["callback"]) == ("suno", "task", True)
    assert song["create"] == "POST /suno/generate"


async def test_health(world: ServerWorld) -> None:
    """Alive while the process responds; ready while there is no reason against it."""
    assert await get(world, "/healthz") == {"status": "alive"}
    known = {"instance": world.store.instance, "alarms": 0}
    assert await get(world, "/readyz") == {"ready": True, "reasons": [], **known}
    world.health[0] = Health(ready=False, reasons=("The disk is full.", "No sweep for 20 s."))
    async with world.client.get("/readyz") as response:
        problem = await problem_of(response, 503)
    assert problem.items() >= {"ready": False, "reasons": ["The disk is full.", "No sweep for 20 s."], **known}.items()


async def test_an_unavailable_store_is_503(world: ServerWorld) -> None:
    """With Retry-After, for every operation."""
    task_id = await world.make_task()
    world.store.fail()
    for method, path in (
        ("GET", "/v1/tasks"),
        ("GET", f"/v1/tasks/{task_id}"),
        ("POST", f"/v1/tasks/{task_id}/cancel"),
    ):
        async with world.client.request(method, path) as response:
            assert int(response.headers["Retry-After"]) > 0
            await problem_of(response, 503)


async def test_a_write_of_unknown_outcome_is_500(world: ServerWorld) -> None:
    """The detail does not ask for a retry, which may pay twice; a callback can be repeated."""
    task_id = await world.make_task()
    world.store.fail(error=WriteUnknown("the commit failed, and so did the next"))
    async with world.client.post(f"/v1/tasks/{task_id}/cancel") as response:
        assert "Retry-After" not in response.headers
        problem = await problem_of(response, 500)
    assert problem["type"] == "urn:tracker:problem:write-unknown"
    assert "check before you retry" in problem["detail"]
    async with world.client.post(world.address(task_id), json={"code": 200}) as response:
        assert "nothing was written" not in (await problem_of(response, 503))["detail"]
        assert int(response.headers["Retry-After"]) > 0


async def test_an_unknown_path_is_404(world: ServerWorld) -> None:
    """As problem details, below and beside the API."""
    for path in ("/nothing", "/v1/nothing", "/v1/tasks/", "/callbacks", "/v2/tasks", "/%00"):
        async with world.client.get(path) as response:
            await problem_of(response, 404)


async def test_another_method_is_405(world: ServerWorld) -> None:
    """With the allowed methods."""
    for method, path, allowed in (
        ("DELETE", "/v1/tasks", {"GET", "HEAD", "POST"}),
        ("POST", f"/v1/tasks/{NO_TASK}", {"GET", "HEAD"}),
        ("GET", f"/v1/tasks/{NO_TASK}/cancel", {"POST"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
    ):
        async with world.client.request(method, path) as response:
            assert set(response.headers["Allow"].split(", ")) == allowed
            await problem_of(response, 405)


async def test_head_responds_as_get(world: ServerWorld) -> None:
    """Without a body."""
    async with world.client.head("/v1/tasks") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_responses_do_not_name_the_libraries(world: ServerWorld) -> None:
    """A version in a header helps attackers."""
    for path in ("/healthz", "/v1/tasks", "/nothing", "/openapi.json"):
        async with world.client.get(path) as response:
            assert response.headers["Server"] == "tracker"


# -- who may ask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer t0ken2", "Basic t0ken", "t0ken", "Bearer t0ke\xff"],
)
async def test_the_api_requires_the_token(tmp_path: Path, header: str | None) -> None:
    """401 with WWW-Authenticate on every path below /v1, known or not."""
    headers = {} if header is None else {"Authorization": header}
    async with ServerWorld(tmp_path, api_token="t0ken") as world:
        for method, path in (("GET", "/v1/tasks"), ("POST", "/v1/tasks"), ("GET", "/v1/nothing"), ("PUT", "/v1/tasks")):
            async with world.client.request(method, path, headers=headers) as response:
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert "t0ken" not in json.dumps(await problem_of(response, 401))
        for path in ("/healthz", "/readyz", "/openapi.json"):
            async with world.client.get(path) as response:
                assert response.status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_opens_the_api(tmp_path: Path, scheme: str) -> None:
    """The case of the scheme is ignored, that of the token is not."""
    async with ServerWorld(tmp_path, api_token="t0ken") as world:
        headers = {"Authorization": f"{scheme} t0ken"}
        async with world.client.get("/v1/tasks", headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8780"}, 200),
        ({"Host": "[::1]:8780"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8780"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
    ],
)
async def test_without_a_token_web_pages_are_refused(world: ServerWorld, headers: dict[str, str], status: int) -> None:
    """A page in a browser on this machine could otherwise order paid jobs."""
    async with world.client.get("/v1/tasks", headers=headers) as response:
        if status == 200:
            assert response.status == 200
        else:
            await problem_of(response, status)


async def test_over_a_unix_socket_any_host_is_local(tmp_path: Path, short_path: Path) -> None:
    """The permissions of the socket are the access control."""
    from aiohttp import ClientSession, UnixConnector

    from tracker.server.app import make_app

    async with ServerWorld(tmp_path) as world:
        runner = web.AppRunner(make_app(world.services))
        await runner.setup()
        try:
            await web.UnixSite(runner, short_path / "s").start()
            async with (
                ClientSession(connector=UnixConnector(str(short_path / "s"))) as session,
                session.get("http://tracker/v1/tasks") as response,
            ):
                assert response.status == 200
        finally:
            await runner.cleanup()
