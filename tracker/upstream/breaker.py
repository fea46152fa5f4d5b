"""One circuit breaker per host, and one per provider behind it.

Owns the memory of which requests succeeded or failed. Must not send anything; the client asks before a request and
reports after it. The states and waits are those of `tracker.domain.circuit`.

A gateway is one host with many providers behind it. A 5xx is an answer, and one provider's maintenance must not stop
the others: it counts for the provider only. A request without an answer counts for both, so a provider that hangs opens
its own circuit before it delays its neighbours much. A 4xx is a success: the upstream works.

Half-open lets one request through and waits for its result. The providers take turns to probe: if the provider with the
most requests always probed, and it alone were broken, the host's circuit would never close. A paid create probes last:
without an answer, its outcome would stay unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from tracker.domain.circuit import Circuit, CircuitPolicy, CircuitState
from tracker.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.clock import Clock

log = get_logger(__name__)

POLICY = CircuitPolicy(opens_after=5, first_wait_s=5.0, max_wait_s=60.0)
PROBE_WITHIN_S = 20.0
"""The longest wait for a probe's result; then the next request probes as well."""
TURN_S = 5.0
"""The longest wait for the provider whose turn it is to probe; then any may."""
ASK_AGAIN_S = 2.0
"""When a rejected request asks again while another one probes."""


@dataclass(frozen=True, slots=True)
class UpstreamCircuit:
    """The circuit of a host or provider, for display.

    Attributes:
        provider: the provider behind the host; "" for the host itself.
        failures: in a row.
        retry_in_s: seconds until the next probe; None unless open.
        since: when it opened; None while closed.
    """

    host: str
    provider: str
    state: CircuitState
    failures: int
    retry_in_s: float | None
    since: datetime | None = None


class Admission(NamedTuple):
    """Permission to send one request to a provider behind a host; numbers are unique and rise."""

    host: str
    provider: str
    number: int


@dataclass(slots=True)
class _Upstream(Circuit):
    """The circuit of a host or of a provider behind it, and whose turn it is to probe.

    Attributes:
        since: when it opened.
        probe: number of the request that probes, 0 without one.
        probe_until: how long its result is waited for, monotonic seconds.
        queued: providers rejected since the last probe, which would send one.
        probed: provider -> number of its last probe.
    """

    since: datetime | None = None
    probe: int = 0
    probe_until: float = 0.0
    queued: set[str] = field(default_factory=set)
    probed: dict[str, int] = field(default_factory=dict)

    def may_probe(self, provider: str, now: float, *, paid: bool) -> bool:
        """Whether a request may probe now; a provider whose request may not is queued, unless it is paid."""
        if self.state(now) is CircuitState.HALF_OPEN and (not self.probe or now >= self.probe_until):
            is_turn = all(self.probed.get(provider, 0) <= self.probed.get(other, 0) for other in self.queued)
            if (is_turn and not paid) or self.state(now - TURN_S) is CircuitState.HALF_OPEN:
                return True
        if not paid:
            self.queued.add(provider)
        return False


class Breakers:
    """The circuit breakers of all hosts and providers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._circuits: dict[tuple[str, str], _Upstream] = {}
        """By host and provider; the host's own has the provider ""."""
        self._numbers = count(1)
        self._opened: dict[tuple[str, str], None] = {}
        self._worked: set[tuple[str, str]] = set()
        """(host, provider) pairs that have answered without a 5xx."""
        self._answered: dict[str, int] = {}
        """Host -> a number between those of requests sent before and after its last answer."""

    def admit(self, host: str, provider: str = "", *, paid: bool = False) -> Admission | None:
        """Permit a request to a provider behind a host, or return None if a circuit is open.

        The caller must report `succeeded`, `server_failed`, `failed` or `abandoned`: the request may be the probe.
        """
        if not self._circuits:  # nearly always
            return Admission(host, provider, next(self._numbers))
        now = self._clock.monotonic()
        troubled = [known for known in self._known(host, provider) if known.open_until is not None]
        answers = [known.may_probe(provider, now, paid=paid) for known in troubled]  # each circuit queues the provider
        if not all(answers):
            return None
        number = next(self._numbers)
        for known in troubled:
            known.probe, known.probe_until = number, now + PROBE_WITHIN_S
            known.probed[provider] = number
            known.queued.clear()  # a provider that still waits asks again before this probe ends
        return Admission(host, provider, number)

    def wait_s(self, host: str, provider: str = "") -> float:
        """Seconds after which a rejected request should ask again."""
        now = self._clock.monotonic()
        return max([ASK_AGAIN_S, *(known.left_s(now) for known in self._known(host, provider))])

    def is_open(self, host: str, provider: str = "", *, paid: bool = False) -> bool:
        """Whether `admit` would certainly return None now; rejected providers are queued for the next probe."""
        if not self._circuits:
            return False
        now = self._clock.monotonic()
        opened = [known for known in self._known(host, provider) if known.state(now) is CircuitState.OPEN]
        if not paid:
            for known in opened:
                known.queued.add(provider)
        return bool(opened)

    def succeeded(self, admission: Admission) -> None:
        """The upstream answered with anything but a 5xx."""
        self._answered[admission.host] = next(self._numbers)
        self._worked.add(admission[:2])
        if not self._circuits:
            return
        for key in _keys(admission.host, admission.provider):
            self._close(key)

    def server_failed(self, admission: Admission) -> None:
        """The upstream answered with a 5xx: the host works, the provider behind it does not."""
        self._answered[admission.host] = next(self._numbers)
        if admission.provider:
            self._close((admission.host, ""))
        self._fail((admission.host, admission.provider), admission)

    def failed(self, admission: Admission) -> None:
        """The upstream did not answer: no connection, a timeout, or a truncated answer.

        If the host has answered other requests since this one was sent, the failure counts for the provider only.
        """
        for key in _keys(admission.host, admission.provider):
            if key[1] == admission.provider or admission.number > self._answered.get(admission.host, 0):
                self._fail(key, admission)

    def abandoned(self, admission: Admission) -> None:
        """The request was canceled without a result; if it was the probe, the next request probes."""
        for known in self._known(admission.host, admission.provider):
            if known.probe == admission.number:
                known.probe = 0

    def circuit_of(self, host: str, provider: str = "") -> UpstreamCircuit:
        """The circuit that decides about a provider behind a host: the host's own unless that is closed."""
        now = self._clock.monotonic()
        for key in _keys(host, provider):
            known = self._circuits.get(key)
            if known is None or known.open_until is None:
                continue
            state = CircuitState.HALF_OPEN if known.probe else known.state(now)
            left_s = known.left_s(now) if state is CircuitState.OPEN else None
            return UpstreamCircuit(*key, state, known.failures, left_s, known.since)
        known = self._circuits.get((host, provider))
        return UpstreamCircuit(host, provider, CircuitState.CLOSED, 0 if known is None else known.failures, None)

    def list_open(self) -> list[UpstreamCircuit]:
        """Every circuit that is open or half-open."""
        now = self._clock.monotonic()
        return [
            UpstreamCircuit(*key, known.state(now), known.failures, known.left_s(now) or None, known.since)
            for key, known in self._circuits.items()
            if known.open_until is not None
        ]

    def has_worked(self, host: str, provider: str = "") -> bool:
        """Whether a host, or a provider behind it, has answered since the start."""
        return (host, provider) in self._worked if provider else host in self._answered

    def list_opened(self) -> dict[tuple[str, str], bool]:
        """(host, provider) of each circuit that has opened since the start -> whether it is open or half-open now."""
        return {key: key in self._circuits and self._circuits[key].open_until is not None for key in self._opened}

    def _known(self, host: str, provider: str) -> list[_Upstream]:
        return [known for key in _keys(host, provider) if (known := self._circuits.get(key)) is not None]

    def _close(self, key: tuple[str, str]) -> None:
        known = self._circuits.pop(key, None)
        if known is not None and known.open_until is not None:
            log.info("upstream.circuit_closed", host=key[0], provider=key[1] or None, failures=known.failures)

    def _fail(self, key: tuple[str, str], admission: Admission) -> None:
        known = self._circuits.setdefault(key, _Upstream())
        if not known.fail(POLICY, self._clock.monotonic(), is_probe=known.probe == admission.number):
            return
        known.probe = 0
        self._opened[key] = None
        known.since = known.since or self._clock.now()
        log.info(
            "upstream.circuit_opened",
            host=key[0],
            provider=key[1] or None,
            failures=known.failures,
            wait_s=known.wait_s,
        )


def _keys(host: str, provider: str) -> tuple[tuple[str, str], ...]:
    """The circuits that decide about a request: the host's, and the provider's behind it."""
    return ((host, ""), (host, provider)) if provider else ((host, ""),)
