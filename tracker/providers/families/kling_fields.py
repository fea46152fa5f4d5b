"""The documented fields of the requests of the Kling routes.

The newer dialect of Kling (``contents``, ``settings``, ``options``) has paths of its own, so it is not among them.

**Source**: https://kling.ai/document-api/api/video/3-0-omni and its sibling pages for text to video, image to video and
images, through copies in public repositories; https://anyint.ai/docs/api-reference/kling-video for the required ones
(read 2026-11).
"""

from __future__ import annotations

from tracker.domain.request_fields import Field, RequestFields

_PAGE = "https://kling.ai/document-api/api/video/3-0-omni"
_PROMPTED = "unless multi_prompt is given"
_LATEST = "for models from kling-v2-6 on"

_MODEL = (
    Field("model_name", "text", "The model.", required=True, condition="unless model is given"),
    Field("model", "text", "The same under its former name; best equal to model_name."),
)
_TASK = (
    Field("watermark_info.enabled", "true or false", "Also make a copy with a watermark."),
    Field("callback_url", "text", "Filled in by the tracker where it has a public URL."),
    Field("external_task_id", "text", "An id of your own, unique in the account."),
)
_ELEMENTS = (Field("element_list[].element_id", "number", "A subject of the element library, to be shown."),)
_NEGATIVE = Field("negative_prompt", "text", "What must not be seen.")

_VIDEO = (
    Field("mode", "text", "Standard (720p), professional (1080p) or 4K.", values=("std", "pro", "4k")),
    Field("duration", "text", "Length in seconds.", values=("5", "10")),
    Field("aspect_ratio", "text", "Width to height.", values=("16:9", "9:16", "1:1")),
    Field("sound", "text", "Whether the video has sound.", condition=_LATEST, values=("on", "off")),
    Field("multi_shot", "true or false", "Several shots in one video.", condition=_LATEST),
    Field(
        "shot_type",
        "text",
        "Who divides it into shots.",
        condition="with multi_shot",
        values=("customize", "intelligence"),
    ),
    Field("multi_prompt[].index", "number", "Number of the shot, from 1.", condition="with multi_shot"),
    Field("multi_prompt[].prompt", "text", "What the shot shows.", condition="with multi_shot"),
    Field("multi_prompt[].duration", "text", "Its length in seconds.", condition="with multi_shot"),
    *_ELEMENTS,
    Field("voice_list[].voice_id", "text", "A voice that speaks, named in the prompt.", condition=_LATEST),
    _NEGATIVE,
    Field("cfg_scale", "number", "How closely it follows the prompt, 0 to 1.", condition="for models before kling-v2"),
)
_CAMERA = (
    Field(
        "camera_control.type",
        "text",
        "A movement of the camera.",
        condition="for kling-v1 and kling-v1-5",
        values=("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"),
    ),
    *(
        Field(
            f"camera_control.config.{way}", "number", "Its extent, -10 to 10.", condition="with type simple; one of six"
        )
        for way in ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
    ),
)
_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
_VIDEO_MODELS = ("kling-v3", "kling-v2-6", "kling-v2-5-turbo", "kling-v2-1-master", "kling-v1-6")
_OMNI_MODELS = ("kling-v3-omni", "kling-video-o1")


def _fields(models: tuple[str, ...], *fields: Field) -> RequestFields:
    return RequestFields((*_MODEL, *fields, *_TASK), _PAGE, is_open=False, models=models, model_patterns=("kling-*",))


def _prompt(meaning: str, condition: str | None = _PROMPTED) -> Field:
    return Field("prompt", "text", meaning, required=True, condition=condition)


OMNI_VIDEO = _fields(
    _OMNI_MODELS,
    _prompt("What to show; <<<image_1>>> and the like name references."),
    Field("image_list[].image_url", "text", "A reference or a frame: URL or base64."),
    Field("image_list[].type", "text", "Makes it a frame.", values=("first_frame", "end_frame")),
    Field("video_list[].video_url", "text", "A video to refer to or to edit."),
    Field("video_list[].refer_type", "text", "How the video is used.", values=("feature", "base")),
    Field("video_list[].keep_original_sound", "text", "Whether its sound stays.", values=("yes", "no")),
    *_VIDEO,
)
TEXT_TO_VIDEO = _fields(_VIDEO_MODELS, _prompt("What to show."), *_VIDEO, *_CAMERA)
IMAGE_TO_VIDEO = _fields(
    _VIDEO_MODELS,
    Field(
        "image", "text", "The first frame: URL or base64 without a prefix.", condition="this or image_tail, or a prompt"
    ),
    Field("image_tail", "text", "The last frame."),
    _prompt("What happens.", "unless image, image_tail or multi_prompt is given"),
    *_VIDEO,
    *_CAMERA,
    Field("static_mask", "text", "An image of the parts that stay still.", condition="for kling-v1 and kling-v1-5"),
    Field("dynamic_masks[].mask", "text", "An image of a part that moves.", condition="for kling-v1 and kling-v1-5"),
    Field("dynamic_masks[].trajectories[].x", "number", "A point of its path, pixels.", condition="with dynamic_masks"),
    Field("dynamic_masks[].trajectories[].y", "number", "The same, from the bottom.", condition="with dynamic_masks"),
)
_IMAGES = (
    Field("resolution", "text", "Size of the images.", values=("1k", "2k", "4k")),
    Field("n", "number", "How many images, 1 to 9.", values=(1,)),
)
IMAGE = _fields(
    ("kling-v3", "kling-v2-1", "kling-v2", "kling-v1-5"),
    _prompt("What to show."),
    _NEGATIVE,
    Field("image", "text", "A reference: URL or base64 without a prefix."),
    Field("image_reference", "text", "What of it counts.", condition="for kling-v1-5", values=("subject", "face")),
    Field("image_fidelity", "number", "How closely it is followed, 0 to 1.", condition="with image"),
    Field("human_fidelity", "number", "How closely the face is, 0 to 1.", condition="with image_reference subject"),
    *_ELEMENTS,
    *_IMAGES,
    Field("aspect_ratio", "text", "Width to height.", values=_RATIOS),
)
OMNI_IMAGE = _fields(
    ("kling-v3-omni", "kling-image-o1"),
    _prompt("What to show; <<<image_1>>> and the like name references."),
    Field("image_list[].image", "text", "A reference: URL or base64 without a prefix."),
    *_ELEMENTS,
    *_IMAGES,
    Field("result_type", "text", "Single images or a series.", values=("single", "series")),
    Field("series_amount", "number", "Images of the series, 2 to 9.", condition="with result_type series"),
    Field("aspect_ratio", "text", "Width to height.", values=(*_RATIOS, "auto")),
)
