"""Finds the recorded payloads and the route that each is read with.

A payload is ``tests/payloads/<family>/<case>.json``: what came over the wire, and what it must be read as
(``expect``, with further acceptable readings under ``accept`` where the documents leave it open). Its ``route`` is a
method and path, or the name of a route.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from tests.kits.clock import RECORDED_AT
from tracker.domain.task import ExternalId, SubmitState, Task, TaskId
from tracker.domain.upstream_http import WireReply
from tracker.providers.registry import Registry
from tracker.providers.route import Route

PAYLOADS = Path(__file__).parents[1] / "payloads"

DECLARED = PAYLOADS / "declared"
"""Payloads of the shipped provider files, one directory each; see ``tests/contract/test_shipped_payloads.py``."""

FAMILIES = {path.parent.name: tomllib.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*/family.toml"))}
"""By directory: ``route`` reads the payloads that name no route of their own (callbacks go to the tracker);
``fault_reasons`` are the reasons that the sandbox's faults end with where they are not the usual ones."""
STAND_INS = {name: str(family["route"]) for name, family in FAMILIES.items()}
_CALLBACK = re.compile(r"POST \(callBackUrl\) suno (\S+)")
_SONGS = re.compile(r"song|cover|lyrics|wav|mp4|vocal-removal")
_PLACEHOLDER = re.compile(r"\\{[^/:]+\\}")


@dataclass(frozen=True, slots=True)
class Payload:
    """One recorded payload.

    Attributes:
        family: its directory.
        case: the file's name without its suffix.
        content: the file.
    """

    family: str
    case: str
    content: dict[str, Any]

    @property
    def channel(self) -> str:
        """How it arrives: ``create``, ``poll`` or ``callback``."""
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
        """The payload as an HTTP reply."""
        return WireReply(self.content["http_status"], self.content["headers"], self.raw, RECORDED_AT)

    def allows(self, field: str, value: object) -> bool:
        """Whether a value is the expected one of a field, or another acceptable one."""
        expect = self.content["expect"]
        return value == expect[field] or value in expect.get("accept", {}).get(field, [])


def fault_reasons(route: Route, registry: Registry) -> dict[str, str]:
    """The reasons that differ from the usual for a route: those of its provider's payloads of the same mode."""
    found: dict[str, str] = {}
    for family in FAMILIES.values():
        stand_in = registry.find_route(family["route"])
        assert stand_in is not None, family
        if (stand_in.provider, stand_in.mode) == (route.provider, route.mode):
            found |= family.get("fault_reasons", {})
    return found


def list_payloads(*families: str) -> list[Payload]:
    """Every payload of the families, in a stable order."""
    return [
        Payload(family, path.stem, orjson.loads(path.read_bytes()))
        for family in families
        for path in sorted((PAYLOADS / family).glob("*.json"))
    ]


def routes_of(payload: Payload, registry: Registry) -> list[Route]:
    """Every route that reads a payload (siblings share a status call), or its family's substitute if it names none."""
    named = payload.content["route"]
    callback = _CALLBACK.fullmatch(named)
    if callback is not None and not _SONGS.fullmatch(callback[1]):
        return [route for route in registry.routes() if route.name == f"suno.{callback[1]}"]
    found = [
        route
        for route in registry.routes()
        if named == route.name or _is_same(route.create, named) or _is_same(route.query, named)
    ]
    if found:
        return found
    stand_in = "suno.generate" if callback is not None and callback[1] == "song" else STAND_INS[payload.family]
    return [route for route in registry.routes() if route.name == stand_in]


def _is_same(template: str | None, named: str) -> bool:
    """Whether a method and path fit a template, however either names its placeholders."""
    if template is None:
        return False
    pattern = _PLACEHOLDER.sub("[^/]+", re.escape(template))
    return re.fullmatch(pattern, named) is not None


def make_task(route: Route, channel: str, external_id: str | None) -> Task:
    """A task before the payload arrives: accepted, or its create in flight."""
    sending = channel == "create"
    return Task(
        id=TaskId("01KE5QW1E0TESTTESTTESTTEST"),
        route=route.name,
        provider=route.provider,
        account="default",
        created_at=RECORDED_AT - timedelta(minutes=1),
        progress_at=RECORDED_AT - timedelta(minutes=1),
        external_id=None if sending else ExternalId(external_id or "known-before"),
        submit_state=SubmitState.SENDING if sending else SubmitState.ACCEPTED,
        submit_attempts=1,
    )
