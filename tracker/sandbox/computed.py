"""Values that templates cannot express: the parts of Gemini's answers and the tracks of Suno's songs.

Owns functions that compute further values from a template's scope. The data files name them in ``computed``.

Source: https://ai.google.dev/api/generate-content (parts, thoughts, finish reasons);
https://docs.sunoapi.org/suno-api/get-music-generation-details (tracks), …/generate-music-callbacks (snake case but for
``createTime``, which is milliseconds since the epoch there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.speech import count_tokens, reply_to
from tracker.sandbox.templates import dig
from tracker.sandbox.wire import Json

Compute = Callable[[Mapping[str, Any], GenerationFault | None, bool], Json]
"""Takes the scope of the templates, the fault of the work, and whether outputs are shown."""

_SONG_S = 3.0
"""How long the sample song is, seconds."""
# The finish reason without an output: for a picture, for a text.
_FINISH_REASONS = {
    GenerationFault.POLICY: ("IMAGE_SAFETY", "SAFETY"),
    GenerationFault.SILENT: ("NO_IMAGE", "OTHER"),
    GenerationFault.CANCELED: ("OTHER", "OTHER"),
}


def _compute_gemini(scope: Mapping[str, Any], fault: GenerationFault | None, shows: bool) -> Json:  # noqa: FBT001 - see Compute
    """Return ``parts``, ``finish_reason`` and token counts: text, and a picture if one is requested."""
    modalities = dig(scope["request"], "generationConfig.responseModalities")
    wants_image = (
        "IMAGE" in [str(one).upper() for one in modalities]
        if isinstance(modalities, list)
        else "image" in scope["params"]["model"]
    )
    reason: str = "STOP"
    parts: list[Json] = []
    if fault is not None:
        reason = _FINISH_REASONS[fault][0 if wants_image else 1]
        if wants_image and fault is GenerationFault.POLICY:
            parts = [{"text": "I cannot make this picture."}]
    elif shows or wants_image:
        with_image = wants_image and shows
        parts = [{"text": reply_to(scope["prompt"])}]
        if with_image:
            parts = [{"text": "Here it is"}, _inline(scope, 0)]
        if dig(scope["request"], "generationConfig.thinkingConfig.includeThoughts") is True:
            # A thought may hold a draft of the picture: it is not the output.
            draft = [_inline(scope, 1) | {"thought": True}] if with_image else []
            parts = [{"text": "Thinking of it.", "thought": True}, *draft, *parts]
    answered = count_tokens([part.get("text", "") for part in parts])
    return {
        "parts": parts,
        "finish_reason": reason,
        "output_tokens": answered,
        "total_tokens": scope["input_tokens"] + answered,
    }


def _inline(scope: Mapping[str, Any], n: int) -> Json:
    data = scope["files"]("image")[n]["base64"]()
    return {"inlineData": {"mimeType": "image/png", "data": data}}


def _compute_songs(scope: Mapping[str, Any], fault: GenerationFault | None, shows: bool) -> Json:  # noqa: FBT001 - see Compute
    """Return ``tracks`` for queries and ``callback_tracks``; a track that is not ready has an empty URL."""
    del fault
    ready = {"first": 1, "succeeded": 2}.get(scope["phase"], 0) if shows else 0
    created = datetime.fromtimestamp(scope["created_at_s"], UTC)
    request = scope["request"]
    files = [scope["files"](label) for label in ("song", "stream", "cover")]
    tracks = [
        {
            "id": scope["uuid"](f"clip-{n}"),
            "audioUrl": files[0][n]["url"]() if n < ready else "",
            # Playable from the text stage on, and a cover picture: neither is the output.
            "streamAudioUrl": files[1][n]["url"](),
            "imageUrl": files[2][n]["url"](),
            "prompt": scope["prompt"],
            "modelName": "chirp-v5" if request.get("model") == "V5" else "chirp-v4",
            "title": request.get("title") or "Untitled",
            "tags": request.get("style") or request.get("tags") or "pop",
            "createTime": created.strftime("%Y-%m-%d %H:%M:%S"),
            "duration": _SONG_S if n < ready else None,
        }
        for n in range(2)
    ]
    return {"tracks": tracks, "callback_tracks": [_convert_to_callback(track, scope) for track in tracks]}


def _convert_to_callback(track: Json, scope: Mapping[str, Any]) -> Json:
    converted = {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in track.items()}
    converted |= {"createTime": 1000 * int(scope["created_at_s"]), "source_audio_url": track["audioUrl"]}
    del converted["create_time"]
    if scope["from_source"]:
        converted |= {"source_stream_audio_url": track["streamAudioUrl"], "source_image_url": track["imageUrl"]}
    if track["duration"] is None:
        del converted["duration"]
    return converted


COMPUTED: Mapping[str, Compute] = {"gemini": _compute_gemini, "songs": _compute_songs}
