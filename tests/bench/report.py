"""What benchmarks measured: figures beside their targets, as a table and as JSON, and the machine that they are of."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import load

Json = Any


@dataclass(frozen=True, slots=True)
class Target:
    """The bounds of a figure.

    Attributes:
        bound: the least that must be met.
        goal: what is aimed at.
        is_upper: lower figures are better.
    """

    bound: float
    goal: float | None = None
    is_upper: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a value is at least as good as the bound."""
        return value <= self.bound if self.is_upper else value >= self.bound


def at_least(bound: float, goal: float | None = None) -> Target:
    """A target of a figure that should be high."""
    return Target(bound, goal)


def at_most(bound: float, goal: float | None = None) -> Target:
    """A target of a figure that should be low."""
    return Target(bound, goal, is_upper=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing.

    Attributes:
        name: what it is.
        values: one of each round.
        unit: empty for a ratio.
    """

    name: str
    values: Sequence[float]
    unit: str = ""
    target: Target | None = None

    @property
    def median(self) -> float:
        """What counts."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.is_met(self.median)

    def as_json(self) -> Json:
        """The figure as it is stored."""
        target = self.target
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "target": target
            and {"bound": target.bound, "goal": target.goal, "direction": "at most" if target.is_upper else "at least"},
            "met": self.is_met,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found.

    Attributes:
        bench: its name.
        notes: what was measured in which way, a line each.
    """

    bench: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()

    @property
    def missed(self) -> list[Figure]:
        """The figures that miss their target."""
        return [figure for figure in self.figures if figure.is_met is False]

    def as_json(self) -> Json:
        """The result as it is stored."""
        figures = [figure.as_json() for figure in self.figures]
        return {"bench": self.bench, "notes": list(self.notes), "figures": figures}


def table(result: Result) -> str:
    """A result as lines for a terminal."""
    rows = [("", "median [min-max]", "target", "goal", "")]
    for figure in result.figures:
        target, unit = figure.target, f" {figure.unit}" if figure.unit else ""
        spread = f" [{shown(min(figure.values))}-{shown(max(figure.values))}]" if len(figure.values) > 1 else ""
        sign = "<=" if target and target.is_upper else ">="
        rows.append(
            (
                figure.name,
                f"{shown(figure.median)}{spread}{unit}",
                f"{sign} {shown(target.bound)}" if target else "",
                shown(target.goal) if target and target.goal is not None else "",
                "" if figure.is_met is None else "met" if figure.is_met else "MISSED",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(f"  {line}" for line in (*lines, *result.notes))


def shown(value: float) -> str:
    """Three digits that matter."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 and abs(value) >= 0.1 else f"{value:.3g}"


def write_json(directory: Path, results: Sequence[Result], about: Json, taken_at: datetime) -> Path:
    """Write results with what they were measured on; the path of the file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "results.json"
    content = {
        "taken_at": taken_at.isoformat(timespec="seconds"),
        "about": about,
        "results": [result.as_json() for result in results],
        "missed": [f"{result.bench}: {figure.name}" for result in results for figure in result.missed],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def exit_status(results: Sequence[Result]) -> int:
    """1 when a target is missed."""
    return int(any(result.missed for result in results))


def describe(tree: Path) -> Json:
    """The machine, the Python build and the measured source tree."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "pgo": "--enable-optimizations" in options,
        "lto": "--with-lto" in options,
        "sqlite": sqlite3.sqlite_version,
        "aiohttp": _version("aiohttp"),
        "uvloop": _version("uvloop"),
        "commit": _commit(tree),
        "load_generator": load.generator(),
    }


def description(about: Json) -> str:
    """What `describe` found, as two lines."""
    optimised = ", ".join(name for name, on in (("PGO", about["pgo"]), ("LTO", about["lto"])) if on) or "without PGO"
    return (
        f"{about['cores']} cores, {about['cpu']}, {about['system']}, load {about['load']}; commit {about['commit']}\n"
        f"{about['python']} ({about['compiler']}, {optimised}), SQLite {about['sqlite']}, aiohttp {about['aiohttp']}, "
        f"uvloop {about['uvloop']}; load by {about['load_generator']}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _commit(tree: Path) -> str:
    found = subprocess.run(
        ["git", "-C", str(tree), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
