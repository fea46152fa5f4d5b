"""Which faults a request, a job and its callbacks get: by directive, else by chaos and dice.

Owns the decisions. Pure: rates, dice, script and counters in, a decision out. Must not answer, wait or
send anything. Every decision is keyed by the route and a counter that is the route's own, so traffic on
one route never changes the decider of another.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracker.sandbox.chaos import Chaos, CreateFault, GenerationFault, PollFault
from tracker.sandbox.dice import Dice
from tracker.sandbox.directives import Script

ONCE = frozenset({CreateFault.RATE_LIMITED, CreateFault.THROTTLED, CreateFault.UNAVAILABLE, CreateFault.MAINTENANCE})
"""Scripted refusals that hold for the first attempt only."""

# In the order in which the rates are tried: first what hits a request before it is read.
_CREATE_ORDER = (
    CreateFault.REFUSED,
    CreateFault.HANG,
    CreateFault.RATE_LIMITED,
    CreateFault.THROTTLED,
    CreateFault.UNAVAILABLE,
    CreateFault.MAINTENANCE,
    CreateFault.SERVER_ERROR,
    CreateFault.BAD_GATEWAY,
    CreateFault.ERROR_BODY,
    CreateFault.POLICY,
    CreateFault.QUOTA,
    CreateFault.CUT,
    CreateFault.GARBLED,
)

_FLAKY_CYCLE = (
    PollFault.BAD_GATEWAY,
    PollFault.EMPTY,
    PollFault.RATE_LIMITED,
    PollFault.NULL,
    PollFault.THROTTLED,
    PollFault.HTML,
    PollFault.SERVER_ERROR,
    PollFault.CUT,
)


@dataclass(frozen=True, slots=True)
class JobFate:
    """How an accepted job will go.

    Attributes:
        duration_s: From create to the final status, seconds.
        fault: How it fails, or None if it succeeds.
        holds: Whether it never finishes.
        strange: Whether it shows an undocumented status while it runs.
        url_missing: Whether its output is never shown.
        url_late: Whether its output is shown only after twice its duration.
    """

    duration_s: float
    fault: GenerationFault | None = None
    holds: bool = False
    strange: bool = False
    url_missing: bool = False
    url_late: bool = False


@dataclass(frozen=True, slots=True)
class CallbackFate:
    """How one callback arrives.

    Attributes:
        copies: How often it is sent, 0 when it is lost.
        delay_s: How long after its time it is sent, seconds.
    """

    copies: int = 1
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decider:
    """What decides about one create request and all that follows from it.

    Attributes:
        chaos: The rates; ignored if the prompt has a directive.
        dice: The seeded dice.
        script: The directives of the prompt.
        route: The route's name.
        nth: The ordinal number of the create request on its route, from 1.
    """

    chaos: Chaos
    dice: Dice
    script: Script
    route: str
    nth: int

    def decide_create(self, attempt: int) -> CreateFault | None:
        """Decide what goes wrong with the create request.

        Args:
            attempt: The ordinal number of the request among those with this body since one was accepted, from 1.
        """
        if self.script.scripted:
            over = self.script.create in ONCE and attempt > 1
            return None if over else self.script.create
        for fault in _CREATE_ORDER:
            if self._hits(self.chaos.rate("create", fault), f"create_{fault}"):
                return fault
        return None

    def decide_job(self, default_s: float) -> JobFate:
        """Decide how the accepted job goes.

        Args:
            default_s: The usual duration, seconds.
        """
        script = self.script
        if script.scripted:
            return JobFate(
                duration_s=default_s if script.duration_s is None else script.duration_s,
                fault=script.fail,
                holds=script.stage == "hold",
                strange=script.stage == "strange",
                url_missing=script.url == "missing",
                url_late=script.url == "late",
            )
        for fault in GenerationFault:
            if self._hits(self.chaos.rate("fail", fault), f"fail_{fault}"):
                return JobFate(default_s, fault)
        return JobFate(default_s, url_missing=self._hits(self.chaos.missing_url, "missing_url"))

    def decide_poll(self, poll: int) -> PollFault | None:
        """Decide what goes wrong with a poll.

        Args:
            poll: The ordinal number of the poll of this job, from 1.
        """
        if self.script.scripted:
            flaky = self.script.poll == "flaky" and poll % 2 == 1
            return _FLAKY_CYCLE[poll // 2 % len(_FLAKY_CYCLE)] if flaky else None
        for fault in PollFault:
            if self._hits(self.chaos.rate("poll", fault), f"poll_{fault}", poll):
                return fault
        return None

    def decide_callback(self, index: int) -> CallbackFate:
        """Decide how one callback of the job arrives.

        Args:
            index: Which stage of the job's timeline it announces.
        """
        if self._happens("lost", self.chaos.callback_lost, index):
            return CallbackFate(copies=0)
        return CallbackFate(
            copies=2 if self._happens("duplicate", self.chaos.callback_duplicate, index) else 1,
            delay_s=self.chaos.callback_late_s if self._happens("late", self.chaos.callback_late, index) else 0.0,
        )

    def decide_order(self) -> tuple[bool, bool]:
        """Decide whether the job's callbacks start early, and whether they come in reverse order."""
        return (
            self._happens("early", self.chaos.callback_early, 0),
            self._happens("reordered", self.chaos.callback_reordered, 0),
        )

    def _hits(self, rate: float, *key: str | int) -> bool:
        return self.dice.hits(rate, self.route, self.nth, *key)

    def _happens(self, name: str, rate: float, index: int) -> bool:
        if self.script.scripted:
            return name in self.script.callback
        return self._hits(rate, f"callback_{name}", index)


def decide_latency(chaos: Chaos, dice: Dice, route: str, count: int) -> float:
    """Decide how long a request waits before it is processed, seconds.

    Args:
        chaos: The rates. Latency is for all, scripted or not.
        dice: The seeded dice.
        route: The route's name or path.
        count: The ordinal number of the request on its route.
    """
    span = chaos.latency_max_s - chaos.latency_min_s
    return chaos.latency_min_s + span * dice.draw(route, count, "latency")
