"""``make bench``: every benchmark in turn, one line per ratio.

Ratios hold across machines better than absolutes; each is the median over rounds in which baseline and candidate
took turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.bench import callbacks, hooks, memory, polls, prune, sweep

BENCHES = {
    "callbacks": callbacks.run,
    "hooks": hooks.run,
    "polls": polls.run,
    "sweep": sweep.run,
    "memory": memory.run,
    "prune": prune.run,
}


def main() -> None:
    """Run the benchmarks named on the command line, or all of them."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to run; all without a name")
    parser.add_argument("--rounds", type=int, default=8, help="how often baseline and candidate take turns")
    arguments = parser.parse_args()
    for name in arguments.names or BENCHES:
        print(f"\n{name}", flush=True)
        asyncio.run(BENCHES[name](arguments.rounds))


if __name__ == "__main__":
    main()
