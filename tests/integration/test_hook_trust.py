"""Drop-in scripts that other users could change, and leftover copies, are not run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from shlex import quote
from typing import Final

import pytest

from tests.kits.daemon import Setting
from tests.kits.hooks import write_script
from tests.kits.logs import captured_logs
from tests.kits.world import World
from tracker.cli.local_checks import check_hooks
from tracker.cli.main import run
from tracker.config import load_config
from tracker.hooks.dropins import DropIns
from tracker.hooks.kinds.registry import hook_table
from tracker.hooks.trust import distrusted_programs, find_distrust

OWNERS: Final = frozenset({0, os.geteuid()})
SCRIPT: Final = "task.finished/publish.sh"

LEFTOVERS: Final = """
publish.sh.dpkg-old publish.sh.dpkg-dist publish.sh.dpkg-new publish.sh.dpkg-tmp publish.sh.dpkg-bak
publish.sh.rpmsave publish.sh.rpmnew publish.sh.rpmorig publish.sh.ucf-old publish.sh.ucf-dist
publish.sh.pacnew publish.sh.pacsave publish.sh.apk-new publish.sh.bak publish.sh.backup publish.sh.old
publish.sh.orig publish.sh.rej publish.sh.save publish.sh.save.1 publish.sh.swp publish.sh.swo publish.sh.tmp
publish.sh.part publish.sh.1 publish.sh.2026-11-20 publish.sh.copy publish.sh.example publish.sh.sample
publish.sh.txt publish.sh.md publish.sh.asc publish.sh.gz publish.sh.dist publish.sh.disabled publish.sh.off
publish.sh.BAK publish.sh-e.new publish.pyc publish.bak.sh publish.old.py
publish.sync-conflict-20261120-204200-ABCDEFG.sh publish_BACKUP_1234.sh publish_LOCAL_1234.sh
publish.sh___jb_tmp___ publish.sh,v publish.sh~ publish.sh.~1~ #publish.sh# .#publish.sh .publish.sh.swp
.DS_Store .publish.sh.Ab12Cd 4913 README README.md LICENSE Makefile notes.txt Thumbs.db __init__.py
"""
HOOKS: Final = """
publish publish.sh 10-publish.py notify.rb notify.slack.sh publish-v2 backup.sh copy 01_old tell.PY
copy-files.sh old.sh readme.sh sample publish@studio a+b.pl
"""


def reason_of(hooks_dir: Path) -> str:
    """Why the one script is not run."""
    dropins = DropIns(hooks_dir)
    assert not dropins.scan(())
    (objection,) = dropins.ignored.values()
    return f"{objection.reason}; {objection.fix}"


@pytest.fixture
def hooks_dir(tmp_path: Path) -> Path:
    """A directory with one script."""
    write_script(tmp_path / "hooks.d" / SCRIPT, "exit 0")
    return tmp_path / "hooks.d"


def test_copies_and_leftovers_are_not_hooks(tmp_path: Path) -> None:
    """Leftovers of packages, editors and version control beside a script are ignored, each with a line."""
    leftovers = {*LEFTOVERS.split(), "copy of publish.sh", "publish (copy).sh", "publish.sh (conflicted copy)"}
    for name in (*leftovers, *HOOKS.split()):
        write_script(tmp_path / "task.finished" / name, "exit 0")
    dropins = DropIns(tmp_path)
    with captured_logs() as logged:
        found = dropins.scan(())
    assert set(found) == set(HOOKS.split())
    named = {Path(file).name for file in dropins.ignored}
    assert named == leftovers == {Path(line["file"]).name for line in logged}


@pytest.mark.parametrize("what", [SCRIPT, "task.finished", "."])
@pytest.mark.parametrize(
    ("mode", "who"), [(0o775, "its group"), (0o777, "others"), (0o757, "others"), (0o1777, "others")]
)
def test_what_others_can_write_is_not_run(hooks_dir: Path, what: str, mode: int, who: str) -> None:
    """The script, the directory of its event and hooks_dir itself; the reason names the command that corrects it."""
    path = hooks_dir / what
    path.chmod(mode)
    assert reason_of(hooks_dir) == f"{path} can be written by {who} (mode {mode:04o}); chmod go-w {quote(str(path))}"
    path.chmod(0o755)
    assert list(DropIns(hooks_dir).scan(())) == ["publish.sh"]


def test_what_belongs_to_another_user_is_not_run(hooks_dir: Path) -> None:
    """Its owner can change it at any time, with any mode."""
    dropins = DropIns(hooks_dir, owners={12345})
    assert not dropins.scan(())
    ((file, objection),) = dropins.ignored.items()
    assert file == str(hooks_dir)
    assert objection.reason == f"{hooks_dir} belongs to user {os.geteuid()}, who could change it"
    assert objection.fix == f"chown root {quote(str(hooks_dir))}"


def link(hooks_dir: Path, target: Path) -> None:
    """Make the script a link."""
    (hooks_dir / SCRIPT).unlink()
    (hooks_dir / SCRIPT).symlink_to(target)


def test_a_link_is_followed_to_its_target(hooks_dir: Path, tmp_path: Path) -> None:
    """The target counts, with its directory, and each link and directory of the path."""
    real = write_script(tmp_path / "opt" / "bin" / "publish.sh", "exit 0")
    (tmp_path / "current").symlink_to("opt")
    link(hooks_dir, tmp_path / "current" / "bin" / ".." / "bin" / "publish.sh")
    assert list(DropIns(hooks_dir).scan(())) == ["publish.sh"]
    for path, mode in ((real, 0o775), (real.parent, 0o775), (real.parents[1], 0o757)):
        path.chmod(mode)
        assert f"{path} can be written by" in reason_of(hooks_dir)
        path.chmod(0o755)
    assert list(DropIns(hooks_dir).scan(())) == ["publish.sh"]


def test_a_sticky_directory_protects_what_is_in_it(hooks_dir: Path, tmp_path: Path) -> None:
    """Below a directory like /tmp only a file's owner can replace it; without the sticky bit any user can."""
    real = write_script(tmp_path / "tmp" / "publish.sh", "exit 0")
    link(hooks_dir, real)
    real.parent.chmod(0o1777)
    assert list(DropIns(hooks_dir).scan(())) == ["publish.sh"]
    real.parent.chmod(0o777)
    assert f"chmod go-w {quote(str(real.parent))}" in reason_of(hooks_dir)


def test_a_world_writable_parent_directory_counts(hooks_dir: Path, tmp_path: Path) -> None:
    """A user who can rename hooks_dir can replace it."""
    tmp_path.chmod(0o707)
    assert f"chmod o-w {quote(str(tmp_path))}" in reason_of(hooks_dir)
    tmp_path.chmod(0o1707)
    assert list(DropIns(hooks_dir).scan(())) == ["publish.sh"]


def test_circular_links_end(tmp_path: Path) -> None:
    """Resolving a path ends as in the kernel."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        find_distrust(tmp_path / "a", OWNERS)


def test_configured_programs_are_checked(tmp_path: Path) -> None:
    """Program and script of a command are named when others can write to them."""
    script = write_script(tmp_path / "app.sh", "exit 0")
    command = ["/bin/sh", str(script), str(tmp_path), "-x", "/no/such/file"]
    assert not list(distrusted_programs(command))
    script.chmod(0o777)
    (objection,) = distrusted_programs(command)
    assert objection.fix == f"chmod go-w {quote(str(script))}"


async def test_doctor_and_list_name_what_is_not_run(
    hooks_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its reason and the command that corrects it; a leftover needs no correction."""
    leftover = write_script(hooks_dir / f"{SCRIPT}.bak", "exit 0")
    script, program = hooks_dir / SCRIPT, write_script(tmp_path / "app.sh", "exit 0")
    script.chmod(0o777)
    program.chmod(0o777)
    tables = f'[[hooks]]\nname = "app"\non = ["task.*"]\nrun = ["{program}"]'
    file = Setting(tables=tables).write(tmp_path)
    lines = {line.check: line for line in check_hooks(load_config(file, {}, hook_table=hook_table))}
    assert (lines["hook publish.sh"].state, lines["hook publish.sh"].fix) == (
        "failed",
        f"chmod go-w {quote(str(script))}",
    )
    assert (lines["hook app"].state, lines["hook app"].fix) == ("failed", f"chmod go-w {quote(str(program))}")
    assert lines["hook publish.sh.bak"].state == "skipped"
    hooks_dir.chmod(0o777)
    lines = {line.check: line for line in check_hooks(load_config(file, {}, hook_table=hook_table))}
    assert lines["hooks_dir"].fix == f"chmod go-w {quote(str(hooks_dir))}"
    hooks_dir.chmod(0o755)
    async with World(tmp_path / "tracker.db"):
        pass  # the command reads the file where no daemon runs
    assert await asyncio.to_thread(run, ["hooks", "list", "--config", str(file)]) == 0
    printed = capsys.readouterr().err
    assert f"ignored: {leftover}: a copy, a leftover or a text by its name" in printed
    assert f"chmod go-w {quote(str(script))}" in printed
