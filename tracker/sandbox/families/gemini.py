"""Gemini: ``/gemini/v1beta/models/{model}:generateContent``, text and inline images.

Owns contents, candidates and the ways in which Gemini says no with HTTP 200: a prompt that is blocked
(``create=policy``) has no candidates at all; a picture that is withheld (``fail=policy``) has a candidate with
``finishReason`` ``IMAGE_SAFETY`` and no image; ``fail=silent`` is ``NO_IMAGE``. Whether a picture is wanted shows in
the model's name or in ``responseModalities``.

Source: https://anyint.ai/docs/en/api-reference/gemini-compatible (route, Bearer key);
https://ai.google.dev/api/generate-content (fields, finish and block reasons, thoughts). Google's own client
cannot send Bearer and sends ``x-goog-api-key``: that it is accepted alike is inferred.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

from tracker.sandbox.chaos import GenerationFault
from tracker.sandbox.fate import JobFate
from tracker.sandbox.media import Media, make_media
from tracker.sandbox.prompts import read_parts
from tracker.sandbox.routes import Context, Refusal, SyncRoute
from tracker.sandbox.speech import count_tokens, reply_to
from tracker.sandbox.wire import Answer, Call, Json, json_answer

_REFUSALS = MappingProxyType(
    {
        Refusal.QUOTA: (429, "You exceeded your current quota, please check your plan.", "RESOURCE_EXHAUSTED"),
        Refusal.THROTTLED: (429, "Resource exhausted", "RESOURCE_EXHAUSTED"),
        Refusal.MAINTENANCE: (503, "The model is overloaded. Please try again later.", "UNAVAILABLE"),
        Refusal.SERVER_ERROR: (500, "An internal error has occurred.", "INTERNAL"),
    }
)
# Why there is nothing: for a picture, for a text.
_FINISH_REASONS = MappingProxyType(
    {
        GenerationFault.POLICY: ("IMAGE_SAFETY", "SAFETY"),
        GenerationFault.SILENT: ("NO_IMAGE", "OTHER"),
        GenerationFault.CANCELED: ("OTHER", "OTHER"),
    }
)


def _error(status: int, message: str, word: str, shown_as: int | None = None) -> Answer:
    return json_answer({"error": {"code": status, "message": message, "status": word}}, shown_as or status)


def _wants_image(call: Call) -> bool:
    config = call.body.get("generationConfig")
    modalities = config.get("responseModalities") if isinstance(config, dict) else None
    if isinstance(modalities, list):
        return "IMAGE" in [str(one).upper() for one in modalities]
    return "image" in call.params["model"]


def _wants_thoughts(call: Call) -> bool:
    config = call.body.get("generationConfig")
    thinking = config.get("thinkingConfig") if isinstance(config, dict) else None
    return isinstance(thinking, dict) and thinking.get("includeThoughts") is True


class GenerateContent(SyncRoute):
    """The one route."""

    __slots__ = ()

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Tell whether the request carries the key, as Bearer or as Google's client sends it."""
        return headers.get("authorization") == f"Bearer {key}" or headers.get("x-goog-api-key") == key

    def prompt_of(self, body: Json) -> str:
        """Return what the user said last."""
        contents = body.get("contents")
        for content in reversed(contents) if isinstance(contents, list) else ():
            if isinstance(content, dict) and content.get("role", "user") == "user":
                return read_parts(content.get("parts"))
        return ""

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``contents``, each with ``parts``."""
        del context
        contents = call.body.get("contents")
        listed = contents if isinstance(contents, list) else []
        if listed and all(isinstance(one, dict) and isinstance(one.get("parts"), list) for one in listed):
            return None
        return _error(400, "* GenerateContentRequest.contents: contents is not specified", "INVALID_ARGUMENT")

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Spell a refusal; a blocked prompt is HTTP 200."""
        match refusal:
            case Refusal.POLICY:
                feedback = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
                return json_answer({**feedback, "modelVersion": call.params["model"], "responseId": call.request_id})
            case Refusal.ERROR_BODY:
                return _error(*_REFUSALS[Refusal.SERVER_ERROR], shown_as=200)
            case _:
                return _error(*_REFUSALS[refusal])

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """One candidate: text, and a picture if one is wanted."""
        del context
        wants_image = _wants_image(call)
        reason = "STOP"
        match fate.fault:
            case GenerationFault.ERROR:
                return _error(*_REFUSALS[Refusal.SERVER_ERROR])
            case GenerationFault.INVALID:
                return _error(400, "Request contains an invalid argument.", "INVALID_ARGUMENT")
            case None:
                parts = self._write_parts(call, with_image=wants_image and not fate.url_missing)
                if fate.url_missing and not wants_image:
                    parts = []
            case fault:
                reason = _FINISH_REASONS[fault][0 if wants_image else 1]
                parts = (
                    [{"text": "I cannot make this picture."}] if wants_image and fault is GenerationFault.POLICY else []
                )
        spent, said = count_tokens(call.body["contents"]), count_tokens([part.get("text", "") for part in parts])
        candidate: Json = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
        usage = {"promptTokenCount": spent, "candidatesTokenCount": said, "totalTokenCount": spent + said}
        return json_answer(
            {
                "candidates": [candidate],
                "usageMetadata": usage,
                "modelVersion": call.params["model"],
                "responseId": call.request_id,
            }
        )

    def _write_parts(self, call: Call, *, with_image: bool) -> list[Json]:
        parts: list[Json] = [{"text": reply_to(self.prompt_of(call.body))}]
        if with_image:
            parts = [{"text": "Here it is"}, _inline(call.request_id, 0)]
        if _wants_thoughts(call):
            # A thought may hold a draft of the picture: it is not the output.
            draft = [_inline(call.request_id, 1) | {"thought": True}] if with_image else []
            parts = [{"text": "Thinking of it.", "thought": True}, *draft, *parts]
        return parts


def _inline(subject: str, n: int) -> Json:
    data = base64.b64encode(make_media(Media.PNG, subject, n)).decode()
    return {"inlineData": {"mimeType": Media.PNG.content_type, "data": data}}


ROUTES = (GenerateContent(name="gemini.generate", path="/gemini/v1beta/models/{model}:generateContent"),)
