"""OpenAI images: ``/openai/v1/images/generations``, by URL or inline.

Owns the list of images. Models named ``gpt-image…`` always answer inline, others as ``response_format`` says.

Source: https://platform.openai.com/docs/api-reference/images/create (fields, formats, 1 to 10 images);
a refused prompt is HTTP 400 ``moderation_blocked``.
"""

from __future__ import annotations

import base64
import time

from tracker.sandbox.families.openai import OpenAIWords, answer_failure, find_missing, openai_error
from tracker.sandbox.fate import JobFate
from tracker.sandbox.media import Media, make_media
from tracker.sandbox.routes import Context, SyncRoute
from tracker.sandbox.wire import Answer, Call, json_answer

_FORMATS = ("url", "b64_json")
_MOST = 10


class OpenAIImages(OpenAIWords, SyncRoute):
    """The one route."""

    __slots__ = ()

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Want ``prompt``; ``model`` has a default upstream."""
        del context
        body = call.body
        n = body.get("n", 1)
        if not (isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _MOST):
            return openai_error(400, f"n must be an integer from 1 to {_MOST}.", code="invalid_value", param="n")
        if body.get("response_format", "url") not in _FORMATS:
            message = f"response_format must be one of {', '.join(_FORMATS)}."
            return openai_error(400, message, code="invalid_value", param="response_format")
        return find_missing(body, ("prompt",))

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """``data``, one object per image; none if the fate says so."""
        if fate.fault is not None:
            return answer_failure(fate.fault)
        body, subject = call.body, call.request_id
        inline = body.get("response_format") == "b64_json" or str(body.get("model", "")).startswith("gpt-image")
        images = []
        for n in range(0 if fate.url_missing else body.get("n", 1)):
            if inline:
                images.append({"b64_json": base64.b64encode(make_media(Media.PNG, subject, n)).decode()})
            else:
                images.append({"url": context.files.link(subject, Media.PNG, n, label="image")})
        return json_answer({"created": int(time.time()), "data": images})


ROUTES = (OpenAIImages(name="openai.images", path="/openai/v1/images/generations"),)
