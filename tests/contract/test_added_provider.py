"""A provider is one file, one line in the registry and one directory of payloads: no existing test fails."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.kits.copied_repository import CopiedRepository

PROVIDER = '''
"""Nimbus: a made-up provider with a route that is followed and one that answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from tracker.domain.task import ExternalId, UpstreamError
from tracker.errors import FieldProblem, PayloadInvalid
from tracker.providers.provider import Entry, Provider
from tracker.providers.route import SAMPLE_PROMPT, Route
from tracker.providers.reading import video_objects
from tracker.providers.reading.error_meanings import POLICY, Meaning
from tracker.providers.reading.fields import find_id, require_object
from tracker.providers.reading.requests import text_problem

if TYPE_CHECKING:
    from tracker.domain.observation import Reading
    from tracker.providers.route import Json


def find_meaning(error: UpstreamError) -> Meaning | None:
    return POLICY if error.code == "forbidden" else None


def check(request: Mapping[str, Json]) -> list[FieldProblem]:
    return text_problem(request, "prompt")


def read_callback(body: Json) -> Reading:
    reading = video_objects.read_any(require_object(body, "body"), find=find_meaning)
    if reading is None:
        raise PayloadInvalid("status: missing")
    return reading


def callback_ids(body: Json) -> tuple[ExternalId, ...]:
    found = find_id(require_object(body, "body"), "id", path="")
    if found is None:
        raise PayloadInvalid("id: missing")
    return (found,)


PROVIDER = Provider(
    "nimbus",
    (
        Entry(
            route=Route(
                name="nimbus.video",
                create="POST /nimbus/v1/videos",
                query="GET /nimbus/v1/videos/{task_id}",
                asset="video",
                source="https://docs.example.com/nimbus/videos",
                sample={"prompt": SAMPLE_PROMPT},
                callback=True,
                callback_field="notify.url",
                poll_interval_s=12.0,
            ),
            check=check,
            read_create=partial(video_objects.read_create, find=find_meaning),
            read_poll=partial(video_objects.read_poll, find=find_meaning),
            read_callback=read_callback,
        ),
    ),
    callback_ids=callback_ids,
)
'''
FILE = "https://cdn.example.com/kite.mp4"
PAYLOADS: dict[str, dict[str, Any]] = {
    "create_ok": {
        "kind": "create_response",
        "body": {"id": "v-1", "status": "queued"},
        "expect": {"status": "PENDING"},
    },
    "query_failed": {
        "kind": "query_response",
        "body": {"id": "v-1", "status": "failed", "error": {"code": "forbidden", "message": "not allowed"}},
        "expect": {"status": "FAILED", "error_code": "forbidden", "error_message": "not allowed"},
    },
    "callback_completed": {
        "kind": "callback",
        "body": {"id": "v-1", "status": "completed", "url": FILE},
        "expect": {"status": "SUCCEEDED", "output_urls": [FILE]},
    },
}
TESTS = (
    "tests/contract/test_provider_payloads.py",
    "tests/contract/test_public_surface.py",
    "tests/contract/test_readme_routes.py",
    "tests/unit/test_imports.py",
    "tests/unit/test_provider_registry.py",
    "tests/unit/test_provider_requests.py",
    "tests/unit/test_providers.py",
    "tests/unit/test_signatures.py",
)


def add_provider(copy: CopiedRepository) -> None:
    """Add the file, the line and the directory."""
    copy.add_file("tracker/providers/families/nimbus.py", PROVIDER)
    copy.add_line("tracker/providers/registry.py", "PROVIDERS: ", "from tracker.providers.families import nimbus")
    copy.add_line("tracker/providers/registry.py", "    seedance.PROVIDER,", "    nimbus.PROVIDER,")
    copy.add_file("tests/payloads/nimbus/family.toml", 'route = "nimbus.video"\n')
    usual = {"route": "nimbus.video", "http_status": 200, "headers": {"content-type": "application/json"}}
    for name, payload in PAYLOADS.items():
        expect = {"task_id": "v-1", "output_urls": [], "error_code": None, "error_message": None} | payload["expect"]
        copy.add_file(f"tests/payloads/nimbus/{name}.json", json.dumps(usual | payload | {"expect": expect}))


def test_no_existing_test_fails(tmp_path: Path) -> None:
    """The tests that go through every provider pass, and have gone through the new one."""
    copy = CopiedRepository(tmp_path / "copy")
    add_provider(copy)
    code, output = copy.run_tests("-v", "-v", *TESTS)
    assert code == 0, output
    for name in ("test_payload_is_read_as_expected", "test_poll_calls", "test_create_calls"):
        assert re.search(rf"::{name}\[.*nimbus", output), output
