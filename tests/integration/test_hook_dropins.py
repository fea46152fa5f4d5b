"""Drop-in scripts: which files are hooks, which are not, and what is logged about those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kits.hooks import make_hook, no_descriptors_left, write_script
from tests.kits.logs import captured_logs
from tracker.hooks.dropins import NAME_RULE, DropIns
from tracker.hooks.kinds.script import ScriptAction


def drop(directory: Path, *names: str) -> None:
    """Executable files below the directory of hooks."""
    for name in names:
        write_script(directory / name, "exit 0")


def reasons(logged: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The logged reason by file."""
    return {Path(line["file"]).name: line["reason"] for line in logged if line["event"] == "hook.dropin_ignored"}


def test_a_file_is_a_hook(tmp_path: Path) -> None:
    """The directory names the event, the file the hook; the limits are the usual ones."""
    drop(tmp_path, "task.succeeded/publish.sh", "task.*/audit")
    assert DropIns(tmp_path).scan(()) == {
        "audit": make_hook("audit", ("task.*",), ScriptAction((("task.*", (str(tmp_path / "task.*/audit"),)),))),
        "publish.sh": make_hook(
            "publish.sh",
            ("task.succeeded",),
            ScriptAction((("task.succeeded", (str(tmp_path / "task.succeeded/publish.sh"),)),)),
        ),
    }


def test_one_name_in_several_directories_is_one_hook(tmp_path: Path) -> None:
    """Each event runs the file of its own directory; the narrowest directory decides."""
    drop(tmp_path, "task.*/publish", "task.finished/publish", "task.failed/publish")
    found = DropIns(tmp_path).scan(())
    assert list(found) == ["publish"]
    action = found["publish"].action
    assert isinstance(action, ScriptAction)
    ran = {event: action.find_argv(f"task.{event}") for event in ("running", "succeeded", "failed")}
    assert ran == {
        "running": (str(tmp_path / "task.*/publish"),),
        "succeeded": (str(tmp_path / "task.finished/publish"),),
        "failed": (str(tmp_path / "task.failed/publish"),),
    }


@pytest.mark.parametrize("missing", ["no-such", "plain-file"])
def test_without_a_directory_there_are_no_hooks(tmp_path: Path, missing: str) -> None:
    """The directory need not exist."""
    (tmp_path / "plain-file").touch()
    assert DropIns(tmp_path / missing).scan(()) == {}


def test_an_ignored_file_is_logged_once(tmp_path: Path) -> None:
    """Each ignored file causes one line, however often the directory is read."""
    directory = tmp_path / "task.failed"
    drop(directory, "good", ".hidden", "old~", "off.disabled", "odd name", "taken")
    drop(tmp_path, "task.done/lost", ".git/config")
    (directory / "README").write_text("how to use this directory")
    (directory / "sub").mkdir()
    (directory / "dangling").symlink_to("nowhere")
    (directory / "circle").symlink_to("circle")
    dropins = DropIns(tmp_path)
    with captured_logs() as logged:
        assert list(dropins.scan({"taken"})) == ["good"]
    logged_lines = reasons(logged)
    assert logged_lines.pop("task.done").startswith("not an event; known: task.submitted")
    assert logged_lines == {
        ".hidden": "disabled by its name",
        "old~": "disabled by its name",
        "off.disabled": "disabled by its name",
        "odd name": NAME_RULE,
        "taken": "a configured hook has the same name",
        "README": "not executable",
        "sub": "not a file",
        "dangling": "cannot be read: No such file or directory",
        "circle": "cannot be read: Too many levels of symbolic links",
    }
    with captured_logs() as again:
        dropins.scan({"taken"})
    assert again == []


def test_a_fixed_file_that_breaks_again_is_logged_again(tmp_path: Path) -> None:
    """One line for each time that it breaks."""
    drop(tmp_path, "task.failed/publish")
    script = tmp_path / "task.failed" / "publish"
    dropins = DropIns(tmp_path)
    logged_lines = 0
    for mode in (0o644, 0o644, 0o755, 0o644):
        script.chmod(mode)
        with captured_logs() as logged:
            found = dropins.scan(())
        assert bool(found) == (mode == 0o755)
        logged_lines += len(logged)
    assert logged_lines == 2


def test_a_shortage_does_not_count_as_an_empty_directory(tmp_path: Path) -> None:
    """Out of file descriptors, the content of the directory is unknown, not empty."""
    drop(tmp_path, "task.failed/publish")
    with no_descriptors_left(), pytest.raises(OSError, match="Too many open files"):
        DropIns(tmp_path).scan(())


def test_versions_and_interpreters_are_names_of_programs(tmp_path: Path) -> None:
    """A version in the name does not mark a copy; a bare number marks a rotated file."""
    programs = ["publish.v2", "publish-2.0", "publish_v1.2.3", "publish.py3", "publish.cgi", "publish.mksh", "x.sed"]
    drop(tmp_path / "task.failed", *programs, "publish.1", "publish.sh.v2", "publish.sh-2.0.bak")
    assert sorted(DropIns(tmp_path).scan(())) == sorted(programs)
