"""Leaves an upstream alone that does not answer: one circuit breaker per host, and one per family of routes behind it.

Owns the memory of who answered lately. Must not send anything; the client asks before and reports after.

::

    closed --5 failures in a row--> open --5 s, doubling to 60 s--> half-open --an answer--> closed
                                      ^------------no answer-----------'

A gateway is one host with many providers behind it. Only silence says something about the host: a 5xx is an answer,
and one provider's maintenance must not stop the others. So a 5xx counts for the family that was asked, silence for
both: a family that hangs is left alone itself before it costs its neighbours more than a moment. Who refuses a request
with a 4xx is alive.

Half-open lets one request through and waits for its fate, for a while. The families take turns: were it always the one
with most to ask, and it alone were broken, the host would never be found well. A paid create goes last: silence would
leave it unclear for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

from tracker.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock

log = get_logger(__name__)

OPENS_AFTER = 5
FIRST_WAIT_S = 5.0
MAX_WAIT_S = 60.0
PROBE_WITHIN_S = 20.0
"""A probe that has learnt nothing by then is not waited for any longer: the next request probes as well."""
TURN_S = 5.0
"""So long whose turn it is to probe is waited for, before anybody may."""
ASK_AGAIN_S = 2.0
"""When to ask again for leave, while somebody else's probe is under way."""


class Circuit(StrEnum):
    """Whether an upstream is asked."""

    CLOSED = "closed"
    """It is; the ordinary state."""
    OPEN = "open"
    """It is not, until its wait is over."""
    HALF_OPEN = "half-open"
    """One request may try, or is trying."""


@dataclass(frozen=True, slots=True)
class CircuitState:
    """Where an upstream stands, for people.

    Attributes:
        family: of routes behind the host that is meant; "" for the host itself.
        failures: how many came in a row.
        retry_in_s: seconds until it is tried again; None unless open.
        since: when it began to be left alone; None while closed.
    """

    host: str
    family: str
    circuit: Circuit
    failures: int
    retry_in_s: float | None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to send one request to a family behind a host.

    Attributes:
        number: another one for each.
    """

    host: str
    family: str
    number: int


@dataclass(slots=True)
class _Circuit:
    """What is remembered of a host or of a family behind it.

    Attributes:
        failures: in a row.
        wait_s: how long it is left alone, this time.
        open_until: monotonic seconds, None while closed.
        since: when it opened.
        probe: number of the request that probes, 0 while none does.
        probe_until: how long that one is waited for, monotonic seconds.
        turned_away: families that were refused since the last probe, and would send one.
        probed: family -> number of its last probe.
    """

    failures: int = 0
    wait_s: float = 0.0
    open_until: float | None = None
    since: datetime | None = None
    probe: int = 0
    probe_until: float = 0.0
    turned_away: set[str] = field(default_factory=set)
    probed: dict[str, int] = field(default_factory=dict)

    def is_turn_of(self, family: str) -> bool:
        """Whether no other that waits has probed less lately."""
        return all(self.probed.get(family, 0) <= self.probed.get(other, 0) for other in self.turned_away)


class Breakers:
    """The circuit breakers of all hosts and families.

    Args:
        clock: waits go by its monotonic time; the other is for people.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._circuits: dict[tuple[str, str], _Circuit] = {}
        """By host and family; the host's own has the family ""."""
        self._numbers = count(1)
        self._answered: dict[str, int] = {}
        """Host -> a number between those of requests sent before and after its last answer."""

    def admit(self, host: str, family: str = "", *, paid: bool = False) -> Admission | None:
        """Ask whether a request may go to a family behind a host now; None when it may not.

        Who was let in must report `succeeded`, `erred`, `failed` or `abandoned`: it may be the one probe.
        """
        now = self._clock.monotonic()
        troubled = [
            known
            for key in _keys(host, family)
            if (known := self._circuits.get(key)) is not None and known.open_until is not None
        ]
        answers = [self._may_probe(known, family, now, paid=paid) for known in troubled]  # each is to know who asked
        if not all(answers):
            return None
        number = next(self._numbers)
        for known in troubled:
            known.probe, known.probe_until = number, now + PROBE_WITHIN_S
            known.probed[family] = number
            known.turned_away.clear()  # who still waits asks again before it is over
        return Admission(host, family, number)

    def _may_probe(self, known: _Circuit, family: str, now: float, *, paid: bool) -> bool:
        is_over = known.open_until is None or now >= known.open_until
        is_free = not known.probe or now >= known.probe_until
        turn_is_over = known.open_until is None or now >= known.open_until + TURN_S
        if is_over and is_free and (turn_is_over or (not paid and known.is_turn_of(family))):
            return True
        if not paid:
            known.turned_away.add(family)
        return False

    def wait_s(self, host: str, family: str = "") -> float:
        """Seconds after which a request that was not let in should ask again."""
        now = self._clock.monotonic()
        circuits = [known for key in _keys(host, family) if (known := self._circuits.get(key)) is not None]
        return max([ASK_AGAIN_S, *(known.open_until - now for known in circuits if known.open_until is not None)])

    def refuses(self, host: str, family: str = "", *, paid: bool = False) -> bool:
        """Whether a request surely would not be let in now; who is turned away has a turn when it comes to probe."""
        now = self._clock.monotonic()
        refused = False
        for key in _keys(host, family):
            known = self._circuits.get(key)
            if known is not None and known.open_until is not None and now < known.open_until:
                refused = True
                if not paid:
                    known.turned_away.add(family)
        return refused

    def succeeded(self, admission: Admission) -> None:
        """It was answered, with anything but a 5xx."""
        self._answered[admission.host] = next(self._numbers)
        for key in _keys(admission.host, admission.family):
            self._close(key)

    def erred(self, admission: Admission) -> None:
        """It was answered with a 5xx: the host is there, the family behind it is in trouble."""
        self._answered[admission.host] = next(self._numbers)
        if admission.family:
            self._close((admission.host, ""))
        self._fail((admission.host, admission.family), admission)

    def failed(self, admission: Admission) -> None:
        """It was not answered: no connection, nothing in time, or an answer cut short.

        Where the host has answered others since it was sent, that says something of its family alone.
        """
        for key in _keys(admission.host, admission.family):
            if key[1] == admission.family or admission.number > self._answered.get(admission.host, 0):
                self._fail(key, admission)

    def abandoned(self, admission: Admission) -> None:
        """It was given up before anything was learnt; if it was the probe, the next request probes."""
        for key in _keys(admission.host, admission.family):
            known = self._circuits.get(key)
            if known is not None and known.probe == admission.number:
                known.probe = 0

    def state(self, host: str, family: str = "") -> CircuitState:
        """Where a family behind a host stands now: as the host does, if that is left alone as a whole."""
        for key in _keys(host, family):
            known = self._circuits.get(key)
            if known is None or known.open_until is None:
                continue
            left_s = known.open_until - self._clock.monotonic()
            if known.probe or left_s <= 0:
                return CircuitState(*key, Circuit.HALF_OPEN, known.failures, None, known.since)
            return CircuitState(*key, Circuit.OPEN, known.failures, left_s, known.since)
        known = self._circuits.get((host, family))
        return CircuitState(host, family, Circuit.CLOSED, 0 if known is None else known.failures, None)

    def _close(self, key: tuple[str, str]) -> None:
        known = self._circuits.pop(key, None)
        if known is not None and known.open_until is not None:
            log.info("upstream.recovered", host=key[0], family=key[1] or None, failures=known.failures)

    def _fail(self, key: tuple[str, str], admission: Admission) -> None:
        known = self._circuits.setdefault(key, _Circuit())
        known.failures += 1
        if known.open_until is not None:
            if known.probe != admission.number:
                return  # it left before the circuit opened, or another probes by now: it says nothing new
            known.wait_s = min(known.wait_s * 2, MAX_WAIT_S)
        elif known.failures >= OPENS_AFTER:
            known.wait_s = FIRST_WAIT_S
            known.since = self._clock.now()
        else:
            return  # too few yet
        known.probe = 0
        known.open_until = self._clock.monotonic() + known.wait_s
        log.warning(
            "upstream.left_alone",
            host=key[0],
            family=key[1] or None,
            failures=known.failures,
            wait_s=known.wait_s,
        )


def _keys(host: str, family: str) -> tuple[tuple[str, str], ...]:
    """What concerns a request: the host, and the family behind it."""
    return ((host, ""), (host, family)) if family else ((host, ""),)
