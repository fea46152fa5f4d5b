"""How tasks end: the reasons of failures, and what counts as an output."""

from __future__ import annotations

import pytest

from tests.kits.providers import (
    DASHSCOPE,
    KLING,
    SUNO,
    URL,
    callback,
    dashscope_task,
    kling_task,
    poll,
    suno_callback,
    suno_task,
    urls,
)
from tracker.domain.observation import Trouble
from tracker.domain.task import Reason, Status


@pytest.mark.parametrize(
    ("code", "reason", "retryable"),
    [
        (400, Reason.INVALID_REQUEST, False),
        (401, Reason.AUTH_FAILED, False),
        (402, Reason.QUOTA_EXHAUSTED, False),
        (413, Reason.POLICY_REJECTED, False),
        (429, Reason.QUOTA_EXHAUSTED, False),
        (430, Reason.RATE_LIMITED, True),
        (451, Reason.INVALID_REQUEST, False),
        (455, Reason.UPSTREAM_UNAVAILABLE, True),
        (500, Reason.GENERATION_FAILED, True),
        (501, Reason.GENERATION_FAILED, True),
        (531, Reason.GENERATION_FAILED, True),
        (9999, Reason.GENERATION_FAILED, None),
    ],
)
@pytest.mark.parametrize("phase", ["error", "complete", "first", None])
def test_suno_outer_code_beats_the_phase(code: int, reason: Reason, retryable: bool | None, phase: str | None) -> None:
    """An error code around a callback fails the task whatever its phase and tracks say, as in a query."""
    called_back = callback(SUNO, suno_callback(phase, [{"audio_url": URL}], code=code, msg="m"))
    polled = poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", errorCode=str(code), errorMessage="m"))
    for reading in (called_back, polled):
        assert (reading.status, reading.reason, reading.retryable) == (Status.FAILED, reason, retryable)
        assert reading.outputs == ()
        assert reading.error is not None
        assert (reading.error.code, reading.error.message) == (str(code), "m")


def test_suno_failure_fields() -> None:
    """Errors are found in their other fields, and a code of success is not an error."""
    reading = poll(SUNO, suno_task("GENERATE_AUDIO_FAILED", errorCode=200, errorMsg="text"))
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == (None, "text")
    body = {"code": 501, "data": {"callbackType": "error", "task_id": "s-1", "error": "technical issue"}}
    reading = callback(SUNO, body)
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == ("501", "technical issue")


def test_suno_sensitive_words_are_policy() -> None:
    """The status alone means it, also beside a code with another meaning."""
    for extra in ({}, {"errorCode": 400, "errorMessage": "m"}):
        reading = poll(SUNO, suno_task("SENSITIVE_WORD_ERROR", **extra))
        assert (reading.reason, reading.retryable) == (Reason.POLICY_REJECTED, False)


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ("Failure to pass the risk control system", True, Reason.POLICY_REJECTED),
        ("Image pixel is invalid", True, Reason.GENERATION_FAILED),
        ("SUCCEED", False, Reason.GENERATION_FAILED),
        ("", False, Reason.GENERATION_FAILED),
        (None, False, Reason.GENERATION_FAILED),
        (["x"], False, Reason.GENERATION_FAILED),
    ],
)
def test_kling_failures_have_only_a_message(message: object, text: bool, reason: Reason) -> None:
    """The message is task_status_msg, never the envelope's SUCCEED."""
    task = {"task_id": "k-1", "task_status": "failed", "task_status_msg": message}
    for reading in (poll(KLING, {"code": 0, "message": "SUCCEED", "data": task}), callback(KLING, task)):
        assert (reading.status, reading.reason) == (Status.FAILED, reason)
        assert (reading.error.message if reading.error else None) == (message if text else None)


@pytest.mark.parametrize(
    ("code", "message", "own", "reason", "text"),
    [
        (1301, "content policy", None, Reason.POLICY_REJECTED, "content policy"),
        ("1301", "SUCCEED", None, Reason.POLICY_REJECTED, None),
        (1301, "content policy", "Image pixel is invalid", Reason.POLICY_REJECTED, "Image pixel is invalid"),
        (1102, "Account balance not enough", None, Reason.QUOTA_EXHAUSTED, "Account balance not enough"),
        (9999, "m", None, Reason.GENERATION_FAILED, "m"),
    ],
)
def test_kling_failures_in_a_wrapper_keep_its_code(
    code: object, message: str, own: str | None, reason: Reason, text: str | None
) -> None:
    """The wrapper of a callback says why a task failed; the task's own message comes first."""
    task = {"task_id": "k-1", "task_status": "failed", "task_status_msg": own}
    for body in (
        {"code": code, "message": message, "request_id": "r", "data": task},
        {"code": code, "message": message, "data": [task]},
        {"code": code, "message": message} | task,
    ):
        reading = callback(KLING, body)
        assert (reading.status, reading.reason, reading.external_id) == (Status.FAILED, reason, "k-1")
        assert reading.error is not None
        assert (reading.error.code, reading.error.message) == (str(code), text)


def test_a_kling_wrapper_changes_nothing_but_failures() -> None:
    """The wrapper does not change success and progress; a code of success is not an error."""
    video = {"task_id": "k-1", "task_status": "succeed", "task_result": {"videos": [{"url": URL}]}}
    assert urls(callback(KLING, {"code": 1301, "message": "m", "data": video})) == [URL]
    running = {"task_id": "k-1", "task_status": "processing"}
    assert callback(KLING, {"code": 1301, "message": "m", "data": running}).status is Status.RUNNING
    failure = {"task_id": "k-1", "task_status": "failed", "task_status_msg": "m"}
    reading = callback(KLING, {"code": 0, "message": "SUCCEED", "data": failure})
    assert reading.error is not None
    assert (reading.error.code, reading.error.message) == (None, "m")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("DataInspectionFailed", Reason.POLICY_REJECTED),
        ("IPInfringementSuspect", Reason.POLICY_REJECTED),
        ("InvalidParameter.Size", Reason.INVALID_REQUEST),
        ("Arrearage", Reason.QUOTA_EXHAUSTED),
        ("Throttling.AllocationQuota", Reason.RATE_LIMITED),
        ("InternalError.Algo", Reason.GENERATION_FAILED),
        ("InternalError.Timeout", Reason.GENERATION_FAILED),
        ("NeverSeen", Reason.GENERATION_FAILED),
        (None, Reason.GENERATION_FAILED),
    ],
)
def test_dashscope_failures(code: str | None, reason: Reason) -> None:
    """Codes of failed tasks are in output, or in the result inside an event."""
    text = {"code": code, "message": "m"}
    event = {"data": {"task_id": "d-1", "task_status": "FAILED", "output_result": {"output": text}}}
    for reading in (poll(DASHSCOPE, dashscope_task("FAILED", **text)), callback(DASHSCOPE, event)):
        assert (reading.status, reading.reason) == (Status.FAILED, reason)
        assert reading.error is not None
        assert (reading.error.code, reading.error.message) == (code, "m")


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        (URL, True),
        (f" {URL} ", True),
        ("HTTPS://CDN.example.com/1", True),
        ("http://cdn.example.com/1?a=b&c=d", True),
        ("", False),
        ("   ", False),
        ("javascript:alert(1)", False),
        ("//cdn.example.com/1.mp4", True),
        ("/1.mp4", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https:///x", False),
        ("https://a b", False),
        ("https://a b/1.mp4", False),
        ("https://cdn.example.com/a b.mp4?sig=a b", True),
        ("https://cdn.example.com/a\tb.mp4", True),
        ("https://cdn.example.com/a\nb.mp4", True),
        ("https://cdn.example.com/a\u00a0b.mp4", False),
        ("https://cdn.example.com/" + "x " * 30000, False),
        ("https://a\n.example.com", True),
        ("https://cdn.example.com/" + "x" * 20000, True),
        ("https://cdn.example.com/" + "x" * 70000, False),
        (None, False),
        (True, False),
        (7, False),
        ([URL], True),
        ({"url": URL}, True),
    ],
)
def test_only_http_urls_are_outputs(text: object, usable: bool) -> None:
    """Only an absolute http(s) URL is an output, for every provider."""
    for reading in (
        poll(DASHSCOPE, dashscope_task("SUCCEEDED", video_url=text)),
        poll(KLING, kling_task("succeed", task_result={"videos": [{"url": text}]})),
        poll(SUNO, suno_task("SUCCESS", [{"audioUrl": text}])),
        callback(SUNO, suno_callback("complete", [{"audio_url": text}])),
    ):
        assert reading.status is Status.SUCCEEDED
        assert len(reading.outputs) == usable


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (
            "https://cdn.example.com/a b.mp4?Expires=1&name=a b",
            "https://cdn.example.com/a%20b.mp4?Expires=1&name=a%20b",
        ),
        (" https://cdn.example.com/a  b.mp4 ", "https://cdn.example.com/a%20%20b.mp4"),
        ("https://cdn.example.com?a b", "https://cdn.example.com?a%20b"),
        ("https://cdn.example.com/a%20b c.mp4", "https://cdn.example.com/a%20b%20c.mp4"),
    ],
)
def test_blanks_inside_a_url_are_escaped(text: str, url: str) -> None:
    """Blanks in the name of a file are escaped, and nothing else."""
    assert urls(poll(DASHSCOPE, dashscope_task("SUCCEEDED", video_url=text))) == [url]
    assert urls(callback(SUNO, suno_callback("complete", [{"audio_url": text}]))) == [url]


def test_inputs_and_previews_are_never_outputs() -> None:
    """URLs of inputs and previews in an answer are not outputs."""
    trap = "https://cdn.example.com/not-the-output"
    track = {"streamAudioUrl": trap, "imageUrl": trap, "source_audio_url": trap, "stream_audio_url": trap}
    for reading in (
        poll(SUNO, suno_task("SUCCESS", [track], param=f'{{"u": "{trap}"}}', callbackUrl=trap)),
        poll(
            KLING,
            kling_task(
                "succeed",
                task_info={"parent_video": {"url": trap}},
                task_result={"videos": [{"watermark_url": trap, "url": ""}]},
            ),
        ),
        poll(DASHSCOPE, dashscope_task("SUCCEEDED", orig_prompt=trap, img_url=trap)),
    ):
        assert (reading.status, reading.outputs) == (Status.SUCCEEDED, ())


def test_song_outputs_have_title_duration_and_mime() -> None:
    """A track has its title and length, and a type without a known suffix."""
    tracks = [
        {"audioUrl": "https://cdn.example.com/1", "title": " Dawn ", "duration": "91.5"},
        {"audioUrl": "", "title": "later"},
        {"audioUrl": "https://cdn.example.com/1", "title": "again"},
        "junk",
    ]
    reading = poll(SUNO, suno_task("SUCCESS", tracks))
    (output,) = reading.outputs
    assert (output.kind, output.mime, output.title) == ("audio", "audio/mpeg", "Dawn")
    assert output.duration_s == 91.5
    assert reading.detail == "1 of 3 tracks have no file"


def test_undelivered_callback_with_tracks_is_a_success() -> None:
    """CALLBACK_EXCEPTION is about the delivery of the callback: the finished song counts."""
    reading = poll(SUNO, suno_task("CALLBACK_EXCEPTION", [{"audioUrl": URL}], errorMessage="callback failed"))
    assert (reading.status, reading.error) == (Status.SUCCEEDED, None)
    assert urls(reading) == [URL]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("5.041", 5.041), (5, 5.0), ("", None), ("long", None), (True, None), ("nan", None), ("1e999", None)],
)
def test_kling_durations_come_as_text(duration: object, seconds: float | None) -> None:
    """A duration is seconds, a number or a text; anything else is ignored."""
    result = {"videos": [{"url": URL, "duration": duration}]}
    (output,) = poll(KLING, kling_task("succeed", task_result=result)).outputs
    assert (output.kind, output.mime, output.duration_s) == ("video", "video/mp4", seconds)


def test_kling_images_of_both_dialects() -> None:
    """Images come in images, in series_images, or in outputs with their type."""
    image = {"url": "https://cdn.example.com/1.png", "type": "image"}
    for task in (
        {"task_result": {"images": [image]}},
        {"task_result": {"result_type": "series", "images": [], "series_images": [image]}},
        {"outputs": [image]},
    ):
        (output,) = poll(KLING, kling_task("succeed", **task)).outputs
        assert (output.kind, output.mime) == ("image", "image/png")


def test_dashscope_multi_result_with_failed_items() -> None:
    """One file is enough for a success; what failed is noted."""
    results = [{"url": URL}, {"code": "DataInspectionFailed", "message": "no"}, {}]
    reading = poll(DASHSCOPE, dashscope_task("SUCCEEDED", results=results))
    assert (reading.status, urls(reading)) == (Status.SUCCEEDED, [URL])
    assert reading.detail == "2 of 3 results failed: DataInspectionFailed no; no file"


def test_a_malformed_list_does_not_hide_an_output_elsewhere() -> None:
    """One good file is a success, whatever is beside it; without any the reply is unreadable."""
    video, image = {"url": URL}, {"url": f"{URL}?i"}
    for reading in (
        poll(DASHSCOPE, dashscope_task("SUCCEEDED", video_url=URL, results="")),
        poll(DASHSCOPE, dashscope_task("SUCCEEDED", video_url=URL, results=7)),
        poll(KLING, kling_task("succeed", task_result={"videos": [video], "images": ""})),
        poll(KLING, kling_task("succeed", task_result={"videos": "", "images": [video]})),
        poll(KLING, kling_task("succeed", task_result={"videos": {}, "series_images": [video]}, outputs=7)),
        poll(KLING, kling_task("succeed", task_result={"images": {}}, outputs=[video])),
        callback(KLING, {"task_id": "k", "task_status": "succeed", "task_result": {"videos": [video], "images": ""}}),
    ):
        assert (reading.status, reading.trouble, urls(reading)) == (Status.SUCCEEDED, None, [URL])
    both = poll(KLING, kling_task("succeed", task_result={"videos": [video], "images": [image]}, outputs=""))
    assert urls(both) == [URL, f"{URL}?i"]
    for reading in (
        poll(DASHSCOPE, dashscope_task("SUCCEEDED", video_url="", results="")),
        poll(KLING, kling_task("succeed", task_result={"videos": [], "images": ""})),
    ):
        assert (reading.status, reading.trouble) == (None, Trouble.UNREADABLE)


def test_dashscope_output_fields() -> None:
    """The URL is in output, in results, or in the result inside an event; the length is in usage."""
    body = dashscope_task("SUCCEEDED", video_url=URL, results={"video_url": URL}) | {"usage": {"duration": 10}}
    (output,) = poll(DASHSCOPE, body).outputs
    assert (output.url, output.duration_s) == (URL, 10)
    data = {
        "task_id": "d-1",
        "task_status": "SUCCEEDED",
        "output_result": {"output": {"video_url": URL}},
    }
    assert urls(callback(DASHSCOPE, {"id": "event", "data": data})) == [URL]
