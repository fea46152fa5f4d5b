"""Suno songs: every route that makes one, and ``GET /suno/query/task``.

Owns the shape, words and errors of songs as the gateway passes them on; ``suno_song_requests`` checks requests.

Source: https://anyint.ai/docs/media-and-music/music-generation (required fields);
https://anyint.ai/docs/api-reference/ai-music (routes, states, body codes);
https://anyint.ai/docs/media-and-music/music-tasks-and-webhooks (the bare callback and its phases);
https://docs.sunoapi.org/suno-api/generate-music-callbacks (the wrapped callback, its failures);
https://docs.sunoapi.org/suno-api/get-music-generation-details (query answer, ``type``);
https://docs.sunoapi.org/suno-api/replace-section-callbacks (two phases only, ``data.error``), and the sibling
pages for the ``source_…`` fields of songs made from others. That ``parentMusicId`` is the source is inferred.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import orjson

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.suno import STRANGE, TIME_FORMAT, Failure, SunoRoute, envelope, text_of, write_notice
from tracker.sandbox.families.suno_song_requests import (
    Check,
    check_add_instrumental,
    check_add_vocals,
    check_extend,
    check_generate,
    check_replace_section,
    check_upload_cover,
    check_upload_extend,
)
from tracker.sandbox.jobs import Snapshot, Stage
from tracker.sandbox.media import Media
from tracker.sandbox.routes import Context, Notice
from tracker.sandbox.wire import Answer, Call, Json

_STATUSES = {
    "pending": "PENDING",
    "text": "TEXT_SUCCESS",
    "first": "FIRST_SUCCESS",
    "succeeded": "SUCCESS",
}
_TRACKS = 2
_DURATION_S = 3.0


_LYRICS = "Lyrics contained copyrighted material"
_NO_REASON = Failure("GENERATE_AUDIO_FAILED", None, None, 531, "Generation failed, credits refunded")
_FAILURES = MappingProxyType(
    {
        GenerationFault.POLICY: Failure("SENSITIVE_WORD_ERROR", 400, _LYRICS, 400, _LYRICS),
        GenerationFault.ERROR: Failure(
            "GENERATE_AUDIO_FAILED",
            500,
            "Internal Error, Please try again later.",
            501,
            "Audio generation failed",
        ),
        GenerationFault.INVALID: Failure("CREATE_TASK_FAILED", 400, "Invalid parameters", 400, "Invalid parameters"),
        GenerationFault.SILENT: _NO_REASON,
        GenerationFault.CANCELED: _NO_REASON,
    }
)

_CALLBACK_MESSAGES = {
    "text": "Text generated successfully",
    "first": "First audio generated successfully.",
    "complete": "All generated successfully.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoSong(SunoRoute):
    """A route that makes songs.

    Attributes:
        kind: What the query answer calls it in ``type``.
        check: Finds what is wrong with a request.
        from_source: Whether the song is made from another, which its callbacks then name.
        error_as_text: Whether a failed callback tells the reason in ``data.error``.
    """

    kind: str
    check: Check
    from_source: bool = False
    error_as_text: bool = False

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Refuse missing, mistyped and overlong fields with body code 400 or 413."""
        del context
        mistake = self.check(call.body)
        return None if mistake is None else envelope(*mistake)

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.status`` and ``data.response.sunoData``; null data right after the create."""
        del call
        job, stage = snapshot.job, snapshot.stage.name
        if stage == "accepted":
            return envelope(200, "success", None)
        data: Json = {
            "taskId": job.id,
            "parentMusicId": text_of(job.request, "audioId"),
            "param": orjson.dumps(job.request).decode(),
            "response": None,
            "status": STRANGE if snapshot.strange else _STATUSES.get(stage),
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
        wrapped = dialect in {"wrapped", "kie"}
        if stage == "failed":
            if not wrapped or job.fate.fault is None:
                return None
            failure = _FAILURES[job.fate.fault]
            reason = {"error": "technical issue"} if self.error_as_text else {"data": None}
            data = {"callbackType": "error", "task_id": job.id} | reason
            failed = {"code": failure.callback_code, "msg": failure.callback_msg, "data": data}
            return write_notice("error", failed, job, context)
        phase = "complete" if stage == "succeeded" else stage
        shown = [] if phase == "text" else self._tracks(snapshot, context)
        tracks = [_snake_case(track, from_source=self.from_source) for track in shown]
        payload: Json = {"callbackType": phase, "task_id": job.id, "data": tracks}
        if wrapped:
            payload["data"] = tracks or None
            payload = {"code": 200, "msg": _CALLBACK_MESSAGES[phase], "data": payload}
        return write_notice(phase, payload, job, context)

    def _tracks(self, snapshot: Snapshot, context: Context) -> list[Json]:
        """Both tracks; those that are not ready have an empty ``audioUrl``."""
        job = snapshot.job
        ready = {"first": 1, "succeeded": _TRACKS}.get(snapshot.stage.name, 0)
        created = datetime.fromtimestamp(job.created_at_s, UTC).strftime(TIME_FORMAT)
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
                    "tags": text_of(job.request, "style") or text_of(job.request, "tags") or "pop",
                    "createTime": created,
                    "duration": _DURATION_S if url else None,
                }
            )
        return tracks


def _snake_case(track: Json, *, from_source: bool) -> Json:
    """Spell a track as callbacks do: snake case but for ``createTime``, which is epoch milliseconds there."""
    created = datetime.strptime(track["createTime"], TIME_FORMAT).replace(tzinfo=UTC)
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
    if from_source:
        shown |= {"source_stream_audio_url": track["streamAudioUrl"], "source_image_url": track["imageUrl"]}
    return shown if track["duration"] is None else shown | {"duration": track["duration"]}


_STAGES = (
    Stage("accepted", 0.0),
    Stage("pending", 0.05),
    Stage("text", 0.35, announced=True),
    Stage("first", 0.7, announced=True, needs_output=True),
)
_STAGES_OF_A_SECTION = (Stage("accepted", 0.0), Stage("pending", 0.05))


def _route(
    tail: str,
    kind: str,
    check: Check,
    *,
    stages: tuple[Stage, ...] = _STAGES,
    from_source: bool = True,
    error_as_text: bool = False,
) -> SunoSong:
    return SunoSong(
        name=f"suno.{tail}",
        path=f"/suno/{tail}",
        query_path="/suno/query/task",
        stages=stages,
        kind=kind,
        check=check,
        from_source=from_source,
        error_as_text=error_as_text,
    )


ROUTES = (
    _route("generate", "GENERATE", check_generate, from_source=False),
    _route("extend", "extend", check_extend),
    _route("upload-cover", "upload_cover", check_upload_cover),
    _route("upload-extend", "upload_extend", check_upload_extend),
    _route("add-vocals", "add_vocals", check_add_vocals),
    _route("add-instrumental", "add_instrumental", check_add_instrumental),
    _route(
        "replace-section",
        "replace_section",
        check_replace_section,
        stages=_STAGES_OF_A_SECTION,
        error_as_text=True,
    ),
)
