"""The documented fields of the requests of the OpenAI-style routes.

The gateway serves models of several makers on these routes, with fields of their own: the lists are open.

**Source**: the request types of https://github.com/openai/openai-python, version 3.52.0, which are written from
https://platform.openai.com/docs/api-reference; https://anyint.ai/docs/en/api-reference/kling-video for videos (read
2026-11).
"""

from __future__ import annotations

from tracker.domain.request_fields import Field, RequestFields

_PAGE = "https://platform.openai.com/docs/api-reference"
_FLAG = "true or false"
_MODEL = Field("model", "text", "The model.", required=True)

VIDEO = RequestFields(
    (
        _MODEL,
        Field("prompt", "text", "What to show.", required=True),
        Field("seconds", "text", "Length in seconds.", values=("4", "8", "12")),
        Field("size", "text", "Width and height.", values=("1280x720", "720x1280")),
        Field("input_reference", "object", "A picture to start from."),
    ),
    f"{_PAGE}/videos/create",
    models=("kling-3.0",),
    model_patterns=("kling-*", "sora-*", "veo-*"),
)
CHAT = RequestFields(
    (
        _MODEL,
        Field("messages", "list", "The conversation so far.", required=True),
        Field("max_completion_tokens", "number", "Longest reply, tokens."),
        Field("temperature", "number", "How varied it is, 0 to 2."),
        Field("top_p", "number", "The same by probability, 0 to 1."),
        Field("n", "number", "How many replies."),
        Field("stop", "list", "Texts that end the reply."),
        Field("seed", "number", "The same number makes similar replies."),
        Field("response_format", "object", "Text or JSON, with its schema."),
        Field("reasoning_effort", "text", "How long it thinks.", values=("low", "medium", "high")),
        Field("verbosity", "text", "How much it writes.", values=("low", "medium", "high")),
        Field("tools", "list", "Functions that it may call."),
        Field("tool_choice", "text or object", "Which of them."),
        Field("modalities", "list", "Text, audio."),
        Field("metadata", "object", "Labels of your own."),
        Field("user", "text", "An id of the end user."),
    ),
    f"{_PAGE}/chat/create",
    model_patterns=("gpt-*", "o[1-9]*", "claude-*", "gemini-*", "qwen*", "deepseek*", "kimi*", "glm*", "doubao-seed-*"),
    models=("gpt-5",),
)
RESPONSES = RequestFields(
    (
        Field("model", "text", "The model.", required=True, condition="unless prompt is given"),
        Field(
            "input",
            "text or list",
            "What to respond to.",
            required=True,
            condition="unless prompt, previous_response_id or conversation is given",
        ),
        Field("instructions", "text", "How to respond."),
        Field("background", _FLAG, "true: a task to follow; false: the reply at once."),
        Field("max_output_tokens", "number", "Longest reply, tokens."),
        Field("previous_response_id", "text", "The response to continue."),
        Field("conversation", "text or object", "The conversation to continue."),
        Field("prompt", "object", "A stored prompt and its values."),
        Field("reasoning", "object", "How long it thinks, and what it shows of it."),
        Field("text", "object", "Text or JSON, with its schema."),
        Field("temperature", "number", "How varied it is, 0 to 2."),
        Field("top_p", "number", "The same by probability, 0 to 1."),
        Field("tools", "list", "Functions, search, images."),
        Field("tool_choice", "text or object", "Which of them."),
        Field("include", "list", "What else is in the reply."),
        Field("store", _FLAG, "Whether OpenAI keeps it."),
        Field("metadata", "object", "Labels of your own."),
    ),
    f"{_PAGE}/responses/create",
    models=("gpt-5",),
    model_patterns=("gpt-*", "o[1-9]*"),
)
IMAGES = RequestFields(
    (
        Field("prompt", "text", "What to show.", required=True),
        Field("model", "text", "The model."),
        Field("n", "number", "How many images, 1 to 10.", values=(1,)),
        Field("size", "text", "Width and height.", values=("1024x1024", "1536x1024", "1024x1536", "auto")),
        Field("quality", "text", "How fine they are.", values=("low", "medium", "high", "auto")),
        Field("background", "text", "What is behind.", values=("transparent", "opaque", "auto")),
        Field("output_format", "text", "The type of file.", values=("png", "jpeg", "webp")),
        Field("output_compression", "number", "Quality of jpeg and webp, percent."),
        Field(
            "response_format", "text", "A URL or the file itself.", condition="for dall-e", values=("url", "b64_json")
        ),
        Field("style", "text", "The style.", condition="for dall-e-3", values=("vivid", "natural")),
        Field("moderation", "text", "How strict the check is.", values=("auto", "low")),
        Field("user", "text", "An id of the end user."),
    ),
    f"{_PAGE}/images/create",
    models=("gpt-image-1",),
    model_patterns=("gpt-image*", "dall-e*", "*seedream*", "flux*", "imagen*"),
)
