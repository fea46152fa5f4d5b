"""The demo's tasks: what is asked for, what goes wrong on purpose, and how each must end.

The faults are directives to the sandbox gateway, written in the prompt as anybody may; see
`tracker.sandbox.directives`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DURATION_S = 4.0
"""From create to finish in the sandbox, unless a story says otherwise."""


@dataclass(frozen=True, slots=True)
class Story:
    """One task of the demo.

    Attributes:
        name: short and unique; the task's label.
        route: the creation route.
        request: the provider body.
        plot: what happens, for people.
        status: how it must end.
        reason: why, for a failure.
        told_by: which source must have told the end, None where either may.
        duplicates: at least so many callbacks must have been recognised as repeated.
        early: a callback must have come before the create was answered.
        creates: how often the create must have reached the gateway.
    """

    name: str
    route: str
    request: Mapping[str, Any]
    plot: str
    status: str = "SUCCEEDED"
    reason: str | None = None
    told_by: str | None = None
    duplicates: int = 0
    early: bool = False
    creates: int = 1


def _song(prompt: str) -> dict[str, Any]:
    return {"customMode": False, "instrumental": False, "model": "V5", "prompt": prompt}


def _kling(prompt: str) -> dict[str, Any]:
    return {"model_name": "kling-v3-omni", "model": "kling-v3-omni", "prompt": prompt}


def _wan(prompt: str) -> dict[str, Any]:
    return {"model": "wan2.5-t2v-preview", "input": {"prompt": prompt}}


def _said(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


STORIES: tuple[Story, ...] = (
    Story("song", "suno.generate", _song("a summer breeze"), "text, first and complete callbacks", told_by="callback"),
    Story(
        "song-twice",
        "suno.generate",
        _song("an echo [sandbox: callback=duplicate]"),
        "every callback comes twice",
        told_by="callback",
        duplicates=1,
    ),
    Story(
        "song-busy",
        "suno.generate",
        _song("a crowded room [sandbox: create=rate_limited]"),
        "refused at first for its rate, sent again",
        creates=2,
    ),
    Story(
        "clip-early",
        "kling.omni-video",
        _kling("a sprinter leaving the blocks [sandbox: callback=early]"),
        "the callback overtakes the create's answer",
        early=True,
    ),
    Story(
        "clip-lost",
        "kling.omni-video",
        _kling("a letter in a bottle [sandbox: callback=lost]"),
        "no callback ever comes: polling finds the end",
        told_by="poll",
    ),
    Story(
        "clip-cut",
        "kling.omni-video",
        _kling("a snapped wire [sandbox: create=cut]"),
        "the create is cut off and not sent again: its callback tells",
    ),
    Story("film", "dashscope.video", _wan("a slow river at dawn"), "polled, for it has no callbacks", told_by="poll"),
    Story(
        "film-refused",
        "dashscope.video",
        _wan("something improper [sandbox: fail=policy]"),
        "fails on the content rules",
        status="FAILED",
        reason="policy_rejected",
        told_by="poll",
    ),
    Story(
        "film-flaky",
        "dashscope.video",
        _wan("a storm at sea [sandbox: poll=flaky]"),
        "every second poll fails in another way",
        told_by="poll",
    ),
    Story(
        "clip-behind",
        "openai.video",
        {"model": "kling-3.0", "prompt": "a lighthouse at night"},
        "its file is behind the key: only the archive hands it out",
        told_by="poll",
    ),
    Story(
        "clip-seed",
        "seedance.video",
        {"model": "seedance", "prompt": "a seed that grows"},
        "polled on a route of its own",
        told_by="poll",
    ),
    Story(
        "picture",
        "gemini.generate",
        {"model": "gemini-image", "contents": [{"role": "user", "parts": [{"text": "a picture of a fox"}]}]},
        "the answer is the result, its picture inline",
        told_by="submit",
    ),
    Story(
        "chat",
        "openai.chat",
        {"model": "gpt-5", "messages": _said("name a colour")},
        "the answer is the result: a text",
        told_by="submit",
    ),
    Story(
        "message",
        "anthropic.messages",
        {"model": "claude", "messages": _said("name a tree"), "max_tokens": 100},
        "the same, with the other header for the key",
        told_by="submit",
    ),
)


def prompt_of(story: Story) -> str:
    """The words by which the gateway's record tells a story's creates."""
    found = next(_texts(story.request.get("prompt") or story.request.get("input") or story.request), "")
    return str(found)


def _texts(value: object) -> Iterator[str]:
    """Texts under the names that families use for what is asked for."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name in ("prompt", "messages", "content", "contents", "parts", "text"):
            if name in value:
                yield from _texts(value[name])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
