"""Envelopes: where the object that speaks of the task stands, when gateways have wrapped it once or several times.

Owns the names of envelopes and how deep they are looked through. It must not know what a family's object looks like.
What a request brought (``input``, ``param``, Vidu's ``payload``) is no envelope, nor is a list of several
objects: which of them was asked for cannot be told.

**Source**: https://docs.newapi.pro/api/suno-music (``{code, message, data}`` around another such answer; ``data`` a
bare id); https://docs.kie.ai/market/common/get-task-detail (``resultJson``, JSON in a text); the answers of Volcengine
(``Result``), fal (``response``) and PiAPI (``data.output``) (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tracker.domain.lenient_json import decode_text
from tracker.domain.task import ExternalId
from tracker.providers.fields import find_id

if TYPE_CHECKING:
    from tracker.providers.base import Json

ENVELOPES = (
    "data",
    "result",
    "response",
    "output",
    "task",
    "job",
    "video",
    "Result",
    "Data",
    "resultJson",
    "result_json",
)
_OTHERS = frozenset({"list", "model", "error", "event"})
_MAX_LAYERS = 24
_BARE_ID = re.compile(r"(?![{\[])(?=\D*\d)(?:(?!://)\S)++")


def layers(body: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """The body and the objects in its envelopes, from the outside in; each envelope once."""
    found = [body]
    yield body
    for layer in found:  # grows while it is walked
        for name in ENVELOPES:
            inner = unwrapped(layer.get(name))
            if inner is not None and len(found) < _MAX_LAYERS:
                found.append(inner)
                yield inner


def unwrapped(value: Json) -> Mapping[str, Json] | None:
    """The object that a value is: itself, alone in a list, or as JSON in a text; None for anything else."""
    if isinstance(value, str):
        value = decode_text(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None


def object_in(value: Json) -> Mapping[str, Json] | None:
    """The same where a list holds results, not tasks: itself, or as JSON in a text."""
    return None if isinstance(value, list) else unwrapped(value)


def find_bare_id(layer: Mapping[str, Json]) -> ExternalId | None:
    """``data`` (``result``) as the id itself; a word without a digit may be anything."""
    for field in ("data", "result"):
        value = layer.get(field)
        if isinstance(value, str) and _BARE_ID.fullmatch(value.strip()) is not None:
            return find_id(layer, field, path="")
    return None


def is_other(layer: Mapping[str, Json]) -> bool:
    """Whether a layer says itself that it is something else than a task: its id is none of a task."""
    return any(isinstance(kind := layer.get(name), str) and kind in _OTHERS for name in ("object", "type"))
