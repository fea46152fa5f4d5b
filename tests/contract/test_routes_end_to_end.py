"""Every route that the sandbox plays, end to end: submitted to the daemon, and ended correctly by each channel.

A channel is how the daemon receives the end: by callbacks alone (polls are years away), by polls alone (without a
callback URL), by both racing, or by the reply to the create itself. For each channel one daemon and one sandbox run all
routes at once, each once without a fault and once with each fault of the sandbox. A table at the end of the test run
shows the results.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from tests.contract.channel_table import CHANNELS, NOT_OFFERED, NOT_PLAYED, OK, TABLE, WRONG, Channel
from tests.kits.daemon import NEVER_POLLS, POLLS_AT_ONCE, ApiClient, Setting, ends_of, running_daemon
from tests.kits.invariants import check_replay
from tests.kits.payloads import fault_reasons
from tests.kits.processes import EventLog
from tests.kits.route_requests import Json, Song, request_of
from tests.kits.sandbox import list_played, list_played_names
from tests.kits.waiting import until
from tracker.providers.registry import Registry
from tracker.providers.route import Route
from tracker.sandbox import DEFAULT_KEY, Sandbox

Note = Callable[[str, object], None]

REGISTRY = Registry()
ROUTES = {route.name: route for route in list_played(REGISTRY)}
"""Routes that the sandbox plays, by its own list."""
FAULTS = ("policy", "error", "invalid", "silent", "canceled")
LAST_PHASES = frozenset({"succeed", "failed", "complete", "error"})
"""The sandbox's names of callbacks that announce an end."""
EVENTS_ONLY = "openai.video"
"""Its events only name a task and go to one address without a token: they cause a poll."""

FOLLOWED = {
    "policy": "policy_rejected",
    "error": "generation_failed",
    "invalid": "invalid_request",
    "silent": "generation_failed",
    "canceled": "generation_failed",
}
"""By fault: the reason of a task that was accepted and failed later."""
ANSWERED = FOLLOWED | {"error": "upstream_unavailable"}
"""The same for routes that answer at once."""


def reason_of(route: Route, fault: str) -> str:
    """Why a task fails when the sandbox plays a fault."""
    usual = ANSWERED if route.mode == "sync" else FOLLOWED
    return (usual | fault_reasons(route, REGISTRY))[fault]


def offers(route: Route, channel: Channel) -> bool:
    """Whether a task of this route can end by this channel."""
    if route.mode == "sync":
        return channel == "reply"
    return channel == "poll" or (channel in {"callback", "race"} and route.callback)


@dataclass(frozen=True, slots=True)
class Play:
    """One daemon and one sandbox, and the channel of the end.

    Attributes:
        songs: one for each fate, made first; each is used by one task of a route.
    """

    channel: Channel
    api: ApiClient
    sandbox: Sandbox
    event_log: EventLog
    client: aiohttp.ClientSession
    songs: dict[str | None, Song]

    async def make_songs(self) -> None:
        """Make the songs that other routes work on."""
        for fate in (None, *FAULTS):
            request = request_of("suno.generate", f"a song for {fate or 'all'}")
            task = await self.api.end_of(await self.api.submit("suno.generate", request))
            assert task["status"] == "SUCCEEDED", task
            url = f"{self.sandbox.base_url}/suno/query/task?taskId={task['external_id']}"
            async with self.client.get(url, headers={"Authorization": f"Bearer {DEFAULT_KEY}"}) as response:
                track = (await response.json())["data"]["response"]["sunoData"][0]
            self.songs[fate] = Song(task["external_id"], track["id"])

    async def run(self, route: Route, fault: str | None) -> str | None:
        """Run one task to its end; return what is wrong."""
        text = "a kite"
        if fault is not None:
            # AnyInt documents no callback for a song that failed; its upstream does, in its own wrapper
            text = f"a kite [sandbox: fail={fault}; dialect=wrapped]"
        try:
            task = await self.api.submit(route.name, request_of(route.name, text, self.songs[fault]))
            task = await self.api.end_of(task)
            if self.channel in {"callback", "race"} and route.name != EVENTS_ONLY:
                await self.event_log.until(lambda: self.has_sent_all(task["external_id"]))
            await self.check(route, fault, await self.api.get(f"/v1/tasks/{task['id']}"))
        except (AssertionError, TimeoutError) as error:
            return f"{route.name}, {fault or 'well'}: {error!s} ({type(error).__name__})"
        return None

    def has_sent_all(self, job_id: str) -> bool:
        """Whether the last callback of a job was sent."""
        return any(self.event_log.times_of("callback.sent", job_id=job_id, phase=word) for word in LAST_PHASES)

    async def check(self, route: Route, fault: str | None, task: Json) -> None:
        """Check the end, its channel, and that it was reached once."""
        if fault is None:
            assert (task["status"], task["reason"]) == ("SUCCEEDED", None), task
            await self.check_outputs(task)
        else:
            assert (task["status"], task["reason"]) == ("FAILED", reason_of(route, fault)), task
            assert task["user_message"]
        events = await self.api.events(task)
        assert len(ends_of(events)) == 1, events
        assert not [event for event in events if event["outcome"] == "conflict"], events
        check_replay(await self.api.get(f"/v1/tasks/{task['id']}/export"))
        match self.channel:
            case "callback" if route.name == EVENTS_ONLY:
                assert task["polls"] >= 1, "the event caused a poll"
            case "callback":
                assert (task["polls"], ends_of(events)[0]["source"]) == (0, "callback"), events
            case "poll":
                assert (task["callbacks"], ends_of(events)[0]["source"]) == (0, "poll"), events
            case "reply":
                sources = [event["source"] for event in events if event["from"] != event["to"]]
                assert sources == ["submit"], events
            case "race":
                assert task["polls"] + task["callbacks"] >= 1

    async def check_outputs(self, task: Json) -> None:
        """Check that there is an output: a text, a file that the sandbox serves, or one without a URL."""
        assert task["outputs"], task
        for output in task["outputs"]:
            if "text" in output:
                assert output["text"].strip()
                assert output["url"] is None
        files = [output for output in task["outputs"] if "text" not in output]
        if files and files[0]["url"] is not None:
            assert files[0]["url"].startswith(self.sandbox.base_url)
            async with self.client.get(files[0]["url"]) as response:
                self.check_file(response, files[0])
        elif files:
            # inline, or behind the account's key: only the tracker can serve it, once it is archived
            await until(lambda: self.is_archived(task, files[0]["n"]))
            path = f"/v1/tasks/{task['id']}/outputs/{files[0]['n']}"
            async with self.api.session.get(path, allow_redirects=False) as response:
                self.check_file(response, files[0])
                assert await response.read()

    @staticmethod
    def check_file(response: aiohttp.ClientResponse, output: Json) -> None:
        """Check that the file exists and has the reported type."""
        assert response.status == 200, response
        assert response.content_type == (output["mime"] or response.content_type)
        assert response.content_type.startswith(output["kind"]), output

    async def is_archived(self, task: Json, n: int) -> bool:
        """Whether an output is archived."""
        return bool((await self.api.get(f"/v1/tasks/{task['id']}"))["outputs"][n]["archived"])


@pytest.mark.parametrize("channel", CHANNELS)
async def test_every_route_ends_correctly(channel: Channel, tmp_path: Path, record_property: Note) -> None:
    """SUCCEEDED with outputs that are served, FAILED for the right reason; one create and one end for each task."""
    setting = Setting(
        poll=NEVER_POLLS if channel == "callback" else POLLS_AT_ONCE,
        is_called_back=channel in {"callback", "race"},
        tables="[archive]\nallow_private_addresses = true",
    )
    events_url = f"{setting.url}/callbacks/openai" if setting.is_called_back else None
    event_log = EventLog()
    async with (
        Sandbox(duration_s=0.2, callback_retry_s=0.05, openai_webhook_url=events_url, on_event=event_log) as sandbox,
        running_daemon(tmp_path, replace(setting, gateway=sandbox.base_url)) as api,
        aiohttp.ClientSession() as client,
    ):
        play = Play(channel, api, sandbox, event_log, client, {})
        await play.make_songs()
        cases = [
            (route, fault)
            for route in ROUTES.values()
            for fault in (None, *FAULTS)
            # OpenAI has no event for a canceled video
            if offers(route, channel) and (route.name, fault, channel) != (EVENTS_ONLY, "canceled", "callback")
        ]
        found = await asyncio.gather(*(play.run(*case) for case in cases))
        created = Counter(record["route"] for record in sandbox.state()["creates"])
        made = Counter(record["id"] for record in sandbox.state()["creates"] if record["id"])
    wrong = {route.name: problem for (route, _), problem in zip(cases, found, strict=True) if problem is not None}
    rows = [
        [name, channel, (WRONG if name in wrong else OK) if offers(route, channel) else NOT_OFFERED]
        for name, route in ROUTES.items()
    ]
    rows += [[route.name, channel, NOT_PLAYED] for route in REGISTRY.routes() if route.name not in ROUTES]
    record_property(TABLE, rows)
    assert not wrong, "\n".join(filter(None, found))
    submitted = Counter(route.name for route, _ in cases) + Counter({"suno.generate": len(play.songs)})
    assert created == submitted, "each task was created once"
    assert set(made.values()) <= {1}


def test_every_played_route_is_registered() -> None:
    """The sandbox plays no route that the registry lacks, and each that it plays can end."""
    assert list_played_names() == set(ROUTES)
    assert len(ROUTES) >= 31
    assert all(any(offers(route, channel) for channel in CHANNELS) for route in ROUTES.values())
