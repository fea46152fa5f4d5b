"""Finds the recorded payloads and the route that each is read with.

A payload is ``tests/payloads/<family>/<case>.json``: what came over the wire, and what it must be read as
(``expect``, with further acceptable readings under ``accept`` where the documents leave it open).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from tracker.domain.wire import WireReply
from tracker.providers.base import Route
from tracker.providers.registry import Registry

PAYLOADS = Path(__file__).parents[1] / "payloads"
NOW = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)

STAND_INS = {
    "dashscope_video": "dashscope.video",
    "kling": "kling.omni-video",
    "suno_song": "suno.generate",
}
"""By family: the route that reads the payloads of its siblings as long as they are not known themselves."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One recorded payload.

    Attributes:
        family: the directory it lies in.
        case: the file's name without its suffix.
        content: the file.
    """

    family: str
    case: str
    content: dict[str, Any]

    @property
    def door(self) -> str:
        """Where it comes in: ``create``, ``poll`` or ``callback``."""
        match self.content["kind"]:
            case "create_response":
                return "create"
            case "query_response":
                return "poll"
            case "callback":
                return "callback"
            case _:
                return "poll" if self.content["route"].startswith("GET ") else "create"

    @property
    def raw(self) -> bytes:
        """The body as bytes."""
        if "body_raw" in self.content:
            return str(self.content["body_raw"]).encode()
        return orjson.dumps(self.content["body"])

    @property
    def reply(self) -> WireReply:
        """The payload as an HTTP answer."""
        return WireReply(self.content["http_status"], self.content["headers"], self.raw, NOW)

    def allows(self, field: str, value: object) -> bool:
        """Whether a value is the expected one of a field, or another acceptable one."""
        expect = self.content["expect"]
        return value == expect[field] or value in expect.get("accept", {}).get(field, [])


def list_payloads(*families: str) -> list[Payload]:
    """Every payload of the families, in a stable order."""
    return [
        Payload(family, path.stem, orjson.loads(path.read_bytes()))
        for family in families
        for path in sorted((PAYLOADS / family).glob("*.json"))
    ]


def route_of(payload: Payload, registry: Registry) -> Route:
    """The route that reads a payload: the one that it names, else its family's stand-in."""
    named = payload.content["route"]
    for route in registry.routes():
        callback_name = route.name.replace(".", " ")
        if named in {route.create, route.query} or named == f"POST (callBackUrl) {callback_name}":
            return route
    found = registry.find_route(STAND_INS[payload.family])
    assert found is not None
    return found
