"""The demo's tasks: the request, the fault that is injected, and how each task must end.

The faults are directives to the sandbox gateway, written in the prompt; see `tracker.sandbox.directives`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DURATION_S = 4.0
"""From create to finish in the sandbox, unless a directive says otherwise."""


def _ask(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


_REQUESTS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "suno.generate": lambda text: {"customMode": False, "instrumental": False, "model": "V5", "prompt": text},
    "kling.omni-video": lambda text: {"model_name": "kling-v3-omni", "model": "kling-v3-omni", "prompt": text},
    "dashscope.video": lambda text: {"model": "wan2.5-t2v-preview", "input": {"prompt": text}},
    "openai.video": lambda text: {"model": "kling-3.0", "prompt": text},
    "seedance.video": lambda text: {"model": "seedance", "prompt": text},
    "kling.image": lambda text: {"model_name": "kling-v3", "prompt": text},
    "gemini.generate": lambda text: {
        "model": "gemini-image",
        "contents": [{"role": "user", "parts": [{"text": text}]}],
    },
    "openai.chat": lambda text: {"model": "gpt-5", "messages": _ask(text)},
    "anthropic.messages": lambda text: {"model": "claude", "messages": _ask(text), "max_tokens": 100},
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One task of the demo.

    Attributes:
        name: short and unique; the task's label.
        route: the creation route.
        prompt: what is asked for, with the directives.
        description: what happens, shown to the user.
        status: how the task must end.
        reason: why, for a failure.
        ended_by: the source of the event that must end the task; None: either.
        duplicates: the least number of callbacks that must be recognised as repeated.
        early: a callback must arrive before the create is answered.
        creates: how often the create must reach the gateway.
    """

    name: str
    route: str
    prompt: str
    description: str
    status: str = "SUCCEEDED"
    reason: str | None = None
    ended_by: str | None = None
    duplicates: int = 0
    early: bool = False
    creates: int = 1

    @property
    def request(self) -> dict[str, Any]:
        """The provider's request body."""
        return _REQUESTS[self.route](self.prompt)


FIRST = Scenario("picture-first", "kling.image", "a paper boat [sandbox: duration=2]", "")
"""Made so often before the others that the daemon knows how long its route takes; see `tracker.domain.durations`."""

# fmt: off
SCENARIOS: tuple[Scenario, ...] = (
    Scenario("song", "suno.generate", "a summer breeze",
             "text, first and complete callbacks", ended_by="callback"),
    Scenario("song-twice", "suno.generate", "an echo [sandbox: callback=duplicate]",
             "every callback comes twice", ended_by="callback", duplicates=1),
    Scenario("song-busy", "suno.generate", "a crowded room [sandbox: create=rate_limited]",
             "rate limited at first, sent again", creates=2),
    Scenario("clip-early", "kling.omni-video", "a sprinter leaving the blocks [sandbox: callback=early]",
             "the callback overtakes the create's answer", early=True),
    Scenario("clip-lost", "kling.omni-video", "a letter in a bottle [sandbox: callback=lost]",
             "every callback is lost: polling finds the end", ended_by="poll"),
    Scenario("clip-cut", "kling.omni-video", "a snapped wire [sandbox: create=cut]",
             "the create is cut off and not sent again: its callback identifies the task"),
    Scenario("film", "dashscope.video", "a slow river at dawn",
             "polled, for it has no callbacks", ended_by="poll"),
    Scenario("film-refused", "dashscope.video", "something improper [sandbox: fail=policy]",
             "fails on the content rules", status="FAILED", reason="policy_rejected", ended_by="poll"),
    Scenario("film-flaky", "dashscope.video", "a storm at sea [sandbox: poll=flaky]",
             "every second poll fails in another way", ended_by="poll"),
    Scenario("clip-behind", "openai.video", "a lighthouse at night",
             "its file needs the API key: only the archive serves it", ended_by="poll"),
    Scenario("clip-seed", "seedance.video", "a seed that grows",
             "polled on a route of its own", ended_by="poll"),
    Scenario("picture-next", "kling.image", "a paper kite [sandbox: duration=2]",
             "its expected time is known from eight pictures before it"),
    Scenario("picture", "gemini.generate", "a picture of a fox",
             "the answer is the result, its picture inline", ended_by="submit"),
    Scenario("chat", "openai.chat", "name a colour",
             "the answer is the result: a text", ended_by="submit"),
    Scenario("message", "anthropic.messages", "name a tree",
             "the same, with the other header for the key", ended_by="submit"),
)
# fmt: on
