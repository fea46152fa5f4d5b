"""The live configuration: what the parts of the daemon read at each use, so that a reload needs no restart.

Owns which keys of the configuration may change while the daemon runs. The mappings are changed in place, so every
holder of one sees the new values. Must not read files; a new configuration arrives complete and checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tracker.config.likely_mistakes import list_warnings
from tracker.domain.user_messages import use_messages
from tracker.errors import ConfigError
from tracker.hooks.kinds.script import ScriptHook
from tracker.hooks.trust import distrusted_programs
from tracker.logs import OwnText, get_logger
from tracker.upstream.client import Account

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.domain.ai_models import ModelTarget
    from tracker.domain.prices import Budget
    from tracker.domain.schedule import PollPolicy
    from tracker.domain.scopes import ApiToken
    from tracker.tracking.accounts import AccountRules

log = get_logger(__name__)

CHANGEABLE: Final = (
    "environment",
    "public_url",
    "server.api_token_env",
    "server.api_token_file",
    "server.tokens",
    "accounts",
    "poll",
    "callbacks.park_s",
    "callbacks.placeholder_url",
    "retention",
    "models",
    "prices",
    "budget",
    "messages",
    "log",
    "hooks",
)
"""Keys and tables that a reload applies. All others need a restart, and the reload says so."""


class Live:
    """The configuration that holds now.

    Args:
        config: what the daemon starts with.

    Attributes:
        config: the configuration itself.
        accounts: by name.
        rates: account -> requests per second.
        slots: account -> how many of its tasks may be in flight; none for an account without a limit.
        prices: the price list.
        aliases: alias -> its models.
        named_models: key of the configuration -> the model that it names.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.prices = config.price_list()
        self.accounts: dict[str, Account] = {}
        self.rates: dict[str, float] = {}
        self.slots: dict[str, int] = {}
        self.aliases: dict[str, ModelTarget] = {}
        self.named_models: dict[str, str] = {}
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Have another configuration hold from now on."""
        self.config = config
        self.prices = config.price_list()
        use_messages(config.messages.sentences(), config.messages.assets)
        _replace(self.accounts, {name: self._account(name) for name in config.accounts})
        _replace(self.rates, {name: account.max_requests_per_s for name, account in config.accounts.items()})
        slots = {name: account.max_in_flight for name, account in config.accounts.items()}
        _replace(self.slots, {name: limit for name, limit in slots.items() if limit is not None})
        _replace(self.aliases, config.model_aliases())
        _replace(
            self.named_models,
            {
                f"models.{name}" + (f".fallback[{n - 1}]" if n else ""): model
                for name, target in config.model_aliases().items()
                for n, model in enumerate((target.id, *target.fallback))
            },
        )

    def api_tokens(self) -> list[ApiToken] | None:
        """The bearer tokens of the API as they are now; None: none is configured."""
        return self.config.api_tokens()

    def describe_tokens(self) -> list[dict[str, Any]]:
        """Each named token with its scope, and whether it is set; see `TokenView`."""
        found = {token.name for token in self.api_tokens() or ()}
        return [
            {"name": one.name, "scope": one.scope, "is_set": one.name in found} for one in self.config.server.tokens
        ]

    def credentials_of(self, account: str) -> int:
        """A number that changes with the key or address of an account."""
        known = self.accounts.get(account)
        return 0 if known is None else hash((known.base_url, known.api_key()))

    def poll_policy(self, provider: str) -> PollPolicy:
        """The poll policy of a provider as it is now."""
        return self.config.poll_policy(provider)

    def budget_of(self, account: str) -> Budget | None:
        """What an account may spend in a day, as it is now; None: any amount."""
        return self.config.budget_of(account)

    def has_key(self, name: str) -> bool:
        """Whether there is a usable key of an account now."""
        try:
            return self.config.account_key_problem(name) is None
        except ConfigError:
            return False

    def keyless_accounts(self) -> list[str]:
        """The accounts without a key: every request of theirs would be refused."""
        return [name for name in self.accounts if not self.has_key(name)]

    def describe_accounts(self, alarm_of: Callable[[str], str | None]) -> list[dict[str, Any]]:
        """Each account with its address, whether it has a key, and its alarm; see `AccountView`."""
        return [
            {"name": name, "base_url": one.base_url, "has_key": self.has_key(name), "alarm": alarm_of(name)}
            for name, one in self.accounts.items()
        ]

    def _account(self, name: str) -> Account:
        account = self.config.accounts[name]
        return Account(
            name=name,
            base_url=account.base_url,
            api_key=self._key_reader(name),
            max_requests_per_s=account.max_requests_per_s,
        )

    def _key_reader(self, name: str) -> Callable[[], str | None]:
        """Read a key file at each use, so that a new key counts at once; a variable changes with a reload only."""
        if self.config.accounts[name].api_key_file is None and self.has_key(name):
            key = self.config.account_key(name)
            return lambda: key
        return lambda: self.config.account_key(name) if name in self.config.accounts else None


def list_changes(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Compare two configurations.

    Returns:
        The paths of the keys that changed and that a reload acts on, and of those that need a restart.
    """
    changed = list(_differences(old.model_dump(), new.model_dump()))
    live = [key for key in changed if any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)]
    return live, [key for key in changed if key not in live]


def warn_about(config: Config, accounts: AccountRules) -> None:
    """Log what a configuration lacks, and what in it has no effect."""
    for line in config.missing_secrets():
        log.warning("config.secret_not_found", what=OwnText(line))
    for hook in config.hooks:
        for objection in distrusted_programs((isinstance(hook, ScriptHook) and hook.run) or ()):
            log.warning("hook.program_not_protected", hook=hook.name, reason=objection.reason, fix=objection.fix)
    for line in accounts.list_missing():
        log.warning("config.account_not_found", what=line)
    for line in list_warnings(config, config.variables):
        log.warning("config.mistake_suspected", what=OwnText(line))
    for key in config.not_acted_on():
        log.warning("config.key_ignored", key=OwnText(key))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        one, other = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            inner = path if key == "providers" else f"{path}{key}."  # the file does not show this level
            yield from _differences(one, other, inner)
        elif one != other:
            yield f"{path}{key}"


def _replace(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    """Make ``target`` equal to ``source``; a name in both is never missing meanwhile."""
    target.update(source)
    for name in target.keys() - source.keys():
        del target[name]
