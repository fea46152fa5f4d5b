"""Rate limits and circuit breakers, on a manual clock."""

import asyncio
import heapq
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kits.clock import ManualClock
from tracker.domain.circuit import CircuitState
from tracker.upstream.breaker import PROBE_WITHIN_S, TURN_S, Admission, Breakers
from tracker.upstream.limits import RateLimits

START = datetime(2026, 11, 20, tzinfo=UTC)
HOST = "gateway.example"


class PacedLimits:
    """Limits whose waits advance the clock instead of sleeping."""

    def __init__(self, **rates: float) -> None:
        self.clock = ManualClock(START)
        self.waited: list[float] = []
        self.limits = RateLimits(rates, self.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(round(seconds, 6))
        self.clock.advance(seconds)


class VirtualTime:
    """Limits with concurrent waiters; time jumps from one wake-up to the next.

    Args:
        rate: of the one account.
        lateness: by how much each wake-up is late, seconds.
    """

    def __init__(self, rate: float, lateness: Iterator[float]) -> None:
        self.clock = ManualClock(START)
        self.limits = RateLimits({"a": rate}, self.clock, sleep=self._sleep)
        self.sent: list[float] = []
        self.asked: list[asyncio.Task[None]] = []
        self._lateness = lateness
        self._wakes: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    async def _sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at = self.clock.monotonic() + seconds + next(self._lateness)
        heapq.heappush(self._wakes, (at, next(self._numbers), wake))
        await wake

    def ask(self, times: int, within_s: float = 10.0) -> None:
        """Let that many requests ask for a slot."""
        self.asked += [asyncio.create_task(self._ask(within_s)) for _ in range(times)]

    async def _ask(self, within_s: float) -> None:
        if await self.limits.acquire("a", within_s):
            self.sent.append(self.clock.monotonic())

    async def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.monotonic() + seconds
        await self._settle()
        while self._wakes and self._wakes[0][0] <= end:
            at, _, wake = heapq.heappop(self._wakes)
            self.clock.advance(max(0.0, at - self.clock.monotonic()))
            wake.set_result(None)
            await self._settle()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))

    async def _settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Cancel the waiting requests."""
        for task in self.asked:
            task.cancel()

    @property
    def busiest_second(self) -> int:
        """The most requests in any second."""
        return max((bisect_left(self.sent, start + 1.0) - n for n, start in enumerate(self.sent)), default=0)


def most(rate: float) -> float:
    """The most requests that a second may have."""
    return max(1.1 * rate, math.ceil(rate))


async def test_spaces_requests_at_the_rate() -> None:
    """At two a second, requests are half a second apart, and never three in one second."""
    pace = PacedLimits(a=2.0)
    assert [await pace.limits.acquire("a", 10.0) for _ in range(4)] == [True] * 4
    assert pace.waited == [0.5, 0.52, 0.5]


async def test_sends_a_small_burst_at_once() -> None:
    """A twentieth of a second's requests may be sent at once; later ones follow the rate, two at a time."""
    pace = PacedLimits(a=100.0)
    for _ in range(9):
        await pace.limits.acquire("a", 10.0)
    assert pace.waited == [0.02, 0.02]


async def test_waiting_requests_are_sent_in_groups() -> None:
    """At a thousand a second, one wake-up serves twenty of them; none is lost to the longer wait."""
    time = VirtualTime(1000.0, cycle([0.0]))
    time.ask(500)
    await time.pass_by(0.41)
    groups = Counter(time.sent)
    assert set(list(groups.values())[1:]) == {20}
    assert len(time.sent) == 450, "those of the time that passed, and the burst of an idle account"
    time.stop()


@given(
    rate=st.sampled_from([0.5, 1.0, 1.5, 3.0, 9.0, 20.0, 33.3, 120.0]),
    lateness=st.lists(st.sampled_from([0.0, 0.001, 0.02, 0.3]), min_size=1, max_size=4),
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "pause"]), st.floats(0.0, 2.5), st.sampled_from([0.0, 0.1, 0.7, 5.0])),
        max_size=12,
    ),
)
def test_no_second_has_more_than_the_limit(
    rate: float, lateness: list[float], steps: list[tuple[str, float, float]]
) -> None:
    """Whatever is requested, paused, idle or late: no second has more than 1.1 times the rate (or one, below one)."""

    async def happen() -> None:
        time = VirtualTime(rate, cycle(lateness))
        for what, seconds, then_s in steps:
            if what == "ask":
                time.ask(math.ceil(seconds * rate))
            else:
                time.limits.pause("a", time.clock.monotonic() + seconds)
            await time.pass_by(then_s)
        await time.pass_by(3.0)
        time.stop()
        assert time.busiest_second <= most(rate)

    asyncio.run(happen())


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 20.0, 300.0, 5000.0])
async def test_constant_requests_get_the_rate(rate: float) -> None:
    """Although every wake-up is a millisecond late, nearly the full rate is sent, and no second has more."""
    time = VirtualTime(rate, cycle([0.001]))
    for _ in range(16):
        time.ask(math.ceil(rate / 4), within_s=60.0)
        await time.pass_by(0.25)
    time.stop()
    assert len(time.sent) >= 0.95 * rate * 4 - 1
    assert time.busiest_second <= most(rate)


async def test_a_canceled_request_uses_no_slot() -> None:
    """A request that is canceled while it waits uses no slot; the next one gets it."""
    time = VirtualTime(1.0, cycle([0.0]))
    time.ask(3)
    await time.pass_by(0.1)
    time.asked[1].cancel()
    await time.pass_by(1.0)
    assert time.sent == [0.0, 1.02]
    assert time.asked[2].done()


async def test_a_long_pause_rejects_waiting_requests() -> None:
    """The others follow at the rate, not all at once."""
    time = VirtualTime(10.0, cycle([0.0]))
    time.ask(3, within_s=2.0)
    time.ask(3, within_s=9.0)
    await time.pass_by(0.01)
    time.limits.pause("a", 5.0)
    await time.pass_by(0.0)
    assert [task.done() for task in time.asked] == [True] * 3 + [False] * 3
    await time.pass_by(9.0)
    assert [round(at, 6) for at in time.sent] == [0.0, 5.0, 5.1, 5.2]


async def test_rejects_at_once_without_a_slot_in_time() -> None:
    """A request that would wait too long is rejected at once and uses no slot."""
    pace = PacedLimits(a=0.1)
    assert await pace.limits.acquire("a", 1.0)
    assert not await pace.limits.acquire("a", 1.0)
    assert pace.waited == []
    pace.clock.advance(10.0)
    assert await pace.limits.acquire("a", 0.0)


async def test_accounts_do_not_slow_each_other() -> None:
    """Each account has its own limit."""
    pace = PacedLimits(a=1.0, b=1.0)
    assert await pace.limits.acquire("a", 0.0)
    assert await pace.limits.acquire("b", 0.0)
    assert not await pace.limits.acquire("a", 0.0)


async def test_nothing_is_sent_during_a_pause() -> None:
    """A pause stops the account; afterwards it continues at its rate."""
    pace = PacedLimits(a=10.0)
    pace.limits.pause("a", pace.clock.monotonic() + 5.0)
    assert pace.limits.free_within("a", 0.0) == 0
    assert pace.limits.paused_until("a") == 5.0
    assert not await pace.limits.acquire("a", 4.0)
    assert await pace.limits.acquire("a", 6.0)
    assert await pace.limits.acquire("a", 6.0)
    assert pace.waited == [5.0, 0.1]
    assert pace.limits.paused_until("a") is None


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """Of two pauses, the later end applies."""
    pace = PacedLimits(a=1.0)
    pace.limits.pause("a", 9.0)
    pace.limits.pause("a", 3.0)
    assert pace.limits.paused_until("a") == 9.0


async def test_a_pause_applies_to_waiting_requests() -> None:
    """A request that waits when a pause begins waits on, or is rejected if the pause is too long."""
    clock = ManualClock(START)
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(round(seconds, 6))
        clock.advance(seconds)
        if len(naps) == 1:
            limits.pause("a", clock.monotonic() + 2.0)

    limits = RateLimits({"a": 2.0}, clock, sleep=sleep)
    assert await limits.acquire("a", 5.0)
    assert await limits.acquire("a", 5.0)
    assert naps == [0.5, 2.0]
    naps.clear()
    clock.advance(10.0)
    assert await limits.acquire("a", 1.0)
    assert not await limits.acquire("a", 1.0), "the pause ends too late for this one"


@pytest.mark.parametrize("rate", [0.5, 1.0, 7.0, 20.0, 50.0, 333.0])
@pytest.mark.parametrize("taken", [0, 1, 3, 40])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
async def test_free_slots_can_be_acquired(rate: float, taken: int, seconds: float) -> None:
    """As many requests as were reported free get a slot, and hardly more."""
    pace = PacedLimits(a=rate)
    for _ in range(taken):
        await pace.limits.acquire("a", 0.2)
    promised = pace.limits.free_within("a", seconds)
    end = pace.clock.monotonic() + seconds
    got = 0
    while await pace.limits.acquire("a", end - pace.clock.monotonic()):
        got += 1
    assert promised <= got <= promised + 1


async def test_a_new_rate_applies() -> None:
    """The rates are read at each call: a reload changes the mapping."""
    rates = {"a": 1.0}
    limits = RateLimits(rates, ManualClock(START))
    assert limits.free_within("a", 1.0) == 1
    rates["a"] = 5.0
    assert limits.free_within("a", 1.0) == 5


async def test_a_higher_rate_ends_long_waits() -> None:
    """A reload that raises a slow rate shortens the wait of waiting and later requests."""
    rates, clock, waited = {"a": 0.01}, ManualClock(START), []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.advance(seconds)
        rates["a"] = 10.0

    limits = RateLimits(rates, clock, sleep=sleep)
    assert await limits.acquire("a", 0.0)
    assert await limits.acquire("a", 200.0)
    assert sum(waited) <= 1.2
    rates["a"] = 0.01
    clock.advance(100.0)
    assert await limits.acquire("a", 0.0)
    rates["a"] = 10.0
    assert await limits.acquire("a", 1.2)
    assert limits.free_within("a", 0.5) >= 4


async def test_a_removed_account_gets_a_slow_rate() -> None:
    """Tasks outlive their account's configuration; polling them must not fail."""
    limits = RateLimits({}, ManualClock(START))
    assert limits.free_within("gone", 0.0) == 1
    assert await limits.acquire("gone", 0.0)
    assert limits.free_within("gone", 0.0) == 0


async def test_waits_by_the_event_loop_by_default() -> None:
    """A wait yields to the event loop."""
    from tracker.clock import SystemClock

    limits = RateLimits({"a": 500.0}, SystemClock())
    async with asyncio.timeout(5):
        assert all([await limits.acquire("a", 1.0) for _ in range(60)])


# -- circuit breakers ----------------------------------------------------------------------------------------


def fail(breakers: Breakers, times: int, provider: str = "") -> None:
    """Admit requests that get no answer."""
    for _ in range(times):
        breakers.failed(admitted(breakers, provider))


def admitted(breakers: Breakers, provider: str = "", *, paid: bool = False) -> Admission:
    """An admission that is expected to be granted."""
    admission = breakers.admit(HOST, provider, paid=paid)
    assert admission is not None
    return admission


def test_opens_after_five_failures_in_a_row() -> None:
    """The fifth failure opens the circuit for five seconds."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 4)
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED
    clock.advance(1.0)
    fail(breakers, 1)
    state = breakers.circuit_of(HOST)
    assert (state.state, state.failures, state.retry_in_s) == (CircuitState.OPEN, 5, 5.0)
    assert state.since == clock.now()
    assert breakers.admit(HOST) is None
    assert breakers.is_open(HOST)
    assert breakers.admit("elsewhere.example") is not None
    clock.advance(5.0)
    fail(breakers, 1)
    assert breakers.circuit_of(HOST).since == state.since, "since it opened first"


def test_an_answer_resets_the_failures() -> None:
    """Failures must come in a row."""
    breakers = Breakers(ManualClock(START))
    fail(breakers, 4)
    breakers.succeeded(admitted(breakers))
    fail(breakers, 4)
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED


def test_server_errors_of_one_provider_do_not_stop_the_others() -> None:
    """A 5xx is an answer: the host works, and its other providers are called as before."""
    breakers = Breakers(ManualClock(START))
    for _ in range(5):
        breakers.server_failed(admitted(breakers, "kling"))
    assert breakers.admit(HOST, "kling") is None
    state = breakers.circuit_of(HOST, "kling")
    assert (state.state, state.provider, state.failures) == (CircuitState.OPEN, "kling", 5)
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED
    assert breakers.circuit_of(HOST, "suno").state is CircuitState.CLOSED
    assert breakers.admit(HOST, "suno") is not None


def test_a_server_error_is_not_a_failure_of_the_host() -> None:
    """Like any answer, it resets the host's failures."""
    breakers = Breakers(ManualClock(START))
    fail(breakers, 4, "suno")
    breakers.server_failed(admitted(breakers, "kling"))
    fail(breakers, 1, "kling")
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED


def test_simultaneous_timeouts_of_one_provider_do_not_stop_the_others() -> None:
    """The host has answered others since they were sent: only the provider fails."""
    breakers = Breakers(ManualClock(START))
    hanging = [admitted(breakers, "kling") for _ in range(40)]
    breakers.succeeded(admitted(breakers, "openai"))
    for admission in hanging:
        breakers.failed(admission)
    assert breakers.circuit_of(HOST, "kling").provider == "kling"
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED
    assert breakers.admit(HOST, "openai") is not None
    fail(breakers, 5, "openai")
    assert breakers.circuit_of(HOST).state is CircuitState.OPEN, "failures after its last answer count"


def test_failures_of_a_host_stop_every_provider() -> None:
    """Whichever provider they belong to."""
    breakers = Breakers(ManualClock(START))
    for provider in ("suno", "kling", "suno", "kling", "suno"):
        fail(breakers, 1, provider)
    assert breakers.admit(HOST, "dashscope") is None
    state = breakers.circuit_of(HOST, "dashscope")
    assert (state.state, state.provider) == (CircuitState.OPEN, "")


def test_the_circuit_of_a_provider_stays_open_when_its_host_recovers() -> None:
    """Another provider's answer closes the host's circuit, not that of the provider without answers."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5, "kling")
    clock.advance(5.0)
    fail(breakers, 1, "kling")
    assert breakers.admit(HOST, "suno") is None
    clock.advance(5.0)
    assert breakers.admit(HOST, "suno") is None
    clock.advance(5.0)
    breakers.succeeded(admitted(breakers, "suno"))
    assert breakers.circuit_of(HOST, "suno").state is CircuitState.CLOSED
    assert breakers.circuit_of(HOST, "kling").state is CircuitState.HALF_OPEN
    fail(breakers, 1, "kling")
    assert breakers.admit(HOST, "kling") is None
    assert breakers.admit(HOST, "suno") is not None


def test_half_open_lets_one_probe_through() -> None:
    """After the wait one request probes, the others wait for its result, and an answer closes the circuit."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.advance(5.0)
    assert breakers.circuit_of(HOST).state is CircuitState.HALF_OPEN
    probe = admitted(breakers)
    assert breakers.admit(HOST) is None
    breakers.succeeded(probe)
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED
    assert breakers.admit(HOST) is not None


@pytest.mark.parametrize("asks_while_open", [True, False])
def test_providers_take_turns_to_probe(asks_while_open: bool) -> None:
    """The provider that probed last lets queued providers probe first, however early it asks."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5, "kling")
    clock.advance(5.0)
    probe = admitted(breakers, "kling")
    if asks_while_open:
        breakers.failed(probe)
        assert breakers.is_open(HOST, "suno")
    else:
        assert breakers.admit(HOST, "suno") is None
        breakers.failed(probe)
    clock.advance(10.0)
    assert breakers.admit(HOST, "kling") is None
    breakers.succeeded(admitted(breakers, "suno"))


def test_an_unused_turn_passes() -> None:
    """A queued provider that no longer asks does not block the others for long."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5, "kling")
    assert breakers.is_open(HOST, "suno")
    clock.advance(5.0)
    fail(breakers, 1, "kling")
    assert breakers.is_open(HOST, "suno")
    clock.advance(10.0)
    assert breakers.admit(HOST, "kling") is None
    clock.advance(TURN_S)
    assert breakers.admit(HOST, "kling") is not None


def test_a_paid_create_probes_only_if_no_poll_does() -> None:
    """Without an answer its outcome would stay unknown; it probes only if no poll does."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5, "kling")
    clock.advance(5.0)
    assert breakers.admit(HOST, "kling", paid=True) is None
    assert breakers.wait_s(HOST, "kling") > 0
    clock.advance(TURN_S)
    assert breakers.admit(HOST, "kling", paid=True) is not None


def test_a_slow_probe_does_not_keep_the_circuit_open() -> None:
    """A create may take minutes: after a while the next request probes too, and its result counts."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.advance(5.0 + TURN_S)
    slow = admitted(breakers, paid=True)
    clock.advance(PROBE_WITHIN_S - 1)
    assert breakers.admit(HOST) is None
    clock.advance(1.0)
    probe = admitted(breakers)
    assert breakers.admit(HOST) is None
    breakers.failed(slow)
    assert breakers.circuit_of(HOST).state is CircuitState.HALF_OPEN, (
        "its result is no longer waited for, so it changes nothing"
    )
    breakers.succeeded(probe)
    assert breakers.circuit_of(HOST).state is CircuitState.CLOSED


def test_failed_probes_double_the_wait_up_to_a_minute() -> None:
    """5, 10, 20, 40, 60, 60 seconds."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5)
    waits = []
    for _ in range(6):
        wait_s = breakers.circuit_of(HOST).retry_in_s
        assert wait_s is not None
        assert wait_s == breakers.wait_s(HOST)
        waits.append(wait_s)
        clock.advance(wait_s)
        fail(breakers, 1)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_late_failure_of_an_older_request_changes_nothing() -> None:
    """Requests sent before the circuit opened neither lengthen its wait nor end a probe."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    older = admitted(breakers)
    fail(breakers, 5)
    breakers.failed(older)
    assert breakers.circuit_of(HOST).retry_in_s == 5.0
    clock.advance(5.0)
    probe = admitted(breakers)
    breakers.failed(older)
    breakers.abandoned(older)
    assert breakers.admit(HOST) is None, "the probe is still under way"
    breakers.failed(probe)
    assert breakers.circuit_of(HOST).retry_in_s == 10.0


def test_an_abandoned_probe_allows_the_next() -> None:
    """A canceled probe has no result and must not keep the circuit open."""
    clock = ManualClock(START)
    breakers = Breakers(clock)
    fail(breakers, 5)
    clock.advance(5.0)
    breakers.abandoned(admitted(breakers))
    assert breakers.admit(HOST) is not None
