"""Slots of accounts: creates above ``max_in_flight`` wait, and are sent in their order as slots become free.

Owns which accounts have creates that wait, and when they are claimed. The store decides who waits and who is next, so
that the limit also holds for several processes. Must not send anything.

A slot becomes free when a task ends or its create is put off, which this process sees in its own commits. What happens
beside them (another process, a failed claim) is found by the sweep.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tracker.domain.task import SubmitState
from tracker.errors import StoreError
from tracker.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tracker.domain.task import Task
    from tracker.store.protocol import Store
    from tracker.store.values import Applied

log = get_logger(__name__)

LEASE_S = 60.0
"""From the claim of a create to its attempt; it may have to wait for a slot of the sends."""
LOOK_AGAIN_S = 60.0
"""Creates that wait because of other processes are looked for this often."""


class AccountSlots:
    """Knows which accounts have creates that wait for a slot, and starts those whose slot is free.

    Args:
        store: holds the creates.
        limits: account -> its ``max_in_flight``; an account without a limit is not in it. Read at each use.
        monotonic: seconds.
    """

    def __init__(self, store: Store, limits: Mapping[str, int], monotonic: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._monotonic = monotonic
        self._begin: Callable[[Task], None] | None = None
        self._waiting: set[str] = set()
        """Accounts with creates that wait."""
        self._changed: set[str] = set()
        """Those of them where a slot may have become free."""
        self._claims: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        store.subscribe_commits(self._note_commit)

    def serve(self, begin: Callable[[Task], None]) -> None:
        """Have ``begin`` called with each create whose slot is free, in their order."""
        self._begin = begin

    def limit_of(self, account: str) -> int | None:
        """How many tasks of an account may be in flight; None: any number."""
        return self._limits.get(account)

    def note_waiting(self, task: Task) -> None:
        """A create waits. A slot may have become free meanwhile, so look at once."""
        limit = self._limits.get(task.account)
        log.info("submit.waiting", task=task.id, account=task.account, max_in_flight=limit)
        self._waiting.add(task.account)
        self._look(task.account)

    def note_limits(self) -> None:
        """The limits have changed."""
        for account in self._waiting:
            self._look(account)

    async def sweep(self) -> None:
        """Claim what may be sent now, also where no commit of this process has freed a slot.

        Raises:
            StoreError: the store failed.
        """
        if self._monotonic() - self._looked_at >= LOOK_AGAIN_S:
            self._waiting.update(await self._store.list_waiting_accounts())
            self._looked_at = self._monotonic()
        for account in list(self._waiting):
            await self._claim(account)

    def halt(self) -> None:
        """Claim nothing more."""
        self._begin = None

    async def ended(self, within_s: float) -> None:
        """Wait for the claim under way."""
        if self._claims is not None:
            await asyncio.wait({self._claims}, timeout=within_s)

    # -- parts ---------------------------------------------------------------------------------------------

    def _note_commit(self, applied: Sequence[Applied]) -> None:
        if not self._waiting:
            return
        for change in applied:
            task = change.task
            if task.account in self._waiting and (task.status.is_terminal or task.submit_state is SubmitState.QUEUED):
                self._look(task.account)

    def _look(self, account: str) -> None:
        self._changed.add(account)
        if self._claims is None or self._claims.done():
            self._claims = asyncio.create_task(self._claim_changed(), name="account slots")

    async def _claim_changed(self) -> None:
        while self._changed:
            account = self._changed.pop()
            try:
                await self._claim(account)
            except StoreError as error:
                log.warning("slots.failed", account=account, error=str(error))  # the sweep tries again
            except Exception:
                log.exception("slots.failed", account=account)

    async def _claim(self, account: str) -> None:
        """Claim the creates of an account whose slots are free."""
        while self._begin is not None:
            claim = await self._store.claim_waiting(account, self._limits.get(account), LEASE_S)
            if not claim.more:
                self._waiting.discard(account)
            for task in claim.tasks:
                if self._begin is not None:  # else the next start makes it due
                    self._begin(task)
            if not (claim.tasks and claim.more):
                return
