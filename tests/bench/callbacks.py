"""The full path of callbacks against a bare handler, at 1, 64 and 256 connections.

Full path: token, parse, dedupe, decide, event, fully synced commit, answer. Songs, WAV files, lyrics and videos; a
fifth of the callbacks repeats another. The archive, which puts each output on its list in the same transaction, is off,
except where it is named. The other baseline is a simple implementation with one transaction for each callback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.bench.load import Measured, drive
from tests.bench.options import Options
from tests.bench.prepared import CallbackTask, callback_requests, make_tasks, tasks_for
from tests.bench.processes import Server, baseline, daemon, workplace
from tests.bench.report import Figure, Result, at_least, at_most

REQUESTS = {1: 1_500, 64: 16_000, 256: 16_000}
"""About how many each server gets in a round, by connections."""
NAIVE_REQUESTS = 1_500
RATIO = {1: at_least(0.15, 0.25), 64: at_least(0.48, 0.6), 256: at_least(0.68, 0.8)}
CPU = {64: at_most(2.2, 1.8)}
P99 = {64: at_most(4, 3)}


@dataclass(frozen=True, slots=True)
class Run:
    """One server's turn."""

    load: Measured
    cpu_us: float


Turn = dict[tuple[str, int], Run]
"""What each server did in one round, by its name and the connections."""


async def run(options: Options) -> Result:
    """Measure all; the first round warms up."""
    requests = {connections: options.scaled(count) for connections, count in REQUESTS.items()}
    rounds = options.rounds + 1
    with workplace() as directory:
        beside = directory / "archiving"
        beside.mkdir()
        path = directory / "tracker.db"
        tasks = await make_tasks(path, sum(map(tasks_for, requests.values())) * rounds)
        left = iter(tasks)
        archived = iter(await make_tasks(beside / "tracker.db", tasks_for(requests[64]) * rounds))
        turns: list[Turn] = []
        async with (
            baseline("bare") as bare,
            baseline("naive") as naive,
            daemon(directory) as full,
            daemon(beside, archive=True) as archiving,
        ):
            for n in range(rounds):
                turn: Turn = {}
                for connections, count in requests.items():
                    sent = _next(left, count)
                    # twice: a turn of the bare handler lasts about as long, and it does not matter what it gets
                    contest = [("bare", bare, sent * 2), ("full", full, sent)]
                    if connections == 64:
                        contest.append(("archiving", archiving, _next(archived, count)))
                        contest.append(("naive", naive, sent[:NAIVE_REQUESTS]))
                    first = n % len(contest)  # the order changes, so an idle disk or a hot processor affects all
                    for name, server, posts in contest[first:] + contest[:first]:
                        turn[name, connections] = await take_turn(server, posts, connections)
                turns.append(turn)
        check_finished(path, len(tasks) - rounds * sum(requests))
    return Result("callbacks", _figures(turns[1:]))


def _next(tasks: Iterator[CallbackTask], requests: int) -> list[bytes]:
    return callback_requests(list(islice(tasks, tasks_for(requests))))


async def take_turn(server: Server, requests: list[bytes], connections: int) -> Run:
    """Send requests to a server.

    Raises:
        SystemExit: one was refused.
    """
    before_s = server.cpu_s()
    load = await drive(server.port, requests, connections)
    if load.failed:
        raise SystemExit(f"{load.failed} of {load.count} callbacks were refused")
    return Run(load, (server.cpu_s() - before_s) / load.count * 1e6)


def check_finished(path: Path, at_least_tasks: int) -> None:
    """Make sure that callbacks were applied; the last ones of a turn may not have been waited for.

    Raises:
        SystemExit: fewer tasks have succeeded.
    """
    with closing(sqlite3.connect(path)) as db:
        ((count,),) = db.execute("SELECT count(*) FROM tasks WHERE status = 'SUCCEEDED'").fetchall()
    if count < at_least_tasks:
        raise SystemExit(f"only {count} tasks succeeded, not {at_least_tasks}: their callbacks had no effect")


def _figures(turns: list[Turn]) -> list[Figure]:
    """A ratio is taken within a round, under the same conditions."""
    figures = []
    for connections in REQUESTS:
        bare = [turn["bare", connections] for turn in turns]
        full = [turn["full", connections] for turn in turns]
        rates = [here.load.per_second / there.load.per_second for here, there in zip(full, bare, strict=True)]
        cpu = [here.cpu_us / there.cpu_us for here, there in zip(full, bare, strict=True)]
        p99 = [here.load.p99_ms / there.load.p50_ms for here, there in zip(full, bare, strict=True)]
        at = f"at {connections}"
        figures += [
            Figure(f"ingest / bare, {at}", rates, "", RATIO[connections]),
            Figure(f"CPU a callback / bare, {at}", cpu, "", CPU.get(connections)),
            Figure(f"p99 / p50 of bare, {at}", p99, "", P99.get(connections)),
            Figure(f"ingest, {at}", [run.load.per_second for run in full], "/s"),
            Figure(f"bare, {at}", [run.load.per_second for run in bare], "/s"),
            Figure(f"CPU a callback, {at}", [run.cpu_us for run in full], "us"),
            Figure(f"CPU of bare, {at}", [run.cpu_us for run in bare], "us"),
            Figure(f"p50, {at}", [run.load.p50_ms for run in full], "ms"),
            Figure(f"p99, {at}", [run.load.p99_ms for run in full], "ms"),
        ]

    def against(name: str, other: str) -> list[float]:
        return [turn[name, 64].load.per_second / turn[other, 64].load.per_second for turn in turns]

    figures += [
        Figure("archive on / bare, at 64", against("archiving", "bare")),
        Figure("CPU a callback, archive on, at 64", [turn["archiving", 64].cpu_us for turn in turns], "us"),
        Figure("ingest / one transaction each, at 64", against("full", "naive")),
    ]
    return figures
