"""The OpenAI-style routes."""

from __future__ import annotations

from tracker.providers.families.openai import chat, images, responses, video
from tracker.providers.provider import Provider

PROVIDER = Provider(
    "openai",
    (video.ENTRY, chat.ENTRY, responses.ENTRY, images.ENTRY),
    callback_ids=video.event_ids,
)
