"""The curves of the README: ingest against connections, latency against load, polls against due tasks, cost of size.

They are drawn into ``tests/bench/svg``. No figure has a target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

from tests.bench import datasets, polls
from tests.bench.callbacks import Run, take_turn
from tests.bench.load import get, run_load
from tests.bench.options import Options
from tests.bench.plots import Axis, Line, lines
from tests.bench.prepared import callback_requests, make_tasks, tasks_for
from tests.bench.processes import OWN_TREE, baseline, daemon, workplace
from tests.bench.report import Figure, Result, shown

DIRECTORY = OWN_TREE / "tests" / "bench" / "svg"
CONNECTIONS = {1: 1_500, 4: 4_000, 16: 8_000, 64: 16_000, 256: 16_000}
"""With how many requests a round has."""
DUE = (500, 2_000, 8_000, 32_000)
STORED = (1_000, 10_000, 100_000, 1_000_000)
COST_REQUESTS = 8_000
COST_CONNECTIONS = 64
LOOKUPS = 200


@dataclass(frozen=True, slots=True)
class Cost:
    """What a number of stored tasks costs."""

    bytes_each: float
    callback_us: float
    lookup_ms: float
    list_ms: float


async def run(options: Options) -> Result:
    """Measure and draw all four."""
    DIRECTORY.mkdir(exist_ok=True)
    return Result("curves", [*await _ingest(options), *await _polls(options), *await _cost(options)])


def _draw(name: str, title: str, x: Axis, y: Axis, drawn: Sequence[Line]) -> None:
    (DIRECTORY / f"{name}.svg").write_text(lines(title, x, y, drawn), encoding="utf-8")


async def _ingest(options: Options) -> list[Figure]:
    requests = {connections: options.scaled(count) for connections, count in CONNECTIONS.items()}
    bare: dict[int, list[Run]] = {connections: [] for connections in requests}
    full: dict[int, list[Run]] = {connections: [] for connections in requests}
    with workplace() as directory:
        count = sum(map(tasks_for, requests.values())) * (options.rounds + 1)
        left = iter(await make_tasks(directory / "tracker.db", count))
        async with baseline("bare") as other, daemon(directory) as server:
            for n in range(options.rounds + 1):
                for connections, at_once in requests.items():
                    sent = callback_requests(list(islice(left, tasks_for(at_once))))
                    there = await take_turn(other, sent, connections)
                    here = await take_turn(server, sent, connections)
                    if n:  # the first round warms up
                        bare[connections].append(there)
                        full[connections].append(here)

    def points(runs: dict[int, list[Run]], value: Callable[[Run], float]) -> list[tuple[float, float]]:
        return [(connections, median(map(value, several))) for connections, several in runs.items()]

    def rate(one: Run) -> float:
        return one.load.per_second

    by_connections = Axis("connections", log=True, ticks=tuple(requests))
    drawn = [Line("tracker", points(full, rate)), Line("bare aiohttp handler", points(bare, rate))]
    _draw("ingest", "Callbacks against connections", by_connections, Axis("callbacks/s"), drawn)
    rates = [value for _, value in points(full, rate)]
    latency = [
        Line(name, sorted(zip(rates, [value for _, value in points(full, percentile)], strict=True)))
        for name, percentile in (("p50", lambda one: one.load.p50_ms), ("p99", lambda one: one.load.p99_ms))
    ]
    _draw("latency", "Latency of callbacks against load", Axis("callbacks/s"), Axis("ms", log=True), latency)
    return [
        Figure(f"{name}, {connections} connections", [rate(one) for one in several], "/s")
        for name, runs in (("ingest", full), ("bare", bare))
        for connections, several in runs.items()
    ]


async def _polls(options: Options) -> list[Figure]:
    fresh: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    figures = []
    async with polls.upstream() as to:
        for due in map(options.scaled, DUE):
            with workplace() as directory:
                await polls.make_due(directory / "made.db", due)
                rates, others = [], []
                for _ in range(options.rounds):
                    others.append(await to.poll_bare(due))
                    async with polls.polling(directory / "made.db", to) as server:
                        rates.append((await to.watch(server, due)).per_second)
            fresh.append((due, median(rates)))
            bare.append((due, median(others)))
            figures.append(Figure(f"polls, {due:,} due", rates, "/s"))
    axis = Axis("due tasks", log=True, ticks=tuple(due for due, _ in fresh))
    drawn = [Line("tracker, one account", fresh), Line(f"bare aiohttp client, {polls.BARE_CONNECTIONS} at once", bare)]
    _draw("polls", "Polls against due tasks", axis, Axis("polls/s"), drawn)
    return figures


async def _cost(options: Options) -> list[Figure]:
    sizes = [size for size in STORED if size <= options.tasks]
    costs = [await _cost_of(size, options) for size in sizes]
    figures, drawn = [], []
    values: tuple[tuple[str, str, Callable[[Cost], float]], ...] = (
        ("bytes a task", "B", lambda cost: cost.bytes_each),
        ("CPU a callback", "us", lambda cost: cost.callback_us),
        ("look-up of a task", "ms", lambda cost: cost.lookup_ms),
        ("list of the newest 50", "ms", lambda cost: cost.list_ms),
    )
    for name, unit, value in values:
        ratios = [(size, value(cost) / value(costs[0])) for size, cost in zip(sizes, costs, strict=True)]
        drawn.append(Line(f"{name}: {shown(value(costs[0]))} to {shown(value(costs[-1]))} {unit}", ratios))
        figures += [
            Figure(f"{name}, {size:,} tasks", [value(cost)], unit) for size, cost in zip(sizes, costs, strict=True)
        ]
    axis = Axis("stored tasks", log=True, ticks=tuple(sizes))
    _draw("cost", "Cost of stored tasks", axis, Axis(f"relative to {sizes[0]:,} tasks"), drawn)
    return figures


async def _cost_of(size: int, options: Options) -> Cost:
    with workplace() as directory:
        path = await datasets.copy_of(datasets.large(size), directory)
        bytes_each = path.stat().st_size / size
        requests = options.scaled(COST_REQUESTS)
        tasks = await make_tasks(path, tasks_for(requests) * (options.rounds + 1))
        left = iter(tasks)
        async with daemon(directory) as server:
            cpu = []
            for n in range(options.rounds + 1):
                sent = callback_requests(list(islice(left, tasks_for(requests))))
                turn = await take_turn(server, sent, COST_CONNECTIONS)
                if n:
                    cpu.append(turn.cpu_us)
            lookup = await run_load(server.port, [get(f"/v1/tasks/{task.id}") for task in tasks[:LOOKUPS]], 1)
            listing = await run_load(server.port, [get("/v1/tasks")] * LOOKUPS, 1)
    return Cost(bytes_each, median(cpu), lookup.p50_ms, listing.p50_ms)
