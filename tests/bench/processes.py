"""The processes that are measured: the daemon, commands, and baselines; and what each costs.

The tracker that is measured may be that of another source tree, see `use_tree`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

OWN_TREE = Path(__file__).resolve().parents[2]
SECRET = "bench-only-callback-secret"
HOOK_SECRET_ENV = "BENCH_HOOK_SECRET"
ENVIRONMENT = {
    "TRACKER_CALLBACK_SECRET": SECRET,
    "ANYINT_API_KEY": "sk-bench-not-a-real-key",
    HOOK_SECRET_ENV: "whsec_YmVuY2gtb25seS1ub3QtYS1yZWFsLXNlY3JldA==",
}
WATCH_S = 0.02
ACCOUNTS = ("default", "second", "unused")
"""The daemon's accounts; no task has the last one."""


def use_tree(tree: Path) -> None:
    """Import the package ``tracker`` of a source tree from now on, and run its daemon and its commands.

    Must be called before anything imports ``tracker``; ``tests`` stays that of this tree.
    """
    tree = tree.resolve()
    if not (tree / "tracker").is_dir():
        raise SystemExit(f"{tree}: has no package tracker")
    sys.path.insert(0, str(tree))
    import tracker

    sys.path.remove(str(tree))
    if Path(tracker.__file__ or "").parent.parent != tree:
        raise SystemExit(f"{tree}: another tracker was imported before")


def tree() -> Path:
    """The source tree of the tracker that is measured."""
    import tracker

    return Path(tracker.__file__ or "").parent.parent


def environment() -> dict[str, str]:
    """For processes that run the measured tracker: its tree comes first. They must not start in another tree.

    They write byte code, as an installation has it: compiling would be most of what a command takes.
    """
    mine = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**mine, **ENVIRONMENT, "PYTHONPATH": str(tree())}


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: where it listens, as which process it runs, and seconds from its start to listening."""

    port: int
    process: subprocess.Popen[bytes]
    ready_s: float = 0.0

    def cpu_s(self) -> float:
        """Seconds of processor time that it took so far, its own and the kernel's for it; not its children's."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A directory for the files of one benchmark."""
    with tempfile.TemporaryDirectory(prefix="tracker-bench-") as name:
        yield Path(name)


@asynccontextmanager
async def baseline(kind: str) -> AsyncIterator[Server]:
    """A baseline server as a process, see `tests.bench.servers`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.servers", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=OWN_TREE,
    )
    with ended(process):
        assert process.stdout is not None
        yield Server(int(await asyncio.to_thread(process.stdout.readline)), process)


def configure(
    directory: Path,
    *,
    database: Path | None = None,
    archive: bool = False,
    more: str = "",
    upstream: str = "",
) -> Path:
    """Write a configuration for a daemon or a command; its path.

    Args:
        directory: for its files.
        database: by default ``tracker.db`` in the directory.
        archive: False: outputs stay where they are. The hosts of the example outputs do not exist, but resolving
            them takes time.
        more: further tables.
        upstream: lines of each account; by default it is the real gateway, which is not called.
    """
    accounts = "".join(f'[accounts.{name}]\napi_key_env = "ANYINT_API_KEY"\n{upstream}\n' for name in ACCOUNTS)
    path = directory / "tracker.toml"
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:{_free_port()}"\n[store]\npath = "{database or directory / "tracker.db"}"\n'
        f'[log]\nformat = "json"\n[archive]\nenabled = {str(archive).lower()}\ndir = "{directory / "archive"}"\n'
        "allow_private_addresses = true\n"
        f"{'' if '[retention]' in more else NO_RETENTION}{accounts}{more}"
    )
    return path


def _free_port() -> int:
    """A port that nothing listens on; commands cannot know one that the daemon chooses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


NO_RETENTION = "[retention]\nevents_days = 0\npayload_days = 0\n"


@asynccontextmanager
async def daemon(
    directory: Path,
    *,
    database: Path | None = None,
    archive: bool = False,
    more: str = "",
    upstream: str = "",
) -> AsyncIterator[Server]:
    """The tracker as a process; for the arguments see `configure`. Its log is in the directory, too."""
    config = configure(directory, database=database, archive=archive, more=more, upstream=upstream)
    journal = directory / "daemon.log"
    start = time.perf_counter()
    with journal.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "serve", "--config", str(config)],
            stderr=stderr,
            env=environment(),
            cwd=directory,
        )
    with ended(process):
        port = await _read_port(journal, process)
        yield Server(port, process, time.perf_counter() - start)


async def _read_port(journal: Path, process: subprocess.Popen[bytes]) -> int:
    while process.poll() is None:
        for line in journal.read_bytes().splitlines():
            entry = json.loads(line) if line.startswith(b"{") and line.endswith(b"}") else {}
            if entry.get("event") == "tracker.started":
                return int(entry["listen"].rsplit(":", 1)[1])
        await asyncio.sleep(0.005)
    raise SystemExit(f"the daemon did not start: {journal.read_text()}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process in any case."""
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended: its time, its processor time, and the most memory it had, if that was watched."""

    seconds: float
    cpu_s: float
    peak_mib: float
    output: str


def run_command(arguments: Sequence[str], directory: Path, *, watch_memory: bool = False) -> Finished:
    """Run a Python program with the measured tracker to its end.

    Args:
        arguments: of the interpreter, such as ``-m tracker list``.
        directory: where it runs.
        watch_memory: find the most memory that it has.

    Raises:
        SystemExit: it failed.
    """
    with (directory / "command.log").open("w+b") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment(), cwd=directory, stdout=output, stderr=subprocess.STDOUT
        )
        # an exited process's own maximum begins at what its parent had when it was forked, so it is watched instead
        peak = _Peak(process.pid) if watch_memory else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit {process.returncode}: {text}")
    return Finished(seconds, usage.ru_utime + usage.ru_stime, peak.mib() if peak else 0.0, text)


class _Peak:
    """Watches the most memory that a process ever had, until it ends.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._kib = 0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while lines := [one for one in self._status.read_text().splitlines() if one.startswith("VmHWM:")]:
                self._kib = int(lines[0].split()[1])
                time.sleep(WATCH_S)

    def mib(self) -> float:
        """The most, once the process has ended."""
        self._thread.join()
        return self._kib / 1024
