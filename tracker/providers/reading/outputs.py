"""The outputs of a finished task, in the fields where makers and gateways put them, beside a family's own documents.

Owns those fields in order of trust, what counts as a file inside a reply, and how much of a text is stored. A body is
never searched for URLs: what a request brought, covers, frames and copies with a watermark are beside results and are
not outputs.

**Source** (read 2026-11): https://docs.newapi.pro/api/query-video (``url``, ``metadata.url``);
https://www.volcengine.com/docs/82379/1521309 (``content.video_url``, beside ``content.last_frame_url``);
https://docs.dev.runwayml.com/api (``output[]``); https://docs.lumalabs.ai/reference/getgeneration (``assets.video``);
https://platform.vidu.com/docs (``creations[].url``); https://docs.fal.ai/model-endpoints/queue (``video.url``);
https://docs.kie.ai/market/common/get-task-detail (``resultUrls[]``); https://kling.ai/document-api
(``task_result.videos[]``); https://ai.google.dev/gemini-api/docs/video (``generatedSamples[].video.uri``). For texts:
https://platform.openai.com/docs/api-reference (chat and responses); https://docs.anthropic.com/en/api/messages;
https://ai.google.dev/api/generate-content; https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.outputs import plain_base64
from tracker.domain.task import Output
from tracker.errors import PayloadInvalid
from tracker.providers.reading.envelopes import layers
from tracker.providers.reading.fields import (
    distinct,
    find_object,
    find_seconds,
    find_text,
    find_url,
    flat,
    mime_of,
    sole,
    urls_apart,
)

if TYPE_CHECKING:
    from tracker.providers.route import Json

_MAX_TEXT_LENGTH = 4_000_000
_CHUNK = 1 << 20
MESSAGE_TEXT_FIELDS = ("content", "text", "message", "audio")
_TEXT_FIELDS = ("output_text", "choices", "message", "content", "output", "candidates")
_PLAIN = frozenset({"output_text"})
"""A text alone in the other fields may be about the call."""
_PARTS = ("text", "content", "message", "delta", "value", "transcript", "parts")
_HOLDERS = (
    "metadata", "content", "{kind}", "assets", "task_result", "taskResult", "generateVideoResponse", "file", "results",
    "{kind}s", "{kind}Info", "{kind}_info", "{kind}_result", "resource",
)  # fmt: skip
"""Objects that contain only the result."""
_LISTS = (
    "{kind}s", "outputs", "output", "results", "result", "creations", "works", "generations", "urls", "{kind}_urls",
    "{kind}Urls", "result_urls", "resultUrls", "output_urls", "download_urls", "generatedVideos", "generated_{kind}s",
    "generatedSamples", "generated_samples", "{kind}_result", "data", "output_{kind}_url", "content", "assets",
    "artifacts", "files", "media", "{kind}_url", "{kind}Url", "url", "{kind}", "predictions", "task_result", "choices",
    "clips", "songs", "tracks",
)  # fmt: skip
_URLS = (
    "{kind}_url", "{kind}Url", "output_{kind}_url", "result_url", "resultUrl", "output_url", "outputUrl",
    "download_url", "downloadUrl", "file_url", "fileUrl", "signed_url", "signedUrl", "generated_{kind}", "{kind}",
    "url", "uri", "output", "result", "fail_reason",
)  # fmt: skip
"""``fail_reason`` is the URL of a finished video in replies of some gateways of the new-api family."""
_INNER = ("{kind}", "content", "message", "resource", "{kind}_url")
_VAGUE_URLS = frozenset({"src", "link", "resource"})
_INLINE = ("b64_json", "bytesBase64Encoded", "{kind}_base64", "b64", "base64")
_SECONDS = ("seconds", "duration", "duration_s", "video_duration")
"""Lengths beside the file; further out only ``seconds`` is one: ``duration`` may be the time that the job took."""
_OTHERWISE = (
    "cover|thumb|poster|frame|input|source|origin|ref|watermark|preview|gif|callback|notify|hook|status|response|cancel"
    "|page|share|parent|init|upload|mask|first|last|driv|subtitle|caption|config|stream"
)
"""Parts of field names with ``video`` and ``url`` that are not of a finished video."""
_OTHER_TYPES = ("cover", "thumbnail", "frame", "last_frame", "first_frame", "text")


class _Kind:
    """The field names of one kind of file.

    Args:
        name: ``video``, ``audio`` or ``image``.
        parts: parts of the names of its URL fields.
        mime: the usual type; None where that varies.
    """

    def __init__(self, name: str, parts: str, mime: str | None) -> None:
        self.name, self.mime = name, mime
        self.holders, self.lists, self.urls, self.inner, self.inline = (
            tuple(field.replace("{kind}", name) for field in fields)
            for fields in (_HOLDERS, _LISTS, _URLS, _INNER, _INLINE)
        )
        others = [other for other in ("video", "audio", "image") if other != name]
        self.other_types = (*others, *_OTHER_TYPES)
        self.named = re.compile(rf"(?=.*(?:{parts}))(?=.*(?:url|uri|link)s?$)[a-z0-9_-]{{1,60}}", re.IGNORECASE)
        self.otherwise = re.compile("|".join((_OTHERWISE, *others)), re.IGNORECASE)


_KINDS = {
    "video": _Kind("video", "video|mp4", "video/mp4"),
    "audio": _Kind("audio", "audio|song|music|mp3|wav", "audio/mpeg"),
    "image": _Kind("image", "image|img|picture", None),
}


def find_outputs(found: Sequence[Mapping[str, Json]], name: str = "video") -> tuple[Output, ...]:
    """The files of a finished task: those in the first field that has one.

    Args:
        found: the layers of the reply, the one with the status first.
        name: the kind of file.
    """
    kind = _KINDS[name]
    for read in (_of_layer, _of_names):
        for layer in found:
            outputs = distinct(read(layer, kind))
            if len(outputs) == 1 and outputs[0].duration_s is None:
                length = next((seconds for other in found if (seconds := find_seconds(other.get("seconds")))), None)
                return (replace(outputs[0], duration_s=length),)
            if outputs:
                return outputs
    return ()


def _holders_of(layer: Mapping[str, Json], kind: _Kind) -> list[Mapping[str, Json]]:
    return [*(inner for name in kind.holders if (inner := find_object(layer, name)) is not None), layer]


def _of_layer(layer: Mapping[str, Json], kind: _Kind) -> list[Output]:
    for holder in _holders_of(layer, kind):
        for name in kind.lists:
            items = holder.get(name)
            items = decode_text(items) if isinstance(items, str) else items
            if isinstance(items, list):
                outputs = [output for item in flat(items) for output in _of_item(item, (holder, layer), kind)]
                if outputs:
                    return outputs
        outputs = _of_object(holder, (holder, layer), kind)
        if outputs:
            return outputs
    return []


def _of_names(layer: Mapping[str, Json], kind: _Kind) -> list[Output]:
    """Files in undocumented fields whose names have both ``video`` and ``url`` in them."""
    for holder in _holders_of(layer, kind):
        for name, value in holder.items():
            if (kind.named.fullmatch(name) and not kind.otherwise.search(name)) or name in _VAGUE_URLS:
                outputs = [output for item in flat(value) for output in _files(item, (holder, layer), kind)]
                if outputs:
                    return outputs
    return []


def _of_item(item: Json, around: Sequence[Mapping[str, Json]], kind: _Kind, depth: int = 3) -> list[Output]:
    """The files of a list's item: a URL, or an object with one, possibly nested."""
    if not isinstance(item, dict):
        return _files(item, around, kind)
    type_ = find_text(item.get("type"), 40) or ""
    if item.get("role", "assistant") != "assistant" or type_.lower().startswith(kind.other_types):
        return []  # another role is that of material: ``reference_video``
    for name in kind.inner if depth else ():
        for inner in flat(item.get(name)):
            outputs = _of_item(inner, (inner, item), kind, depth - 1) if isinstance(inner, dict) else []
            if outputs:
                return outputs
    return _of_object(item, (item,), kind) or _of_names(item, kind)


def _of_object(holder: Mapping[str, Json], described: Sequence[Mapping[str, Json]], kind: _Kind) -> list[Output]:
    for name in kind.urls:
        outputs = _files(holder.get(name), described, kind)
        if outputs:
            return outputs
    inline = (find_inline_output(holder.get(name), holder.get("mimeType"), kind=kind.name) for name in kind.inline)
    return [output for output in inline if output is not None][:1]


def _files(value: Json, described: Sequence[Mapping[str, Json]], kind: _Kind) -> list[Output]:
    """The files at the URLs of a text, mostly one; none for other values and other kinds of files."""
    outputs = []
    for one in urls_apart(value):
        url = find_url(one)
        mime = None if url is None else mime_of(url, kind.mime)
        if url is None:
            inline = find_data_url_output(one, kind=kind.name)
            outputs += [] if inline is None else [inline]
        elif mime is None or mime.startswith(kind.name) or mime == "image/gif":
            seconds = (find_seconds(layer.get(name)) for layer in described for name in _SECONDS)
            length = next((length for length in seconds if length), None)
            title = next((text for layer in described[:1] if (text := find_text(layer.get("title"), 300))), None)
            outputs.append(Output(kind=kind.name, url=url, mime=mime, title=title, duration_s=length))
    return outputs


def find_text_output(value: Json, title: str | None = None) -> Output | None:
    """A text, unchanged, as an output; None when it is not a text, or blank."""
    if not isinstance(value, str) or not value.strip():
        return None
    return Output(kind="text", mime="text/plain", text=value[:_MAX_TEXT_LENGTH], title=title)


def json_output(value: Json, title: str) -> Output:
    """A structured result (tool calls, timestamps) as an output: its JSON as text.

    Raises:
        PayloadInvalid: it is nested too deeply to encode.
    """
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise PayloadInvalid(f"{title}: nested too deeply") from error
    return Output(kind="text", mime="application/json", text=text, title=title)


def find_inline_output(data: Json, mime: Json = None, *, kind: str = "file") -> Output | None:
    """Base64 data as an output; None when it is not base64, or empty.

    Args:
        data: base64 in either alphabet, with or without padding.
        mime: the stated media type; its first half is the kind.
        kind: used without a media type.
    """
    if not isinstance(data, str):
        return None
    stated = mime.strip().lower() if isinstance(mime, str) and "/" in mime and len(mime) < 100 else None  # noqa: PLR2004
    if data[:5] == "data:":
        return find_data_url_output(data, kind=kind)
    text = plain_base64(data)
    if not text or not _is_base64(text):
        return None
    family = stated.partition("/")[0] if stated else kind
    return Output(kind=family if family in _KINDS else "file", mime=stated, inline=text)


def find_data_url_output(value: Json, *, kind: str) -> Output | None:
    """A ``data:`` URL, which some gateways write instead of a URL, as an output; None for anything else."""
    value = sole(value)
    if not isinstance(value, str) or value[:64].lstrip()[:5].lower() != "data:":
        return None
    head, _, data = value.lstrip()[5:].partition(",")
    mime, _, encoding = head.lower().partition(";")
    return find_inline_output(data, mime or None, kind=kind) if encoding.endswith("base64") else None


def _is_base64(text: str) -> bool:
    try:
        for start in range(0, len(text), _CHUNK):  # in chunks: an image of 20 MB is not decoded at once for this
            binascii.a2b_base64(text[start : start + _CHUNK], strict_mode=True)
    except ValueError:
        return False
    return True


def find_texts(body: Mapping[str, Json]) -> tuple[Output, ...]:
    """The text of a reply in the shape of any of these APIs, as one output, or none."""
    for layer in layers(body):
        for name in _TEXT_FIELDS:
            value = layer.get(name)
            text = find_text_output(text_in(value)) if name in _PLAIN or isinstance(value, (list, dict)) else None
            if text is not None:
                return (text,)
    return ()


def text_in(value: Json, depth: int = 5) -> str | None:
    """The text in a text, in parts of one, or in an object around them; None when there is none."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        parts = (text_in(part, depth - 1) for part in value) if depth else ()
        return "".join(part for part in parts if part) or None
    if not isinstance(value, dict) or not depth:
        return None
    return next((text for name in _PARTS if (text := text_in(value.get(name), depth - 1))), None)
