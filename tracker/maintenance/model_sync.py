"""The models that each account can use: fetched from the upstream, cached with their age, refreshed on a schedule.

Owns the refreshing. Must not keep anything itself (the store does), nor refuse a task: a model that is not in the
list is a warning, for lists are often behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tracker.errors import NotSent, PayloadInvalid, StoreUnavailable, Unanswered
from tracker.logs import OwnText, get_logger
from tracker.providers.model_lists import LISTS, models_request, read_models

if TYPE_CHECKING:
    from tracker.clock import Clock
    from tracker.domain.ai_models import Model
    from tracker.store.protocol import Store
    from tracker.upstream.client import UpstreamClient
    from tracker.upstream.payloads import Payloads

log = get_logger(__name__)

REFRESH_S = 86_400.0
RETRY_S = 600.0
MAX_PAGES = 50
MODEL_LISTS = "model lists"
"""What these routes are called where families are left alone: a list that cannot be had stops nothing else."""


class Catalogue:
    """Keeps the lists of models fresh.

    Args:
        store: where the lists are kept.
        client: the way to the upstreams.
        clock: what time it is.
        payloads: reads large answers.
        accounts: names of the accounts.
        configured: the models that the configuration names, each with the key that names it.
        has_lists: whether an account's API has these lists; no other API is asked for them with its key.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: UpstreamClient,
        clock: Clock,
        payloads: Payloads,
        accounts: Collection[str],
        configured: Mapping[str, str],
        has_lists: Callable[[str], bool] = lambda _account: True,
    ) -> None:
        self._store = store
        self._client = client
        self._clock = clock
        self._payloads = payloads
        self._accounts = accounts
        self._configured = configured
        self._has_lists = has_lists
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to refresh, at once where a list is old or missing."""
        self._task = asyncio.create_task(self._run(), name="model catalogue")

    async def stop(self) -> None:
        """Stop; a list that is being fetched is left as it was."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sync(self, account: str) -> tuple[int, list[str]]:
        """Fetch an account's lists now.

        Args:
            account: its name.

        Returns:
            How many models there are, and one line for each list that could not be fetched; the models of that
            list stay as they were.

        Raises:
            StoreUnavailable: the lists could not be kept.
        """
        if not self._has_lists(account):
            return 0, [f"account {account} belongs to a declared provider, whose API has no lists of models"]
        problems: list[str] = []
        for family in LISTS:
            try:
                models = await self._fetch(account, family)
            except (NotSent, Unanswered, PayloadInvalid) as error:
                problems.append(f"{family}: {error}")
                continue
            await self._store.replace_models(account, family, models)
        kept = await self._store.list_models(account)
        log.info("models.synced", account=account, count=len(kept.models), problems=problems)
        return len(kept.models), problems

    async def missing(self) -> list[str]:
        """Configured models that are in no account's list; one line each. Nothing while no list was fetched yet."""
        known: set[str] = set()
        for account in tuple(self._accounts):  # a reload may change them meanwhile
            known |= {model.id for model in (await self._store.list_models(account)).models}
        if not known:
            return []
        return [
            f"{key}: model {model!r} is not in the catalogue of any account; check its name with `tracker models list`"
            for key, model in self._configured.items()
            if model not in known
        ]

    async def _fetch(self, account: str, family: str) -> list[Model]:
        models: list[Model] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            reply = await self._client.fetch(account, models_request(family, after), family=MODEL_LISTS)
            page = await self._payloads.run(len(reply.body), partial(read_models, family, reply))
            models += page.models
            if page.next_after is None or page.next_after == after:
                break
            after = page.next_after
        return models

    async def _run(self) -> None:
        told: frozenset[str] = frozenset()
        while True:
            wait_s = REFRESH_S
            for account in filter(self._has_lists, tuple(self._accounts)):  # a reload may change them meanwhile
                try:
                    wait_s = min(wait_s, await self._refresh(account))
                except Exception:  # one account's oddity must not end the refreshing of all, for good and in silence
                    log.exception("models.failed", account=account)
                    wait_s = RETRY_S
            told = await self._warn(told)  # only now: the model may be the last account's
            await asyncio.sleep(wait_s)

    async def _warn(self, told: frozenset[str]) -> frozenset[str]:
        """Log which configured models are missing, and were not a round ago; all that are missing now."""
        try:
            lines = await self.missing()
        except StoreUnavailable as error:
            log.warning("models.not_looked_up", error=str(error))
            return told
        for line in lines:
            if line not in told:
                log.warning("models.configured_one_not_found", what=OwnText(line))
        return frozenset(lines)

    async def _refresh(self, account: str) -> float:
        """Refresh one account's lists when they are old; seconds until they should be looked at again."""
        try:
            kept = await self._store.list_models(account)
            now = self._clock.now()
            if kept.synced_at is not None and (now - kept.synced_at) < timedelta(seconds=REFRESH_S):
                return max(RETRY_S, REFRESH_S - (now - kept.synced_at).total_seconds())
            _, problems = await self.sync(account)
        except StoreUnavailable as error:
            log.warning("models.not_kept", account=account, error=str(error))
            return RETRY_S
        return RETRY_S if len(problems) == len(LISTS) else REFRESH_S
