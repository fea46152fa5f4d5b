"""The documented fields of the requests of the Suno routes.

Routes that make a song share the fields that shape its sound, because the documents add them to one route after the
other.

**Source**: https://anyint.ai/docs/media-and-music/music-generation for generate; https://docs.sunoapi.org/suno-api and
https://docs.kie.ai/suno-api (a page per route) for the others and for ``personaModel``, ``duration``, ``vocalStart``
and ``vocalEnd`` (read 2026-11).
"""

from __future__ import annotations

from tracker.domain.request_fields import Field, RequestFields

_PAGE = "https://docs.sunoapi.org/suno-api"
_CUSTOM = "with customMode true"
_OWN = "with defaultParamFlag true"
_FLAG = "true or false"
_MODELS = ("V5", "V5_5", "V4_5PLUS", "V4_5ALL", "V4_5", "V4")

_CALLBACK = Field("callBackUrl", "text", "Filled in by the tracker.")
_MODEL = Field("model", "text", "The model.", values=_MODELS)
_SOUND = (
    Field("negativeTags", "text", "Styles to avoid."),
    Field("vocalGender", "text", "The voice, if possible.", values=("m", "f")),
    Field("styleWeight", "number", "How closely it follows the style, 0 to 1."),
    Field("weirdnessConstraint", "number", "How unusual it may be, 0 to 1."),
    Field("audioWeight", "number", "How much the given sound counts, 0 to 1."),
    Field("personaId", "text", "A persona of suno.generate-persona."),
    Field(
        "personaModel",
        "text",
        "What kind of persona.",
        condition="with personaId",
        values=("style_persona", "voice_persona"),
    ),
    Field("duration", "number", "Length in seconds.", condition="for V5_5"),
)
_UPLOAD = Field("uploadUrl", "text", "The audio file.", required=True)
_SONG_ID = Field("taskId", "text", "The external_id of a finished song.", required=True)
_CLIP_ID = Field("audioId", "text", "The id of one of its clips, in the result of the song.", required=True)
_CONTINUE = (
    Field("defaultParamFlag", _FLAG, "Use the style, title and prompt given here."),
    Field("continueAt", "number", "Where it goes on, seconds.", condition=_OWN),
    Field("prompt", "text", "How it goes on, or its lyrics.", condition=_OWN),
    Field("style", "text", "The style of the music.", condition=_OWN),
    Field("title", "text", "The title.", condition=_OWN),
    Field("instrumental", _FLAG, "Without a voice."),
)
_STEMS = ("separate_vocal", "split_stem", "split_stem_advanced")
_STEM_FIELDS = (
    Field("stemName", "text", "The instrument.", condition="with type split_stem_advanced"),
    Field("audioUrl", "text", "An audio file, which the documents allow instead of a song."),
)


def _fields(*fields: Field, models: tuple[str, ...] = ()) -> RequestFields:
    return RequestFields(fields, _PAGE, is_open=False, models=models)


def _task(*fields: Field) -> RequestFields:
    return _fields(*fields, _CALLBACK)


def _song(*fields: Field) -> RequestFields:
    known = {field.name for field in fields}
    shared = (field for field in (_MODEL, *_SOUND, _CALLBACK) if field.name not in known)
    return _fields(*fields, *shared, models=_MODELS)


GENERATE = _song(
    Field(
        "customMode",
        _FLAG,
        "You set style, title and lyrics; if false, the prompt describes the song.",
        required=True,
    ),
    Field("instrumental", _FLAG, "Without a voice.", required=True),
    Field("model", "text", "The model.", required=True, values=_MODELS),
    Field(
        "prompt",
        "text",
        "What the song is about; in custom mode its lyrics.",
        required=True,
        condition="unless customMode and instrumental are both true",
    ),
    Field("style", "text", "The style of the music.", required=True, condition=_CUSTOM),
    Field("title", "text", "The title.", required=True, condition=_CUSTOM),
)
EXTEND = _song(_CLIP_ID, *_CONTINUE)
UPLOAD_COVER = _song(
    _UPLOAD,
    Field("customMode", _FLAG, "true: you set style, title and lyrics."),
    Field("instrumental", _FLAG, "Without a voice."),
    Field("prompt", "text", "What the song is about; in custom mode its lyrics."),
    Field("style", "text", "The new style.", condition=_CUSTOM),
    Field("title", "text", "The title.", condition=_CUSTOM),
)
UPLOAD_EXTEND = _song(_UPLOAD, *_CONTINUE)
ADD_VOCALS = _song(
    _UPLOAD,
    Field("prompt", "text", "The lyrics, or what is sung."),
    Field("title", "text", "The title."),
    Field("style", "text", "The style of the music."),
)
ADD_INSTRUMENTAL = _song(
    _UPLOAD,
    Field("title", "text", "The title."),
    Field("tags", "text", "The style of the music."),
)
REPLACE_SECTION = _task(
    Field(
        "taskId", "text", "The external_id of a finished song.", required=True, condition="unless uploadUrl is given"
    ),
    Field("audioId", "text", "Its clip.", condition="this or musicIndex, unless uploadUrl is given"),
    Field("musicIndex", "number", "Its clip by number.", values=(0, 1)),
    Field("uploadUrl", "text", "An audio file instead of a song."),
    Field("prompt", "text", "The new lyrics, or what happens.", required=True),
    Field("tags", "text", "The style of the section.", required=True),
    Field("title", "text", "The title.", required=True),
    Field("infillStartS", "number", "Start of the section, seconds.", required=True),
    Field("infillEndS", "number", "End of the section, seconds.", required=True),
    Field("fullLyrics", "text", "The lyrics of the song with the new section; the documents require them."),
    Field("negativeTags", "text", "Styles to avoid."),
    _MODEL,
)
LYRICS = _task(Field("prompt", "text", "What the lyrics are about.", required=True))
COVER_ART = _task(_SONG_ID)
VOCAL_REMOVAL = _task(
    _SONG_ID,
    _CLIP_ID,
    Field("type", "text", "Two parts, every instrument, or one.", required=True, values=_STEMS),
    *_STEM_FIELDS,
)
SPLIT_STEM = _task(
    _SONG_ID, _CLIP_ID, Field("type", "text", "Two parts, every instrument, or one.", values=_STEMS), *_STEM_FIELDS
)
WAV = _task(_SONG_ID, _CLIP_ID)
MP4 = _task(
    _SONG_ID,
    _CLIP_ID,
    Field("author", "text", "The artist shown in the video."),
    Field("domainName", "text", "The site shown in the video."),
)
STYLE = _fields(Field("content", "text", "A style in a few words, to be described at length.", required=True))
TIMESTAMPS = _fields(
    _SONG_ID,
    Field("audioId", "text", "Its clip.", required=True, condition="unless musicIndex is given"),
    Field("musicIndex", "number", "Its clip by number.", values=(0, 1)),
)
PERSONA = _fields(
    _SONG_ID,
    _CLIP_ID,
    Field("name", "text", "The name of the persona.", required=True),
    Field("description", "text", "Its voice and style.", required=True),
    Field("vocalStart", "number", "Start of the part to learn from, seconds; 10 to 30 s long.", values=(0,)),
    Field("vocalEnd", "number", "End of that part, seconds.", values=(30,)),
    Field("style", "text", "The style of the music."),
)
