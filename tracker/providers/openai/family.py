"""The OpenAI-style routes."""

from __future__ import annotations

from tracker.providers.family import Family
from tracker.providers.openai import chat, images, responses, video

PROVIDER = Family(
    "openai",
    (video.ENTRY, chat.ENTRY, responses.ENTRY, images.ENTRY),
    callback_ids=video.event_ids,
)
