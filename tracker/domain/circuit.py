"""A circuit breaker: stop asking what does not answer, then probe it from time to time.

Pure: monotonic seconds arrive as arguments. Who may send the probe is for the owner of the circuit.

::

    closed --opens_after failures in a row--> open --a wait, doubling--> half-open --success--> closed
                                               ^---------failure-----------'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CircuitState(StrEnum):
    """Whether requests are sent."""

    CLOSED = "closed"
    """Yes; the normal state."""
    OPEN = "open"
    """No, until the wait is over."""
    HALF_OPEN = "half-open"
    """One probe at a time."""


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """When a circuit opens, and for how long.

    Attributes:
        opens_after: failures in a row, 1 or more.
        first_wait_s, max_wait_s: bounds of the doubling wait.
    """

    opens_after: int
    first_wait_s: float
    max_wait_s: float


@dataclass(slots=True)
class Circuit:
    """The state of one circuit.

    Attributes:
        failures: in a row.
        wait_s: length of the current wait; 0 before the first.
        open_until: end of the current wait, monotonic seconds; None while closed.
    """

    failures: int = 0
    wait_s: float = 0.0
    open_until: float | None = None

    def state(self, now: float) -> CircuitState:
        """Its state at a monotonic time."""
        if self.open_until is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self.open_until else CircuitState.HALF_OPEN

    def left_s(self, now: float) -> float:
        """Seconds until the next probe; 0 unless open."""
        return 0.0 if self.open_until is None else max(self.open_until - now, 0.0)

    def fail(self, policy: CircuitPolicy, now: float, *, is_probe: bool = True, asked_s: float | None = None) -> bool:
        """Count a failure.

        Args:
            policy: when to open.
            now: monotonic seconds.
            is_probe: it may decide about a half-open circuit; False for a request sent before the circuit opened.
            asked_s: the wait that the other side asked for; opens the circuit at once.

        Returns:
            Whether the circuit opened, for the first time or again.
        """
        self.failures += 1
        asked_until = None if asked_s is None else now + asked_s
        state = self.state(now)
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and not is_probe):
            if asked_until is not None and self.open_until is not None:
                self.open_until = max(self.open_until, asked_until)
            return False
        if state is CircuitState.HALF_OPEN:
            self.wait_s = min(self.wait_s * 2, policy.max_wait_s) or policy.first_wait_s
        elif self.failures >= policy.opens_after:
            self.wait_s = policy.first_wait_s
        elif asked_until is None:
            return False
        self.open_until = max(now + self.wait_s, asked_until or 0.0)
        return True

    def succeed(self) -> None:
        """Close it and forget the failures."""
        self.failures, self.wait_s, self.open_until = 0, 0.0, None
