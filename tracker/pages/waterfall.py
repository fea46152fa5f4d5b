"""The timeline of a task: stages, callbacks, polls, archive and hooks on one axis, as numbers for an SVG.

All times are of the store's clock, and nothing has a negative length: a clock that was set back makes lengths of zero.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tracker.domain.text import span
from tracker.pages.texts import clock, parse, took

Json = Any

MAX_MARKS: Final = 60
"""Of more marks in a lane, bars show how many there are."""
BINS: Final = 48
MAX_TICKS: Final = 6
LEAST_S: Final = 1.0
_STEPS_S: Final = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)
_CLOSE: Final = 1.6
"""Marks that are closer, in per cent of the width, are drawn one below the other."""
MAX_LEVELS: Final = 3
_ENDS: Final = frozenset({"SUCCEEDED", "FAILED"})
_UNAPPLIED: Final = frozenset({"duplicate", "stale", "conflict", "ignored"})


@dataclass(slots=True)
class Mark:
    """One thing at one time: ``x`` in per cent, ``level`` from 0 down."""

    x: float
    look: str
    text: str
    decided: bool = False
    level: int = 0


@dataclass(slots=True)
class Segment:
    """Something that took time: ``x`` and ``width`` in per cent."""

    x: float
    width: float
    look: str
    text: str
    name: str = ""


@dataclass(slots=True)
class Lane:
    """One line of the timeline."""

    name: str
    shape: str = "dot"
    marks: list[Mark] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    bins: list[Segment] = field(default_factory=list)
    empty: str = ""

    @property
    def height(self) -> int:
        """Pixels."""
        return 34 + 14 * max((mark.level for mark in self.marks), default=0)


@dataclass(slots=True)
class Waterfall:
    """The timeline.

    Attributes:
        ticks: position in per cent and text.
        now: position of the present, for a task that has not ended.
        now_text: how old it is.
        usual: where tasks like this usually end: position and width.
        summary: how many of what there were.
    """

    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    now: float | None
    now_text: str
    usual: tuple[float, float] | None
    summary: str


def draw(
    task: Mapping[str, Json],
    events: Sequence[Mapping[str, Json]],
    deliveries: Iterable[Mapping[str, Json]],
    archives: Sequence[Mapping[str, Json]],
    now: datetime,
) -> Waterfall:
    """Draw the timeline of a task.

    Args:
        task: its public form.
        events: its history, oldest first.
        deliveries: its hook runs, with their attempts where these are known.
        archives: the archive states of its outputs.
        now: the current time.
    """
    is_open = task["status"] not in _ENDS
    axis = _Axis.over(task, events, deliveries, now if is_open else None)
    lanes = [_stages(axis, task, events, now), _callbacks(axis, events), _polls(axis, task, events)]
    lanes += [_archive(axis, task, events, archives), _hooks(axis, deliveries)]
    for lane in lanes:
        _spread(lane)
    repeated = sum(event["source"] == "callback" and event["outcome"] in _UNAPPLIED for event in events)
    callbacks, polls = task["callbacks"], task["polls"]
    counts = [f"{callbacks} callback{'' if callbacks == 1 else 's'}", f"{polls} poll{'' if polls == 1 else 's'}"]
    if repeated:
        counts.insert(1, f"{repeated} of them not applied" if callbacks > 1 else "not applied")
    return Waterfall(
        lanes,
        axis.ticks(),
        axis.x(now) if is_open else None,
        span((now - axis.begin).total_seconds()) if is_open else "",
        axis.usual(task) if is_open else None,
        ", ".join(counts),
    )


class _Axis:
    """Positions of times: from the creation to the last thing that is drawn."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.begin = begin
        self.length_s = max((end - begin).total_seconds() * 1.02, LEAST_S)

    @classmethod
    def over(
        cls,
        task: Mapping[str, Json],
        events: Sequence[Mapping[str, Json]],
        deliveries: Iterable[Mapping[str, Json]],
        now: datetime | None,
    ) -> _Axis:
        begin = parse(task["created_at"])
        times = [begin, *(parse(event["at"]) for event in events)]
        times += [parse(task[name]) for name in ("submitted_at", "finished_at") if task[name] is not None]
        times += [] if now is None else [now]
        for delivery in deliveries:
            times += [parse(delivery["finished_at"])] if delivery["finished_at"] else []
            times += [
                parse(attempt["started_at"]) + timedelta(seconds=attempt["took_s"] or 0)
                for attempt in delivery.get("attempt_history", ())
                if attempt["started_at"]
            ]
        expected = task["expected"]
        if now is not None and expected is not None and task["submitted_at"] is not None:
            times.append(parse(task["submitted_at"]) + timedelta(seconds=expected["p90_s"]))
        return cls(begin, max(times))

    def x(self, time: datetime | str) -> float:
        """A position in per cent."""
        seconds = (parse(time) - self.begin).total_seconds()
        return round(100 * min(max(seconds, 0.0), self.length_s) / self.length_s, 2)

    def segment(self, begin: datetime | str, end: datetime | str, look: str, text: str, name: str = "") -> Segment:
        """What lies between two times, wide enough to be seen."""
        x = min(self.x(begin), 99.3)
        return Segment(x, round(max(self.x(end) - x, 0.7), 2), look, text, name)

    def after(self, time: datetime | str) -> str:
        """How long after the creation."""
        return took(max((parse(time) - self.begin).total_seconds(), 0.0))

    def ticks(self) -> list[tuple[float, str]]:
        """At round times, few enough to be read."""
        step = next((step for step in _STEPS_S if self.length_s / step <= MAX_TICKS), None)
        if step is None:
            step = 86400 * -(-self.length_s // (86400 * MAX_TICKS))
        count = int(self.length_s // step)
        return [(round(100 * n * step / self.length_s, 2), self._tick(n * step, step)) for n in range(count + 1)]

    @staticmethod
    def _tick(seconds: float, step: float) -> str:
        if step >= 86400:  # noqa: PLR2004
            return f"{seconds / 86400:.0f} d"
        return f"{seconds:.1f} s" if step < 1 else span(seconds)

    def usual(self, task: Mapping[str, Json]) -> tuple[float, float] | None:
        """Where tasks like this usually end."""
        expected = task["expected"]
        if expected is None or task["submitted_at"] is None:
            return None
        submitted = parse(task["submitted_at"])
        first = self.x(submitted + timedelta(seconds=expected["p50_s"]))
        last = self.x(submitted + timedelta(seconds=expected["p90_s"]))
        return first, round(max(last - first, 0.7), 2)


def _stages(axis: _Axis, task: Mapping[str, Json], events: Sequence[Mapping[str, Json]], now: datetime) -> Lane:
    """What state it was in, one after the other."""
    lane = Lane("Stages", "none")
    names: list[tuple[datetime, str]] = [(axis.begin, "waits" if task["submitted_at"] else "waits to be sent")]
    if task["submitted_at"]:
        names.append((parse(task["submitted_at"]), "accepted"))
    end: datetime | None = None
    for event in events:
        if event["outcome"] != "applied":
            continue
        at = parse(event["at"])
        if event["to"] in _ENDS:
            end = at if end is None or event["from"] in _ENDS else end
        elif event["stage"] is not None:
            names.append((at, f"{event['stage']} ready" if event["stage"] in {"text", "first"} else event["stage"]))
        elif event["to"] == "RUNNING" and event["from"] == "PENDING":
            names.append((at, "running"))
    last = end or (parse(task["finished_at"]) if task["finished_at"] else now)
    for n, (at, name) in enumerate(names):
        until = names[n + 1][0] if n + 1 < len(names) else last
        if until <= at and n + 1 < len(names):
            continue
        is_last = n + 1 == len(names)
        waits = name.startswith("waits")
        look = "f-ink" if waits else "fill" if is_last and end is None and not task["finished_at"] else "band"
        lane.segments.append(
            axis.segment(at, until, look, f"{name}, from {axis.after(at)} to {axis.after(until)}", name)
        )
    if end is not None:
        look = "f-ok" if task["status"] == "SUCCEEDED" else "f-bad"
        lane.marks.append(Mark(axis.x(end), look, f"{task['status'].capitalize()} after {axis.after(end)}"))
    return lane


def _event_mark(axis: _Axis, event: Mapping[str, Json]) -> Mark:
    applied = event["outcome"] == "applied"
    decided = applied and event["to"] in _ENDS and event["from"] != event["to"]
    look = "hollow" if not applied else "f-bad" if event["to"] == "FAILED" and decided else "solid"
    outcome = "" if applied else f", {event['outcome']}"
    return Mark(axis.x(event["at"]), look, f"{clock(event['at'])} {event['detail']}{outcome}", decided)


def _callbacks(axis: _Axis, events: Sequence[Mapping[str, Json]]) -> Lane:
    marks = [_event_mark(axis, event) for event in events if event["source"] == "callback"]
    return Lane("Callbacks", "dot", marks, empty="none came")


def _polls(axis: _Axis, task: Mapping[str, Json], events: Sequence[Mapping[str, Json]]) -> Lane:
    """Those that brought something; the next one."""
    marks = [_event_mark(axis, event) for event in events if event["source"] == "poll"]
    polls = task["polls"]
    quiet = polls - len(marks)
    empty = f"{polls} poll{'s' if polls != 1 else ''} brought nothing new" if quiet > 0 and not marks else "none yet"
    return Lane("Polls", "diamond", marks, empty="none needed" if not polls and task["status"] in _ENDS else empty)


def _archive(
    axis: _Axis, task: Mapping[str, Json], events: Sequence[Mapping[str, Json]], archives: Sequence[Mapping[str, Json]]
) -> Lane:
    """From the first output to the last stored file."""
    lane = Lane("Archive", "none")
    if not archives:
        lane.empty = "nothing to archive" if task["status"] in _ENDS else "nothing yet"
        return lane
    stored = [event for event in events if event["source"] == "archive" or "archived" in event["detail"]]
    dead = [record for record in archives if record["state"] == "dead"]
    if stored:
        begin = task["finished_at"] or stored[-1]["at"]
        lane.segments.append(axis.segment(min(begin, stored[-1]["at"]), stored[-1]["at"], "f-ok", stored[-1]["detail"]))
    elif dead:
        lane.empty = f"given up: {dead[0]['error']}"
    elif all(record["state"] == "stored" for record in archives):
        lane.empty = f"{len(archives)} stored"
    else:
        lane.empty = f"{sum(record['state'] == 'stored' for record in archives)} of {len(archives)} stored"
    return lane


def _hooks(axis: _Axis, deliveries: Iterable[Mapping[str, Json]]) -> Lane:
    """One bar for each attempt."""
    lane = Lane("Hooks", "none", empty="no hook ran")
    for delivery in deliveries:
        attempts = [attempt for attempt in delivery.get("attempt_history", ()) if attempt["started_at"]]
        for attempt in attempts:
            begin = parse(attempt["started_at"])
            end = begin + timedelta(seconds=attempt["took_s"] or 0)
            look = "f-ok" if attempt["outcome"] == "succeeded" else "f-bad"
            text = f"{delivery['hook']}, {delivery['event']}: {attempt['outcome']} after {took(attempt['took_s'] or 0)}"
            lane.segments.append(axis.segment(begin, end, look, text))
    return lane


def _spread(lane: Lane) -> None:
    """Put marks that are close below each other; of very many only show how dense they are."""
    if len(lane.marks) > MAX_MARKS:
        counts = [0] * BINS
        for mark in lane.marks:
            counts[min(int(mark.x * BINS / 100), BINS - 1)] += 1
        most = max(counts)
        for n, count in enumerate(counts):
            if count:
                lane.bins.append(Segment(100 * n / BINS, count / most, "f-ink", f"{count} here"))
        lane.marks = [mark for mark in lane.marks if mark.decided]
        return
    last: list[float] = []
    for mark in sorted(lane.marks, key=lambda mark: mark.x):
        level = next((n for n, x in enumerate(last) if mark.x - x >= _CLOSE), len(last))
        if level >= MAX_LEVELS:
            level = min(range(MAX_LEVELS), key=last.__getitem__)
        mark.level = level
        if level == len(last):
            last.append(mark.x)
        else:
            last[level] = mark.x
