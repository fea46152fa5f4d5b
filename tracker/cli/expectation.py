"""How far a task is, and how that compares with what is expected of it: texts, and the share for a bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from tracker.cli.client import Json
from tracker.domain.text import span, spans

AT_P90 = 0.9
"""What a bar shows when nine of ten such tasks have ended."""
LONGEST = 0.98
"""What it never exceeds before the end: a task that takes longer than all others may take any time."""


def age_s(task: Mapping[str, Json], now: datetime) -> float:
    """Seconds since the acceptance of a task, before it since its creation; until its end at the service."""
    begun = datetime.fromisoformat(task.get("submitted_at") or task["created_at"])
    end = task.get("finished_at") and (task.get("upstream_finished_at") or task["finished_at"])
    ended = datetime.fromisoformat(end) if end else now
    return max(0.0, (ended - begun).total_seconds())


def is_late(task: Mapping[str, Json], now: datetime) -> bool:
    """Whether a task that has not ended takes longer than nine of ten others."""
    expected = task.get("expected")
    return bool(expected and task.get("submitted_at") and age_s(task, now) > expected["p90_s"])


def share_done(task: Mapping[str, Json], now: datetime) -> float | None:
    """How much of a task is done, 0 to 1, by the time that is expected and by what the service reports; None: unknown.

    It grows with time, slower and slower once the task is late, and reaches 1 with success alone.
    """
    if task["status"] == "SUCCEEDED":
        return 1.0
    reported = task.get("progress")
    shares = [] if reported is None else [min(reported / 100, LONGEST)]
    expected = task.get("expected")
    if expected and not task.get("submitted_at"):
        shares.append(0.0)
    elif expected:
        part = age_s(task, now) / max(expected["p90_s"], 0.1)
        late = (LONGEST - AT_P90) * (1 - math.exp(1 - part))
        shares.append(AT_P90 * part if part <= 1 else AT_P90 + late)
    return max(shares, default=None)


def describe_expected(task: Mapping[str, Json]) -> str:
    """How long such tasks usually take: ``1:40-2:30``; empty if that is not known."""
    expected = task.get("expected")
    return spans(expected["p50_s"], expected["p90_s"], "-") if expected else ""


def compare(task: Mapping[str, Json], now: datetime, latest: str | None = None) -> str:
    """One line: how long such tasks usually take, and this one so far; empty where that is not known.

    Args:
        task: as the API shows it.
        now: the current time.
        latest: when it ends at the latest, for a late one.
    """
    usual = describe_expected(task)
    if not usual:
        return ""
    if not task.get("submitted_at"):
        return f"usually {usual} once the service has accepted it"
    line = f"usually {usual}, this one {span(age_s(task, now))} so far"
    if not is_late(task, now):
        return line
    return f"{line}: longer than nine of ten" + (f"; it ends by {latest} at the latest" if latest else "")


def describe_time(task: Mapping[str, Json], now: datetime) -> str:
    """The time of a task: ``1:12 of 1:40-2:30``, ``3:05, usually 1:40-2:30``, ``took 1:44``."""
    taken, usual = span(age_s(task, now)), describe_expected(task)
    if task.get("finished_at"):
        return f"took {taken}"
    if not usual:
        return taken
    return f"{taken}, usually {usual}" if is_late(task, now) else f"{taken} of {usual}"
