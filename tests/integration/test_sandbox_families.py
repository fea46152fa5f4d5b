"""Every job route of the sandbox gateway: its stages, failures, outputs and field names."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kits.sandbox import Body, Client, pass_time, running, url_clock
from tracker.sandbox import Chaos
from tracker.sandbox.families.registry import list_routes
from tracker.sandbox.interpreter import DataJobRoute

PLACEHOLDER = "https://callback.invalid/"
KLING_IMAGES = "/transtreams/kling/v1/images"
SONG: Body = {"customMode": False, "instrumental": False, "model": "V5"}
CLIP: Body = {"taskId": "5c79aa10be8e4d0f9b1c2d3e4f5a6b7c", "audioId": "clip-1"}


def dig(value: Any, path: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Follow a dotted path; None where it ends early."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def find_tracks(body: Body) -> list[str]:
    """The tracks of a song that have a file."""
    return [track["audioUrl"] for track in dig(body, "data.response.sunoData") or [] if track["audioUrl"]]


def find_stems(body: Body) -> list[str]:
    """The stems of a separation."""
    return [url for url in (dig(body, "data.response") or {}).values() if url]


def at(path: str) -> Callable[[Body], list[str]]:
    """Return a reader of the texts at a path: one text, a list of texts, or objects with url or text."""

    def read(body: Body) -> list[str]:
        found = dig(body, path)
        items = found if isinstance(found, list) else [found]
        return [text for item in items if (text := _text_of(item))]

    return read


def _text_of(item: object) -> Any:  # noqa: ANN401 - JSON of any shape
    return item.get("url") or item.get("text") if isinstance(item, dict) else item


@dataclass(frozen=True, kw_only=True)
class Family:
    """One job route as a client sees it.

    Attributes:
        create: Where it is made.
        body: A valid request; the prompt goes where `prompt_key` says.
        id_at: Where the answer to the create has the id.
        query: Where it is followed; `{id}` is the id.
        status_at: Where the answer has the status.
        statuses: The first status, the last, and that of a failed job.
        outputs: The outputs of an answer.
        texts: Whether they are texts rather than URLs.
        dialect: The directive under which the answer has its outputs.
    """

    create: str
    body: Body
    id_at: str
    query: str
    status_at: str
    statuses: tuple[object, object, object]
    outputs: Callable[[Body], list[str]]
    prompt_key: str = "prompt"
    texts: bool = False
    dialect: str = "calm"

    def ask(self, script: str) -> Body:
        """A valid request with these directives."""
        return self.body | {self.prompt_key: f"a cat [sandbox: {self.dialect}; {script}]"}


def kling(tail: str, key: str = "images", **more: object) -> Family:
    """A Kling image route."""
    return Family(
        create=f"{KLING_IMAGES}/{tail}",
        body={"model_name": "kling-v2-1", **more},
        id_at="data.task_id",
        query=f"{KLING_IMAGES}/{tail}/{{id}}",
        status_at="data.task_status",
        statuses=("submitted", "succeed", "failed"),
        outputs=at(f"data.task_result.{key}"),
    )


def suno(
    tail: str,
    query: str,
    body: Body,
    outputs: Callable[[Body], list[str]],
    *words: object,
    status_at: str = "data.successFlag",
    **more: Any,  # noqa: ANN401 - the fields of Family
) -> Family:
    """A Suno route."""
    first, last, broken = words
    return Family(
        create=f"/suno/{tail}",
        body={"callBackUrl": PLACEHOLDER, **body},
        id_at="data.taskId",
        query=f"/suno/query/{query}?taskId={{id}}",
        status_at=status_at,
        statuses=(first, last, broken),
        outputs=outputs,
        **more,
    )


def song(tail: str, **body: object) -> Family:
    """A Suno route that makes a song; its query answers null data at first."""
    words = (None, "SUCCESS", "GENERATE_AUDIO_FAILED")
    return suno(tail, "task", dict(body), find_tracks, *words, status_at="data.status")


UPLOAD: Body = {"uploadUrl": "https://src.example.com/in.mp3"}
SECTION: Body = {**CLIP, "tags": "pop", "title": "t", "infillStartS": 10.5, "infillEndS": 20.25}
STEM_WORDS = ("PENDING", "SUCCESS", "GENERATE_AUDIO_FAILED")
LYRICS_WORDS = ("PENDING", "SUCCESS", "GENERATE_LYRICS_FAILED")

FAMILIES = {
    "kling.image": kling("generations", n=2),
    "kling.omni-image": kling("omni-image", "series_images", result_type="series", series_amount=3),
    "suno.extend": song("extend", defaultParamFlag=False, audioId="clip-1", model="V5"),
    "suno.upload-cover": song("upload-cover", **UPLOAD, **SONG),
    "suno.upload-extend": song("upload-extend", **UPLOAD, defaultParamFlag=False, model="V5"),
    "suno.add-vocals": song("add-vocals", **UPLOAD, title="t", style="jazz", negativeTags="metal"),
    "suno.add-instrumental": song("add-instrumental", **UPLOAD, title="t", tags="jazz", negativeTags="metal"),
    "suno.replace-section": song("replace-section", **SECTION),
    "suno.generate-lyrics": suno(
        "generate-lyrics",
        "lyrics",
        {},
        at("data.response.lyricsData"),
        *LYRICS_WORDS,
        status_at="data.status",
        texts=True,
    ),
    "suno.vocal-removal": suno("vocal-removal", "vocal-removal", CLIP, find_stems, *STEM_WORDS, prompt_key="note"),
    "suno.split-stem": suno("split-stem", "vocal-removal", CLIP, find_stems, *STEM_WORDS, prompt_key="note"),
    "suno.wav-generate": suno(
        "wav-generate",
        "wav",
        CLIP,
        at("data.response.audioWavUrl"),
        "PENDING",
        "SUCCESS",
        "GENERATE_WAV_FAILED",
        prompt_key="note",
    ),
    "suno.mp4-generate": suno(
        "mp4-generate",
        "mp4",
        CLIP,
        at("data.response.videoUrl"),
        "PENDING",
        "SUCCESS",
        "GENERATE_MP4_FAILED",
        prompt_key="author",
    ),
    "suno.generate-cover": suno(
        "generate-cover", "cover", {"taskId": CLIP["taskId"]}, at("data.response.images"), 0, 1, 3, prompt_key="note"
    ),
    "openai.video": Family(
        create="/openai/v1/videos",
        body={"model": "kling-3.0", "seconds": "5"},
        id_at="id",
        query="/openai/v1/videos/{id}",
        status_at="status",
        statuses=("queued", "completed", "failed"),
        outputs=at("metadata.url"),
        dialect="dialect=new",
    ),
    "openai.responses": Family(
        create="/openai/v1/responses",
        body={"model": "gpt-5.1", "background": True},
        prompt_key="input",
        id_at="id",
        query="/openai/v1/responses/{id}",
        status_at="status",
        statuses=("queued", "completed", "failed"),
        outputs=lambda body: [part["text"] for item in body["output"] for part in item["content"]],
        texts=True,
    ),
    "seedance.video": Family(
        create="/doubao/video/generations",
        body={"model": "doubao-seedance-2-0-260128"},
        id_at="task_id",
        query="/doubao/videos/{id}",
        status_at="status",
        statuses=("queued", "completed", "failed"),
        outputs=at("metadata.url"),
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)

# test_sandbox.py tests these routes.
ELSEWHERE = {"dashscope.video", "kling.omni-video", "kling.text2video", "kling.image2video", "suno.generate"}


async def make(client: Client, name: str, script: str) -> tuple[str, str]:
    """Make a job; return its id and where it is followed."""
    family = FAMILIES[name]
    created = await client.post(family.create, family.ask(script))
    job_id = dig(created.body, family.id_at)
    assert created.status == 200
    assert isinstance(job_id, str)
    return job_id, family.query.format(id=job_id)


def test_every_job_route_is_in_the_table() -> None:
    """A route that is added without a row here would go untested."""
    made = {route.name for route in list_routes() if isinstance(route, DataJobRoute)}
    assert made == {*FAMILIES, *ELSEWHERE}


@every_family
async def test_a_job_goes_from_its_first_status_to_its_outputs(client: Client, name: str) -> None:
    """Nothing is shown before the end; then there are outputs that can be fetched."""
    family = FAMILIES[name]
    first, last, _ = family.statuses
    job_id, path = await make(client, name, "duration=100")
    early = (await client.get(path)).body
    assert (dig(early, family.status_at), family.outputs(early)) == (first, [])
    pass_time(client.sandbox, job_id, 150)
    late = (await client.get(path)).body
    assert dig(late, family.status_at) == last
    outputs = family.outputs(late)
    assert outputs
    assert len(set(outputs)) == len(outputs)
    if not family.texts:
        assert [(await client.get(url)).status for url in outputs] == [200] * len(outputs)


@every_family
async def test_a_job_can_break(client: Client, name: str) -> None:
    """`fail=error` ends in the family's own status, without outputs."""
    family = FAMILIES[name]
    _, path = await make(client, name, "fail=error; duration=0")
    answer = (await client.get(path)).body
    assert dig(answer, family.status_at) == family.statuses[2]
    assert family.outputs(answer) == []


@every_family
async def test_success_can_come_without_an_output(client: Client, name: str) -> None:
    """`url=missing` succeeds without an output."""
    family = FAMILIES[name]
    _, path = await make(client, name, "url=missing; duration=0")
    answer = (await client.get(path)).body
    assert (dig(answer, family.status_at), family.outputs(answer)) == (family.statuses[1], [])


@every_family
async def test_undocumented_statuses_are_shown_on_request(client: Client, name: str) -> None:
    """`stage=strange` shows a status, while it runs, that is none of the family's."""
    family = FAMILIES[name]
    job_id, path = await make(client, name, "stage=strange; duration=100")
    pass_time(client.sandbox, job_id, 50)
    status = dig((await client.get(path)).body, family.status_at)
    assert status is not None
    assert status not in family.statuses


@every_family
async def test_creates_are_refused_as_scripted_and_drawn(client: Client, name: str) -> None:
    """Throttled once and then accepted; chaos refuses the same way; an empty body is invalid."""
    family = FAMILIES[name]
    asked = family.ask("create=throttled")
    refused = await client.post(family.create, asked)
    assert dig(refused.body, family.id_at) is None
    assert dig((await client.post(family.create, asked)).body, family.id_at)
    client.sandbox._gateway.context.jobs.clear()  # some routes refuse what was made before
    client.sandbox.chaos = Chaos(create_throttled=1.0)
    drawn = await client.post(family.create, family.body | {family.prompt_key: "a cat"})
    assert drawn.status == refused.status
    assert drawn.body.keys() == refused.body.keys()
    client.sandbox.chaos = Chaos()
    assert dig((await client.post(family.create, {})).body, family.id_at) is None
    outcomes = [entry["outcome"] for entry in client.creates()]
    assert outcomes == ["throttled", "accepted", "throttled", "invalid"]


@every_family
async def test_polls_can_fail_and_ids_can_be_unknown(client: Client, name: str) -> None:
    """`poll=flaky` starts with a 502 page; `poll=gone` is what an unknown id is."""
    family = FAMILIES[name]
    _, path = await make(client, name, "poll=flaky; duration=0")
    assert [(await client.get(path)).status for _ in range(2)] == [502, 200]
    unknown = await client.get(family.query.format(id="nothing"))
    client.sandbox._gateway.context.jobs.clear()
    _, path = await make(client, name, "poll=gone")
    gone = await client.get(path)
    assert (gone.status, gone.body.keys()) == (unknown.status, unknown.body.keys())


async def test_every_url_expires_and_is_renewed_by_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same URL and 200 for all of its time, 403 after it; the next poll gives another that works."""
    clock = url_clock(monkeypatch)
    async with running(url_ttl_s=2000.0) as client:
        paths: dict[str, str] = {}
        urls: dict[str, str] = {}

        async def shown(name: str) -> str:
            return FAMILIES[name].outputs((await client.get(paths[name])).body)[0]

        async def begin(name: str) -> None:
            _, paths[name] = await make(client, name, "duration=0")
            urls[name] = await shown(name)

        async def is_valid(name: str) -> None:
            assert await shown(name) == urls[name]
            assert (await client.get(urls[name])).status == 200

        async def is_renewed(name: str) -> None:
            old = await client.get(urls[name])
            assert (old.status, b"Request has expired." in old.raw) == (403, True)
            fresh = await shown(name)
            assert fresh != urls[name]
            assert (await client.get(fresh)).status == 200

        files = [name for name, family in FAMILIES.items() if not family.texts]
        await asyncio.gather(*map(begin, files))
        clock.advance(1000)
        await asyncio.gather(*map(is_valid, files))
        clock.advance(1000)
        await asyncio.gather(*map(is_renewed, files))
