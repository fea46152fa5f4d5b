"""What is under way: claimed deliveries begun, ended, given a successor, or handed back.

Owns the tasks of the deliveries. Must not look for work; the dispatcher does, and is told where a look is worth it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tracker.config.hooks import HookSpec
from tracker.hooks.delivery import Delivery
from tracker.hooks.health import HealthBook
from tracker.hooks.runner import Runner, RunOutcome, RunResult
from tracker.hooks.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.clock import Clock
    from tracker.store.protocol import Store
    from tracker.store.values import DeliveryJob


class Runs:
    """The deliveries under way.

    Args:
        store: where results are kept.
        runners: one per kind of hook.
        clock: the source of time.
        draw: numbers from 0 to 1 for the jitter.
        redact: masks secrets in what hooks print or answer.
        health: is told how runs ended.
        slots: who may begin a run.
        on_room: told the name of a hook for which a look is worth it.
    """

    def __init__(
        self,
        store: Store,
        runners: Mapping[str, Runner],
        clock: Clock,
        *,
        draw: Callable[[], float],
        redact: Callable[[str], str],
        health: HealthBook,
        slots: Slots,
        on_room: Callable[[str], None],
    ) -> None:
        self._store = store
        self._runners = runners
        self._clock = clock
        self._draw = draw
        self._redact = redact
        self._health = health
        self._slots = slots
        self._on_room = on_room
        self._hooks: Mapping[str, HookSpec] = {}
        self._under_way: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._to_hand_back: list[DeliveryJob] = []
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def ids(self) -> list[str]:
        """The deliveries under way."""
        return list(self._under_way)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Their tasks; none raises anything."""
        return [task for _, task in self._under_way.values()]

    def set_hooks(self, hooks: Mapping[str, HookSpec]) -> None:
        """Go on with these hooks; what was claimed ahead under the old ones is to be handed back."""
        changed = [name for name, spec in self._hooks.items() if hooks.get(name) is not spec]
        self._hooks = hooks
        self._slots.share_among(len(hooks))
        for name in changed:
            self._withdraw(name)

    def take(self, spec: HookSpec, jobs: Sequence[DeliveryJob]) -> None:
        """Take claimed jobs of a hook and begin as many as have a slot."""
        self._slots.put(job for job in jobs if not self._is_under_way(job))
        if self._is_stopping or self._hooks.get(spec.name) is not spec:
            self._withdraw(spec.name)  # it changed while the store was asked
        self._begin_ready(spec)

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopping = True
        self._to_hand_back += self._slots.withdraw()

    def cut_short(self) -> None:
        """End all runs; their deliveries become pending at once."""
        for delivery, _ in self._under_way.values():
            delivery.cut_short()

    async def hand_back(self) -> None:
        """Make jobs that were claimed ahead and are not wanted pending again, as if they had not been claimed.

        Raises:
            StoreUnavailable: that could not be kept; at the end of their leases they are claimed again.
        """
        if self._to_hand_back:
            jobs, self._to_hand_back = self._to_hand_back, []
            await self._store.hand_back([(job.id, job.attempt) for job in jobs])

    def _withdraw(self, hook: str) -> None:
        jobs = self._slots.withdraw(hook)
        if jobs:
            self._to_hand_back += jobs
            self._on_room(hook)

    def _is_under_way(self, job: DeliveryJob) -> bool:
        """Whether a job that was claimed runs already: its lease ran out, perhaps while its result cannot be kept."""
        known = self._under_way.get(job.id)
        if known is None:
            return False
        known[0].claimed_again(job.attempt)
        return True

    def _begin_ready(self, spec: HookSpec) -> None:
        """Begin what was claimed of a hook, as far as it has free slots."""
        while not self._is_stopping and self._slots.free(spec) > 0:
            job = self._slots.next_ready(spec.name)
            if job is None:
                return
            self._begin(job, spec)

    def _begin(self, job: DeliveryJob, spec: HookSpec) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        self._slots.take(spec.name)

        def ran(result: RunResult | None) -> None:
            self._slots.give_back(spec.name, loop.time() - begun_at)
            if result is not None:
                self._note(spec, result)
            current = self._hooks.get(spec.name)
            if current is None:
                return
            self._begin_ready(current)
            # What this run leaves in the store is handed to the writer before the look that follows asks it: the
            # next event of the same task is found.
            if self._slots.is_low(current):
                self._on_room(spec.name)

        def finish(_: asyncio.Task[None]) -> None:
            del self._under_way[job.id]
            if delivery.was_delayed:
                self._on_room(spec.name)

        runner = self._runners[spec.action.kind]
        delivery = Delivery(
            job,
            spec,
            runner,
            store=self._store,
            clock=self._clock,
            draw=self._draw,
            redact=self._redact,
            on_ran=ran,
        )
        task = delivery.begin()
        self._under_way[job.id] = delivery, task
        task.add_done_callback(finish)

    def _note(self, spec: HookSpec, result: RunResult) -> None:
        """Take in how a run ended, unless its hook was changed meanwhile; who is left alone has nothing at hand."""
        if self._hooks.get(spec.name) is not spec:
            return
        self._health.note(spec, result)
        if result.outcome is RunOutcome.GONE or self._health.admits(spec.name, 0) is not None:
            self._withdraw(spec.name)
            self._on_room(spec.name)
