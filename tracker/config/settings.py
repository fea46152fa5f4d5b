"""The configuration: top-level keys, and what follows from several tables: policies, paths, secrets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import Field, PrivateAttr, field_validator, model_validator

from tracker.config.credentials import (
    CALLBACK_SECRET_FILE,
    OutOfReach,
    check_callback_secret,
    find_or_make_callback_secret,
    find_secret,
)
from tracker.config.fields import HttpUrl, Name, ResolvedPath, Section
from tracker.config.hooks import AnyHook, HookSpec
from tracker.config.listen import Listen, parse_listen
from tracker.config.prices import BudgetTable, PriceList
from tracker.config.sections import (
    DEFAULT_KEY_ENV,
    Account,
    ApiTokenTable,
    Archive,
    Callbacks,
    Log,
    Messages,
    Models,
    Poll,
    ProviderCallbacks,
    Retention,
    Server,
    StoreSection,
    Tracing,
    with_unique_names,
)
from tracker.config.sources import store_path
from tracker.domain.ai_models import ModelTarget
from tracker.domain.api_keys import key_problem
from tracker.domain.prices import Budget, Prices
from tracker.domain.schedule import PollPolicy
from tracker.domain.scopes import ApiToken, Scope, widest
from tracker.errors import ConfigError
from tracker.filesystem import is_file


class Config(Section):
    """All keys of the file, and methods for what follows from them."""

    environment: Name = "production"
    public_url: HttpUrl | None = None
    hooks_dir: ResolvedPath | None = None
    providers_dir: ResolvedPath | None = None
    server: Server = Field(default_factory=Server)
    store: StoreSection = Field(default_factory=StoreSection)
    accounts: Mapping[Name, Account] = Field(
        default_factory=lambda: {"default": Account(api_key_env=DEFAULT_KEY_ENV)}, min_length=1
    )
    poll: Poll = Field(default_factory=Poll)
    callbacks: Callbacks = Field(default_factory=Callbacks)
    archive: Archive = Field(default_factory=Archive)
    retention: Retention = Field(default_factory=Retention)
    models: Models = Field(default_factory=Models)
    prices: PriceList = Field(default_factory=PriceList)
    budget: BudgetTable = Field(default_factory=BudgetTable)
    messages: Messages = Field(default_factory=Messages)
    log: Log = Field(default_factory=Log)
    tracing: Tracing = Field(default_factory=Tracing)
    hooks: tuple[AnyHook, ...] = ()

    _file: Path | None = PrivateAttr(default=None)
    _env: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _default_key(cls, data: object) -> object:
        """Give the account ``default`` the usual key variable unless it sets one; other accounts must set theirs."""
        if not isinstance(data, Mapping) or not isinstance(data.get("accounts"), Mapping):
            return data
        account = data["accounts"].get("default")
        if not isinstance(account, Mapping) or account.keys() & {"api_key_env", "api_key_file"}:
            return data
        return {**data, "accounts": {**data["accounts"], "default": {**account, "api_key_env": DEFAULT_KEY_ENV}}}

    @field_validator("hooks")
    @classmethod
    def _hook_names_differ(cls, hooks: tuple[HookSpec, ...]) -> tuple[HookSpec, ...]:
        return with_unique_names(hooks, "hooks")

    def bind(self, file: Path | None, env: Mapping[str, str]) -> Config:
        """Set the file, and the environment with the secrets."""
        self._file, self._env = file, env
        return self

    # -- paths ---------------------------------------------------------------------------------------------

    @property
    def file(self) -> Path | None:
        """The file, None for the defaults."""
        return self._file

    @property
    def listen(self) -> Listen:
        """The listen address."""
        return parse_listen(self.server.listen)

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return store_path(self.store.path, self._env)

    @property
    def hooks_path(self) -> Path | None:
        """The directory of executable hooks: ``hooks_dir``, else ``hooks.d`` beside the file."""
        return self.hooks_dir or self._beside_file("hooks.d")

    @property
    def providers_path(self) -> Path | None:
        """The directory of user-defined providers: ``providers_dir``, else ``providers.d`` beside the file."""
        return self.providers_dir or self._beside_file("providers.d")

    def _beside_file(self, name: str) -> Path | None:
        return None if self._file is None else self._file.absolute().parent / name

    @property
    def archive_path(self) -> Path:
        """The directory of archived outputs: ``archive.dir``, else ``outputs`` beside the store."""
        return self.archive.dir or self.store_path.parent / "outputs"

    # -- policies ------------------------------------------------------------------------------------------

    @property
    def default_account(self) -> str | None:
        """The account of a task without one: ``default``, or the only one; None if it must be named."""
        if "default" in self.accounts:
            return "default"
        return next(iter(self.accounts)) if len(self.accounts) == 1 else None

    def poll_policy(self, provider: str) -> PollPolicy:
        """``[poll]`` with the overrides of ``[poll.<provider>]``."""
        return PollPolicy(**{key: self.poll.of(provider, key) for key in PollPolicy.__struct_fields__})

    def model_aliases(self) -> dict[str, ModelTarget]:
        """Model aliases of this environment: ``[models]`` with the overrides of ``[models.<environment>]``."""
        chosen = {**self.models.names, **self.models.environments.get(self.environment, {})}
        return {name: ModelTarget(alias.id, alias.fallback) for name, alias in chosen.items()}

    def price_list(self) -> Prices:
        """``[prices]`` as plain values."""
        return Prices(self.prices.currency, {key: table.rate() for key, table in self.prices.rates.items()})

    def budget_of(self, account: str) -> Budget | None:
        """What an account may spend in a day; None: any amount."""
        limit = self.budget.limit_of(account)
        return None if limit is None else Budget(limit, self.prices.currency)

    def callback_rules(self, provider: str) -> ProviderCallbacks:
        """``[callbacks.<provider>]``, or its defaults."""
        return self.callbacks.providers.get(provider, ProviderCallbacks())

    def not_acted_on(self) -> list[str]:
        """Paths of set keys that have no effect in this release; for a warning at the start."""
        return [f"poll.{name}.tick_s" for name, table in self.poll.providers.items() if table.tick_s is not None]

    @property
    def variables(self) -> Collection[str]:
        """The names of all environment variables that it was read with."""
        return self._env.keys()

    # -- secrets -------------------------------------------------------------------------------------------

    def secret_of(self, where: str, name: str | None, file: Path | None) -> str | None:
        """Find a secret in this environment, see `find_secret`."""
        return find_secret(where, name, file, self._env)

    def api_tokens(self) -> list[ApiToken] | None:
        """The bearer tokens of the API; None: none is configured, and none is required.

        A named token that is not set or cannot be read matches nothing; the others stay usable.
        """
        own = self.api_token()
        tokens = [] if own is None else [ApiToken(None, Scope.ADMIN, own)]
        for table in self.server.tokens:
            with suppress(ConfigError):
                tokens += [ApiToken(table.name, table.scope, value)] if (value := self.named_token(table)) else []
        return tokens if own or self.server.tokens else None

    def client_token(self) -> str | None:
        """The token for commands: that of the API, else the named one that allows most; None without any."""
        best = widest(self.api_tokens() or ())
        return None if best is None else best.value

    def named_token(self, table: ApiTokenTable) -> str | None:
        """The value of a named token; None if it is not set."""
        return self.secret_of(f"server.tokens[{table.name}].token_file", table.token_env, table.token_file)

    def api_token(self) -> str | None:
        """The bearer token with the scope admin that has no name; None without one."""
        return self.secret_of("server.api_token_file", self.server.api_token_env, self.server.api_token_file)

    def account_key(self, name: str) -> str | None:
        """The API key of an account; None if it is not set."""
        account = self.accounts[name]
        return self.secret_of(f"accounts.{name}.api_key_file", account.api_key_env, account.api_key_file)

    def account_key_problem(self, name: str) -> str | None:
        """Why the API key of an account is unusable, with its variable or file; None if it is usable."""
        account = self.accounts[name]
        problem = key_problem(self.account_key(name))
        return None if problem is None else f"{account.api_key_file or account.api_key_env} {problem}"

    def provider_secret(self, provider: str) -> str | None:
        """The secret of a provider's callback signatures; None if it is not configured or not set."""
        rules = self.callback_rules(provider)
        return self.secret_of(f"callbacks.{provider}.secret_file", rules.secret_env, rules.secret_file)

    def hook_secret(self, hook: HookSpec) -> str | None:
        """The secret that signs requests to an HTTP hook; None if it is not configured or not set."""
        return self.secret_of(f"hooks[{hook.name}].secret_file", hook.secret_env, hook.secret_file)

    def tracing_headers(self) -> str | None:
        """The headers of requests to the collector of traces, as ``name=value,…``; None without any."""
        return self.secret_of("tracing.headers_file", self.tracing.headers_env, self.tracing.headers_file)

    def callback_secret(self) -> bytes:
        """The secret of callback tokens; created beside the store (mode 0600) if none is set.

        Raises:
            ConfigError: it cannot be read or created, or is too short.
        """
        if (given := self._given_callback_secret()) is not None:
            return check_callback_secret(given.encode(), str(self.callbacks.secret_file or self.callbacks.secret_env))
        return find_or_make_callback_secret(self.store_path.parent)

    def find_callback_secret(self) -> bytes | None:
        """The same, but none is created: None if there is none yet."""
        is_there = self._given_callback_secret() is not None or (self.store_path.parent / CALLBACK_SECRET_FILE).exists()
        return self.callback_secret() if is_there else None

    def secrets(self) -> list[str]:
        """The values of all secrets that are set, for the redactor; creates none."""
        found = [look_up() for look_up in self.lookups()]
        created = self.store_path.parent / CALLBACK_SECRET_FILE
        if is_file(created, "set store.path"):
            found.append(self.secret_of("callbacks.secret_env", None, created))
        in_hooks = [value for hook in self.hooks for value in hook.sensitive().values()]
        parts = [part for hook in self.hooks for part in (self.hook_secret(hook) or "").split()]
        return [secret for secret in [*found, *in_hooks, *parts] if secret]

    def known_secrets(self) -> list[str]:
        """The same as far as this user may read them."""
        found = []
        for look_up in self.lookups():
            with suppress(ConfigError):
                found.append(look_up())
        return [secret for secret in found if secret]

    def lookups(self) -> Iterator[Callable[[], str | None]]:
        """A function for each secret that the file names."""
        yield from (self.api_token, self._given_callback_secret, self.tracing_headers)
        yield from (partial(self.named_token, table) for table in self.server.tokens)
        yield from (partial(self.account_key, name) for name in self.accounts)
        yield from (partial(self.provider_secret, name) for name in self.callbacks.providers)
        yield from (partial(self.hook_secret, hook) for hook in self.hooks)

    def missing_secrets(self) -> list[str]:
        """One warning per secret that is configured but missing or unusable."""
        lines = []
        try:
            wrong = {name: problem for name in self.accounts if (problem := self.account_key_problem(name))}
            has_callback_secret = self._given_callback_secret() is not None
            lines += [
                f"server.tokens[{table.name}].token_env: {table.token_env} is not set, so this token is disabled"
                for table in self.server.tokens
                if self.named_token(table) is None
            ]
        except OutOfReach:
            return []  # readable by the daemon only
        for name, problem in wrong.items():
            key = "api_key_env" if self.accounts[name].api_key_file is None else "api_key_file"
            lines.append(f"accounts.{name}.{key}: {problem}")
        is_default = self.callbacks.secret_env == Callbacks.model_fields["secret_env"].default
        if not is_default and not has_callback_secret:
            lines.append(f"callbacks.secret_env: {self.callbacks.secret_env} is not set; a secret is created")
        return lines

    def _given_callback_secret(self) -> str | None:
        return self.secret_of("callbacks.secret_file", self.callbacks.secret_env, self.callbacks.secret_file)


def check_tables(config: Config) -> list[tuple[tuple[str, ...], str]]:
    """Find errors across tables; returns (key path, message) for each."""
    return [
        *((("budget", "accounts", name), message) for name, message in config.budget.list_unknown(config.accounts)),
        *(
            (
                ("hooks", f"[{hook.name}]", "account"),
                f"unknown account {name!r}; add [accounts.{name}] or correct the name",
            )
            for hook in config.hooks
            for name in hook.account
            if name not in config.accounts
        ),
    ]


def check_secrets(config: Config) -> list[str]:
    """Error lines of secret files that cannot be read, and of equal tokens."""
    lines: list[str] = []
    for look_up in config.lookups():
        try:
            look_up()
        except OutOfReach:
            continue  # not an error of the file
        except ConfigError as error:
            lines += error.problems
    return lines or _equal_tokens(config)


def _equal_tokens(config: Config) -> list[str]:
    """One error line per token that is the same as another one: what it allows would be unclear.

    ``api_token_env`` is not compared: in a shell it may hold the token of the person who runs commands, see
    `tracker.config.likely_mistakes`.
    """
    try:
        tokens = config.api_tokens() or []
    except OutOfReach:
        return []
    compared = [token for token in tokens if token.name is not None or config.server.api_token_file is not None]
    lines = []
    for n, token in enumerate(compared):
        if (same := next((other for other in compared[:n] if other.value == token.value), None)) is not None:
            other = "api_token_file" if same.name is None else f"the token {same.name}"
            where = f"{config.file or 'configuration'}: server.tokens[{token.name}]"
            lines.append(f"{where}: is the same as {other}; give each its own")
    return lines


def is_exposed(config: Config) -> bool:
    """Whether other machines can reach the API without a token."""
    try:
        return not config.listen.is_loopback and config.api_tokens() is None
    except ConfigError:
        return False  # reported by check_secrets
