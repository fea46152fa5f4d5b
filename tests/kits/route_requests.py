"""A valid request for every route, with words in it that the sandbox may find its directives in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class Song:
    """A finished song of the sandbox, for the routes that make something of one."""

    task_id: str
    audio_id: str

    @property
    def clip(self) -> dict[str, Json]:
        """How a request names it."""
        return {"taskId": self.task_id, "audioId": self.audio_id}


Write = Callable[[str, Song], dict[str, Json]]

UPLOAD = "https://cdn.example.com/hum.mp3"


def _said(words: str) -> list[Json]:
    return [{"role": "user", "content": words}]


def _kling(words: str, _: Song) -> dict[str, Json]:
    return {"model_name": "kling-v3", "prompt": words}


def _sing(words: str, _: Song) -> dict[str, Json]:
    return {"customMode": False, "instrumental": False, "model": "V5", "prompt": words}


REQUESTS: dict[str, Write] = {
    "dashscope.video": lambda words, _: {"model": "wan2.5-t2v-preview", "input": {"prompt": words}},
    "dashscope.image": lambda words, _: {"model": "qwen-image", "input": {"messages": _said(words)}},
    "kling.image": _kling,
    "kling.omni-image": _kling,
    "kling.text2video": _kling,
    "kling.image2video": lambda words, song: _kling(words, song) | {"image": "https://cdn.example.com/1.png"},
    "kling.omni-video": _kling,
    "suno.generate": _sing,
    "suno.extend": lambda words, song: {
        "audioId": song.audio_id,
        "defaultParamFlag": False,
        "model": "V5",
        "prompt": words,
    },
    "suno.generate-lyrics": lambda words, _: {"prompt": words},
    "suno.generate-cover": lambda words, song: {"taskId": song.task_id, "note": words},
    "suno.upload-cover": lambda words, song: _sing(words, song) | {"uploadUrl": UPLOAD},
    "suno.upload-extend": lambda words, _: {
        "uploadUrl": UPLOAD,
        "defaultParamFlag": False,
        "model": "V5",
        "prompt": words,
    },
    "suno.add-vocals": lambda words, _: {
        "uploadUrl": UPLOAD,
        "prompt": words,
        "title": "Breeze",
        "style": "pop",
        "negativeTags": "metal",
    },
    "suno.add-instrumental": lambda words, _: {
        "uploadUrl": UPLOAD,
        "title": words,
        "tags": "pop",
        "negativeTags": "metal",
    },
    "suno.vocal-removal": lambda words, song: song.clip | {"type": "separate_vocal", "note": words},
    "suno.split-stem": lambda words, song: song.clip | {"note": words},
    "suno.replace-section": lambda words, song: (
        song.clip | {"prompt": words, "tags": "pop", "title": "Breeze", "infillStartS": 1, "infillEndS": 9.5}
    ),
    "suno.wav-generate": lambda words, song: song.clip | {"note": words},
    "suno.mp4-generate": lambda words, song: song.clip | {"note": words},
    "suno.style-generate": lambda words, _: {"content": words},
    "suno.timestamped-lyrics": lambda words, song: song.clip | {"note": words},
    "suno.generate-persona": lambda words, song: song.clip | {"name": "Ann", "description": words},
    "openai.video": lambda words, _: {"model": "kling-3.0", "prompt": words},
    "openai.chat": lambda words, _: {"model": "gpt-5", "messages": _said(words)},
    "openai.responses": lambda words, _: {"model": "gpt-5", "input": words, "background": True},
    "openai.images": lambda words, _: {"model": "gpt-image-1", "prompt": words},
    "anthropic.messages": lambda words, _: {"model": "claude", "messages": _said(words), "max_tokens": 100},
    "anthropic.count-tokens": lambda words, _: {"model": "claude", "messages": _said(words)},
    "gemini.generate": lambda words, _: {
        "model": "gemini-image",
        "contents": [{"role": "user", "parts": [{"text": words}]}],
    },
    "seedance.video": lambda words, _: {"model": "seedance", "prompt": words},
}
"""By route, the 31 of the interface."""
