"""The Suno routes and the readers of each.

Owns the pairing of create route, query route and shape of result; they differ per route, so an id without its
route cannot be asked about.

**Source**: https://anyint.ai/docs/api-reference/ai-music for the routes;
https://docs.kie.ai/common-api/webhook-verification for the signature (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from tracker.errors import FieldProblem
from tracker.providers.base import Route
from tracker.providers.family import Entry, Family
from tracker.providers.requests import poll_by_parameter
from tracker.providers.suno import song
from tracker.providers.suno.checks import check_generate
from tracker.providers.suno.envelope import (
    ReadNews,
    ReadTask,
    callback_ids,
    read_callback,
    read_create,
    read_poll,
)

if TYPE_CHECKING:
    from tracker.providers.base import Json

_MUSIC_PAGE = "https://anyint.ai/docs/api-reference/ai-music"


def _entry(
    name: str,
    query: str,
    asset: str,
    check: Callable[[Mapping[str, Json]], list[FieldProblem]],
    *,
    read_task: ReadTask,
    read_news: ReadNews,
    source: str = _MUSIC_PAGE,
) -> Entry:
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
        read_create=read_create,
        read_poll=partial(read_poll, read_task=read_task),
        read_callback=partial(read_callback, read_news=read_news),
        poll_request=partial(poll_by_parameter, parameter="taskId"),
    )


_song = partial(_entry, query="task", asset="song", read_task=song.read_task, read_news=song.read_news)

PROVIDER = Family(
    "suno",
    (
        _song(
            "generate",
            check=check_generate,
            source="https://anyint.ai/docs/media-and-music/music-generation",
        ),
    ),
    callback_ids=callback_ids,
)
