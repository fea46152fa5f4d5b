"""Which account a task may use: a key is never sent to another company by accident.

An account belongs to the declared providers that are named like it or whose files name it (``account = "…"``). The
account ``default``, or the only account, also serves the built-in routes, even if a file names it.

Owns that rule. Must not read a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracker.domain.nearest import did_you_mean
from tracker.errors import FieldProblem, RequestInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tracker.config import Config
    from tracker.providers.route import Route

DEFAULT = "default"
"""The account of built-in routes whose submit names none."""
_KEY = "api_key_env (or api_key_file)"


class AccountRules:
    """The rule for one set of routes and accounts.

    Args:
        routes: every known route.
        names: the configured accounts; read at each call, so that a reload applies.
    """

    def __init__(self, routes: Iterable[Route], names: Collection[str]) -> None:
        self._names = names
        self._own: dict[str, str] = {}
        """Declared provider -> the account that its tasks use."""
        self._owners: dict[str, set[str]] = {}
        """Account -> the declared providers that it belongs to."""
        for route in routes:
            if route.account is not None:
                self._own[route.provider] = route.account
                for account in (route.provider, route.account):
                    self._owners.setdefault(account, set()).add(route.provider)

    def choose(self, route: Route, named: str | None, default: str | None) -> str:
        """The account of a new task.

        Args:
            route: the task's route.
            named: the account in the request, if any.
            default: the account of built-in routes that the configuration gives.

        Raises:
            RequestInvalid: there is no account, or the named account belongs to another provider.
        """
        account = named or route.account or self._default(default)
        known = f"configured accounts: {', '.join(sorted(self._names)) or 'none'}"
        if account is None:
            free = [name for name in self._names if self.serves_builtin(name)]
            add = f"no account is for {route.provider}; add [accounts.{DEFAULT}] with base_url and {_KEY}"
            raise _invalid(f"must be named; configured accounts: {', '.join(sorted(free))}" if free else add)
        if account not in self._names:
            if named is None:
                raise _invalid(self._missing(route.provider))
            raise _invalid(f"no such account: {account}; {did_you_mean(account, self._names) or known}")
        if (conflict := self._conflict(route, account)) is not None:
            raise _invalid(conflict)
        return account

    def objection(self, route: Route, account: str, default: str | None, *, is_named: bool) -> str | None:
        """Why a recorded create must not be sent with its account, None when it may be.

        Files and accounts may have changed since it was recorded, and earlier releases chose the default account for
        declared providers as well.

        Args:
            route: the task's route.
            account: the account that was recorded.
            default: see `choose`.
            is_named: whether the submit named it.
        """
        conflict = self._conflict(route, account)
        if conflict is not None or is_named or route.account is None:
            return conflict
        is_own = route.provider in self._owners.get(account, ())
        if is_own or account not in {DEFAULT, default}:
            return None
        return (
            f"account {account!r} is not an account of provider {route.provider}, and may have been chosen for it "
            f'by mistake; write account = "{account}" into its provider file, or cancel this task and submit it again'
        )

    def serves_builtin(self, account: str) -> bool:
        """Whether an account may be used for built-in routes, and for lists of models."""
        if account not in self._owners or account == DEFAULT:
            return True
        return account not in self._own and len(self._names) == 1

    def owners(self, account: str) -> str:
        """The declared providers that an account belongs to, for messages."""
        return ", ".join(sorted(self._owners.get(account, ())))

    def list_missing(self) -> list[str]:
        """One line for each declared provider without an account: its submits must name one."""
        return [self._missing(name) for name, account in sorted(self._own.items()) if account not in self._names]

    def _default(self, configured: str | None) -> str | None:
        if configured is not None and self.serves_builtin(configured):
            return configured
        free = [name for name in self._names if name not in self._owners]
        return free[0] if len(free) == 1 else None

    def _conflict(self, route: Route, account: str) -> str | None:
        owners = self._owners.get(account, ())
        if not owners or route.provider in owners or self.serves_builtin(account):
            return None
        fix = "leave it out" if route.account is None else f'write account = "{account}" into the file of that provider'
        return (
            f"account {account!r} belongs to provider {self.owners(account)}: its key and address are not for "
            f"{route.name}; name another account, or {fix}"
        )

    def _missing(self, provider: str) -> str:
        account = self._own[provider]
        what = f"provider {provider} has no account"
        return f"{what}; add [accounts.{account}] with base_url and {_KEY} to the configuration"


def list_account_problems(config: Config, routes: Iterable[Route]) -> list[str]:
    """One line for each account of a declared provider without an address: its key would go to the default gateway."""
    rules = AccountRules(routes, config.accounts)
    return [
        f"{config.file or 'configuration'}: accounts.{name}.base_url: is missing; write the address of the API of "
        f"provider {rules.owners(name)}"
        for name, account in config.accounts.items()
        if not rules.serves_builtin(name) and "base_url" not in account.model_fields_set
    ]


def _invalid(what: str) -> RequestInvalid:
    return RequestInvalid([FieldProblem(("account",), what)])
