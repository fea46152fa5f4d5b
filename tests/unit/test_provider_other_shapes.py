"""Replies in the shapes of other makers, gateways and clients: their ids are followed, their results are found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kits.providers import DASHSCOPE, KLING, SUNO, URL, callback, create, poll, urls
from tracker.domain.observation import Submission, Trouble
from tracker.domain.task import Reason, Status

VIDEO, SEEDANCE, LYRICS, IMAGES, CHAT = (
    "openai.video", "seedance.video", "suno.generate-lyrics", "openai.images", "openai.chat",
)  # fmt: skip
SONG, SECOND = "https://cdn.example.com/a.mp3", "https://cdn.example.com/b.mp3"
PICTURE = "https://cdn.example.com/i.png"
CREATED = {
    VIDEO: '{"id":"x1","id":%s,"status":"queued"}',
    SEEDANCE: '{"task_id":"x1","task_id":%s}',
    KLING: '{"code":0,"data":{"task_id":"x1","task_id":%s,"task_status":"submitted"}}',
    DASHSCOPE: '{"output":{"task_id":"x1","task_id":%s,"task_status":"PENDING"}}',
    SUNO: '{"code":200,"data":{"taskId":"x1","taskId":%s}}',
}


@pytest.mark.parametrize("name", CREATED)
@pytest.mark.parametrize("nothing", ["null", '""', "{}", "[]"])
def test_a_repeated_empty_field_does_not_hide_an_id(name: str, nothing: str) -> None:
    """Of two members with one name the nonempty one counts, in strict JSON, odd JSON and JSON in a text."""
    body = CREATED[name] % nothing
    for raw in (body, f'{body[:-1]},"eta":NaN}}', body[:-1], json.dumps(body)):
        reading = create(name, raw.encode())
        assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "x1"), raw
    assert create(name, body.encode("utf-16")).external_id == "x1"


def test_a_repeated_empty_field_does_not_hide_a_result() -> None:
    """The same for a status, an envelope and a URL."""
    for name, body in (
        (SEEDANCE, '{"id":"x","status":"completed","url":"%s","url":""}'),
        (SEEDANCE, '{"id":"x","status":"completed","status":null,"url":"%s"}'),
        (KLING, '{"code":0,"data":{"task_status":"succeed","task_result":{"videos":[{"url":"%s"}]},"task_result":{}}}'),
        (DASHSCOPE, '{"output":{"task_id":"k","task_status":"SUCCEEDED","video_url":"%s"},"output":{}}'),
        (SUNO, '{"code":200,"data":{"status":"SUCCESS","response":{"sunoData":[{"audioUrl":"%s"}],"sunoData":null}}}'),
    ):
        reading = poll(name, (body % URL).encode())
        assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (VIDEO, {"ID": "x1", "Status": "queued"}),
        (SEEDANCE, {"TaskId": "x1"}),
        (SUNO, {"Code": 200, "Data": {"TaskId": "x1"}}),
        (KLING, {"Data": {"Task_Id": "x1", "Task_Status": "submitted"}}),
        (SEEDANCE, {"code": 200, "data": {"task_id": "x1", "status": "pending", "input": {"id": "i"}}}),
        (SEEDANCE, {"id": {"is": "odd"}, "task_id": "x1"}),
        (SEEDANCE, {"task_ids": ["x1"]}),
        (SEEDANCE, {"uuid": "x1", "status": "queued"}),
        (SEEDANCE, {"job": {"generationId": "x1"}}),
        (SEEDANCE, {"sdGenerationJob": {"generationId": "x1"}}),
        (SEEDANCE, {"status": "IN_QUEUE", "request_id": "x1", "status_url": "https://queue.example.com/x1/status"}),
        (SEEDANCE, {"code": 0, "data": ["x1"]}),
        (SUNO, {"code": 200, "data": {"id": "x1", "status": "PENDING"}}),
        (SUNO, {"code": 200, "data": {"job_id": "x1"}}),
        (SUNO, {"code": 200, "result": {"taskId": "x1"}}),
        (SUNO, {"code": 200, "data": {"tasks": [{"taskId": "x1"}]}}),
        (SUNO, [{"id": "x1", "status": "submitted"}]),
        (KLING, {"id": "x1", "object": "video", "status": "queued"}),
        (KLING, {"code": 0, "data": {"video_id": "x1"}}),
        (DASHSCOPE, {"id": "x1", "object": "video", "status": "queued"}),
        (DASHSCOPE, {"code": 200, "data": {"task_id": "x1"}}),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_an_id_in_another_field_is_an_acceptance(name: str, body: object) -> None:
    """Other makers' fields of ids, also with capitals."""
    reading = create(name, body)
    assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "x1")


def test_a_number_instead_of_data_is_an_id() -> None:
    """Except a small one, which is a count."""
    assert create(SUNO, {"code": 200, "data": 12345}).external_id == "12345"
    assert create(SUNO, {"code": 200, "data": 1}).submission is Submission.AMBIGUOUS


@pytest.mark.parametrize("status", [400, 409, 429, 500, 502, 503, 504])
def test_a_task_in_a_reply_of_failure_is_followed(status: int) -> None:
    """Without an error beside it, the id outweighs the HTTP status."""
    for name, body in ((SEEDANCE, {"task_id": "x1"}), (SUNO, {"data": {"taskId": "x1"}})):
        reading = create(name, body, status)
        assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "x1")
    error = {"task_id": "x1", "error": {"message": "boom"}}
    assert create(SEEDANCE, error, 500).external_id == "x1"
    assert create(SEEDANCE, error, 400).submission is Submission.REFUSED


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (202, {"location": "/doubao/videos/x1"}),
        (204, {"location": "https://gateway.example.com/v1/videos/x1/status"}),
        (201, {"operation_location": "https://gateway.example.com/v1/videos/x1?api-version=1"}),
    ],
)
def test_an_id_in_the_address_of_the_job_is_an_acceptance(status: int, headers: dict[str, str]) -> None:
    """Without an id in the body; pages and redirects name no job."""
    for body in (b"", {"message": "accepted"}):
        reading = create(SEEDANCE, body, status, **headers)
        assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "x1")
    assert create(SEEDANCE, b"", 302, **headers).submission is Submission.REFUSED
    assert create(SEEDANCE, b"", 202, location="/login").submission is Submission.AMBIGUOUS
    assert create(SEEDANCE, {"error": {"message": "no"}}, status, **headers).external_id is None


def test_a_wait_may_have_a_fraction() -> None:
    """As some limiters write it, against the standard."""
    assert create(SEEDANCE, {"error": {"message": "busy"}}, 429, retry_after="1.5").retry_after_s == 1.5


@pytest.mark.parametrize("status", [303, 304])
def test_303_and_304_are_ambiguous(status: int) -> None:
    """303 may follow completed work, and 304 does not tell whether the job was accepted."""
    assert create(SEEDANCE, b"", status, location="/somewhere").submission is Submission.AMBIGUOUS


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (SEEDANCE, {"code": 0, "message": "ok", "request_id": "r", "trace_id": "t-1"}),
        (SEEDANCE, {"external_task_id": "e-1"}),
        (SEEDANCE, {"data": {"user": {"id": "u-1"}}}),
        (SEEDANCE, {"code": 0, "input": {"task_id": "old-1"}}),
        (SEEDANCE, {"code": 0, "request": {"task_id": "old-1"}, "parent": {"task_id": "p"}}),
        (VIDEO, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"message": {"content": "hi"}}]}),
        (KLING, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": {}}),
        (KLING, {"code": 0, "data": [{"task_id": "x"}, {"task_id": "y"}]}),
        (DASHSCOPE, {"RequestId": "r-1", "HostId": "h"}),
    ],
    ids=lambda value: json.dumps(value)[:70],
)
def test_other_ids_are_not_tasks(name: str, body: object) -> None:
    """Ids of requests, users, earlier tasks and of something else."""
    assert create(name, body).submission is Submission.AMBIGUOUS


VIDEO_ANSWERS: list[dict[str, Any]] = [
    {"status": "succeeded", "url": {"url": URL}},
    {"status": "succeeded", "video_url": [URL]},
    {"status": "succeeded", "output": [[URL]]},
    {"status": "succeeded", "output": json.dumps([URL])},
    {"status": "succeeded", "content": [{"type": "video_url", "video_url": {"url": URL}}]},
    {"status": "succeeded", "results": {"videos": [{"url": URL}]}},
    {"status": "succeeded", "videos": {"url": URL}},
    {"status": "succeeded", "video": {"src": URL}},
    {"status": "succeeded", "signed_url": URL},
    {"status": "succeeded", "mp4_url": URL},
    {"status": "succeeded", "hd_video_url": URL, "cover_video_url": f"{URL}?c"},
    {"status": "succeeded", "files": [{"url": URL}]},
    {"status": "succeeded", "artifacts": [{"link": URL}]},
    {"status": "completed", "output": {"works": [{"cover": {"resource": PICTURE}, "video": {"resource": URL}}]}},
    {"state": "success", "videoInfo": {"videoUrl": URL, "imageUrl": PICTURE}},
    {"task_status": "SUCCESS", "video_result": [{"url": URL, "cover_image_url": PICTURE}]},
    {"Response": {"Status": "DONE", "ResultVideoUrl": URL, "RequestId": "r"}},
    {"Status": "Succeeded", "Url": URL},
    {"job_status": "succeeded", "url": URL},
    {"taskState": "succeeded", "url": URL},
    {"status": {"state": "succeeded"}, "url": URL},
    {"status": 200, "task_status": "succeed", "url": URL},
    {"code": 200, "data": {"successFlag": 1, "response": {"resultUrls": [URL], "originUrls": [f"{URL}?o"]}}},
    {"name": "operations/x", "done": True, "response": {"videos": [{"uri": URL}]}},
    {"video": {"url": URL, "content_type": "video/mp4"}},
    {"status": "succeeded", "url": URL, "error": {"code": "watermark_failed", "message": "no mark"}},
]


@pytest.mark.parametrize("name", [VIDEO, SEEDANCE, KLING, DASHSCOPE])
@pytest.mark.parametrize("body", VIDEO_ANSWERS, ids=lambda body: json.dumps(body)[:70])
def test_a_finished_video_of_another_maker_is_found(name: str, body: dict[str, Any]) -> None:
    """Whichever family's route it comes on; also under an HTTP status of failure."""
    for status in (200, 203, 299, 500):
        reading = poll(name, {"id": "v-1", **body}, status)
        assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])


@pytest.mark.parametrize(
    ("written", "url"),
    [
        (f"{URL}?a=1&amp;b=2", f"{URL}?a=1&b=2"),
        (f"{URL}?a=1&amp;b=2&c", f"{URL}?a=1&amp;b=2&c"),
        (f"{URL}?a=1\\u0026b=2", f"{URL}?a=1&b=2"),
        (URL.replace("/", "\\/"), URL),
        (URL.removeprefix("https:"), URL),
        (f'\u200b"{URL}"\u200b\n', URL),
        (f"<{URL}>", URL),
    ],
)
def test_entities_of_other_encoders_are_removed_from_urls(written: str, url: str) -> None:
    """Entities of other encoders are removed; a URL that may be intended is unchanged."""
    for name in (VIDEO, SEEDANCE):
        assert urls(poll(name, {"id": "v", "status": "succeeded", "url": written})) == [url]
    assert urls(poll(SUNO, {"code": 200, "data": {"status": "SUCCESS", "response": [{"audioUrl": written}]}})) == [url]


def test_several_urls_in_one_text_are_several_outputs() -> None:
    """With commas between them."""
    reading = poll(SEEDANCE, {"id": "v", "status": "succeeded", "video_url": f"{URL},{URL}?2"})
    assert urls(reading) == [URL, f"{URL}?2"]


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "data:video/mp4;base64,AAAAGGZ0eXBtcDQy"},
        {"url": " Data:video/mp4;Base64,AAAAGGZ0eXBtcDQy"},
        {"data": [{"b64_json": "AAAAGGZ0eXBtcDQy"}]},
        {"video": {"bytesBase64Encoded": "AAAAGGZ0eXBtcDQy", "mimeType": "video/mp4"}},
        {"video_base64": "data:video/mp4;base64,AAAAGGZ0eXBtcDQy"},
    ],
)
def test_a_video_inside_the_reply_is_an_output(fields: dict[str, Any]) -> None:
    """As base64, in a ``data:`` URL or alone."""
    (output,) = poll(SEEDANCE, {"id": "v", "status": "succeeded", **fields}).outputs
    assert (output.kind, output.inline) == ("video", "AAAAGGZ0eXBtcDQy")


@pytest.mark.parametrize(
    "beside",
    [
        {"content": [{"type": "video_url", "role": "reference_video", "video_url": {"url": URL}}]},
        {"source_video_url": URL},
        {"input_video_url": URL, "reference_video_urls": [URL], "callback_video_url": URL},
        {"prompt": f"like {URL}", "input": {"url": URL}},
    ],
)
def test_material_is_not_a_result(beside: dict[str, Any]) -> None:
    """Inputs of the request, by their field names."""
    for name in (SEEDANCE, KLING, DASHSCOPE):
        reading = poll(name, {"id": "v", "status": "succeeded", "output": {"task_id": "v"}, **beside})
        assert reading.outputs == ()


@pytest.mark.parametrize(
    "body",
    [
        {"id": "v", "video": {"url": URL}, "model": "m", "progress": 10},
        {"id": "v", "video_url": URL, "prompt": "p"},
        {"id": "v", "url": URL},
        {"id": "v", "status": "archiving", "progress": 100, "url": URL},
        {"id": "v", "status": "processing", "progress": 100, "url": URL, "webhook": {"status": "succeeded"}},
        {"id": "v", "status": "queued", "metadata": {"status": "completed", "url": URL}},
        {"status": "error", "message": "rate limit"},
        {"status": "fail", "data": {"message": "bad key"}},
        {"success": False, "message": "no"},
        {"data": {"id": "v", "status": "processing", "user": {"status": "expired"}}},
    ],
    ids=lambda body: json.dumps(body)[:70],
)
def test_statuses_of_other_things_end_nothing(body: dict[str, Any]) -> None:
    """Echoes, states of other things, unknown statuses and refusals of the call itself."""
    for name in (VIDEO, SEEDANCE, KLING, DASHSCOPE):
        for status in (200, 500):
            reading = poll(name, body, status)
            assert reading.status in {None, Status.PENDING, Status.RUNNING}


@pytest.mark.parametrize(
    "data",
    [
        {"clips": [{"audio_url": SONG}, {"audio_url": SECOND}]},
        {"sunoData": [{"audioUrl": SONG}, {"audioUrl": SECOND}]},
        {"response": {"tracks": [{"audio_url": SONG}, {"audio": {"url": SECOND}}]}},
        {"response": [{"song_url": SONG}, {"mp3_url": SECOND}]},
        {"response": {"sunoData": json.dumps([{"audioUrl": SONG}, {"AudioUrl": SECOND, "audioUrl": SECOND}])}},
        {"data": {"data": [{"audio_url": SONG}, {"audio_url": SECOND}]}},
        {"data": {"clips": {"a": {"audio_url": SONG}, "b": {"audio_url": SECOND}}}},
        {"resultJson": json.dumps({"resultUrls": [SONG, SECOND]})},
    ],
    ids=lambda data: json.dumps(data)[:70],
)
def test_the_tracks_of_a_song_in_other_fields(data: dict[str, Any]) -> None:
    """Lists by other names, objects by ids, JSON in a text; also with the statuses of gateways."""
    for said in ({"status": "SUCCESS"}, {"state": "success"}):
        reading = poll(SUNO, {"code": 200, "data": {"taskId": "s", **said, **data}})
        assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [SONG, SECOND])
    reading = callback(SUNO, {"code": 200, "data": {"callback_type": "Complete", "task_id": "s", **data}})
    assert reading.status is Status.SUCCEEDED
    shown = callback(SUNO, {"code": 200, "data": {"task_id": "s", "status": "SUCCESS", **data}})
    assert (shown.status, urls(shown)) == (Status.SUCCEEDED, [SONG, SECOND])


def test_a_song_with_the_state_of_its_clips() -> None:
    """Finished once all of them are."""
    done, working = {"id": "a", "status": "complete", "audio_url": SONG}, {"id": "b", "status": "streaming"}
    other = {"id": "b", "status": "complete", "audio_url": SECOND}
    for wrap in (lambda clips: clips, lambda clips: {"clips": clips}, lambda clips: {"code": 200, "data": clips}):
        assert urls(poll(SUNO, wrap([done, other]))) == [SONG, SECOND]
        assert poll(SUNO, wrap([done, working])).status is Status.RUNNING
    assert urls(poll(SUNO, {"code": 200, "data": {"clips": [done]}})) == [SONG]
    assert poll(SUNO, {"clips": [{"status": "error"}, {"status": "error"}]}).status is Status.FAILED


@pytest.mark.parametrize(
    "data",
    [
        {"lyricsData": [{"text": "la"}]},
        {"data": {"text": "la", "title": "T"}},
        {"text": "la"},
        {"response": {"lyrics": "la"}},
        {"response": {"lyricsData": ["la"]}},
        {"response": {"lyrics_data": {"lyric": "la"}}},
    ],
    ids=json.dumps,
)
def test_lyrics_in_other_fields(data: dict[str, Any]) -> None:
    """A text alone, under other names, or without a list around it."""
    for reading in (
        poll(LYRICS, {"code": 200, "data": {"taskId": "s", "status": "SUCCESS", **data}}),
        callback(LYRICS, {"code": 200, "data": {"task_id": "s", "status": "SUCCESS", **data}}),
    ):
        assert (reading.status, [output.text for output in reading.outputs]) == (Status.SUCCEEDED, ["la"])


@pytest.mark.parametrize(
    ("name", "response", "url"),
    [
        ("suno.wav-generate", {"audioUrl": SONG}, SONG),
        ("suno.wav-generate", SONG, SONG),
        ("suno.mp4-generate", {"mp4Url": URL}, URL),
        ("suno.mp4-generate", {"url": URL}, URL),
        ("suno.generate-cover", {"imageUrls": [PICTURE]}, PICTURE),
        ("suno.generate-cover", {"images": [{"url": PICTURE}]}, PICTURE),
        ("suno.vocal-removal", {"vocalRemovalInfo": {"vocalUrl": SONG}}, SONG),
    ],
)
def test_conversions_in_other_fields(name: str, response: object, url: str) -> None:
    """Files in other fields, also with ``state`` instead of a flag."""
    for said in ({"successFlag": "SUCCESS"}, {"state": "success"}):
        reading = poll(name, {"code": 200, "data": {"taskId": "s", **said, "response": response}})
        assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [url])


@pytest.mark.parametrize(
    "body",
    [
        {"images": [PICTURE]},
        {"data": [PICTURE]},
        {"data": {"url": PICTURE}},
        {"output": [PICTURE]},
        {"url": PICTURE},
        {"data": [{"image_url": {"url": PICTURE}}]},
        {"output": {"results": [{"url": PICTURE}]}},
    ],
    ids=json.dumps,
)
def test_images_in_other_fields(body: object) -> None:
    """The picture of a synchronous answer, which cannot be fetched again."""
    reading = create(IMAGES, body)
    assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [PICTURE])


def test_images_inside_the_answer_under_other_names() -> None:
    """Base64 with a ``data:`` in front of it, or under another name."""
    for item in ({"b64": "iVBORw0KGgo="}, {"b64_json": "data:image/png;base64,iVBORw0KGgo="}):
        (output,) = create(IMAGES, {"data": [item]}).outputs
        assert output.inline == "iVBORw0KGgo="


def test_an_empty_list_of_images_beside_an_error_is_that_error() -> None:
    """Its reason is not lost."""
    error = {"message": "nsfw", "code": "content_policy_violation"}
    reading = create(IMAGES, {"data": [], "error": error})
    assert (reading.submission, reading.reason) == (Submission.REFUSED, Reason.POLICY_REJECTED)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"text": "hi"}]},
        {"choices": [{"delta": {"content": "hi"}}]},
        {"choices": [{"message": "hi"}]},
        {"choices": {"message": {"content": "hi"}}},
        {"choices": [{"message": {"content": {"text": "hi"}}}]},
        {"choices": [{"message": {"content": ["h", {"text": "i"}]}}]},
        {"choices": [{"message": {"content": None, "audio": {"data": "AAAA", "transcript": "hi"}}}]},
        {"output_text": "hi"},
        {"type": "message", "content": [{"type": "text", "text": "hi"}]},
        {"status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]},
    ],
    ids=json.dumps,
)
def test_the_text_of_a_chat_in_other_fields(body: object) -> None:
    """In the shapes of other APIs."""
    reading = create(CHAT, body)
    assert (reading.status, [output.text for output in reading.outputs]) == (Status.SUCCEEDED, ["hi"])


def test_other_results_of_a_chat() -> None:
    """A function call of the older kind, and pictures."""
    call = {"choices": [{"message": {"content": None, "function_call": {"name": "f", "arguments": "{}"}}}]}
    picture = {"choices": [{"message": {"content": "", "images": [{"image_url": {"url": PICTURE}}]}}]}
    assert create(CHAT, call).status is Status.SUCCEEDED
    assert urls(create(CHAT, picture)) == [PICTURE]


@pytest.mark.parametrize(
    "body",
    [
        {"Response": {"Error": {"Code": "AuthFailure", "Message": "no"}, "RequestId": "r"}},
        {"ErrCode": 500044, "ErrMsg": "limit", "Resp": None},
    ],
)
def test_refusals_with_capitals_are_refusals(body: object) -> None:
    """The errors of Tencent Cloud and PixVerse, with their messages."""
    reading = create(SEEDANCE, body)
    assert reading.submission is Submission.REFUSED
    assert reading.error is not None
    assert reading.error.message in {"no", "limit"}


def test_a_failed_operation_has_its_error() -> None:
    """``done`` with an error; without ``done`` it still runs."""
    ended = poll(SEEDANCE, {"name": "operations/x", "done": True, "error": {"code": 3, "message": "bad"}})
    assert (ended.status, ended.error and ended.error.message) == (Status.FAILED, "bad")
    assert poll(SEEDANCE, {"name": "models/veo/operations/x"}).status is Status.RUNNING
    assert poll(SEEDANCE, {"id": "v", "status": "mystery"}).trouble is Trouble.UNKNOWN_STATUS


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_synchronous_result_is_not_lost_over_its_wrapping(status: int) -> None:
    """It cannot be fetched again: duplicate members, capitals, and an HTTP error status do not hide it."""
    picture = {"data": [{"url": PICTURE}]}
    for name, raw in (
        (CHAT, '{"choices":[{"message":{"content":"hi"}}],"choices":null}'),
        (CHAT, '{"choices":[{"message":{"content":"hi","content":null}}]}'),
        (CHAT, '{"Choices":[{"Message":{"Content":"hi"}}]}'),
        ("anthropic.messages", '{"type":"message","content":[{"type":"text","text":"hi"}],"content":[]}'),
        ("gemini.generate", '{"candidates":[{"content":{"parts":[{"text":"hi"}]}}],"candidates":null}'),
        (IMAGES, f'{{"data":[{{"url":"{PICTURE}","url":""}}]}}'),
        (IMAGES, json.dumps(picture)),
    ):
        reading = create(name, raw.encode(), status)
        assert (reading.status, reading.submission) == (Status.SUCCEEDED, Submission.ACCEPTED)
        assert [output.text or output.url for output in reading.outputs] in (["hi"], [PICTURE])


def test_synchronous_results_in_the_shapes_of_other_apis() -> None:
    """What a gateway has not translated; a refusal stays one."""
    chat: dict[str, Any] = {"choices": [{"message": {"content": "hi"}}]}
    for name in ("anthropic.messages", "gemini.generate"):
        assert [output.text for output in create(name, chat).outputs] == ["hi"]
        assert create(name, {"message": "moved", "text": "t", "content": "c"}).submission is Submission.AMBIGUOUS
        assert create(name, {"error": {"message": "no"}}).submission is Submission.REFUSED
    for body in ({"data": [{"url": PICTURE}]}, {"output": {"results": [{"url": PICTURE}]}}):
        assert urls(create("dashscope.image", body)) == [PICTURE]
    filtered = {"choices": [{"message": {"content": None, "refusal": "no"}}], "text": "a"}
    assert create(CHAT, filtered).status is Status.FAILED


def test_instant_results_with_names_in_snake_case() -> None:
    """Personas and timestamps."""
    for name, data in (
        ("suno.generate-persona", {"persona_id": "p-1"}),
        ("suno.timestamped-lyrics", {"aligned_words": [{"word": "la"}]}),
    ):
        assert create(name, {"code": 200, "data": data}).status is Status.SUCCEEDED
