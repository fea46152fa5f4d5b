"""The OpenAI-style routes."""

from __future__ import annotations

from tracker.providers.families.openai import chat, images, responses, video
from tracker.providers.provider import Provider
from tracker.providers.reading.video_objects import VIDEO_FIGURES

PROVIDER = Provider(
    "openai",
    (video.ENTRY, chat.ENTRY, responses.ENTRY, images.ENTRY),
    callback_ids=video.event_ids,
    figures=VIDEO_FIGURES,
)
