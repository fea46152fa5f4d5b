"""The Suno routes and the readers of each.

Owns the pairing of create route, query route and shape of result; they differ per route, so an id without its
route cannot be asked about.

**Source**: https://anyint.ai/docs/api-reference/ai-music for the routes; that extensions, uploads, added voices and
replaced sections answer like songs is inferred from https://docs.sunoapi.org/suno-api, where they share one query;
https://docs.kie.ai/common-api/webhook-verification for the signature (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.observation import Reading
from tracker.errors import FieldProblem
from tracker.providers.families.suno import checks, instant, lyrics, song
from tracker.providers.families.suno.conversions import COVER_ART, MP4, STEMS, WAV, Conversion
from tracker.providers.families.suno.envelope import (
    ReadNews,
    ReadTask,
    callback_ids,
    read_callback,
    read_create,
    read_poll,
)
from tracker.providers.family import Entry, Family
from tracker.providers.protocol import Route
from tracker.providers.reading.requests import RESULT_WITHIN_S, create_call, poll_by_parameter

if TYPE_CHECKING:
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.protocol import Json

_MUSIC_PAGE = "https://anyint.ai/docs/api-reference/ai-music"

Check = Callable[[Mapping[str, "Json"]], list[FieldProblem]]


def _entry(
    name: str,
    query: str,
    asset: str,
    check: Check,
    *,
    read_task: ReadTask,
    read_news: ReadNews,
    existing: frozenset[str] = frozenset(),
    source: str = _MUSIC_PAGE,
) -> Entry:
    """A route with tasks. ``existing``: body codes of a refusal that names the task made before."""
    return Entry(
        route=Route(
            name=f"suno.{name}",
            provider="suno",
            create=f"POST /suno/{name}",
            query=f"GET /suno/query/{query}",
            asset=asset,
            source=source,
            callback=True,
            callback_field="callBackUrl",
            callback_required=True,
            poll_interval_s=30.0,
            signature="suno-hmac",
        ),
        check=check,
        read_create=partial(read_create, existing=existing),
        read_poll=partial(read_poll, read_task=read_task),
        read_callback=partial(read_callback, read_news=read_news),
        poll_request=partial(poll_by_parameter, parameter="taskId"),
    )


_song = partial(_entry, query="task", asset="song", read_task=song.read_task, read_news=song.read_news)


def _conversion(
    name: str,
    query: str,
    asset: str,
    check: Check,
    conversion: Conversion,
    *,
    existing: frozenset[str] = frozenset(),
) -> Entry:
    return _entry(
        name,
        query,
        asset,
        check,
        read_task=conversion.read_task,
        read_news=conversion.read_news,
        existing=existing,
    )


def _instant(name: str, asset: str, check: Check, read: Callable[[WireReply], Reading]) -> Entry:
    """A synchronous route: no query, no callback."""
    return Entry(
        route=Route(
            name=f"suno.{name}",
            provider="suno",
            create=f"POST /suno/{name}",
            query=None,
            mode="sync",
            asset=asset,
            source=_MUSIC_PAGE,
        ),
        check=check,
        read_create=read,
        create_request=partial(create_call, within_s=RESULT_WITHIN_S),
    )


PROVIDER = Family(
    "suno",
    (
        _song(
            "generate",
            check=checks.check_generate,
            source="https://anyint.ai/docs/media-and-music/music-generation",
        ),
        _song("extend", check=checks.check_extend),
        _song("upload-cover", check=checks.check_upload),
        _song("upload-extend", check=checks.check_upload),
        _song("add-vocals", check=checks.check_upload),
        _song("add-instrumental", check=checks.check_upload),
        _song("replace-section", check=checks.check_replace_section),
        _entry(
            "generate-lyrics",
            "lyrics",
            "lyrics",
            checks.check_lyrics,
            read_task=lyrics.read_task,
            read_news=lyrics.read_news,
        ),
        # a repeated request for cover art is refused with the task that was made before, which can be followed
        _conversion("generate-cover", "cover", "artwork", checks.check_cover, COVER_ART, existing=frozenset({"400"})),
        _conversion("vocal-removal", "vocal-removal", "stems", checks.check_vocal_removal, STEMS),
        _conversion("split-stem", "vocal-removal", "stems", checks.check_clip, STEMS),
        # the same of a WAV is refused with 409, as far as seen without naming one
        _conversion("wav-generate", "wav", "audio file", checks.check_clip, WAV, existing=frozenset({"409"})),
        _conversion("mp4-generate", "mp4", "music video", checks.check_clip, MP4),
        _instant("style-generate", "style", checks.check_style, instant.read_style),
        _instant("timestamped-lyrics", "lyrics", checks.check_timestamps, instant.read_timestamps),
        _instant("generate-persona", "persona", checks.check_persona, instant.read_persona),
    ),
    callback_ids=callback_ids,
)
