"""Where finished videos stand in the answers of the makers behind OpenAI-style routes.

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

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tracker.domain.task import Output
from tracker.providers.fields import distinct, find_object, find_seconds, find_text, find_url, mime_of
from tracker.providers.results import find_data_url_output

if TYPE_CHECKING:
    from tracker.providers.base import Json

_HOLDERS = ("metadata", "content", "video", "assets", "task_result", "generateVideoResponse", "file")
"""Objects that hold nothing but the result."""
_LISTS = (
    "videos", "outputs", "output", "results", "creations", "works", "generations", "urls", "video_urls", "videoUrls",
    "result_urls", "resultUrls", "output_urls", "generatedVideos", "generated_videos", "generatedSamples",
    "generated_samples", "data", "output_video_url",
)  # fmt: skip
_URLS = (
    "video_url", "videoUrl", "output_video_url", "result_url", "resultUrl", "output_url", "outputUrl", "download_url",
    "downloadUrl", "file_url", "fileUrl", "video", "url", "uri", "output", "result", "fail_reason",
)  # fmt: skip
"""``fail_reason`` holds the URL of a finished video in the answers of some gateways of the new-api family."""
_SECONDS = ("seconds", "duration", "duration_s", "video_duration")
"""Lengths beside the file; further out only ``seconds`` is one, a ``duration`` there may be that of the work."""
_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp"})
_OTHERS = ("image", "cover", "thumbnail", "frame", "audio")
"""How the ``type`` of an item begins that is no video."""


def find_outputs(found: Sequence[Mapping[str, Json]]) -> tuple[Output, ...]:
    """The videos of a finished task: those of the first place that has one.

    Args:
        found: the layers of the answer, the one that says the status first.
    """
    for layer in found:
        outputs = distinct(_of_layer(layer))
        if len(outputs) == 1 and outputs[0].duration_s is None:
            length = next((seconds for other in found if (seconds := find_seconds(other.get("seconds")))), None)
            return (replace(outputs[0], duration_s=length),)
        if outputs:
            return outputs
    return ()


def _of_layer(layer: Mapping[str, Json]) -> list[Output]:
    holders = [inner for name in _HOLDERS if (inner := find_object(layer, name)) is not None]
    for holder in (*holders, layer):
        for name in _LISTS:
            items = holder.get(name)
            if isinstance(items, list):
                outputs = [output for item in items if (output := _of_item(item, (holder, layer))) is not None]
                if outputs:
                    return outputs
        output = _of_object(holder, (holder, layer))
        if output is not None:
            return [output]
    return []


def _of_item(item: Json, around: Sequence[Mapping[str, Json]]) -> Output | None:
    """A list's item: a URL, or an object with one, itself or under ``video``."""
    if isinstance(item, str):
        return _video(item, around)
    if not isinstance(item, dict) or (find_text(item.get("type"), 40) or "").lower().startswith(_OTHERS):
        return None
    inner = find_object(item, "video") or find_object(item, "content")
    return (_of_object(inner, (inner, item)) if inner else None) or _of_object(item, (item,))


def _of_object(holder: Mapping[str, Json], described: Sequence[Mapping[str, Json]]) -> Output | None:
    return next((output for name in _URLS if (output := _video(holder.get(name), described)) is not None), None)


def _video(value: Json, described: Sequence[Mapping[str, Json]]) -> Output | None:
    """A video at a URL; None for anything else, a picture above all."""
    url = find_url(value)
    if url is None:
        return find_data_url_output(value, kind="video")
    mime = mime_of(url, "video/mp4")
    if mime in _PICTURES:
        return None
    seconds = (find_seconds(layer.get(name)) for layer in described for name in _SECONDS)
    return Output(kind="video", url=url, mime=mime, duration_s=next((length for length in seconds if length), None))
