"""The models that each account can use: fetched from the upstream, cached with their age, refreshed daily.

Owns the refresh. The store holds the lists. Never refuses a task: a model that is in no list is a warning, since lists
are often behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tracker.errors import NotSent, PayloadInvalid, StoreUnavailable, Unanswered
from tracker.logs import get_logger
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
"""The provider name of these routes for the circuit breaker: a list that cannot be fetched stops no tasks."""


class ModelSync:
    """Refreshes the lists of models.

    Args:
        store: holds the lists.
        client: sends the requests.
        clock: gives the age of a list.
        payloads: reads large answers.
        accounts: names of the accounts.
        configured: the models that the configuration names, each with the key that names it.
        has_lists: whether an account's API has these lists; other APIs are never asked with its key.
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
        self.syncs = 0
        """How many lists were fetched and stored since the start."""
        self._failed: dict[str, list[str]] = {}
        """What went wrong for each account the last time."""

    async def refresh(self) -> float:
        """Fetch the lists that are missing or old.

        Returns:
            Seconds until a list has to be refreshed again.
        """
        wait_s = REFRESH_S
        for account in filter(self._has_lists, tuple(self._accounts)):  # a reload may change them meanwhile
            try:
                wait_s = min(wait_s, await self._refresh(account))
            except StoreUnavailable as error:
                log.warning("models.failed", account=account, step="store", error=str(error))
                wait_s = RETRY_S
            except Exception:  # an unexpected answer for one account must not stop the refresh of the others
                log.exception("models.failed", account=account, step="fetch")
                wait_s = RETRY_S
        return wait_s

    async def sync(self, account: str) -> tuple[int, list[str]]:
        """Fetch an account's lists now.

        Args:
            account: its name.

        Returns:
            How many models there are, and one line for each list that could not be fetched; the models of that
            list stay as they were.

        Raises:
            StoreUnavailable: the lists could not be stored.
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
            self.syncs += 1
        stored = await self._store.list_models(account)
        before, self._failed[account] = self._failed.get(account), problems
        if len(problems) < len(LISTS):
            log.info("models.synced", account=account, count=len(stored.models), problems=problems)
        elif problems != before:  # a wrong address, a key that is rejected; the same problem again is not logged
            log.warning("models.failed", account=account, step="fetch", error="; ".join(problems))
        return len(stored.models), problems

    async def find_unknown(self) -> dict[str, str]:
        """Configured models that are in no account's list, by key; empty before the first list is fetched."""
        known: set[str] = set()
        for account in tuple(self._accounts):  # a reload may change them meanwhile
            known |= {model.id for model in (await self._store.list_models(account)).models}
        return {key: model for key, model in self._configured.items() if known and model not in known}

    async def _fetch(self, account: str, family: str) -> list[Model]:
        models: list[Model] = []
        after: str | None = None
        for _ in range(MAX_PAGES):
            reply = await self._client.fetch(account, models_request(family, after), provider=MODEL_LISTS)
            page = await self._payloads.run(len(reply.body), partial(read_models, family, reply))
            models += page.models
            if page.next_after is None or page.next_after == after:
                break
            after = page.next_after
        return models

    async def _refresh(self, account: str) -> float:
        """Refresh one account's lists when they are old; seconds until the next check."""
        stored = await self._store.list_models(account)
        age_s = None if stored.synced_at is None else (self._clock.now() - stored.synced_at) / timedelta(seconds=1)
        if age_s is not None and age_s < REFRESH_S:
            return max(RETRY_S, REFRESH_S - age_s)
        _, problems = await self.sync(account)
        return RETRY_S if len(problems) == len(LISTS) else REFRESH_S
