"""Suno routes that answer at once: style, timestamped lyrics, persona.

Owns their fields. A style has a ``taskId``, but nothing to query it at; its ``successFlag`` 2 is a failure,
where cover art's 2 is work in progress.

Source: https://anyint.ai/docs/api-reference/ai-music (routes);
https://docs.sunoapi.org/suno-api/boost-music-style, …/get-timestamped-lyrics, …/generate-persona (fields).
How they fail is inferred from the body codes that all Suno routes share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.families.suno import SunoWords, envelope, find_missing
from tracker.sandbox.fate import JobFate
from tracker.sandbox.routes import Context, SyncRoute
from tracker.sandbox.wire import Answer, Call, Json

_FAILURES = MappingProxyType(
    {
        GenerationFault.POLICY: (400, "The prompt contains sensitive words"),
        GenerationFault.ERROR: (500, "Internal Error, Please try again later."),
        GenerationFault.INVALID: (422, "Invalid parameters"),
        GenerationFault.SILENT: (531, ""),
        GenerationFault.CANCELED: (531, ""),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunoSync(SunoWords, SyncRoute, ABC):
    """One of the routes.

    Attributes:
        required: Text fields that must not be empty.
    """

    required: tuple[str, ...]

    @abstractmethod
    def make(self, call: Call, fate: JobFate, context: Context) -> Json:
        """Return ``data`` of a success; without its substance if the fate says so."""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Refuse missing fields with body code 400."""
        del context
        mistake = find_missing(call.body, self.required)
        return None if mistake is None else envelope(*mistake)

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """``{code, msg, data}``; a failure has null data."""
        if fate.fault is not None:
            return envelope(*_FAILURES[fate.fault])
        return envelope(200, "success", self.make(call, fate, context))


class SunoStyle(SunoSync):
    """A description of a style, from a few words in ``content``."""

    __slots__ = ()

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """A failed style says so in ``data``, too."""
        if fate.fault is None:
            return SunoSync.result(self, call, fate, context)
        code, message = _FAILURES[fate.fault]
        failed = {"result": "", "successFlag": "2", "errorCode": code, "errorMessage": message}
        return envelope(code, message, self.make(call, fate, context) | failed)

    def make(self, call: Call, fate: JobFate, context: Context) -> Json:
        """``result``, and what it cost."""
        return {
            "taskId": context.dice.draw_bytes(16, "style", call.request_id).hex(),
            "param": orjson.dumps(call.body).decode(),
            "result": "" if fate.url_missing else f"{call.body['content']}, layered synths, warm bass, steady pulse",
            "creditsConsumed": 0.4,
            "creditsRemaining": 96,
            "successFlag": "1",
            "errorCode": None,
            "errorMessage": "",
        }


class SunoTimestamps(SunoSync):
    """When each word of a clip is sung."""

    __slots__ = ()

    def make(self, call: Call, fate: JobFate, context: Context) -> Json:
        """``alignedWords``, times in seconds."""
        del call, context
        words = () if fate.url_missing else ("[Verse]\nla ", "la ", "sandbox ", "la\n")
        return {
            "alignedWords": [
                {"word": word, "success": True, "startS": n * 0.5, "endS": n * 0.5 + 0.4, "palign": 0}
                for n, word in enumerate(words)
            ],
            "waveformData": [0, 1, 0.5, 0.75],
            "hootCer": 0.38,
            "isStreamed": False,
        }


class SunoPersona(SunoSync):
    """A voice to sing further songs with."""

    __slots__ = ()

    def make(self, call: Call, fate: JobFate, context: Context) -> Json:
        """``personaId``, which nothing can query."""
        body = call.body
        # The same clip gives the same persona.
        persona_id = context.dice.draw_uuid("persona", str(body["taskId"]), str(body["audioId"]))
        return {
            "personaId": None if fate.url_missing else persona_id,
            "name": body["name"],
            "description": body["description"],
        }


ROUTES = (
    SunoStyle(name="suno.style-generate", path="/suno/style-generate", required=("content",)),
    SunoTimestamps(name="suno.timestamped-lyrics", path="/suno/timestamped-lyrics", required=("taskId", "audioId")),
    SunoPersona(
        name="suno.generate-persona",
        path="/suno/generate-persona",
        required=("taskId", "audioId", "name", "description"),
    ),
)
