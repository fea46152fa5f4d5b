"""The shapes of tasks besides songs: Suno's other results, OpenAI-style videos, Seedance, background responses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kits.providers import URL, callback, create, poll, urls
from tracker.domain.observation import Reading, Submission, Trouble
from tracker.domain.task import Reason, Status

LYRICS, STEMS, WAV, MP4 = "suno.generate-lyrics", "suno.vocal-removal", "suno.wav-generate", "suno.mp4-generate"
COVER, VIDEO, SEEDANCE = "suno.generate-cover", "openai.video", "seedance.video"
FLAGGED = [(STEMS, "AUDIO"), (WAV, "WAV"), (MP4, "MP4"), (COVER, "COVER")]
RESPONSES = {
    STEMS: {"vocalUrl": URL},
    WAV: {"audioWavUrl": URL},
    MP4: {"videoUrl": URL},
    COVER: {"images": [URL]},
}
CALLBACKS: dict[str, dict[str, Any]] = {
    STEMS: {"vocal_removal_info": {"vocal_url": URL}},
    WAV: {"audioWavUrl": URL},
    MP4: {"video_url": URL},
    COVER: {"images": [URL]},
}


def flagged(name: str, flag: object, response: object = None, **data: object) -> Reading:
    """Read a query about a conversion."""
    body = {"taskId": "t-1", "successFlag": flag, "response": response, **data}
    return poll(name, {"code": 200, "msg": "success", "data": body})


def call_back(name: str, data: dict[str, Any] | None = None, **body: object) -> Reading:
    """Read a callback about a conversion or lyrics."""
    return callback(name, {"code": 200, "data": {"task_id": "t-1", **(data or {})}, **body})


@pytest.mark.parametrize(("name", "kind"), FLAGGED)
def test_flags_as_text(name: str, kind: str) -> None:
    """Each conversion spells its own failure; that of another is unknown."""
    for flag, status in {
        "PENDING": Status.PENDING,
        "pending": Status.PENDING,
        "SUCCESS": Status.SUCCEEDED,
        "CALLBACK_EXCEPTION": Status.RUNNING,
        "CREATE_TASK_FAILED": Status.FAILED,
        f"GENERATE_{kind}_FAILED": Status.FAILED,
        "SENSITIVE_WORD_ERROR": Status.FAILED,
    }.items():
        reading = flagged(name, flag)
        assert (reading.status, reading.upstream_status, reading.external_id) == (status, flag, "t-1")
        assert reading.outputs == ()
    assert flagged(name, "SENSITIVE_WORD_ERROR").reason is Reason.POLICY_REJECTED
    assert flagged(name, "GENERATE_OTHER_FAILED").trouble is Trouble.UNKNOWN_STATUS
    nothings: list[object] = [None, "", [], {}, True]
    for nothing in nothings:
        assert flagged(name, nothing).trouble is Trouble.UNREADABLE


@pytest.mark.parametrize("flag", ["SUCCESS", "CALLBACK_EXCEPTION"])
@pytest.mark.parametrize("name", [name for name, _ in FLAGGED])
def test_flagged_outputs(name: str, flag: str) -> None:
    """A file is a success, also where only the callback could not be delivered."""
    reading = flagged(name, flag, RESPONSES[name], callbackUrl="https://hooks.example.com/")
    assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])


@pytest.mark.parametrize(
    ("flag", "status", "trouble"),
    [
        (0, Status.PENDING, None),
        ("1", Status.SUCCEEDED, None),
        (2, Status.RUNNING, None),
        (3, Status.FAILED, None),
        (9, None, Trouble.UNKNOWN_STATUS),
    ],
)
def test_flags_as_numbers_are_for_cover_art_only(flag: object, status: Status | None, trouble: Trouble | None) -> None:
    """The numbers have a meaning for cover art only."""
    reading = flagged(COVER, flag, RESPONSES[COVER])
    assert (reading.status, reading.trouble) == (status, trouble)
    for name in (STEMS, WAV, MP4):
        assert flagged(name, flag, RESPONSES[name]).trouble is Trouble.UNKNOWN_STATUS


@pytest.mark.parametrize("name", [name for name, _ in FLAGGED])
def test_conversion_callbacks(name: str) -> None:
    """They have no phase: a file is the success, an outer code the failure, anything else is polled."""
    done = call_back(name, CALLBACKS[name])
    assert (done.status, urls(done), done.external_id) == (Status.SUCCEEDED, [URL], "t-1")
    bare = callback(name, {"taskId": "t-1", **CALLBACKS[name]})
    assert (bare.status, bare.external_id) == (Status.SUCCEEDED, "t-1")
    failed = call_back(name, CALLBACKS[name], code=451, msg="Failed to download the source audio")
    assert (failed.status, failed.reason) == (Status.FAILED, Reason.INVALID_REQUEST)
    empty = call_back(name)
    assert (empty.status, empty.external_id) == (None, "t-1")
    assert empty.detail
    assert call_back(name, {"callbackType": "error", "error": "m"}).status is Status.FAILED


def test_stems_have_names_and_the_origin_is_not_a_result() -> None:
    """Every stem has its name; the separated song is not a result."""
    response = {
        "originUrl": "https://cdn.example.com/o.mp3",
        "vocalUrl": URL,
        "backingVocalsUrl": f"{URL}?b",
        "fxUrl": "",
    }
    reading = flagged(STEMS, "SUCCESS", response)
    assert [(output.title, output.url) for output in reading.outputs] == [
        ("vocal", URL),
        ("backing vocals", f"{URL}?b"),
    ]
    reading = call_back(STEMS, {"vocal_separation_info": {"backing_vocals_url": URL, "origin_url": f"{URL}?o"}})
    assert [(output.title, output.url) for output in reading.outputs] == [("backing vocals", URL)]


def test_stems_of_the_advanced_form() -> None:
    """Where no stem is named, the listed ones count, flat or nested."""
    nested = {"extract": {"audio_url": URL}, "remove": {"audio_url": f"{URL}?r"}}
    reading = call_back(STEMS, {"vocal_removal_info": {"origin_data": [nested, "junk"]}})
    assert urls(reading) == [URL, f"{URL}?r"]
    listed = [{"audio_url": URL, "stem_type_group_name": "Drums", "duration": 9}]
    (output,) = flagged(STEMS, "SUCCESS", {"originData": listed}).outputs
    assert (output.title, output.duration_s) == ("Drums", 9)


@pytest.mark.parametrize("name", [WAV, COVER])
def test_a_repetition_with_an_earlier_task_is_followed(name: str) -> None:
    """A repeated request is refused with the task made before, where it names one; a plain refusal stays one."""
    code = 409 if name == WAV else 400
    adopted = create(name, {"code": code, "msg": "exists", "data": {"taskId": "t-0"}})
    assert (adopted.submission, adopted.external_id, adopted.error) == (Submission.ACCEPTED, "t-0", None)
    refused = create(name, {"code": code, "msg": "exists", "data": None})
    assert (refused.submission, refused.reason, refused.retryable) == (
        Submission.REFUSED,
        Reason.INVALID_REQUEST,
        False,
    )
    assert create(STEMS, {"code": code, "data": {"taskId": "t-0"}}).submission is Submission.REFUSED


def lyrics(status: object, items: object = None, key: str = "lyricsData", **data: object) -> Reading:
    """Read a query about lyrics."""
    body = {"taskId": "t-1", "status": status, "response": {key: items}, **data}
    return poll(LYRICS, {"code": 200, "msg": "success", "data": body})


def test_lyrics_are_texts() -> None:
    """Success is a text; no URL is expected."""
    items = [{"text": "[Verse]\nla", "title": "Night", "status": "complete"}, {"text": " ", "title": "x"}]
    for reading in (
        lyrics("SUCCESS", items),
        lyrics("SUCCESS", items, "data"),
        lyrics("CALLBACK_EXCEPTION", items),
        call_back(LYRICS, {"callbackType": "complete", "data": items}),
    ):
        assert reading.status is Status.SUCCEEDED
        assert [(output.kind, output.text, output.title) for output in reading.outputs] == [
            ("text", "[Verse]\nla", "Night")
        ]


def test_lyrics_statuses() -> None:
    """Each status is read as the contract says."""
    assert lyrics("PENDING").status is Status.PENDING
    assert lyrics("CALLBACK_EXCEPTION").status is Status.RUNNING
    assert lyrics("NEW").trouble is Trouble.UNKNOWN_STATUS
    assert lyrics(None).trouble is Trouble.UNREADABLE
    assert (lyrics("SUCCESS").status, lyrics("SUCCESS").outputs) == (Status.SUCCEEDED, ())
    assert lyrics("SENSITIVE_WORD_ERROR", errorCode=400).reason is Reason.POLICY_REJECTED
    failed = lyrics("GENERATE_LYRICS_FAILED", errorCode=500, errorMessage="m")
    assert (failed.status, failed.reason) == (Status.FAILED, Reason.GENERATION_FAILED)


def test_lyrics_of_which_some_failed() -> None:
    """One text is enough; when every item says that it failed, so did the task."""
    bad = {"text": "", "status": "failed", "error_message": "model error"}
    some = lyrics("SUCCESS", [bad, {"text": "la"}])
    assert (some.status, len(some.outputs), some.detail) == (Status.SUCCEEDED, 1, "1 of 2 texts failed")
    none = call_back(LYRICS, {"callbackType": "complete", "data": [bad, bad]})
    assert none.status is Status.FAILED
    assert none.error is not None
    assert none.error.message == "model error"


def test_a_malformed_list_beside_the_texts_hides_none_of_them() -> None:
    """Either list of a query may be odd, as long as the other has a text."""
    for response in ({"lyricsData": "", "data": [{"text": "la"}]}, {"lyricsData": [{"text": "la"}], "data": 7}):
        data = {"taskId": "t-1", "status": "SUCCESS", "response": response}
        reading = poll(LYRICS, {"code": 200, "data": data})
        assert (reading.status, [output.text for output in reading.outputs]) == (Status.SUCCEEDED, ["la"])
    assert lyrics("SUCCESS", "").trouble is Trouble.UNREADABLE


@pytest.mark.parametrize(
    ("phase", "status", "trouble"),
    [
        ("error", Status.FAILED, None),
        ("text", Status.RUNNING, None),
        ("strange", None, Trouble.UNKNOWN_STATUS),
        (None, None, Trouble.UNREADABLE),
    ],
)
def test_lyrics_phases(phase: str | None, status: Status | None, trouble: Trouble | None) -> None:
    """A phase without a meaning causes a poll."""
    reading = call_back(LYRICS, {"callbackType": phase})
    assert (reading.status, reading.trouble) == (status, trouble)


VIDEO_STATUSES = [
    ("queued", Status.PENDING),
    ("in_progress", Status.RUNNING),
    ("IN_PROGRESS", Status.RUNNING),
    ("failed", Status.FAILED),
    ("expired", Status.FAILED),
    ("cancelled", Status.FAILED),
    ("canceled", Status.FAILED),
]


@pytest.mark.parametrize("name", [VIDEO, SEEDANCE])
@pytest.mark.parametrize(("said", "status"), VIDEO_STATUSES)
def test_video_statuses(name: str, said: str, status: Status) -> None:
    """Progress, even 100 %, is not an end; an end without a message has the upstream status as its detail."""
    reading = poll(name, {"id": "v-1", "status": said, "progress": 100})
    assert (reading.status, reading.upstream_status, reading.external_id) == (status, said, "v-1")
    assert reading.progress == (100 if status is Status.RUNNING else None)
    assert status is not Status.FAILED or reading.detail


@pytest.mark.parametrize("name", [VIDEO, SEEDANCE])
@pytest.mark.parametrize("where", [{"metadata": {"url": URL}}, {"url": URL}, {"data": {"url": URL}}])
def test_a_video_url_is_taken_where_there_is_one(name: str, where: dict[str, Any]) -> None:
    """A gateway's own URL needs no key and is preferred."""
    (output,) = poll(name, {"id": "v-1", "status": "completed", "seconds": "5", **where}).outputs
    assert (output.url, output.authenticated, output.duration_s, output.kind) == (URL, False, 5, "video")


def test_a_video_without_a_url_needs_the_key() -> None:
    """The tracker builds the path; an id cannot escape from it. Seedance has no such path."""
    (output,) = poll(VIDEO, {"id": "a/../b?c", "status": "completed"}).outputs
    assert (output.url, output.authenticated) == ("/openai/v1/videos/a%2F..%2Fb%3Fc/content", True)
    assert poll(VIDEO, {"status": "completed"}).outputs == ()
    assert poll(SEEDANCE, {"id": "v-1", "status": "completed"}).outputs == ()


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        ({"code": "moderation_blocked", "message": "m"}, Reason.POLICY_REJECTED, "moderation_blocked"),
        ({"code": "server_error", "message": "m"}, Reason.GENERATION_FAILED, "server_error"),
        ("rejected by the safety system", Reason.POLICY_REJECTED, None),
        (None, Reason.GENERATION_FAILED, None),
    ],
)
def test_video_failures(error: object, reason: Reason, code: str | None) -> None:
    """An error is an object, a text or nothing."""
    reading = poll(VIDEO, {"id": "v-1", "status": "failed", "error": error})
    assert (reading.status, reading.reason) == (Status.FAILED, reason)
    assert (reading.error.code if reading.error else None) == code


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("InputImageSensitiveContentDetected", Reason.POLICY_REJECTED),
        ("OutputVideoSensitiveContentDetected.PolicyViolation", Reason.POLICY_REJECTED),
        ("InvalidParameter.OversizeImage", Reason.INVALID_REQUEST),
        ("AccountOverdueError", Reason.QUOTA_EXHAUSTED),
        ("InternalServiceError", Reason.GENERATION_FAILED),
        ("ServerOverloaded", Reason.UPSTREAM_UNAVAILABLE),
        ("NeverSeen", Reason.GENERATION_FAILED),
    ],
)
def test_seedance_failures(code: str, reason: Reason) -> None:
    """The maker's codes are known, with whatever narrows them down."""
    reading = poll(SEEDANCE, {"id": "v-1", "status": "failed", "error": {"code": code, "message": "m"}})
    assert (reading.status, reading.reason) == (Status.FAILED, reason)


def test_a_poll_must_fetch_the_end_of_a_video_event() -> None:
    """An event names the video in ``data.id`` and brings neither file nor reason: it never ends a task."""
    event = {"id": "evt_1", "object": "event", "type": "video.completed", "data": {"id": "v-1"}}
    done = callback(VIDEO, event)
    assert (done.status, done.outputs, done.external_id) == (Status.SUCCEEDED, (), "v-1")
    for kind in ("video.failed", "video.new", None):
        reading = callback(VIDEO, event | {"type": kind})
        assert (reading.status, reading.external_id, reading.upstream_status) == (None, "v-1", kind)
        assert reading.detail


def test_a_response_in_the_background_is_followed() -> None:
    """The same object answers creates and polls: queued is followed, a completed one has ended."""
    queued = {"id": "resp_2", "status": "queued", "output": []}
    reading = create("openai.responses", queued)
    assert (reading.submission, reading.status, reading.external_id) == (Submission.ACCEPTED, Status.PENDING, "resp_2")
    assert poll("openai.responses", queued | {"status": "in_progress"}).status is Status.RUNNING
    assert poll("openai.responses", queued | {"status": "new"}).trouble is Trouble.UNKNOWN_STATUS
    assert poll("openai.responses", {"id": "resp_2"}).trouble is Trouble.UNREADABLE
    assert poll("openai.responses", queued | {"status": "cancelled"}).status is Status.FAILED
    items = [{"type": "message", "content": [{"type": "output_text", "text": "OK"}]}]
    done = poll("openai.responses", queued | {"status": "completed", "output": items})
    assert [output.text for output in done.outputs] == ["OK"]
    missing = poll("openai.responses", {"error": {"message": "not found", "code": None}}, 404)
    assert missing.trouble is Trouble.NOT_FOUND
