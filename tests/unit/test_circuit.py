"""The circuit breaker as a table of events, and its invariants under random events."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.domain.circuit import Circuit, CircuitPolicy, CircuitState

POLICY = CircuitPolicy(opens_after=3, first_wait_s=5.0, max_wait_s=15.0)
CLOSED, OPEN, HALF_OPEN = CircuitState


class Fail(NamedTuple):
    """A failure, as passed to `Circuit.fail`."""

    is_probe: bool = True
    asked_s: float | None = None


FAIL, LATE, OK = Fail(), Fail(is_probe=False), "succeed"


@pytest.mark.parametrize(
    ("events", "state", "left_s"),
    [
        ([], CLOSED, 0),
        ([FAIL, FAIL], CLOSED, 0),
        ([FAIL, FAIL, OK, FAIL, FAIL], CLOSED, 0),
        ([FAIL] * 3, OPEN, 5),
        ([FAIL] * 5, OPEN, 5),
        ([*[FAIL] * 3, 2.0], OPEN, 3),
        ([*[FAIL] * 3, 5.0], HALF_OPEN, 0),
        ([*[FAIL] * 3, 5.0, LATE], HALF_OPEN, 0),
        ([*[FAIL] * 3, 5.0, FAIL], OPEN, 10),
        ([*[FAIL] * 3, 5.0, FAIL, 10.0, FAIL], OPEN, 15),
        ([*[FAIL] * 3, 5.0, FAIL, 10.0, FAIL, 15.0, FAIL], OPEN, 15),
        ([*[FAIL] * 3, 5.0, OK], CLOSED, 0),
        ([*[FAIL] * 3, 5.0, OK, *[FAIL] * 3], OPEN, 5),
        ([Fail(asked_s=60)], OPEN, 60),
        ([Fail(asked_s=0)], HALF_OPEN, 0),
        ([Fail(asked_s=60), 60.0, FAIL], OPEN, 5),
        ([*[FAIL] * 3, Fail(asked_s=60)], OPEN, 60),
        ([*[FAIL] * 3, Fail(asked_s=1)], OPEN, 5),
        ([*[FAIL] * 3, 5.0, Fail(asked_s=60)], OPEN, 60),
    ],
)
def test_states(events: list[Fail | float | str], state: CircuitState, left_s: float) -> None:
    """Failures, successes and seconds that pass lead to a state and a wait."""
    circuit, now = Circuit(), 100.0
    for event in events:
        match event:
            case Fail():
                circuit.fail(POLICY, now, is_probe=event.is_probe, asked_s=event.asked_s)
            case float():
                now += event
            case _:
                circuit.succeed()
    assert (circuit.state(now), circuit.left_s(now)) == (state, left_s)


def test_fail_says_when_the_circuit_opens() -> None:
    """True for each opening, so that each is logged once."""
    circuit = Circuit()
    assert [circuit.fail(POLICY, 0.0) for _ in range(5)] == [False, False, True, False, False]
    assert circuit.fail(POLICY, 5.0)


@given(st.lists(st.tuples(st.sampled_from([FAIL, LATE, OK]), st.floats(0.0, 100.0))))
def test_invariants(events: list[tuple[Fail | str, float]]) -> None:
    """A wait never exceeds the maximum, an open circuit always ends, and a success always closes it."""
    circuit, now = Circuit(), 0.0
    for event, passed_s in events:
        now += passed_s
        if isinstance(event, Fail):
            opened = circuit.fail(POLICY, now, is_probe=event.is_probe)
            assert not opened or circuit.state(now) is OPEN
            assert circuit.failures > 0
        else:
            circuit.succeed()
            assert (circuit.state(now), circuit.failures) == (CLOSED, 0)
        assert circuit.left_s(now) <= circuit.wait_s + 1e-6 <= POLICY.max_wait_s + 1e-6
        assert (circuit.state(now) is not CLOSED) <= (circuit.failures >= POLICY.opens_after)
        assert circuit.state(now + POLICY.max_wait_s + 1e-6) is not OPEN
