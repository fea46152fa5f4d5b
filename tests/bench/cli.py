"""Commands as whole processes, against an interpreter that does nothing."""

from __future__ import annotations

from tests.bench.options import Options
from tests.bench.prepared import make_tasks
from tests.bench.processes import Finished, configure, daemon, run_command, workplace
from tests.bench.report import Figure, Result, at_most

TASKS = 200
NOTHING = "python -c pass"
UP = "list, with a daemon"


async def run(options: Options) -> Result:
    """Run each command in each round; the first one fills the caches of the disk and of byte code."""
    found: dict[str, list[Finished]] = {}
    with workplace() as directory, workplace() as idle:
        await make_tasks(directory / "tracker.db", TASKS)
        await make_tasks(idle / "tracker.db", TASKS)
        config = str(directory / "tracker.toml")
        without = str(configure(idle))
        tracker = ["-m", "tracker"]
        commands = {
            NOTHING: ["-c", "pass"],
            "--version": [*tracker, "--version"],
            "--help": [*tracker, "--help"],
            UP: [*tracker, "list", "--config", config],
            "list, without a daemon": [*tracker, "list", "--config", without],
            "routes": [*tracker, "routes", "--config", config],
        }
        async with daemon(directory):
            for n in range(2 * options.rounds + 1):
                for name, arguments in commands.items():
                    finished = run_command(arguments, directory)
                    if n:
                        found.setdefault(name, []).append(finished)
    nothing = found.pop(NOTHING)
    figures = []
    for name, runs in found.items():
        ratios = [one.seconds / other.seconds for one, other in zip(runs, nothing, strict=True)]
        figures.append(Figure(f"{name} / {NOTHING}", ratios, "", at_most(12, 8) if name == UP else None))
    for name, runs in {NOTHING: nothing, **found}.items():
        figures.append(Figure(name, [one.seconds * 1000 for one in runs], "ms"))
        figures.append(Figure(f"{name}, CPU", [one.cpu_s * 1000 for one in runs], "ms"))
    return Result("cli", figures)
