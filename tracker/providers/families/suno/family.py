"""The Suno routes and the readers of each.

Owns which query and which shape of result belong to each create.

**Source**: https://anyint.ai/docs/api-reference/ai-music for the routes; that extensions, uploads, added voices and
replaced sections reply like songs is inferred from https://docs.sunoapi.org/suno-api, where they share one query;
https://docs.kie.ai/common-api/webhook-verification for the signature (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from tracker.providers.families.suno import fields, instant, lyrics, song
from tracker.providers.families.suno.checks import (
    Check,
    check_generate,
    check_replace_section,
    check_timestamps,
    require_texts,
)
from tracker.providers.families.suno.codes import find_request_meaning
from tracker.providers.families.suno.conversions import COVER_ART, MP4, STEMS, WAV
from tracker.providers.families.suno.envelope import (
    Shape,
    callback_ids,
    read_callback,
    read_create,
    read_poll,
)
from tracker.providers.provider import Entry, Provider, sync_entry
from tracker.providers.reading.figures import FigureFields, credits_of
from tracker.providers.reading.replies import ReadBody
from tracker.providers.reading.requests import poll_by_parameter
from tracker.providers.route import SAMPLE_PROMPT, Route

if TYPE_CHECKING:
    from tracker.domain.request_fields import RequestFields
    from tracker.providers.route import Json

_MUSIC_PAGE = "https://anyint.ai/docs/api-reference/ai-music"


def _entry(
    name: str,
    query: str,
    asset: str,
    shape: Shape,
    *,
    check: Check,
    sample: Mapping[str, Json],
    documented: RequestFields,
    existing: frozenset[str] = frozenset(),
    source: str = _MUSIC_PAGE,
) -> Entry:
    """A route with tasks. ``existing``: body codes of a refusal that names the earlier task."""
    return Entry(
        route=Route(
            name=f"suno.{name}",
            create=f"POST /suno/{name}",
            query=f"GET /suno/query/{query}",
            asset=asset,
            source=source,
            sample=sample,
            callback=True,
            callback_field="callBackUrl",
            callback_required=True,
            poll_interval_s=30.0,
            signature="suno-hmac",
            fields=documented,
        ),
        check=check,
        read_create=partial(read_create, existing=existing),
        read_poll=partial(read_poll, shape=shape),
        read_callback=partial(read_callback, shape=shape),
        poll_request=partial(poll_by_parameter, parameter="taskId"),
    )


_song = partial(_entry, query="task", asset="song", shape=song)


def _instant(
    name: str,
    asset: str,
    read: ReadBody,
    *,
    check: Check,
    sample: Mapping[str, Json],
    documented: RequestFields,
) -> Entry:
    """A synchronous route: no query, no callback."""
    route = Route(
        name=f"suno.{name}",
        create=f"POST /suno/{name}",
        query=None,
        mode="sync",
        asset=asset,
        source=_MUSIC_PAGE,
        sample=sample,
        fields=documented,
    )
    return sync_entry(route, check, read, find_request_meaning)


_SONG = {"customMode": False, "instrumental": False, "model": "V5", "prompt": SAMPLE_PROMPT}
_CONTINUED = {"defaultParamFlag": False, "model": "V5", "prompt": SAMPLE_PROMPT}
_UPLOAD = {"uploadUrl": "https://example.com/hum.mp3"}
_VOCALS = {"prompt": SAMPLE_PROMPT, "title": "Breeze", "style": "pop", "negativeTags": "metal"}
_INSTRUMENTS = {"title": SAMPLE_PROMPT, "tags": "pop", "negativeTags": "metal"}
_OF_SONG = {"taskId": "the-task-id-of-a-song"}
_CLIP = _OF_SONG | {"audioId": "the-id-of-its-clip"}
_SECTION = _CLIP | {"prompt": SAMPLE_PROMPT, "tags": "pop", "title": "Breeze", "infillStartS": 1, "infillEndS": 9.5}
_PERSONA = _CLIP | {"name": "Ann", "description": SAMPLE_PROMPT}

_AUDIO = require_texts("uploadUrl")
_ONE_CLIP = require_texts("taskId", "audioId")
_SONG_PAGE = "https://anyint.ai/docs/media-and-music/music-generation"
_REPEATED = frozenset({"400"})
"""A repeated request for cover art is refused with the id of the earlier task, which can be followed."""
_REPEATED_WAV = frozenset({"409"})
"""A repeated request for a WAV, so far without an id."""

PROVIDER = Provider(
    "suno",
    (
        _song("generate", documented=fields.GENERATE, check=check_generate, sample=_SONG, source=_SONG_PAGE),
        _song(
            "extend",
            documented=fields.EXTEND,
            check=require_texts("audioId"),
            sample=_CONTINUED | {"audioId": _CLIP["audioId"]},
        ),
        _song("upload-cover", documented=fields.UPLOAD_COVER, check=_AUDIO, sample=_UPLOAD | _SONG),
        _song("upload-extend", documented=fields.UPLOAD_EXTEND, check=_AUDIO, sample=_UPLOAD | _CONTINUED),
        _song("add-vocals", documented=fields.ADD_VOCALS, check=_AUDIO, sample=_UPLOAD | _VOCALS),
        _song("add-instrumental", documented=fields.ADD_INSTRUMENTAL, check=_AUDIO, sample=_UPLOAD | _INSTRUMENTS),
        _song("replace-section", documented=fields.REPLACE_SECTION, check=check_replace_section, sample=_SECTION),
        _entry(
            "generate-lyrics",
            "lyrics",
            "song text",
            lyrics,
            documented=fields.LYRICS,
            check=require_texts("prompt"),
            sample={"prompt": SAMPLE_PROMPT},
        ),
        _entry(
            "generate-cover",
            "cover",
            "artwork",
            COVER_ART,
            documented=fields.COVER_ART,
            check=require_texts("taskId"),
            sample=_OF_SONG,
            existing=_REPEATED,
        ),
        _entry(
            "vocal-removal",
            "vocal-removal",
            "stems",
            STEMS,
            documented=fields.VOCAL_REMOVAL,
            check=require_texts("taskId", "audioId", "type"),
            sample=_CLIP | {"type": "separate_vocal"},
        ),
        _entry(
            "split-stem", "vocal-removal", "stems", STEMS, documented=fields.SPLIT_STEM, check=_ONE_CLIP, sample=_CLIP
        ),
        _entry(
            "wav-generate",
            "wav",
            "audio file",
            WAV,
            documented=fields.WAV,
            check=_ONE_CLIP,
            sample=_CLIP,
            existing=_REPEATED_WAV,
        ),
        _entry("mp4-generate", "mp4", "music video", MP4, documented=fields.MP4, check=_ONE_CLIP, sample=_CLIP),
        _instant(
            "style-generate",
            "style",
            instant.read_style,
            documented=fields.STYLE,
            check=require_texts("content"),
            sample={"content": SAMPLE_PROMPT},
        ),
        _instant(
            "timestamped-lyrics",
            "song text",
            instant.read_timestamps,
            documented=fields.TIMESTAMPS,
            check=check_timestamps,
            sample=_CLIP,
        ),
        _instant(
            "generate-persona",
            "persona",
            instant.read_persona,
            documented=fields.PERSONA,
            check=require_texts("taskId", "audioId", "name", "description"),
            sample=_PERSONA,
        ),
    ),
    callback_ids=callback_ids,
    figures=FigureFields(
        finished=("completeTime",),
        usage=("creditsConsumed", "creditsRemaining"),
        find_cost=lambda usage: credits_of(usage.get("creditsConsumed")),
        refunds=frozenset({"531"}),
        in_callbacks=False,
    ),
)
"""``completeTime`` comes as a number, as ISO 8601 or without a zone, see the pages of `conversions`; the credits are in
those of `instant`. The documented callbacks have no figures."""
