"""``make bench``: measures the hot paths against baselines in the same run.

Ratios hold across machines better than absolutes. Each figure is the median over rounds in which baseline and candidate
took turns, so that a machine that slows down slows both. Exit status 1: a target was missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from tests.bench.options import Options
from tests.bench.processes import OWN_TREE, use_tree

if TYPE_CHECKING:
    from tests.bench.report import Result

BENCHES = ("callbacks", "stream", "polls", "ends", "lookups", "hooks", "archive", "size", "cli")
DRAWN = "curves"
"""Not among all: draws what the README shows."""
_WHAT = f"{', '.join(BENCHES)}; all of them without a name; curves: draw those of the README"
QUICK_TASKS = 20_000


def main() -> int:
    """Run the benchmarks named on the command line, or all of them; the exit status."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, DRAWN, []], metavar="WHAT", help=_WHAT)
    parser.add_argument("--rounds", type=int, help="how often baseline and candidate take turns (5; quick: 2)")
    parser.add_argument("--tasks", type=int, help="in the large database (1,000,000; quick: 20,000)")
    parser.add_argument("--quick", action="store_true", help="measure less, to try things in two minutes")
    parser.add_argument("--tree", type=Path, default=OWN_TREE, help="measure the tracker in this source tree")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="directory for JSON and plots")
    arguments = parser.parse_args()
    use_tree(arguments.tree)
    options = Options(
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        tasks=arguments.tasks or (QUICK_TASKS if arguments.quick else 1_000_000),
        quick=arguments.quick,
    )
    return _run(arguments.names or BENCHES, options, arguments.tree, arguments.out)


def _run(names: Sequence[str], options: Options, tree: Path, directory: Path) -> int:
    from tests.bench import plots, report

    about = report.describe(tree)
    print(report.description(about), flush=True)
    taken_at = datetime.now(UTC)
    results: list[Result] = []
    for name in names:
        print(f"\n{name}", flush=True)
        results.append(uvloop.run(importlib.import_module(f"tests.bench.{name}").run(options)))
        print(report.table(results[-1]), flush=True)
        report.write_json(directory, results, about, taken_at)  # each time: a later one may fail
    (directory / "targets.svg").write_text(plots.targets(results), encoding="utf-8")
    print(f"\nwritten: {directory}/results.json and {directory}/targets.svg")
    return report.exit_status(results)


if __name__ == "__main__":
    sys.exit(main())
