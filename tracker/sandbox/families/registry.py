"""The list of families: one line each.

Owns the list and its consistency. Must not hold anything about a family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tracker.sandbox.families import (
    anthropic,
    dashscope,
    dashscope_image,
    gemini,
    kling_images,
    kling_videos,
    models,
    openai_chat,
    openai_images,
    openai_responses,
    openai_video,
    seedance,
    suno_cover_art,
    suno_files,
    suno_lyrics,
    suno_songs,
    suno_stems,
    suno_sync,
)
from tracker.sandbox.routes import JobRoute, PaidRoute, Route, SyncRoute

FAMILIES: tuple[tuple[Route, ...], ...] = (
    dashscope.ROUTES,
    dashscope_image.ROUTES,
    kling_videos.ROUTES,
    kling_images.ROUTES,
    suno_songs.ROUTES,
    suno_lyrics.ROUTES,
    suno_stems.ROUTES,
    suno_files.ROUTES,
    suno_cover_art.ROUTES,
    suno_sync.ROUTES,
    openai_video.ROUTES,
    openai_chat.ROUTES,
    openai_responses.ROUTES,
    openai_images.ROUTES,
    seedance.ROUTES,
    gemini.ROUTES,
    anthropic.ROUTES,
    models.ROUTES,
)


def list_routes() -> tuple[Route, ...]:
    """Return the routes of all families."""
    return tuple(route for family in FAMILIES for route in family)


def check_routes(routes: Sequence[Route]) -> None:
    """Refuse routes that cannot be served together.

    Raises:
        ValueError: Two paid routes share a name, or one is neither a job route nor a synchronous one.
    """
    paid = [route for route in routes if isinstance(route, PaidRoute)]
    if twice := [name for name, count in Counter(route.name for route in paid).items() if count > 1]:
        raise ValueError(f"sandbox routes registered twice: {', '.join(twice)}")
    for route in paid:
        if not isinstance(route, JobRoute | SyncRoute):
            raise ValueError(f"{route.name} must be a JobRoute or a SyncRoute")  # noqa: TRY004 - a mistake in our own table
