"""Every route of the embedded gateway, which implements the formats independently: from request to end."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from tests.kits.clock import RECORDED_AT
from tests.kits.providers import REGISTRY
from tests.kits.sandbox import Client, Receiver, list_played, lower, receiving, running
from tests.kits.waiting import WITHIN_S
from tracker.domain.observation import Reading, Submission
from tracker.domain.task import ExternalId, Status
from tracker.domain.upstream_http import AuthStyle, WireReply, WireRequest
from tracker.providers.route import Route
from tracker.sandbox import DEFAULT_KEY

PLAYED = list_played(REGISTRY)
routes = pytest.mark.parametrize("route", PLAYED, ids=lambda route: route.name)
SOURCES = ("taskId", "audioId")


async def send(client: Client, call: WireRequest) -> WireReply:
    """Send a provider's request as the outbound client does, and read the complete answer."""
    headers = dict(call.headers)
    if call.auth is AuthStyle.X_API_KEY:
        headers |= {"Authorization": "", "x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    reply = await client.call(call.method, call.path, data=call.body, headers=headers, params=list(call.query))
    return WireReply(reply.status, lower(reply.headers), reply.raw, RECORDED_AT)


async def finish(client: Client, route: Route, reading: Reading) -> Reading:
    """Poll a task until it has ended."""
    provider = REGISTRY.provider_of(route)
    async with asyncio.timeout(WITHIN_S):
        while reading.status is None or not reading.status.is_terminal or not (reading.outputs or reading.reason):
            assert reading.external_id is not None
            await asyncio.sleep(0.01)
            call = provider.poll_request(route, reading.external_id)
            polled = provider.read_poll(route, await send(client, call))
            assert polled.trouble is None, polled
            reading = replace(polled, external_id=reading.external_id)
    return reading


async def request_of(client: Client, route: Route) -> dict[str, Any]:
    """The sample; one that works on a song names an existing song."""
    request = dict(route.sample)
    if not set(SOURCES) & set(request) or route.provider != "suno":
        return request
    song = REGISTRY.find_route("suno.generate")
    assert song is not None
    made = await submit(client, song, dict(song.sample))
    await finish(client, song, made)
    assert made.external_id is not None
    call = REGISTRY.provider_of(song).poll_request(song, made.external_id)
    tracks = orjson.loads((await send(client, call)).body)["data"]["response"]["sunoData"]
    found = {"taskId": made.external_id, "audioId": tracks[0]["id"]}
    return request | {key: value for key, value in found.items() if key in request}


async def submit(client: Client, route: Route, request: dict[str, Any], callback_url: str | None = None) -> Reading:
    """Send a create and read its answer."""
    provider = REGISTRY.provider_of(route)
    assert provider.check_request(route, request) == []
    given = callback_url or ("https://callback.invalid/" if route.callback_required else None)
    reading = provider.read_create(route, await send(client, provider.create_request(route, request, given)))
    assert reading.submission is Submission.ACCEPTED, reading
    return reading


@routes
async def test_a_job_is_followed_to_its_end(route: Route) -> None:
    """Create, polls and result are understood, and the result can be stored."""
    async with running(duration_s=0.03) as client:
        reading = await submit(client, route, await request_of(client, route))
        if route.mode == "sync":
            assert reading.status is not None
            assert reading.status.is_terminal
        reading = await finish(client, route, reading)
    assert reading.status is Status.SUCCEEDED
    assert reading.outputs


@pytest.mark.parametrize("route", [route for route in PLAYED if route.callback_field], ids=lambda route: route.name)
async def test_callbacks_are_understood(route: Route) -> None:
    """The last callback of a job names it and says how it ended, with its outputs."""
    provider = REGISTRY.provider_of(route)
    async with running(duration_s=0.03) as client, receiving() as receiver:
        made = await submit(client, route, await request_of(client, route), receiver.url)
        reading = await final_callback(receiver, route)
        assert provider.callback_ids(receiver.bodies[-1]) == (made.external_id,)
    assert (reading.status, reading.external_id) == (Status.SUCCEEDED, made.external_id)
    assert reading.outputs


async def final_callback(receiver: Receiver, route: Route) -> Reading:
    """Read the callbacks until one reports an end."""
    provider = REGISTRY.provider_of(route)
    count = 0
    while True:
        count += 1
        body = (await receiver.wait(count))[count - 1]
        reading = provider.read_callback(route, body)
        assert reading.trouble is None, reading
        if reading.status is not None and reading.status.is_terminal:
            return reading


@pytest.mark.parametrize("route", [route for route in PLAYED if route.query], ids=lambda route: route.name)
async def test_an_unknown_id_is_not_found(route: Route) -> None:
    """An unknown task is trouble, never an end."""
    provider = REGISTRY.provider_of(route)
    async with running() as client:
        reading = provider.read_poll(route, await send(client, provider.poll_request(route, ExternalId("nobody-s"))))
    assert reading.status is None
    assert reading.trouble is not None or reading.expired_after_s is not None
