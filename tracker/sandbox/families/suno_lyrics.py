"""Suno lyrics: ``/suno/generate-lyrics``. The result is text; there is no URL.

Owns the two spellings of everything: sunoapi.org's by default, kie.ai's with ``dialect=kie``.

Source: https://docs.sunoapi.org/suno-api/get-lyrics-generation-details (``lyricsData``),
…/generate-lyrics-callbacks (``taskId``); https://docs.kie.ai/suno-api/generate-lyrics-callbacks (``task_id``)
and its query page (``data``). Moderation was seen as code 400 with callbackType ``complete``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import orjson

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.suno import STRANGE, Failure, SunoRoute, envelope, find_missing, write_notice
from tracker.sandbox.families.suno_derived import STAGES
from tracker.sandbox.jobs import SUCCEEDED, Snapshot
from tracker.sandbox.routes import Context, Notice
from tracker.sandbox.wire import Answer, Call, Json

_FAILED = "GENERATE_LYRICS_FAILED"
_FLAGGED = "Song Description flagged for moderation"
_BROKEN = "Lyrics generation failed"
_NO_REASON = Failure(_FAILED, None, None, 531, "Generation failed, credits refunded")
_FAILURES = MappingProxyType(
    {
        GenerationFault.POLICY: Failure("SENSITIVE_WORD_ERROR", 400, _FLAGGED, 400, _FLAGGED),
        GenerationFault.ERROR: Failure(_FAILED, 500, _BROKEN, 400, _BROKEN),
        GenerationFault.INVALID: Failure("CREATE_TASK_FAILED", 400, "Invalid parameters", 400, "Invalid parameters"),
        GenerationFault.SILENT: _NO_REASON,
        GenerationFault.CANCELED: _NO_REASON,
    }
)
_TITLES = ("Night", "Paper Boats")


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoLyrics(SunoRoute):
    """The one route."""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want a prompt and the callback address. The documented length limit is left to the upstream."""
        del context
        mistake = find_missing(call.body, ("callBackUrl", "prompt"))
        return None if mistake is None else envelope(*mistake)

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """``data.status``; the texts in ``data.response``."""
        del call
        job = snapshot.job
        kie = job.script.dialect == "kie"
        data: Json = {
            "taskId": job.id,
            "param": orjson.dumps(job.request).decode(),
            "response": None,
            "status": STRANGE if snapshot.strange else "PENDING",
            "type": "LYRICS",
            "errorCode": None,
            "errorMessage": None,
        }
        if snapshot.stage.name == "failed" and job.fate.fault is not None:
            failure = _FAILURES[job.fate.fault]
            data |= {"status": failure.status, "errorCode": failure.code, "errorMessage": failure.message}
        if snapshot.stage is SUCCEEDED:
            data["status"] = "CALLBACK_EXCEPTION" if job.script.stage == "callback_exception" else "SUCCESS"
            texts = self._texts(snapshot, context, "errorMessage")
            data["response"] = {"taskId": job.id, "data" if kie else "lyricsData": texts}
        return envelope(200, "success", data)

    def notice(self, snapshot: Snapshot, context: Context) -> Notice | None:
        """One callback at the end, in the upstream's wrapper."""
        job = snapshot.job
        kie = job.script.dialect == "kie"
        named = {"task_id" if kie else "taskId": job.id}
        if snapshot.stage is SUCCEEDED:
            texts = self._texts(snapshot, context, "error_message" if kie else "errorMessage")
            data: Json = {"callbackType": "complete", **named, "data": texts}
            payload: Json = {"code": 200, "msg": "All generated successfully.", "data": data}
            return write_notice("complete", payload, job, context)
        if job.fate.fault is None:
            return None
        failure = _FAILURES[job.fate.fault]
        # The code decides: a flagged prompt claims to be complete.
        phase = "complete" if job.fate.fault is GenerationFault.POLICY else "error"
        data = {"callbackType": phase, **named, "data": None}
        payload = {"code": failure.callback_code, "msg": failure.callback_msg, "data": data}
        return write_notice("error", payload, job, context)

    def _texts(self, snapshot: Snapshot, context: Context, error_key: str) -> list[Json]:
        if not snapshot.shows_outputs:
            return []
        number = int.from_bytes(context.dice.draw_bytes(2, "lyrics", snapshot.job.id), "big")
        return [
            {
                "text": f"[Verse]\nLine {number} of a sandbox song\n[Chorus]\n{title}, {title}",
                "title": title,
                "status": "complete",
                error_key: "",
            }
            for title in _TITLES
        ]


ROUTES = (
    SunoLyrics(
        name="suno.generate-lyrics",
        path="/suno/generate-lyrics",
        query_path="/suno/query/lyrics",
        stages=STAGES,
    ),
)
