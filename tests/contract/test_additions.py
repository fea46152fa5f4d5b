"""A new provider is one file, one line and one directory of payloads; a new kind of hook one file and one line.

Both are added to one copy of the repository, and one run of pytest goes through the tests that know providers or hooks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "dist", "build", "*.egg-info")
"""Compiled files are copied: they hold for the copy, whose files have the same sizes and times."""
PROVIDER = '''
"""Nimbus: an example provider with a route that is followed and one that answers at once."""

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
KIND = '''
"""Hooks that append the name of the event to a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tracker.config.fields import ResolvedPath
from tracker.config.hooks import HookSpec
from tracker.hooks.runner import RunOutcome, RunResult
from tracker.hooks.spec import HookKind

if TYPE_CHECKING:
    from tracker.domain.deliveries import DeliveryJob


class AppendHook(HookSpec):
    """The keys of this kind."""

    append_to: ResolvedPath | None = None


@dataclass(frozen=True, slots=True)
class AppendAction:
    """Which file to append to."""

    kind: ClassVar[str] = "append"
    path: Path


class AppendRunner:
    """Appends lines."""

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Append one line; see `Runner.run`."""
        del payload
        assert isinstance(spec.action, AppendAction)
        with spec.action.path.open("a", encoding="utf-8") as file:
            file.write(f"{job.event}\\n")
        return RunResult(RunOutcome.SUCCEEDED)


KIND = HookKind(
    "append", "append_to", AppendHook, lambda hook, _secret: AppendAction(hook.append_to), lambda _tools: AppendRunner()
)
'''

KIND_TEST = '''
"""The new kind runs: configured, checked, and called once for an event."""

from pathlib import Path

import tracker
from tests.kits.world import World
from tracker.config import load_config
from tracker.domain.hook_events import DeliveryStatus
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.kinds.registry import hook_table, make_runners, read_hooks
from tracker.hooks.runner import Tools


async def test_a_hook_of_the_new_kind_runs_once(tmp_path: Path) -> None:
    """Its key is known, a relative path starts beside the file, and one event makes one line."""
    assert Path(tracker.__file__).is_relative_to(Path(__file__).parents[2])
    file = tmp_path / "tracker.toml"
    file.write_text('[[hooks]]\\nname = "log"\\non = "task.succeeded"\\nappend_to = "ends"\\n')
    specs = read_hooks(load_config(file, {}, hook_table=hook_table))
    async with World(tmp_path / "tracker.db") as world:
        dispatcher = Dispatcher(world.store, specs, make_runners(Tools({}, world.clock)), world.clock)
        dispatcher.start()
        await world.finish()
        dispatcher.wake()
        (result,) = await world.attempts()
        await dispatcher.stop(1)
    assert result.status is DeliveryStatus.SUCCEEDED
    assert (tmp_path / "ends").read_text() == "task.succeeded\\n"
'''
KIND_TEST_FILE = "tests/integration/test_append_hook.py"
TESTS = (
    "tests/contract/test_hook_kinds.py",
    "tests/contract/test_provider_payloads.py",
    "tests/contract/test_public_surface.py",
    "tests/contract/test_readme_routes.py",
    "tests/unit/test_config.py",
    "tests/unit/test_hooks.py",
    "tests/unit/test_imports.py",
    "tests/unit/test_provider_registry.py",
    "tests/unit/test_provider_requests.py",
    "tests/unit/test_providers.py",
    "tests/unit/test_signatures.py",
)


def add_file(copy: Path, path: str, text: str) -> None:
    """Write a file that the repository does not have."""
    file = copy / path
    assert not file.exists(), path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def add_line(copy: Path, path: str, before: str, line: str) -> None:
    """Write a line into a file, before the first line that begins with a text."""
    file = copy / path
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    lines.insert(next(n for n, each in enumerate(lines) if each.startswith(before)), f"{line}\n")
    file.write_text("".join(lines), encoding="utf-8")


def add_provider(copy: Path) -> None:
    """Add the file, the line and the directory."""
    registry = "tracker/providers/registry.py"
    add_file(copy, "tracker/providers/families/nimbus.py", PROVIDER)
    add_line(copy, registry, "PROVIDERS: ", "from tracker.providers.families import nimbus")
    add_line(copy, registry, "    seedance.PROVIDER,", "    nimbus.PROVIDER,")
    add_file(copy, "tests/payloads/nimbus/family.toml", 'route = "nimbus.video"\n')
    usual = {"route": "nimbus.video", "http_status": 200, "headers": {"content-type": "application/json"}}
    for name, payload in PAYLOADS.items():
        expect = {"task_id": "v-1", "output_urls": [], "error_code": None, "error_message": None} | payload["expect"]
        add_file(copy, f"tests/payloads/nimbus/{name}.json", json.dumps(usual | payload | {"expect": expect}))


def add_hook_kind(copy: Path) -> None:
    """Add the file and the line, and a test that such a hook runs."""
    registry = "tracker/hooks/kinds/registry.py"
    add_file(copy, "tracker/hooks/kinds/append.py", KIND.lstrip())
    add_line(copy, registry, "from tracker.hooks.kinds import", "from tracker.hooks.kinds import append")
    add_line(copy, registry, "    notify.KIND,", "    append.KIND,")
    add_file(copy, KIND_TEST_FILE, KIND_TEST.lstrip())


@pytest.mark.timeout(120)
def test_no_existing_test_fails(tmp_path: Path) -> None:
    """The tests of providers, hooks, configuration and imports pass, and have gone through what was added."""
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY, copy, ignore=NOT_COPIED)
    add_provider(copy)
    add_hook_kind(copy)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-v", "-n0", "-p", "no:cacheprovider", KIND_TEST_FILE, *TESTS],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    for name in ("test_payload_is_read_as_expected", "test_poll_calls", "test_create_calls"):
        assert re.search(rf"::{name}\[.*nimbus", ran.stdout), ran.stdout
