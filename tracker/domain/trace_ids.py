"""Trace ids of tasks, by W3C Trace Context: derived from ids that exist, so that nothing has to be stored.

Every process that knows a task knows its trace, also after a restart.

Source: https://www.w3.org/TR/trace-context/#traceparent-header (read 2026-11).
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from tracker.domain.task import TaskId

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LOW: Final = (1 << 64) - 1


class SpanId(NamedTuple):
    """A span: its trace, and its id in it."""

    trace: int
    span: int


def root_of(task_id: TaskId) -> SpanId:
    """The root span of the trace of a task, which lasts from its creation to its end."""
    return SpanId(_number(16, "trace", task_id), _number(8, "task", task_id))


def run_of(task_id: TaskId, delivery_id: str, attempt: int) -> SpanId:
    """The span of one run of a hook; what the hook does is below it."""
    return SpanId(root_of(task_id).trace, _number(8, "run", delivery_id, str(attempt)))


def is_sampled(trace: int, ratio: float) -> bool:
    """Whether a trace is one of this share of all traces, 0 to 1; the same answer everywhere.

    By the rule of the samplers of OpenTelemetry, so that other services with the same ratio choose the same traces.
    """
    return trace & _LOW < round(ratio * (_LOW + 1))


def traceparent(span: SpanId, *, sampled: bool) -> str:
    """The value of the header ``traceparent``, and of the variable ``TRACEPARENT``."""
    return f"00-{span.trace:032x}-{span.span:016x}-{int(sampled):02x}"


def parse_traceparent(text: str | None) -> tuple[SpanId, bool] | None:
    """The span of a caller and whether it is sampled; None without a valid value, which the standard ignores.

    Higher versions may have further parts at the end.
    """
    found = _TRACEPARENT.match((text or "").strip())
    if found is None:
        return None
    rest = (text or "").strip()[found.end() :]
    if rest and (rest[0] != "-" or found[0].startswith("00-")):
        return None
    return SpanId(int(found[1], 16), int(found[2], 16)), bool(int(found[3], 16) & 1)


def _number(size: int, *parts: str) -> int:
    """A number of so many bytes that is not 0, which would be invalid."""
    return int.from_bytes(blake2b(" ".join(parts).encode(), digest_size=size).digest(), "big") or 1
