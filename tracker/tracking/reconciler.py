"""The single entry for observations: callbacks, polls, submit responses, operator commands and the clock.

The store's row of the task is authoritative. It changes only inside `Store.apply`, in one transaction that also writes
the event and the outbox; the pure function `tracker.domain.judge` decides there, never from a copy read earlier.
"""

from __future__ import annotations

import asyncio
import random
from functools import cache
from operator import is_not
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from tracker.domain.durations import NOTHING_LEARNED, Durations
from tracker.domain.judge import judge
from tracker.domain.lenient_json.large import LARGE_BYTES
from tracker.domain.observation import Source
from tracker.domain.prices import Prices
from tracker.domain.schedule import PollPolicy, PollTiming
from tracker.domain.task import Reason
from tracker.logs import get_logger, written_together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tracker.domain.judge import Step
    from tracker.domain.observation import Observation
    from tracker.domain.task import Output, Task
    from tracker.logs import Redactor
    from tracker.store.protocol import Store
    from tracker.store.values import Applied

log = get_logger(__name__)

HEALTHY_AFTER = 3
"""After so many ends in a row that callbacks reported, the callbacks of a lane count as healthy."""


class CallbackHealth:
    """Counts, for each account and provider, the ends in a row that callbacks reported; polls are slower while they do.

    In memory only: after a restart the counts begin at zero, and until then polls run at full speed.
    """

    def __init__(self) -> None:
        self._streak: dict[tuple[str, str], int] = {}
        self.healthy: frozenset[tuple[str, str]] = frozenset()
        """(account, provider) pairs whose callbacks are healthy; never changed, only replaced: threads may read it."""

    def note_end(self, task: Task, source: Source) -> None:
        """Record which source reported the end of a task that expected a callback."""
        if not task.expects_callback or task.is_given_up or task.reason is Reason.NOT_FOUND:
            return  # the tracker's own decision does not concern callbacks
        lane = (task.account, task.provider)
        if source is Source.CALLBACK:
            self._streak[lane] = self._streak.get(lane, 0) + 1
            if self._streak[lane] == HEALTHY_AFTER:
                self.healthy |= {lane}
        elif source is Source.POLL:
            self._streak[lane] = 0
            if lane in self.healthy:
                log.warning("callbacks.missed", account=task.account, provider=task.provider, task=task.id)
                self.healthy -= {lane}


class _Judge(Struct, frozen=True):
    """Judges observations; see `tracker.domain.judge`. Immutable, since the store calls it on its writer thread.

    Attributes:
        durations: how long tasks usually take.
        healthy_lanes: the (account, provider) pairs whose callbacks are healthy.
        draw: numbers from 0 to 1 for jitter; called on the writer thread.
        prices: the price list as it is now; called on the writer thread.
    """

    policy_of: Callable[[str], PollPolicy]
    interval_of: Mapping[str, float]
    healthy_lanes: frozenset[tuple[str, str]]
    draw: Callable[[], float]
    prices: Callable[[], Prices]
    durations: Durations = NOTHING_LEARNED

    def __call__(self, task: Task, observation: Observation, seen: Callable[[str], bool]) -> tuple[Step, ...]:
        reading = observation.reading
        if (
            reading.status is not None
            and reading.status.is_terminal
            and reading.cost is None
            and (estimate := self.prices().estimate_result(task, reading)) is not None
        ):
            observation = replace(observation, reading=replace(reading, cost=estimate))
        timing = PollTiming(
            policy=self.policy_of(task.provider),
            suggested_interval_s=self.interval_of.get(task.route, 0.0),
            jitter=self.draw(),
            callbacks_healthy=task.expects_callback and (task.account, task.provider) in self.healthy_lanes,
            learned=self.durations,
        )
        return judge(task, observation, seen, timing)


class Reconciler:
    """Applies observations.

    Args:
        store: where tasks are stored.
        policy_of: the poll policy of a provider.
        interval_of: the poll interval that a route's contract suggests, seconds.
        redactor: masks secrets in upstream messages; a message about a rejected key may quote it.
        draw: numbers from 0 to 1 for jitter.
        prices: the price list as it is now, for tasks whose upstream does not say what they cost.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy_of: Callable[[str], PollPolicy],
        interval_of: Mapping[str, float],
        redactor: Redactor,
        draw: Callable[[], float] = random.random,
        prices: Callable[[], Prices] = Prices,
    ) -> None:
        self._store = store
        self._redactor = redactor
        self._health = CallbackHealth()
        self._judge = _Judge(cache(policy_of), interval_of, self._health.healthy, draw, prices)
        self.callbacks = 0
        """How many observations of callbacks came since the start."""
        store.subscribe_commits(self._note_ends)

    @property
    def durations(self) -> Durations:
        """How long tasks usually take, as it is known now."""
        return self._judge.durations

    @durations.setter
    def durations(self, durations: Durations) -> None:
        self._judge = replace(self._judge, durations=durations)

    def policy_of(self, provider: str) -> PollPolicy:
        """The poll policy of a provider."""
        return self._judge.policy_of(provider)

    def set_policies(self, policy_of: Callable[[str], PollPolicy]) -> None:
        """Replace the poll policies, from the next decision on each task."""
        self._judge = replace(self._judge, policy_of=cache(policy_of))

    def apply(self, observation: Observation) -> Awaitable[Applied]:
        """Apply one observation; its consequences are on disk when the awaitable is done.

        Raises:
            TaskNotFound: no task has this id.
            StoreUnavailable: nothing was written; the sender should try again.
        """
        if observation.source is Source.CALLBACK:
            self.callbacks += 1
        for output in observation.reading.outputs:
            if output.text is not None and len(output.text) > LARGE_BYTES:
                return self._apply_large(observation)
        return self._store.apply(self._masked(observation), self._judge)

    def _masked(self, observation: Observation) -> Observation:
        """The observation without secrets in its texts, which go to disk, to API clients and to hooks."""
        reading = observation.reading
        masked = reading
        error = reading.error
        if error is not None and (error.message or error.code):
            masked = replace(
                masked, error=replace(error, code=self._mask(error.code), message=self._mask(error.message))
            )
        if reading.detail is not None:
            masked = replace(masked, detail=self._redactor.text(reading.detail))
        if reading.usage is not None:
            masked = replace(masked, usage=self._redactor.json_text(reading.usage))
        if reading.status is None and reading.upstream_status is not None:  # a known status holds no secret
            masked = replace(masked, upstream_status=self._redactor.text(reading.upstream_status))
        outputs = tuple(map(self._masked_output, reading.outputs))
        if any(map(is_not, outputs, reading.outputs)):
            masked = replace(masked, outputs=outputs)
        return observation if masked is reading else replace(observation, reading=masked)

    def _mask(self, text: str | None) -> str | None:
        return text and self._redactor.text(text)

    def _masked_output(self, output: Output) -> Output:
        title = output.title and self._redactor.known_secrets(output.title)
        text = output.text and self._redactor.known_secrets(output.text)
        return output if title is output.title and text is output.text else replace(output, title=title, text=text)

    async def _apply_large(self, observation: Observation) -> Applied:
        """The same for long texts: masking them would block the event loop."""
        return await self._store.apply(await asyncio.to_thread(self._masked, observation), self._judge)

    def _note_ends(self, applied: Sequence[Applied]) -> None:
        with written_together():
            for change in applied:
                if change.ended_by is not None:
                    self._note_end(change.task, change.ended_by)
        if self._health.healthy is not self._judge.healthy_lanes:
            self._judge = replace(self._judge, healthy_lanes=self._health.healthy)

    def _note_end(self, task: Task, source: Source) -> None:
        self._health.note_end(task, source)
        log.info(
            "task.ended",
            task=task.id,
            provider=task.provider,
            status=task.status,
            reason=task.reason,
            source=source,
        )
