"""Declared providers in the daemon: second calls, fields of earlier replies in paths, other key headers, challenges."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import aiohttp

from tests.integration.test_accounts import RecordingUpstream, listening
from tests.kits.archive import ArchiveWorld, Asked, RawServer, film, head_of, serves
from tests.kits.daemon import NEVER_POLLS, ApiClient, Json, Setting, account, running_daemon
from tests.kits.factories import make_output
from tests.kits.waiting import WITHIN_S
from tracker.domain.archives import ArchiveState
from tracker.domain.records import iso
from tracker.providers.reading.figures import CHINA
from tracker.sandbox import DEFAULT_KEY

PELICAN = """
name = "pelican"
source = "https://docs.example.com/"
auth = "Authorization: Key {key}"
[values]
link = "url_path(answer.status_url)"
[routes.film]
create = "POST /films"
query = "GET /{+link}/{request.region}/{task_id}"
asset = "film"
[result]
query = "GET /files/{answer.file}"
[task]
id = "id"
status = "state"
finished_at = "join('', [ended, '+08:00'])"
cost = "price"
[statuses]
done = "SUCCEEDED"
lost = "FAILED"
[[outputs]]
url = "result.url"
kind = "video"
authenticated = true
[callback]
field = "hook.url"
extra = { "hook.events" = ["end"] }
challenge = "challenge"
ids = ["id"]
"""
STATE = "/v1/apps/a-b/jobs"
REQUEST = {"prompt": "a sea", "region": "eu"}


def install(directory: Path, text: str = PELICAN) -> None:
    """Write the provider's file."""
    (directory / "providers.d").mkdir()
    (directory / "providers.d" / "pelican.toml").write_text(text)


async def submitted(api: ApiClient, upstream: RecordingUpstream, url: str = "https://api.example.com") -> Json:
    """A task that the upstream accepted."""
    upstream.answers["/films"] = (200, {"id": "F/1", "status_url": f"{url}{STATE}?key=x"})
    return await api.submit("pelican.film", REQUEST)


async def polled(api: ApiClient, task: Json) -> Json:
    """The task after a poll."""
    assert (await api.call("POST", f"/v1/tasks/{task['id']}/poll"))[0] == 200
    return await api.get(f"/v1/tasks/{task['id']}")


async def test_fields_of_request_and_reply_lead_to_the_result(tmp_path: Path) -> None:
    """The status call is built from the recorded request and reply, the second call from its own reply."""
    install(tmp_path)
    async with listening() as upstream:
        setting = Setting(poll=NEVER_POLLS, tables=account("pelican", upstream.url))
        async with running_daemon(tmp_path, setting) as api:
            task = await submitted(api, upstream)
            assert (task["status"], task["external_id"]) == ("PENDING", "F/1")
            upstream.answers[STATE] = (200, {"id": "F/1", "state": "done", "file": "7", "price": 0.5, "ended": 0})
            waiting = await polled(api, task)
            assert waiting["status"] == "PENDING", "the second call was answered 502: nothing has changed"
            upstream.answers["/files/7"] = (200, {"url": "https://cdn.example.com/1.mp4"})
            ended = datetime.now(CHINA).replace(microsecond=0)
            upstream.answers[STATE][1]["ended"] = ended.isoformat(" ").removesuffix("+08:00")
            done = await polled(api, task)
            assert done["upstream_finished_at"] == iso(ended)
            assert (done["status"], [one["kind"] for one in done["outputs"]]) == ("SUCCEEDED", ["video"])
            assert done["outputs"][0]["url"] is None, "it needs the key"
            assert done["cost"] == {"amount": 0.5, "currency": "USD", "kind": "actual"}
            status, problem = await api.call("POST", "/v1/tasks", {"route": "pelican.film", "external_id": "F2"})
            assert (status, "needs a part of the create" in str(problem)) == (422, True)
    assert list(upstream.requests) == ["POST /films", f"GET {STATE}/eu/F/1", "GET /files/7"]
    assert {headers["Authorization"] for headers in upstream.requests.values()} == {f"Key {DEFAULT_KEY}"}
    hook = upstream.bodies[0]["hook"]
    assert (hook["events"], hook["url"].startswith(setting.url)) == (["end"], True)


async def test_the_reply_that_accepted_the_task_counts(tmp_path: Path) -> None:
    """A create that was first deferred has two replies in the history; the last one has the id."""
    install(tmp_path)
    async with listening() as upstream:
        setting = Setting(poll=NEVER_POLLS, tables=account("pelican", upstream.url))
        async with running_daemon(tmp_path, setting) as api:
            upstream.answers["/films"] = (429, {"status_url": "https://api.example.com/wrong", "error": "slow down"})
            task = await api.submit("pelican.film", REQUEST)
            assert task["external_id"] is None
            upstream.answers["/films"] = (200, {"id": "F1", "status_url": f"https://api.example.com{STATE}"})
            upstream.answers[STATE] = (200, {"id": "F1", "state": "lost"})
            async with asyncio.timeout(WITHIN_S):
                while (await api.get(f"/v1/tasks/{task['id']}"))["external_id"] is None:  # a retry is due in 1 s
                    await api.call("POST", f"/v1/tasks/{task['id']}/poll")
            assert (await polled(api, task))["status"] == "FAILED"
    assert list(upstream.requests)[-1] == f"GET {STATE}/eu/F1"


async def test_a_challenge_is_returned_to_who_knows_the_token(tmp_path: Path) -> None:
    """Within the create already; a body with anything else stays a malformed callback."""
    install(tmp_path)
    async with listening() as upstream:
        setting = Setting(poll=NEVER_POLLS, tables=account("pelican", upstream.url))
        async with running_daemon(tmp_path, setting) as api, aiohttp.ClientSession() as session:
            task = await submitted(api, upstream)
            url = upstream.bodies[0]["hook"]["url"]
            for body, status, answer in (
                ({"challenge": "abc-123"}, 200, {"challenge": "abc-123"}),
                ({"challenge": 7}, 400, None),
                ({"challenge": "x" * 2000}, 400, None),
                ({"other": "x"}, 400, None),
            ):
                async with session.post(url, json=body) as response:
                    assert response.status == status, body
                    assert answer is None or await response.json() == answer
            async with session.post(url[:-3] + "xxx", json={"challenge": "abc"}) as response:
                assert response.status == 404
            assert (await api.get(f"/v1/tasks/{task['id']}"))["status"] == "PENDING"


async def test_a_challenge_is_returned_where_callbacks_have_the_task(tmp_path: Path) -> None:
    """A test of the address has no task, although the file says where callbacks have it."""
    install(tmp_path, f'{PELICAN}task = "@"\n')
    async with listening() as upstream:
        setting = Setting(poll=NEVER_POLLS, tables=account("pelican", upstream.url))
        async with running_daemon(tmp_path, setting) as api, aiohttp.ClientSession() as session:
            await submitted(api, upstream)
            url = upstream.bodies[0]["hook"]["url"]
            for body, answer in (
                ({"challenge": "abc-123"}, {"challenge": "abc-123"}),
                ({"id": "F/1", "state": "lost", "challenge": "x"}, {"outcome": "applied"}),
            ):
                async with session.post(url, json=body) as response:
                    assert (response.status, await response.json()) == (200, answer)


async def test_another_key_header_opens_files_of_the_own_host_only(tmp_path: Path) -> None:
    """Files at the account's host are fetched with the declared header; other hosts and redirects never get the key."""
    data = film(50_000)
    async with RawServer(serves(data)) as cdn:

        async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(head_of("302 Found", 0, Location=cdn.url("/signed.mp4")))

        async with RawServer(redirect) as home, ArchiveWorld(tmp_path, home=home.url("/base")) as world:
            own, other = (
                make_output(
                    kind="video", mime="video/mp4", url=url, authenticated=True, key_header="x-goog-api-key: {key}"
                )
                for url in (home.url("/v1/files/1:download?alt=media"), cdn.url("/2.mp4"))
            )
            task_id = await world.succeed(own, other, route="openai.video")
            assert [record.state for record in await world.settle(task_id)] == [ArchiveState.STORED] * 2
            (asked,) = home.asked
            assert asked.path == "/v1/files/1:download?alt=media"
            assert asked.headers["x-goog-api-key"] == "sk-test-key"
            assert "authorization" not in asked.headers
            assert len(cdn.asked) == 2
            assert all(not {"authorization", "x-goog-api-key"} & asked.headers.keys() for asked in cdn.asked)


async def test_a_create_that_no_longer_fits_its_file_is_not_sent(tmp_path: Path) -> None:
    """A deferred create waits when the file, changed before a restart, requires a field that it lacks; it says why."""
    install(tmp_path)
    async with listening() as upstream:
        setting = Setting(poll=NEVER_POLLS, tables=account("pelican", upstream.url))
        upstream.answers["/films"] = (429, {"error": "slow down"})
        async with running_daemon(tmp_path, setting) as api:
            task = await api.submit("pelican.film", REQUEST)
        sent = len(upstream.bodies)
        changed = PELICAN.replace('create = "POST /films"', 'create = "POST /films/{request.shard}"')
        (tmp_path / "providers.d" / "pelican.toml").write_text(changed)
        async with running_daemon(tmp_path, setting) as api, asyncio.timeout(WITHIN_S):
            while "requires request.shard" not in str(await api.get(f"/v1/tasks/{task['id']}/why")):
                await api.call("POST", f"/v1/tasks/{task['id']}/poll")
            assert (await api.get(f"/v1/tasks/{task['id']}"))["status"] == "PENDING"
    assert len(upstream.bodies) == sent
