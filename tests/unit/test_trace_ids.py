"""Trace ids: derived, valid, and the same everywhere; callers' ids are read as the standard says."""

import pytest

from tracker.domain.task import TaskId
from tracker.domain.trace_ids import SpanId, is_sampled, parse_traceparent, root_of, run_of, traceparent

TASK = TaskId("01JD0000000000000000000001")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_ids_follow_from_the_task() -> None:
    """Nothing is stored: the same task has the same trace, and its spans differ."""
    assert root_of(TASK) == root_of(TASK)
    assert root_of(TASK).trace != root_of(TaskId(f"{TASK[:-1]}2")).trace
    runs = [run_of(TASK, "dlv_1", 1), run_of(TASK, "dlv_1", 2), run_of(TASK, "dlv_2", 1)]
    assert len({root_of(TASK), *runs}) == 4
    assert {run.trace for run in runs} == {root_of(TASK).trace}
    assert run_of(TASK, "dlv_1", 12) != run_of(TASK, "dlv_11", 2), "parts do not run together"


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_can_be_read(sampled: bool) -> None:
    """The header names the span and whether it is sampled."""
    text = traceparent(root_of(TASK), sampled=sampled)
    assert len(text) == 55
    assert parse_traceparent(text) == (root_of(TASK), sampled)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", (SpanId(int(TRACE, 16), int(SPAN, 16)), True)),
        (f" 00-{TRACE}-{SPAN}-00 ", (SpanId(int(TRACE, 16), int(SPAN, 16)), False)),
        (f"cc-{TRACE}-{SPAN}-03-what-the-future-will-be", (SpanId(int(TRACE, 16), int(SPAN, 16)), True)),
        (f"cc-{TRACE}-{SPAN}-03.what", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        (None, None),
    ],
)
def test_callers_are_read_as_the_standard_says(text: str | None, expected: object) -> None:
    """A value that is not valid is ignored; a higher version may have more at its end."""
    assert parse_traceparent(text) == expected


def test_a_share_of_the_traces_is_sampled() -> None:
    """None at 0, all at 1, and about half at a half, always the same ones."""
    traces = [root_of(TaskId(f"task-{n}")).trace for n in range(1000)]
    assert not any(is_sampled(trace, 0.0) for trace in traces)
    assert all(is_sampled(trace, 1.0) for trace in traces)
    half = {trace for trace in traces if is_sampled(trace, 0.5)}
    assert 400 < len(half) < 600
    assert half >= {trace for trace in traces if is_sampled(trace, 0.25)}
