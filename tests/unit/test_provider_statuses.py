"""Statuses and fields of results of the makers behind one gateway, and the envelopes of gateways."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.kits.providers import (
    DASHSCOPE,
    KLING,
    SUNO,
    URL,
    callback,
    create,
    dashscope_task,
    kling_task,
    known,
    poll,
    suno_task,
    urls,
)
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import Status
from tracker.providers.reading.fields import find_percent
from tracker.providers.reading.statuses import find_status, read_by_status

VIDEOS = ["openai.video", "seedance.video"]
COVER = "https://cdn.example.com/cover.jpg"
STATUSES = {
    Status.PENDING: "queued NOT_START SUBMITTED QUEUED pending created queueing Preparing THROTTLED IN_QUEUE waiting",
    Status.RUNNING: "in_progress IN_PROGRESS in-progress InProgress running processing Processing dreaming generating",
    Status.SUCCEEDED: "completed succeeded SUCCESS success Success succeed COMPLETED Finished TASK_STATUS_SUCCEED",
    Status.FAILED: "failed FAILURE fail Fail error cancelled CANCELED expired Failed TASK_STATUS_FAILED",
}
SAID = [(said, status) for status, names in STATUSES.items() for said in [*names.split(), f" {names.split()[0]} "]]
SAID += [("in progress", Status.RUNNING), ("Request Moderated", Status.FAILED), ("Ready", Status.SUCCEEDED)]


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize(("said", "status"), SAID)
def test_documented_statuses_in_any_spelling(name: str, said: str, status: Status) -> None:
    """Every maker's statuses are read on the shared routes, at the top and in an envelope."""
    body = {"id": "v-1", "status": said, "url": URL}
    for answer in (body, {"code": "success", "message": "", "data": body}, {"task": {**body, "state": "x"}}):
        reading = poll(name, answer)
        assert (reading.status, reading.external_id, reading.upstream_status) == (status, "v-1", said.strip())
        assert urls(reading) == ([URL] if status is Status.SUCCEEDED else [])


@pytest.mark.parametrize("said", ["unknown", "UNKNOWN", "mysterious", "new"])
def test_other_statuses_are_still_running(said: str) -> None:
    """An undocumented status ends nothing."""
    for name in VIDEOS:
        assert poll(name, {"id": "v-1", "status": said, "url": URL}).trouble is Trouble.UNKNOWN_STATUS


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Processing", Status.RUNNING),
        ("SUCCESS", Status.SUCCEEDED),
        ("FAILURE", Status.FAILED),
        ("QUEUED", Status.PENDING),
    ],
)
def test_other_providers_read_the_same_statuses(said: str, status: Status) -> None:
    """Statuses of gateways, where a provider has none of its own."""
    for reading in (
        poll(KLING, kling_task(said, task_result={"videos": [{"url": URL}]})),
        callback(KLING, {"task_id": "k-1", "task_status": said, "task_result": {"videos": [{"url": URL}]}}),
        poll(DASHSCOPE, dashscope_task(said, video_url=URL)),
        poll(SUNO, suno_task(said, [{"audioUrl": URL}])),
        poll("suno.wav-generate", {"code": 200, "data": {"successFlag": said, "response": {"audioWavUrl": URL}}}),
        poll("suno.generate-lyrics", {"code": 200, "data": {"status": said, "response": {"data": [{"text": "la"}]}}}),
    ):
        assert reading.status is status
        assert bool(reading.outputs) is (status is Status.SUCCEEDED)


FIELDS: list[dict[str, Any]] = [
    {"url": URL},
    {"video_url": URL},
    {"videoUrl": URL},
    {"output_url": URL},
    {"result_url": URL},
    {"download_url": URL},
    {"video": URL},
    {"video": {"url": URL}},
    {"metadata": {"url": URL}},
    {"content": {"video_url": URL, "last_frame_url": COVER}},
    {"assets": {"video": URL, "image": COVER}},
    {"data": {"url": URL}},
    {"data": {"video_url": URL}},
    {"data": [{"url": URL}]},
    {"result": {"video_url": URL}},
    {"result": json.dumps({"videos": [{"url": URL}]})},
    {"resultJson": json.dumps({"resultUrls": [URL]})},
    {"response": {"video": {"url": URL}}},
    {"output": URL},
    {"output": [URL]},
    {"output": {"video_url": URL}},
    {"output": {"results": [{"url": URL}]}},
    {"outputs": [URL]},
    {"results": [{"video_url": URL}]},
    {"videos": [{"url": URL, "cover_url": COVER}]},
    {"creations": [{"id": "c", "url": URL, "cover_url": COVER, "watermarked_url": f"{URL}?w"}]},
    {"task_result": {"videos": [{"url": URL}]}},
    {"data": {"task_result": {"videos": [{"url": URL}]}}},
    {"data": {"data": {"content": {"video_url": URL}}}},
    {"generations": [{"video": {"url": URL}}]},
    {"response": {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": URL}}]}}},
    {"outputs": [{"type": "image", "url": f"{URL}?i"}, {"type": "video", "url": URL}]},
]


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: json.dumps(fields)[:60])
def test_documented_fields_of_a_video(name: str, fields: dict[str, Any]) -> None:
    """The file is found in the field of each maker, alone, whatever is beside it."""
    reading = poll(name, {"id": "v-1", "status": "succeeded", **fields})
    assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])


@pytest.mark.parametrize(
    "beside",
    [
        {"image_url": URL},
        {"input": {"video_url": URL}},
        {"param": json.dumps({"url": URL})},
        {"params": {"video_url": URL}},
        {"request": {"url": URL}},
        {"callback_url": URL},
        {"callbackUrl": URL},
        {"cover_url": URL},
        {"thumbnail_url": URL},
        {"watermark_url": URL},
        {"content": {"last_frame_url": URL}},
        {"payload": json.dumps({"url": URL})},
        {"urls": {"get": URL}},
        {"status_url": URL, "response_url": URL},
        {"url": COVER},
        {"outputs": [{"type": "image", "url": URL}]},
    ],
    ids=lambda beside: json.dumps(beside)[:60],
)
def test_inputs_and_covers_are_not_videos(beside: dict[str, Any]) -> None:
    """What a request brought, covers, frames and URLs of the API itself are not outputs."""
    reading = poll("seedance.video", {"id": "v-1", "status": "succeeded", **beside})
    assert (reading.status, reading.outputs) == (Status.SUCCEEDED, ())


def test_several_videos_are_several_outputs() -> None:
    """A list's items, in order, each with its own length."""
    videos = [{"url": URL, "duration": "5"}, {"url": f"{URL}?2", "duration": 6}, {"url": URL}]
    reading = poll("openai.video", {"id": "v-1", "status": "success", "data": {"videos": videos}})
    assert [(output.url, output.duration_s) for output in reading.outputs] == [(URL, 5), (f"{URL}?2", 6)]


def test_success_of_the_call_is_not_success_of_the_task() -> None:
    """An envelope's flag does not end a task inside that still works; a gateway's own success with a file does."""
    inner = {"id": "v-1", "status": "processing", "progress": "45%"}
    for envelope in ({"status": "success"}, {"status": "ok"}, {"status": 200}, {"id": "req-1", "status": "success"}):
        reading = poll("openai.video", {**envelope, "data": inner})
        assert (reading.status, reading.progress) == (Status.RUNNING, 45)
    task = {"task_id": "t-1", "status": "SUCCESS", "progress": "100%", "fail_reason": URL, "data": inner}
    reading = poll("seedance.video", {"code": "success", "data": task})
    assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])


@pytest.mark.parametrize(
    ("said", "percent"),
    [
        (45, 45),
        ("45", 45),
        ("45%", 45),
        ("45 %", 45),
        (0.45, 45),
        ("0.45", 45),
        (0.29, 29),
        ("0.4%", 0),
        (45.9, 45),
        (0, 0),
        (1, 1),
        (1.0, 1),
        (100, 100),
        ("100%", 100),
        (250, 100),
        (-1, None),
        ("half", None),
        (None, None),
        (True, None),
        (float("inf"), None),
    ],
)
def test_progress_is_percent_or_a_fraction(said: object, percent: int | None) -> None:
    """Between 0 and 1 it is a fraction, else percent; 1 is one percent."""
    assert find_percent(said) == percent


TASKS: list[tuple[str, dict[str, Any]]] = [
    (KLING, kling_task("submitted")),
    (KLING, {"task_id": "k-1", "task_status": "submitted"}),
    (DASHSCOPE, dashscope_task("PENDING")),
    (DASHSCOPE, {"task_id": "d-1", "task_status": "PENDING"}),
    (SUNO, {"code": 200, "msg": "success", "data": {"taskId": "s-1"}}),
    ("openai.video", {"id": "v-1", "object": "video", "status": "queued"}),
    ("seedance.video", {"id": "v-1"}),
    ("openai.responses", {"id": "r-1", "object": "response", "status": "queued", "output": []}),
]


@pytest.mark.parametrize(("name", "task"), TASKS, ids=[f"{name}-{len(str(task))}" for name, task in TASKS])
def test_an_acceptance_behind_two_gateways(name: str, task: dict[str, Any]) -> None:
    """The id is found in envelopes, in a list of one, in JSON in a text, and in any mix of them."""
    own = create(name, task).external_id
    assert own is not None
    for body in (
        {"code": "success", "message": "", "data": task},
        {"code": 0, "result": [task]},
        {"success": True, "response": {"data": task}},
        {"request_id": "req-1", "data": json.dumps(task)},
        {"code": 200, "data": {"code": "0", "data": json.dumps([task])}},
        [task],
        json.dumps(task),
    ):
        reading = create(name, body)
        assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, own), body


@pytest.mark.parametrize("name", [KLING, SUNO, "openai.video", "seedance.video"])
def test_a_bare_id_is_an_acceptance(name: str) -> None:
    """Some gateways reply with only the id in ``data``; an ordinary word is not an id."""
    reading = create(name, {"code": "success", "message": "", "data": "736a6f88-bd29"})
    assert (reading.submission, reading.external_id) == (Submission.ACCEPTED, "736a6f88-bd29")
    for nothing in ("queued", "", "see https://docs.example.com/1", "no 1"):
        assert create(name, {"code": "success", "data": nothing}).submission is Submission.AMBIGUOUS


def test_the_id_of_a_task_is_never_that_of_a_request() -> None:
    """``request_id``, the id of an envelope and those of models and errors are not of a task."""
    for name in VIDEOS:
        assert create(name, {"request_id": "r-1"}).submission is Submission.AMBIGUOUS
        assert create(name, {"id": "req-1", "data": {"task_id": "t-1"}}).external_id == "t-1"
        assert create(name, {"id": "req-1", "data": {"id": "v-1", "status": "queued"}}).external_id == "v-1"
        assert create(name, {"object": "list", "data": [{"id": "m-1", "object": "model"}]}).external_id is None
        assert create(name, {"name": "models/veo-3/operations/abc"}).external_id == "models/veo-3/operations/abc"
        assert create(name, {"name": "a-name"}).external_id is None


def test_callbacks_come_through_gateways_as_well() -> None:
    """The task in an envelope around a callback, its id and its state."""
    task = {"task_id": "k-1", "task_status": "succeed", "task_result": {"videos": [{"url": URL}]}}
    song = {"code": 200, "data": {"callbackType": "complete", "task_id": "s-1", "data": [{"audio_url": URL}]}}
    for name, body, own in ((KLING, {"code": 0, "data": task}, "k-1"), (SUNO, song, "s-1")):
        wrapped = {"event": "task", "data": json.dumps(body)}
        reading = callback(name, wrapped)
        assert (reading.status, reading.external_id, urls(reading)) == (Status.SUCCEEDED, own, [URL])
        assert known(name)[1].callback_ids({"code": 0, "data": wrapped}) == (own,)
    event = {"id": "evt_1", "object": "event", "type": "video.completed", "data": {"id": "v-1"}}
    assert callback("openai.video", {"code": 0, "data": event}).external_id == "v-1"


def test_a_poll_must_fetch_the_end_of_a_video_object_in_a_callback() -> None:
    """A gateway that calls back with the video itself: progress counts, an end is fetched by a poll."""
    video = {"id": "v-1", "object": "video", "status": "in_progress", "progress": 40}
    assert callback("openai.video", video).progress == 40
    ended = callback("openai.video", video | {"status": "failed"})
    assert (ended.status, ended.external_id) == (None, "v-1")
    assert known("openai.video")[1].callback_ids(video) == ("v-1",)


@pytest.mark.parametrize(
    ("usage", "length"),
    [
        ({"duration": 10, "video_count": 1, "SR": 720}, 10),
        ({"duration": 15, "input_video_duration": 10, "output_video_duration": 5}, 5),
        ({"video_duration": 5, "video_ratio": "standard", "video_count": 1}, 5),
        ({"duration": 15, "input_video_duration": 10}, None),
        ('{"video_duration": 5}', 5),
        (None, None),
    ],
)
def test_the_length_is_that_of_the_file_not_of_the_bill(usage: object, length: float | None) -> None:
    """DashScope bills the given and the made video together."""
    body = dashscope_task("SUCCEEDED", video_url=URL) | {"usage": usage}
    assert [output.duration_s for output in poll(DASHSCOPE, body).outputs] == [length]


def test_a_styled_video_has_its_own_field() -> None:
    """``video-style-transform`` answers with ``output_video_url``; ``video_url`` would be what was given."""
    body = dashscope_task("SUCCEEDED", output_video_url=URL, video_url=f"{URL}?given")
    assert urls(poll(DASHSCOPE, body)) == [URL]


@pytest.mark.parametrize(
    "track",
    [
        {"audioUrl": "https://cdn.example.com/None.mp3"},
        {"audioUrl": "https://cdn.example.com/null"},
        {"audio_url": "https://cdn.example.com/a/undefined.mp3?x=1"},
        {"audioUrl": URL, "status": "error"},
        {"audioUrl": "", "sourceAudioUrl": URL},
        {"audioUrl": "", "streamAudioUrl": URL},
    ],
)
def test_tracks_without_a_file(track: dict[str, Any]) -> None:
    """A name for a missing file, a failed track, and the upload are not outputs."""
    reading = poll(SUNO, suno_task("SUCCESS", [track, {"audioUrl": f"{URL}?2"}]))
    assert urls(reading) == [f"{URL}?2"]
    assert reading.detail == "1 of 2 tracks have no file"


def test_a_response_of_songs_as_text() -> None:
    """``response`` may be JSON in a text."""
    response = json.dumps({"sunoData": [{"audioUrl": URL, "title": "Dawn"}]})
    data = {"taskId": "s-1", "status": "SUCCESS", "response": response}
    assert urls(poll(SUNO, {"code": 200, "data": data})) == [URL]


RESULTS: list[tuple[str, dict[str, Any]]] = [
    ("openai.chat", {"id": "c", "choices": [{"message": {"content": "OK"}, "finish_reason": "stop"}]}),
    ("openai.images", {"data": [{"url": URL}]}),
    ("gemini.generate", {"candidates": [{"content": {"parts": [{"text": "OK"}]}, "finishReason": "STOP"}]}),
    ("anthropic.messages", {"id": "m", "content": [{"type": "text", "text": "OK"}], "stop_reason": "end_turn"}),
    ("dashscope.image", {"output": {"choices": [{"message": {"content": [{"image": URL}]}}]}}),
    ("suno.style-generate", {"code": 200, "data": {"result": "Pop", "successFlag": "1"}}),
]


@pytest.mark.parametrize(("name", "result"), RESULTS, ids=[name for name, _ in RESULTS])
def test_a_result_behind_two_gateways(name: str, result: dict[str, Any]) -> None:
    """A synchronous answer cannot be fetched again: it is found in envelopes as well."""
    plain = create(name, result)
    assert plain.status is Status.SUCCEEDED
    for body in ({"code": 0, "data": result}, {"code": "success", "data": json.dumps(result)}, {"result": [result]}):
        assert create(name, body) == plain


@pytest.mark.parametrize(
    ("said", "status", "trouble", "completed"),
    [
        (None, None, Trouble.UNREADABLE, "no status"),
        ("mysterious", None, Trouble.UNKNOWN_STATUS, None),
        ("queued", Status.PENDING, None, "unfinished"),
        ("running", Status.RUNNING, None, "unfinished"),
        ("done", Status.SUCCEEDED, None, "succeeded"),
        ("failed", None, None, "failed"),
    ],
)
def test_only_a_known_status_of_failure_is_a_failure(
    said: str | None, status: Status | None, trouble: Trouble | None, completed: str | None
) -> None:
    """Each status has its one completion; a missing and an unknown one are trouble."""

    def note(name: str) -> Callable[[Reading], Reading]:
        return lambda reading: replace(reading, detail=name)

    reading = read_by_status(
        Reading(upstream_status=said),
        find_status,
        succeeded=note("succeeded"),
        failed=note("failed"),
        unfinished=note("unfinished"),
    )
    assert (reading.status, reading.trouble, reading.detail) == (status, trouble, completed)
