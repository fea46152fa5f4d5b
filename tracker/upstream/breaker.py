"""Leaves an upstream alone that does not answer: one circuit breaker per host.

Owns the memory of who answered lately. Must not send anything; the client asks before and reports after.

::

    closed --5 failures in a row--> open --5 s, doubling to 60 s--> half-open --an answer--> closed
                                      ^------------no answer-----------'

Half-open lets one request through and waits for its fate. Only silence and 5xx are failures: who refuses a
request with a 4xx is alive.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tracker.logs import get_logger

if TYPE_CHECKING:
    from tracker.clock import Clock

log = get_logger(__name__)

OPENS_AFTER = 5
FIRST_WAIT_S = 5.0
MAX_WAIT_S = 60.0


class Circuit(StrEnum):
    """Whether a host is asked."""

    CLOSED = "closed"
    """It is; the ordinary state."""
    OPEN = "open"
    """It is not, until its wait is over."""
    HALF_OPEN = "half-open"
    """One request may try, or is trying."""


@dataclass(frozen=True, slots=True)
class CircuitState:
    """Where a host stands, for people.

    Attributes:
        failures: how many came in a row.
        retry_in_s: seconds until it is tried again; None unless open.
    """

    host: str
    circuit: Circuit
    failures: int
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to send one request to a host."""

    host: str
    is_probe: bool


@dataclass(slots=True)
class _Host:
    """What is remembered of a host; ``open_until`` in monotonic seconds, None while closed."""

    failures: int = 0
    wait_s: float = 0.0
    open_until: float | None = None
    probing: bool = False


class Breakers:
    """The circuit breakers of all hosts.

    Args:
        clock: only its monotonic time is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)

    def admit(self, host: str) -> Admission | None:
        """Ask whether a request may go to a host now; None when it may not.

        Who was let in must report `succeeded`, `failed` or `abandoned`: it may be the one probe.
        """
        known = self._hosts[host]
        if known.open_until is None:
            return Admission(host, is_probe=False)
        if known.probing or self._clock.monotonic() < known.open_until:
            return None
        known.probing = True
        return Admission(host, is_probe=True)

    def succeeded(self, admission: Admission) -> None:
        """It answered, with anything but a 5xx."""
        known = self._hosts.pop(admission.host, None)
        if known is not None and known.open_until is not None:
            log.info("upstream.recovered", host=admission.host, failures=known.failures)

    def failed(self, admission: Admission) -> None:
        """It did not answer, or with a 5xx."""
        known = self._hosts[admission.host]
        known.failures += 1
        if admission.is_probe:
            known.wait_s = min(known.wait_s * 2, MAX_WAIT_S)
        elif known.open_until is None and known.failures >= OPENS_AFTER:
            known.wait_s = FIRST_WAIT_S
        else:
            return  # too few yet, or it left before the circuit opened and says nothing new
        known.probing = False
        known.open_until = self._clock.monotonic() + known.wait_s
        log.warning("upstream.left_alone", host=admission.host, failures=known.failures, wait_s=known.wait_s)

    def abandoned(self, admission: Admission) -> None:
        """It was given up before anything was learnt; if it was the probe, the next request probes."""
        if admission.is_probe:
            self._hosts[admission.host].probing = False

    def state(self, host: str) -> CircuitState:
        """Where a host stands now."""
        known = self._hosts[host]
        if known.open_until is None:
            return CircuitState(host, Circuit.CLOSED, known.failures, None)
        left_s = known.open_until - self._clock.monotonic()
        if known.probing or left_s <= 0:
            return CircuitState(host, Circuit.HALF_OPEN, known.failures, None)
        return CircuitState(host, Circuit.OPEN, known.failures, left_s)
