"""What is wrong with a request for a song, route by route.

Owns required fields, types and limits. The order of the checks is the upstream's: the callback address
comes first, even for clients that only poll.

Source: https://anyint.ai/docs/media-and-music/music-generation (generate);
https://docs.sunoapi.org/suno-api/generate-music (length limits), …/extend-music, …/upload-and-cover-audio,
…/upload-and-extend-audio, …/add-vocals, …/add-instrumental, …/replace-section (required fields; the last
leaves the callback address optional).
"""

from __future__ import annotations

from collections.abc import Callable

from tracker.sandbox.families.suno import MODELS, Mistake, find_missing, text_of
from tracker.sandbox.wire import Json

Check = Callable[[Json], Mistake | None]

_PLAIN_PROMPT_MAX = 500
_TITLE_MAX = 80
_SHORTEST_S, _LONGEST_S = 6, 60
"""How much of a song may be replaced, seconds."""


def _find_unset(body: Json, *names: str) -> Mistake | None:
    """Return the mistake of lacking a flag, or None."""
    missing = (name for name in names if not isinstance(body.get(name), bool))
    return next(((400, f"{name} must be true or false.") for name in missing), None)


def _find_odd_model(body: Json) -> Mistake | None:
    return None if body.get("model") in MODELS else (400, f"model must be one of {', '.join(MODELS)}.")


def _read_seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def check_generate(body: Json) -> Mistake | None:
    """Check what to make a song from nothing needs."""
    unset = find_missing(body, ["callBackUrl"]) or _find_unset(body, "customMode", "instrumental")
    return unset or _find_odd_model(body) or _check_words(body)


def _check_words(body: Json) -> Mistake | None:
    custom, instrumental = body["customMode"], body["instrumental"]
    prompt, style, title = (text_of(body, name) for name in ("prompt", "style", "title"))
    long_model = body["model"] != "V4"
    # fmt: off
    checks = (
        (400, "Please enter prompt.", not prompt and not (custom and instrumental)),
        (400, "Please enter style.", custom and not style),
        (400, "Please enter title.", custom and not title),
        (413, f"The prompt must not exceed {_PLAIN_PROMPT_MAX} characters.",
         not custom and len(prompt) > _PLAIN_PROMPT_MAX),
        (413, "The prompt is too long.", custom and len(prompt) > (5000 if long_model else 3000)),
        (413, "The style is too long.", custom and len(style) > (1000 if long_model else 200)),
        (413, "The title is too long.", custom and len(title) > _TITLE_MAX),
    )
    # fmt: on
    return next(((code, message) for code, message, wrong in checks if wrong), None)


def check_upload_cover(body: Json) -> Mistake | None:
    """Check what to sing an uploaded song anew needs: the song, and what a new one needs."""
    return find_missing(body, ["callBackUrl", "uploadUrl"]) or check_generate(body)


def check_extend(body: Json) -> Mistake | None:
    """Check what to go on with a song needs: its clip, and either its own words or new ones."""
    unset = find_missing(body, ["callBackUrl"]) or _find_unset(body, "defaultParamFlag")
    mistake = unset or find_missing(body, ["audioId"]) or _find_odd_model(body)
    if mistake is None and body["defaultParamFlag"]:
        mistake = find_missing(body, ["prompt", "style", "title"]) or _check_start(body)
    return mistake


def check_upload_extend(body: Json) -> Mistake | None:
    """Check what to go on with an uploaded song needs."""
    unset = find_missing(body, ["callBackUrl", "uploadUrl"]) or _find_unset(body, "defaultParamFlag")
    mistake = unset or _find_odd_model(body)
    if mistake is not None or not body["defaultParamFlag"]:
        return mistake
    sung = [] if body.get("instrumental") is True else ["prompt"]
    return find_missing(body, ["style", "title", *sung]) or _check_start(body)


def _check_start(body: Json) -> Mistake | None:
    return (400, "continueAt must be seconds.") if _read_seconds(body.get("continueAt")) is None else None


def check_add_vocals(body: Json) -> Mistake | None:
    """Check what to sing over a track needs."""
    return find_missing(body, ["callBackUrl", "uploadUrl", "prompt", "title", "style", "negativeTags"])


def check_add_instrumental(body: Json) -> Mistake | None:
    """Check what to play under a voice needs."""
    return find_missing(body, ["callBackUrl", "uploadUrl", "title", "tags", "negativeTags"])


def check_replace_section(body: Json) -> Mistake | None:
    """Check what to replace a part of a song needs; the callback address is optional here."""
    missing = find_missing(body, ["taskId", "audioId", "prompt", "tags", "title"])
    if missing is not None:
        return missing
    start, end = _read_seconds(body.get("infillStartS")), _read_seconds(body.get("infillEndS"))
    if start is None or end is None:
        return 400, "infillStartS and infillEndS must be seconds."
    if not _SHORTEST_S <= end - start <= _LONGEST_S:
        return 400, f"The section must be {_SHORTEST_S} to {_LONGEST_S} seconds long."
    return None
