"""A new kind of hook is one file and its line in the registry: no existing test has to change."""

from pathlib import Path

from tests.kits.copied_repository import CopiedRepository

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
    from tracker.store.values import DeliveryJob


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

ITS_TEST = '''
"""The new kind runs: configured, checked, and called once for an event."""

from pathlib import Path

import tracker
from tests.kits.hooks import NOW, TellingStore
from tracker.clock import ManualClock
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
    clock = ManualClock(NOW)
    store = TellingStore(tmp_path / "tracker.db", clock.now)
    await store.open()
    dispatcher = Dispatcher(store, specs, make_runners(Tools({}, clock)), clock)
    dispatcher.start()
    await store.add_finished()
    dispatcher.wake()
    (result,) = await store.until_kept(1)
    await dispatcher.stop(1)
    await store.close()
    assert result.status is DeliveryStatus.SUCCEEDED
    assert (tmp_path / "ends").read_text() == "task.succeeded\\n"
'''


def test_an_added_kind_is_one_file_and_its_registry_line(tmp_path: Path) -> None:
    """With them the tests of hooks, of the configuration and of the imports pass, and a hook of the kind runs."""
    copy = CopiedRepository(tmp_path / "copy")
    copy.add_file("tracker/hooks/kinds/append.py", KIND.lstrip())
    registry = "tracker/hooks/kinds/registry.py"
    copy.add_line(registry, "from tracker.hooks.kinds import", "from tracker.hooks.kinds import append")
    copy.add_line(registry, "    notify.KIND,", "    append.KIND,")
    copy.add_file("tests/integration/test_append_hook.py", ITS_TEST.lstrip())
    code, printed = copy.run_tests(
        "tests/integration/test_append_hook.py",
        "tests/contract/test_hook_kinds.py",
        "tests/contract/test_public_surface.py",
        "tests/unit/test_hooks.py",
        "tests/unit/test_config.py",
        "tests/unit/test_imports.py",
    )
    assert code == 0, printed
