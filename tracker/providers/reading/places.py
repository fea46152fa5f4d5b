"""Where finished files stand in the answers of makers and gateways, other than in a family's own documents.

Owns the documented places, in order of trust. A body is never searched for URLs: what a request brought, covers, frames
and copies with a watermark stand beside results and are none.

**Source** (read 2026-11): https://docs.newapi.pro/api/query-video (``url``, ``metadata.url``);
https://www.volcengine.com/docs/82379/1521309 (``content.video_url``, beside ``content.last_frame_url``);
https://docs.dev.runwayml.com/api (``output[]``); https://docs.lumalabs.ai/reference/getgeneration (``assets.video``);
https://platform.vidu.com/docs (``creations[].url``); https://docs.fal.ai/model-endpoints/queue (``video.url``);
https://docs.kie.ai/market/common/get-task-detail (``resultUrls[]``); https://kling.ai/document-api
(``task_result.videos[]``); https://ai.google.dev/gemini-api/docs/video (``generatedSamples[].video.uri``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.lenient_json.decoder import decode_text
from tracker.domain.task import Output
from tracker.providers.reading.fields import (
    distinct,
    find_object,
    find_seconds,
    find_text,
    find_url,
    flat,
    mime_of,
    urls_apart,
)
from tracker.providers.reading.results import find_data_url_output, find_inline_output

if TYPE_CHECKING:
    from tracker.providers.route import Json

_HOLDERS = (
    "metadata", "content", "{kind}", "assets", "task_result", "taskResult", "generateVideoResponse", "file", "results",
    "{kind}s", "{kind}Info", "{kind}_info", "{kind}_result", "resource",
)  # fmt: skip
"""Objects that hold nothing but the result."""
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
"""``fail_reason`` holds the URL of a finished video in the answers of some gateways of the new-api family."""
_INNER = ("{kind}", "content", "message", "resource", "{kind}_url")
_VAGUE_URLS = frozenset({"src", "link", "resource"})
_INLINE = ("b64_json", "bytesBase64Encoded", "{kind}_base64", "b64", "base64")
_SECONDS = ("seconds", "duration", "duration_s", "video_duration")
"""Lengths beside the file; further out only ``seconds`` is one, a ``duration`` there may be that of the work."""
_OTHERWISE = (
    "cover|thumb|poster|frame|input|source|origin|ref|watermark|preview|gif|callback|notify|hook|status|response|cancel"
    "|page|share|parent|init|upload|mask|first|last|driv|subtitle|caption|config|stream"
)
"""What a name says that has ``video`` and ``url`` in it, and is none of a finished video."""
_OTHER_TYPES = ("cover", "thumbnail", "frame", "last_frame", "first_frame", "text")


class _Kind:
    """The names that one kind of file has.

    Args:
        name: ``video``, ``audio`` or ``image``.
        words: what names of its URLs have in them.
        mime: what it usually is; None where that varies.
    """

    def __init__(self, name: str, words: str, mime: str | None) -> None:
        self.name, self.mime = name, mime
        self.holders, self.lists, self.urls, self.inner, self.inline = (
            tuple(field.replace("{kind}", name) for field in fields)
            for fields in (_HOLDERS, _LISTS, _URLS, _INNER, _INLINE)
        )
        others = [other for other in ("video", "audio", "image") if other != name]
        self.other_types = (*others, *_OTHER_TYPES)
        self.named = re.compile(rf"(?=.*(?:{words}))(?=.*(?:url|uri|link)s?$)[a-z0-9_-]{{1,60}}", re.IGNORECASE)
        self.otherwise = re.compile("|".join((_OTHERWISE, *others)), re.IGNORECASE)


_KINDS = {
    "video": _Kind("video", "video|mp4", "video/mp4"),
    "audio": _Kind("audio", "audio|song|music|mp3|wav", "audio/mpeg"),
    "image": _Kind("image", "image|img|picture", None),
}


def find_outputs(found: Sequence[Mapping[str, Json]], name: str = "video") -> tuple[Output, ...]:
    """The files of a finished task: those of the first place that has one.

    Args:
        found: the layers of the answer, the one that says the status first.
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
    """Files at names of makers that nobody has listed: a video and a URL is what they say."""
    for holder in _holders_of(layer, kind):
        for name, value in holder.items():
            if (kind.named.fullmatch(name) and not kind.otherwise.search(name)) or name in _VAGUE_URLS:
                outputs = [output for item in flat(value) for output in _files(item, (holder, layer), kind)]
                if outputs:
                    return outputs
    return []


def _of_item(item: Json, around: Sequence[Mapping[str, Json]], kind: _Kind, depth: int = 3) -> list[Output]:
    """A list's item: a URL, or an object with one, itself or further in."""
    if not isinstance(item, dict):
        return _files(item, around, kind)
    type_ = find_text(item.get("type"), 40) or ""
    if item.get("role", "assistant") != "assistant" or type_.lower().startswith(kind.other_types):
        return []  # a role is that of material: ``reference_video``
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
    """The files at the URLs of a text, mostly one; none for anything else, another kind's above all."""
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
