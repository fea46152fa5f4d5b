"""A test machine: this one's files, private namespaces, and a separate systemd as PID 1.

Owns booting it, running commands in it, entering its network, and taking it down. What is written inside is gone
afterwards. Needs root and a system that allows namespaces; `find_obstacle` describes what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

BOOT: Final = Path(__file__).with_name("boot.sh")
BOOT_WITHIN_S: Final = 40.0
COMMAND_WITHIN_S: Final = 90.0
NAMESPACES: Final = ("--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNET: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why no systemd can be booted here.

    Attributes:
        is_unfixable: installing packages would not help.
    """

    message: str
    is_unfixable: bool = True


def find_obstacle() -> Obstacle | None:
    """What prevents booting a systemd here; None if nothing does."""
    if not Path("/proc/self/cgroup").exists():
        return Obstacle("this system is not Linux")
    missing = [tool for tool in ("systemctl", "systemd-run", "unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing or not Path("/lib/systemd/systemd").exists():
        return Obstacle(f"not installed: {', '.join(missing) or 'systemd'}", is_unfixable=False)
    if os.geteuid() != 0:
        return Obstacle("only root may make the namespaces")
    if _cgroup_home() is None:
        return Obstacle("there is no unified cgroup hierarchy to make a group in")
    probe = subprocess.run(["unshare", "--fork", *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        return Obstacle(f"namespaces are not allowed here ({probe.stderr.strip()})")
    return None


class Machine:
    """A booted machine; use as a context manager.

    Args:
        directory: an empty directory for its console log.
        binds: directories of this machine -> where they are inside, read-only.
    """

    def __init__(self, directory: Path, binds: Mapping[Path, str]) -> None:
        self._work = directory
        self._binds = binds
        service = _cgroup_home()
        assert service is not None
        self._cgroup = service / f"tracker-test-{os.getpid()}-{id(self):x}"
        self._launcher: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self._cgroup.mkdir()
        (self._work / "m").mkdir()
        console = self._work / "console.log"
        console.touch()
        binds = [f"{source}:{target}" for source, target in self._binds.items()]
        try:
            with console.open("ab") as log:
                self._launcher = subprocess.Popen(
                    self._in_cgroup(
                        "unshare", "--fork", "--kill-child", *NAMESPACES, "bash", BOOT, str(self._work), *binds
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._await_boot()
        except BaseException:
            print(console.read_text(errors="replace"))  # noqa: T201 - pytest shows it
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._launcher is not None:
            self._launcher.kill()  # kills PID 1, and thereby everything else
            self._launcher.wait()
        deadline = time.monotonic() + 10
        while self._cgroup.exists() and time.monotonic() < deadline:
            for group in sorted(self._cgroup.rglob("*/"), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                self._cgroup.rmdir()
                break
            time.sleep(0.05)

    def run(
        self, *command: str, check: bool = True, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root, and wait for it."""
        done = subprocess.run(
            self._inside(*command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
            env={"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})},
        )
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}{self.log()}")
        return done

    def out(self, *command: str) -> str:
        """What a command that must succeed prints."""
        return self.run(*command).stdout.strip()

    def show(self, unit: str, key: str) -> str:
        """One property of a unit."""
        return self.out("systemctl", "show", "--value", "-p", key, unit)

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file inside."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def log(self) -> str:
        """The last lines of the journal, for messages."""
        done = subprocess.run(
            self._inside("journalctl", "-n", "60", "--no-pager", "-o", "short-monotonic"),
            capture_output=True,
            text=True,
            check=False,
        )
        return f"\n--- journal\n{done.stdout}"

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread open its sockets in the machine's network, with the machine's loopback."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(path: str) -> int:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if libc.setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            return handle

        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.close(enter(f"/proc/{self._init}/ns/net"))
            yield
        finally:
            if libc.setns(own, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(own)

    def _inside(self, *command: str) -> list[str]:
        spaces = [space for space in NAMESPACES if space != "--pid"]
        return self._in_cgroup("nsenter", "-t", str(self._init), "--pid", *spaces, "--", *command)

    def _in_cgroup(self, *command: str | Path) -> list[str]:
        """A command that joins the machine's cgroup first, so that its processes belong to the machine."""
        join = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return ["bash", "-c", join, str(self._cgroup), *map(str, command)]

    def _await_boot(self) -> None:
        assert self._launcher is not None
        children = Path(f"/proc/{self._launcher.pid}/task/{self._launcher.pid}/children")
        deadline = time.monotonic() + BOOT_WITHIN_S
        state = "nothing"
        while time.monotonic() < deadline and self._launcher.poll() is None:
            time.sleep(0.02)
            with contextlib.suppress(OSError, ValueError):
                if not self._init:
                    # unshare's only child, once it has become systemd
                    init = int(children.read_text().split()[0]) if children.read_text().split() else 0
                    if init and Path(f"/proc/{init}/comm").read_text().strip() == "systemd":
                        self._init = init
                    continue
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in {"running", "degraded"}:
                    return
        raise AssertionError(f"systemd came no further than {state!r}")


def _cgroup_home() -> Path | None:
    """The directory of this process's cgroup in the unified hierarchy, if groups can be made there."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines() if line[:3] == "0::"]
    if not roots or not own:
        return None
    service = Path(roots[0]) / own[0].lstrip("/")
    return service if os.access(service, os.W_OK) else None


if __name__ == "__main__":
    obstacle = find_obstacle()
    if obstacle is None:
        print("systemd tests: a real systemd can be booted here, they will run")  # noqa: T201
    else:
        print(f"systemd tests: *** SKIPPED, NOT PASSED *** {obstacle.message}")  # noqa: T201
