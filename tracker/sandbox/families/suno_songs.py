"""Suno songs: ``POST /suno/generate``, ``GET /suno/query/task``.

Owns the fields, words and errors of songs as the gateway passes them on.

Source: https://anyint.ai/docs/media-and-music/music-generation (required fields);
https://anyint.ai/docs/api-reference/ai-music (routes, states, body codes);
https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks (the bare callback and its phases);
https://docs.sunoapi.org/suno-api/generate-music-callbacks (the wrapped callback, its failures);
https://docs.sunoapi.org/suno-api/get-music-generation-details (query answer);
https://docs.sunoapi.org/suno-api/generate-music (length limits).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import orjson

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.suno import SunoRoute, envelope, text_of
from tracker.sandbox.jobs import Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context, Notice
from tracker.sandbox.wire import Answer, Call, Json

MODELS = ("V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5")

_STATUSES = {
    "pending": "PENDING",
    "text": "TEXT_SUCCESS",
    "first": "FIRST_SUCCESS",
    "succeeded": "SUCCESS",
}
_STRANGE = "QUEUED_V2"
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_TRACKS = 2
_DURATION_S = 3.0
_PLAIN_PROMPT_MAX = 500
_TITLE_MAX = 80


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a failed song shows: status, error code and message of the query; code and msg of the callback."""

    status: str
    code: int | None
    message: str | None
    callback_code: int
    callback_msg: str


_LYRICS = "Lyrics contained copyrighted material"
_NO_REASON = _Failure("GENERATE_AUDIO_FAILED", None, None, 531, "Generation failed, credits refunded")
_FAILURES = MappingProxyType(
    {
        GenerationFault.POLICY: _Failure("SENSITIVE_WORD_ERROR", 400, _LYRICS, 400, _LYRICS),
        GenerationFault.ERROR: _Failure(
            "GENERATE_AUDIO_FAILED",
            500,
            "Internal Error, Please try again later.",
            501,
            "Audio generation failed",
        ),
        GenerationFault.INVALID: _Failure("CREATE_TASK_FAILED", 400, "Invalid parameters", 400, "Invalid parameters"),
        GenerationFault.SILENT: _NO_REASON,
        GenerationFault.CANCELED: _NO_REASON,
    }
)

_CALLBACK_MESSAGES = {
    "text": "Text generated successfully",
    "first": "First audio generated successfully.",
    "complete": "All generated successfully.",
}


def find_mistake(body: Json) -> tuple[int, str] | None:
    """Return body code and message for an invalid song request, or None.

    The order is the upstream's: the callback address first, even for clients that only poll.
    """
    custom, instrumental, model = body.get("customMode"), body.get("instrumental"), body.get("model")
    prompt, style, title = (text_of(body, name) for name in ("prompt", "style", "title"))
    long_model = model != "V4"
    # fmt: off
    checks = (
        (400, "Please enter callBackUrl.", not text_of(body, "callBackUrl")),
        (400, "customMode must be true or false.", not isinstance(custom, bool)),
        (400, "instrumental must be true or false.", not isinstance(instrumental, bool)),
        (400, f"model must be one of {', '.join(MODELS)}.", model not in MODELS),
        (400, "Please enter prompt.", not prompt and not (custom and instrumental)),
        (400, "Please enter style.", bool(custom) and not style),
        (400, "Please enter title.", bool(custom) and not title),
        (413, f"The prompt must not exceed {_PLAIN_PROMPT_MAX} characters.",
         not custom and len(prompt) > _PLAIN_PROMPT_MAX),
        (413, "The prompt is too long.", bool(custom) and len(prompt) > (5000 if long_model else 3000)),
        (413, "The style is too long.", bool(custom) and len(style) > (1000 if long_model else 200)),
        (413, "The title is too long.", bool(custom) and len(title) > _TITLE_MAX),
    )
    # fmt: on
    return next(((code, message) for code, message, wrong in checks if wrong), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoSong(SunoRoute):
    """A route that makes songs.

    Attributes:
        kind: What the query answer calls it in ``type``.
    """

    kind: str = "GENERATE"

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Refuse missing, mistyped and overlong fields with body code 400 or 413."""
        del context
        mistake = find_mistake(call.body)
        return None if mistake is None else envelope(*mistake)

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.status`` and ``data.response.sunoData``; null data right after the create."""
        del call
        job, stage = snapshot.job, snapshot.stage.name
        if stage == "accepted":
            return envelope(200, "success", None)
        data: Json = {
            "taskId": job.id,
            "parentMusicId": "",
            "param": orjson.dumps(job.request).decode(),
            "response": None,
            "status": _STRANGE if snapshot.strange else _STATUSES.get(stage),
            "type": self.kind,
            "errorCode": None,
            "errorMessage": None,
        }
        if stage == "failed" and job.fate.fault is not None:
            failure = _FAILURES[job.fate.fault]
            data |= {
                "status": failure.status,
                "errorCode": failure.code,
                "errorMessage": failure.message,
            }
        elif stage != "pending":
            if stage == "succeeded" and job.script.stage == "callback_exception":
                data["status"] = "CALLBACK_EXCEPTION"
            data["response"] = {"taskId": job.id, "sunoData": self._tracks(snapshot, context)}
        return envelope(200, "success", data)

    def notice(self, snapshot: Snapshot, context: Context) -> Notice | None:
        """Spell one phase: text, first, complete; a failure only in the wrapped dialect.

        AnyInt documents no failure phase for its bare callback, so a bare failure stays silent and must
        be found by polling.
        """
        job, stage = snapshot.job, snapshot.stage.name
        dialect = job.script.dialect or context.suno_callbacks
        if stage == "failed":
            if dialect != "wrapped" or job.fate.fault is None:
                return None
            failure = _FAILURES[job.fate.fault]
            data = {"callbackType": "error", "task_id": job.id, "data": None}
            return Notice("error", {"code": failure.callback_code, "msg": failure.callback_msg, "data": data})
        phase = "complete" if stage == "succeeded" else stage
        tracks = [] if phase == "text" else [_snake_case(track) for track in self._tracks(snapshot, context)]
        payload: Json = {"callbackType": phase, "task_id": job.id, "data": tracks}
        if dialect == "wrapped":
            payload["data"] = tracks or None
            payload = {"code": 200, "msg": _CALLBACK_MESSAGES[phase], "data": payload}
        return Notice(phase, payload)

    def _tracks(self, snapshot: Snapshot, context: Context) -> list[Json]:
        """Both tracks; those that are not ready have an empty ``audioUrl``."""
        job = snapshot.job
        ready = {"first": 1, "succeeded": _TRACKS}.get(snapshot.stage.name, 0)
        created = datetime.fromtimestamp(job.created_at_s, UTC).strftime(_TIME_FORMAT)
        tracks = []
        for n in range(_TRACKS):
            url = ""
            if n < ready and snapshot.shows_outputs:
                url = context.files.link(job.id, Media.MP3, n, label="song", cut=job.script.file == "cut")
            tracks.append(
                {
                    "id": context.dice.draw_uuid("clip", job.id, n),
                    "audioUrl": url,
                    # Playable from the text stage on, and a cover picture: neither is the output.
                    "streamAudioUrl": context.files.link(job.id, Media.MP3, n, label="stream"),
                    "imageUrl": context.files.link(job.id, Media.PNG, n, label="cover"),
                    "prompt": job.prompt,
                    "modelName": "chirp-v5" if job.request.get("model") == "V5" else "chirp-v4",
                    "title": text_of(job.request, "title") or "Untitled",
                    "tags": text_of(job.request, "style") or "pop",
                    "createTime": created,
                    "duration": _DURATION_S if url else None,
                }
            )
        return tracks


def _snake_case(track: Json) -> Json:
    """Spell a track as callbacks do: snake case but for ``createTime``, which is epoch milliseconds there."""
    created = datetime.strptime(track["createTime"], _TIME_FORMAT).replace(tzinfo=UTC)
    shown = {
        "id": track["id"],
        "audio_url": track["audioUrl"],
        "source_audio_url": track["audioUrl"],
        "stream_audio_url": track["streamAudioUrl"],
        "image_url": track["imageUrl"],
        "prompt": track["prompt"],
        "model_name": track["modelName"],
        "title": track["title"],
        "tags": track["tags"],
        "createTime": round(created.timestamp() * 1000),
    }
    return shown if track["duration"] is None else shown | {"duration": track["duration"]}


ROUTES = (
    SunoSong(
        name="suno.generate",
        path="/suno/generate",
        query_path="/suno/query/task",
        stages=(
            Stage("accepted", 0.0),
            Stage("pending", 0.05),
            Stage("text", 0.35, announced=True),
            Stage("first", 0.7, announced=True, needs_output=True),
        ),
    ),
)
