"""The documented fields of the requests of the DashScope routes, for all their models together.

**Source**: https://www.alibabacloud.com/help/en/model-studio (pages of Wan 2.1 to 2.7: text, image and reference to
video, first and last frame, VACE editing; HappyHorse; Qwen-Image and Wan images); the parameters of ``VideoSynthesis``
in https://github.com/dashscope/dashscope-sdk-python, version 2.0.2 (read 2026-11).
"""

from __future__ import annotations

from tracker.domain.request_fields import Field, RequestFields

_VIDEO_PAGE = "https://www.alibabacloud.com/help/en/model-studio/legacy-image-to-video-api-reference"
_IMAGE_PAGE = "https://www.alibabacloud.com/help/en/model-studio/qwen-image-api"
_FLAG = "true or false"
_FRAMES = "for models with first and last frame"
_REFERENCES = "for wan2.6-r2v"
_MEDIA = "for models from wan2.7 on"
_MEDIA_TYPES = (
    "first_frame", "last_frame", "first_clip", "driving_audio", "video", "reference_image", "reference_video",
    "reference_audio", "file", "link",
)  # fmt: skip
_EDIT = "for vace"
_SPEAKING = "for models with sound"
_TEMPLATES = "for models with effects"
_WAN_IMAGE = "for wan images"

_MODEL = Field("model", "text", "The model.", required=True)
_PROMPT = "What to show."
_NEGATIVE = "What must not be seen."
_SHARED = (
    Field("parameters.prompt_extend", _FLAG, "A model improves the prompt."),
    Field("parameters.seed", "number", "The same number makes similar results."),
    Field("parameters.watermark", _FLAG, "With a mark of the maker."),
)

VIDEO = RequestFields(
    (
        _MODEL,
        Field("input.prompt", "text", _PROMPT, required=True, condition="unless input has a picture, sound or video"),
        Field("input.negative_prompt", "text", _NEGATIVE),
        Field(
            "input.img_url", "text", "The first frame: URL or data URL.", condition="for models with i2v in their name"
        ),
        Field("input.audio_url", "text", "The sound.", condition=_SPEAKING),
        Field("input.first_frame_url", "text", "The first frame.", condition=_FRAMES),
        Field("input.last_frame_url", "text", "The last frame.", condition=_FRAMES),
        Field("input.media[].type", "text", "What it is.", condition=_MEDIA, values=_MEDIA_TYPES),
        Field("input.media[].url", "text", "Where it is.", condition=_MEDIA),
        Field("input.media[].reference_voice", "text", "A sound with the voice.", condition=_MEDIA),
        Field("input.reference_urls", "list", "Pictures and videos to refer to.", condition=_REFERENCES),
        Field("input.reference_video_urls", "list", "Videos to refer to.", condition=_REFERENCES),
        Field("input.reference_video_description", "list", "What they show.", condition=_REFERENCES),
        Field("input.reference_url", "text", "A file to refer to.", condition=_REFERENCES),
        Field("input.template", "text", "An effect.", condition=_TEMPLATES),
        Field(
            "input.function",
            "text",
            "What to do.",
            condition=_EDIT,
            values=("image_reference", "video_repainting", "video_edit", "video_extension", "video_outpainting"),
        ),
        *(
            Field(f"input.{name}", kind, meaning, condition=_EDIT)
            for name, kind, meaning in (
                ("ref_images_url", "list", "Pictures to refer to."),
                ("video_url", "text", "The video to edit."),
                ("mask_image_url", "text", "White where it is edited."),
                ("mask_video_url", "text", "The same for each frame."),
                ("mask_frame_id", "number", "The frame of the mask."),
                ("first_clip_url", "text", "The clip to extend forwards."),
                ("last_clip_url", "text", "The clip to extend backwards."),
            )
        ),
        Field("input.image_url", "text", "A picture.", condition="for models that animate or restyle"),
        Field("input.head_frame", "text", "Former name of first_frame_url."),
        Field("input.tail_frame", "text", "Former name of last_frame_url."),
        Field("input.extend_prompt", _FLAG, "Former place of parameters.prompt_extend."),
        Field("parameters.resolution", "text", "Height of the video.", values=("480P", "720P", "1080P")),
        Field("parameters.size", "text", "Width*height, where there is no picture.", values=("1280*720", "1920*1080")),
        Field("parameters.ratio", "text", "Width to height.", condition=_MEDIA, values=("16:9", "9:16", "1:1")),
        Field("parameters.duration", "number", "Length in seconds.", values=(5, 10, 15)),
        *_SHARED,
        Field("parameters.audio", _FLAG, "With a sound made for it.", condition=_SPEAKING),
        Field("parameters.audio_setting", "text", "The sound of an edit.", condition=_MEDIA, values=("auto", "origin")),
        Field(
            "parameters.shot_type", "text", "One shot or several.", condition="for wan2.6", values=("single", "multi")
        ),
        Field("parameters.mode", "text", "The quality.", condition="for models that animate a person"),
        Field("parameters.enable_thinking", _FLAG, "Improve the prompt in several steps."),
        Field("parameters.style", "number", "A style.", condition="for video-style-transform"),
        Field("parameters.video_fps", "number", "Frames per second.", condition="for video-style-transform"),
        Field("parameters.animate_emotion", _FLAG, "Keep the expression.", condition="for video-style-transform"),
        Field("parameters.min_len", "number", "The shorter side, pixels.", condition="for video-style-transform"),
        Field("parameters.use_SR", _FLAG, "Improve the resolution.", condition="for video-style-transform"),
        *(
            Field(f"parameters.{name}", kind, meaning, condition=_EDIT)
            for name, kind, meaning in (
                ("obj_or_bg", "list", "For each picture: obj or bg."),
                ("control_condition", "text", "What of the video is followed."),
                ("strength", "number", "How closely, 0 to 1."),
                ("mask_type", "text", "Whether the mask moves: tracking or fixed."),
                ("expand_ratio", "number", "How far the mask grows."),
                ("expand_mode", "text", "How the mask grows."),
                ("top_scale", "number", "How far the picture grows at the top."),
                ("bottom_scale", "number", "The same at the bottom."),
                ("left_scale", "number", "The same on the left."),
                ("right_scale", "number", "The same on the right."),
            )
        ),
    ),
    _VIDEO_PAGE,
    is_open=False,
    models=("wan2.5-t2v-preview", "wan2.5-i2v-preview", "wan2.6-t2v", "wan2.6-i2v", "happyhorse-1.0-t2v"),
    model_patterns=("wan*t2v*", "wan*i2v*", "wan*r2v*", "wan*kf2v*", "wan*vace*", "wan*videoedit*", "happyhorse*"),
)

IMAGE = RequestFields(
    (
        _MODEL,
        Field(
            "input.messages",
            "list",
            "One message with a text, and pictures to edit.",
            required=True,
            condition="unless input.prompt is given",
        ),
        Field("input.prompt", "text", _PROMPT, condition="instead of messages"),
        Field("input.negative_prompt", "text", _NEGATIVE, condition="with input.prompt"),
        Field("parameters.size", "text", "Width*height.", values=("1328*1328", "1664*928", "928*1664")),
        Field("parameters.n", "number", "How many images.", values=(1,)),
        Field("parameters.negative_prompt", "text", _NEGATIVE),
        *_SHARED,
        Field("parameters.enable_interleave", _FLAG, "Texts and images in turn.", condition=_WAN_IMAGE),
        Field("parameters.max_images", "number", "How many images at most.", condition=_WAN_IMAGE),
        Field("parameters.enable_sequential", _FLAG, "A series of images.", condition=_WAN_IMAGE),
        Field("parameters.thinking_mode", _FLAG, "Plan the image first.", condition=_WAN_IMAGE),
        Field("parameters.bbox_list", "list", "The parts to edit.", condition=_WAN_IMAGE),
        Field("parameters.color_palette", "list", "The colours.", condition=_WAN_IMAGE),
        Field("parameters.stream", _FLAG, "Only false: streams are not supported."),
    ),
    _IMAGE_PAGE,
    is_open=False,
    models=("qwen-image", "qwen-image-plus", "qwen-image-edit", "wan2.6-image"),
    model_patterns=("qwen-image*", "wan*image*", "z-image*"),
)
