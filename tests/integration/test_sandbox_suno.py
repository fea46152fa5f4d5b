"""What the sandbox makes from songs: callbacks with their own spelling, repeats, and what requests lack."""

from collections.abc import AsyncIterator

import pytest

from tests.kits.sandbox import Body, Client, Receiver, pass_time, running

CLIP: Body = {"taskId": "song-1", "audioId": "clip-1"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A sandbox without faults, whose jobs are done at once."""
    async with running(duration_s=0) as ready:
        yield ready


# Callbacks of what is made from a song: id, output, msg, and the shape of a failure


@pytest.mark.parametrize(
    ("tail", "dialect", "keys"),
    [
        ("vocal-removal", "calm", ("task_id", "vocal_removal_info")),
        ("split-stem", "dialect=kie", ("task_id", "vocal_separation_info")),
        ("wav-generate", "calm", ("task_id", "audioWavUrl")),
        ("mp4-generate", "calm", ("task_id", "video_url")),
        ("generate-cover", "calm", ("taskId", "images")),
    ],
)
async def test_derived_files_are_announced_once(
    client: Client, receiver: Receiver, tail: str, dialect: str, keys: tuple[str, str]
) -> None:
    """Wrapped, without callbackType; a failure has null where the output would be."""
    id_key, output_key = keys
    ids = []
    for n, script in enumerate(("calm", "fail=invalid")):
        body = {"taskId": f"song-{n}", "audioId": "clip-1", "callBackUrl": receiver.url}
        body["note"] = f"[sandbox: {dialect}; {script}; duration=0]"
        ids.append((await client.post(f"/suno/{tail}", body)).body["data"]["taskId"])
        await receiver.wait(n + 1)
    done, broken = receiver.bodies
    assert done.keys() == {"code", "msg", "data"}
    assert done["data"].keys() == {id_key, output_key}
    assert (done["code"], done["data"][id_key]) == (200, ids[0])
    assert done["data"][output_key]
    assert (broken["code"], broken["data"]) == (451, {id_key: ids[1], output_key: None})


async def test_stems_are_in_snake_case_with_an_empty_origin(client: Client, receiver: Receiver) -> None:
    """Two stems or several; those that the song lacks are left out."""
    for tail in ("vocal-removal", "split-stem"):
        await client.post(f"/suno/{tail}", {**CLIP, "callBackUrl": receiver.url})
        await receiver.wait(1 if tail == "vocal-removal" else 2)
    two, many = (body["data"]["vocal_removal_info"] for body in receiver.bodies)
    assert two.keys() == {"origin_url", "instrumental_url", "vocal_url"}
    assert many.keys() == {"origin_url", "vocal_url", "backing_vocals_url", "drums_url", "bass_url"}
    assert two["origin_url"] == many["origin_url"] == ""


@pytest.mark.parametrize(("dialect", "id_key"), [("calm", "taskId"), ("dialect=kie", "task_id")])
async def test_lyrics_have_two_dialects(client: Client, receiver: Receiver, dialect: str, id_key: str) -> None:
    """sunoapi.org uses taskId and lyricsData, kie.ai task_id and data."""
    body = {"prompt": f"a song [sandbox: {dialect}; duration=0]", "callBackUrl": receiver.url}
    made = (await client.post("/suno/generate-lyrics", body)).body["data"]["taskId"]
    (posted,) = await receiver.wait(1)
    assert (posted["data"]["callbackType"], posted["data"][id_key]) == ("complete", made)
    response = (await client.get(f"/suno/query/lyrics?taskId={made}")).body["data"]["response"]
    texts = response["data" if id_key == "task_id" else "lyricsData"]
    assert [text["text"] for text in texts] == [text["text"] for text in posted["data"]["data"]]


async def test_flagged_lyrics_claim_to_be_complete(client: Client, receiver: Receiver) -> None:
    """The outer code 400 decides, whatever callbackType is."""
    body = {"prompt": "[sandbox: fail=policy; duration=0]", "callBackUrl": receiver.url}
    made = (await client.post("/suno/generate-lyrics", body)).body["data"]["taskId"]
    (posted,) = await receiver.wait(1)
    assert (posted["code"], posted["data"]["callbackType"], posted["data"]["data"]) == (400, "complete", None)
    data = (await client.get(f"/suno/query/lyrics?taskId={made}")).body["data"]
    assert (data["status"], data["errorCode"]) == ("SENSITIVE_WORD_ERROR", 400)


async def test_a_replaced_section_has_two_phases_and_an_error_text(receiver: Receiver) -> None:
    """No text, no first; a failure carries `data.error` and no list."""
    body: Body = {
        **CLIP,
        "tags": "pop",
        "title": "t",
        "infillStartS": 10,
        "infillEndS": 20,
        "callBackUrl": receiver.url,
    }
    async with running(duration_s=0, suno_callbacks="wrapped") as client:
        await client.post("/suno/replace-section", body | {"prompt": "a bridge"})
        await receiver.wait(1)
        await client.post("/suno/replace-section", body | {"prompt": "[sandbox: fail=error; duration=0]"})
        done, broken = await receiver.wait(2)
    assert done["data"]["callbackType"] == "complete"
    assert {"source_audio_url", "source_stream_audio_url", "source_image_url"} <= done["data"]["data"][0].keys()
    assert (broken["code"], broken["data"]["callbackType"], broken["data"]["error"]) == (
        501,
        "error",
        "technical issue",
    )
    assert "data" not in broken["data"]


async def test_an_early_result_belongs_to_an_instant_job(receiver: Receiver) -> None:
    """Where only the end is announced, `callback=early` announces it first, and the poll agrees."""
    async with running(duration_s=1000) as client:
        body = {**CLIP, "callBackUrl": receiver.url, "note": "[sandbox: callback=early]"}
        made = (await client.post("/suno/wav-generate", body)).body["data"]["taskId"]
        assert [body["data"]["task_id"] for body in receiver.bodies] == [made]
        assert (await client.get(f"/suno/query/wav?taskId={made}")).body["data"]["successFlag"] == "SUCCESS"


# Repeats, quirks and mistakes of what is made from a song


async def test_a_second_wav_is_409_unless_the_first_failed(client: Client) -> None:
    """Per clip; the code is in the body, HTTP answers 200."""
    body = {**CLIP, "callBackUrl": "https://callback.invalid/"}
    codes = []
    for more in ({"note": "[sandbox: fail=error]"}, {}, {}, {"audioId": "clip-2"}):
        reply = await client.post("/suno/wav-generate", body | more)
        codes.append((reply.status, reply.body["code"]))
    assert codes == [(200, 200), (200, 200), (200, 409), (200, 200)]


async def test_a_second_cover_names_the_first(client: Client) -> None:
    """Body code 400 with an id that can be queried."""
    body = {"taskId": "song-1", "callBackUrl": "https://callback.invalid/"}
    first = (await client.post("/suno/generate-cover", body)).body
    second = (await client.post("/suno/generate-cover", body)).body
    assert (second["code"], second["data"]) == (400, first["data"])
    data = (await client.get(f"/suno/query/cover?taskId={second['data']['taskId']}")).body["data"]
    assert (data["successFlag"], data["errorCode"], data["errorMessage"]) == (1, 200, "")


async def test_cover_art_has_numbers_as_statuses(client: Client) -> None:
    """0, 2, 1 in this order; kie.ai documents text for the same field."""
    seen = []
    for n, dialect in enumerate(("calm", "dialect=kie")):
        body = {
            "taskId": f"song-{n}",
            "callBackUrl": "https://callback.invalid/",
            "x": f"[sandbox: {dialect}; duration=100]",
        }
        made = (await client.post("/suno/generate-cover", body)).body["data"]["taskId"]
        for seconds in (0, 50, 50):
            pass_time(client.sandbox, made, seconds)
            seen.append((await client.get(f"/suno/query/cover?taskId={made}")).body["data"]["successFlag"])
    assert seen == [0, 2, 1, "PENDING", "PENDING", "SUCCESS"]


async def test_results_may_hide_behind_callback_exception(client: Client) -> None:
    """`stage=callback_exception`: the status of a failure, with the finished output."""
    body = {**CLIP, "callBackUrl": "https://callback.invalid/", "x": "[sandbox: stage=callback_exception; duration=0]"}
    made = (await client.post("/suno/wav-generate", body)).body["data"]["taskId"]
    data = (await client.get(f"/suno/query/wav?taskId={made}")).body["data"]
    assert (data["successFlag"], data["completeTime"]) == ("CALLBACK_EXCEPTION", None)
    assert data["response"]["audioWavUrl"]


@pytest.mark.parametrize(
    ("tail", "body", "complaint"),
    [
        ("extend", {"audioId": "a", "model": "V5"}, "defaultParamFlag"),
        ("extend", {"defaultParamFlag": True, "audioId": "a", "model": "V5", "prompt": "p"}, "style"),
        ("upload-extend", {"uploadUrl": "u", "defaultParamFlag": True, "instrumental": True, "model": "V5"}, "style"),
        ("upload-cover", {"customMode": False, "instrumental": False, "model": "V5", "prompt": "p"}, "uploadUrl"),
        ("add-vocals", {"uploadUrl": "u", "prompt": "p", "title": "t", "style": "s"}, "negativeTags"),
        ("add-instrumental", {"uploadUrl": "u", "title": "t"}, "tags"),
        ("replace-section", {**CLIP, "prompt": "p", "tags": "x", "title": "t"}, "infillStartS"),
        (
            "replace-section",
            {**CLIP, "prompt": "p", "tags": "x", "title": "t", "infillStartS": 1, "infillEndS": 2},
            "6",
        ),
        ("generate-lyrics", {}, "prompt"),
        ("vocal-removal", {**CLIP, "type": "karaoke"}, "type"),
        ("wav-generate", {"taskId": "t"}, "audioId"),
        ("mp4-generate", {"audioId": "a"}, "taskId"),
    ],
)
async def test_suno_mistakes_name_the_field(client: Client, tail: str, body: Body, complaint: str) -> None:
    """HTTP 200, body code 400, null data."""
    reply = await client.post(f"/suno/{tail}", {"callBackUrl": "https://callback.invalid/", **body})
    assert (reply.status, reply.body["code"], reply.body["data"]) == (200, 400, None)
    assert complaint in reply.body["msg"]
