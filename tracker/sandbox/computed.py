"""Values that templates cannot say: what a request of Gemini asks for, and the tracks of Suno's songs.

Owns functions from what templates know to further values. The data files name them in ``computed``.

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
"""Takes what templates know, how the work fails, and whether outputs are shown."""

_SONG_S = 3.0
"""How long the sample song is, seconds."""
# Why there is nothing: for a picture, for a text.
_FINISH_REASONS = {
    GenerationFault.POLICY: ("IMAGE_SAFETY", "SAFETY"),
    GenerationFault.SILENT: ("NO_IMAGE", "OTHER"),
    GenerationFault.CANCELED: ("OTHER", "OTHER"),
}


def _compute_gemini(scope: Mapping[str, Any], fault: GenerationFault | None, shows: bool) -> Json:  # noqa: FBT001 - see Compute
    """``parts``, ``finish_reason`` and the tokens of the answer: text, and a picture if one is wanted."""
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
    said = count_tokens([part.get("text", "") for part in parts])
    return {"parts": parts, "finish_reason": reason, "said": said, "total": scope["spent"] + said}


def _inline(scope: Mapping[str, Any], n: int) -> Json:
    data = scope["files"]("image")[n]["base64"]()
    return {"inlineData": {"mimeType": "image/png", "data": data}}


def _compute_songs(scope: Mapping[str, Any], fault: GenerationFault | None, shows: bool) -> Json:  # noqa: FBT001 - see Compute
    """``tracks`` as queries spell them, and ``callback_tracks``; those that are not ready have an empty URL."""
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
    return {"tracks": tracks, "callback_tracks": [_spell_as_callback(track, scope) for track in tracks]}


def _spell_as_callback(track: Json, scope: Mapping[str, Any]) -> Json:
    spelt = {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in track.items()}
    spelt |= {"createTime": 1000 * int(scope["created_at_s"]), "source_audio_url": track["audioUrl"]}
    del spelt["create_time"]
    if scope["from_source"]:
        spelt |= {"source_stream_audio_url": track["streamAudioUrl"], "source_image_url": track["imageUrl"]}
    if track["duration"] is None:
        del spelt["duration"]
    return spelt


COMPUTED: Mapping[str, Compute] = {"gemini": _compute_gemini, "songs": _compute_songs}
