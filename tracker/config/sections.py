"""The tables of the configuration file except ``[[hooks]]``: keys, types and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeVar

from pydantic import Field, ValidationInfo, create_model, field_validator, model_validator

from tracker.config.fields import (
    Count,
    Days,
    Duration,
    EnvName,
    GatewayUrl,
    ListenAddress,
    Name,
    PositiveDuration,
    Rate,
    ResolvedPath,
    Section,
    Sentence,
    StoreUrl,
    VerbatimUrl,
    context_of,
)
from tracker.config.listen import DEFAULT_LISTEN
from tracker.config.sources import DEFAULT_TOKEN_ENV
from tracker.domain.schedule import PollPolicy
from tracker.domain.scopes import Scope
from tracker.domain.user_messages import MESSAGES

DEFAULT_GATEWAY = "https://gateway.api.anyint.ai"
"""Source: https://anyint.ai/docs/api-reference (read 2026-11)."""
DEFAULT_KEY_ENV = "ANYINT_API_KEY"
_POLICY = PollPolicy()
"""Has the defaults of ``[poll]``."""


class Mistake(ValueError):
    """An error of a table.

    Attributes:
        key: path of the key in the table; empty: the table itself.
    """

    def __init__(self, what: str, *key: str) -> None:
        super().__init__(what)
        self.key = key


T = TypeVar("T", bound="Named")


class Named(Protocol):
    """A table of a list, known by its name."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the name


def with_unique_names(tables: tuple[T, ...], what: str) -> tuple[T, ...]:
    """The tables of a list, whose names differ.

    Raises:
        Mistake: two have the same name.
    """
    seen: set[str] = set()
    for table in tables:
        if table.name in seen:
            raise Mistake(f"two {what} are named {table.name!r}; rename one")
        seen.add(table.name)
    return tables


class ByProvider(Section):
    """A table with sub-tables by provider (``[poll.suno]``), which its field ``providers`` collects."""

    @model_validator(mode="before")
    @classmethod
    def _collect_providers(cls, data: object, info: ValidationInfo) -> object:
        if not isinstance(data, Mapping):
            return data
        own: dict[str, Any] = {key: value for key, value in data.items() if key != "providers"}
        tables = {
            key: own.pop(key)
            for key, value in data.items()
            if isinstance(value, Mapping) and key not in cls.model_fields
        }
        if "providers" in data:
            tables["providers"] = data["providers"]
        known = context_of(info).providers
        for name in tables:
            if known is not None and name not in known:
                raise Mistake(f"unknown provider; known are {', '.join(sorted(known))}", name)
        return {**own, "providers": tables}


class ApiTokenTable(Section):
    """``[[server.tokens]]``: a bearer token of the API, and what it allows."""

    name: Name
    scope: Scope
    token_env: EnvName | None = None
    token_file: ResolvedPath | None = None

    @model_validator(mode="after")
    def _names_one_token(self) -> Self:
        if (self.token_env is None) == (self.token_file is None):
            count = "no token is set" if self.token_env is None else "two tokens are set"
            raise Mistake(f"{count}; set token_env or token_file")
        return self


class Server(Section):
    """``[server]``: listen address and API tokens."""

    listen: ListenAddress = DEFAULT_LISTEN
    api_token_env: EnvName = DEFAULT_TOKEN_ENV
    api_token_file: ResolvedPath | None = None
    max_callback_bytes: Count = 1048576
    tokens: tuple[ApiTokenTable, ...] = ()

    @field_validator("tokens")
    @classmethod
    def _token_names_differ(cls, tokens: tuple[ApiTokenTable, ...]) -> tuple[ApiTokenTable, ...]:
        return with_unique_names(tokens, "tokens")


class StoreSection(Section):
    """``[store]``: the SQLite file; by default in the state directory."""

    path: ResolvedPath | None = None


class Account(Section):
    """``[accounts.<name>]``: base URL, key, request rate and how many tasks may be in flight."""

    base_url: GatewayUrl = DEFAULT_GATEWAY
    api_key_env: EnvName | None = None
    api_key_file: ResolvedPath | None = None
    max_requests_per_s: Rate = 20
    max_in_flight: Count | None = None

    @model_validator(mode="after")
    def _names_one_key(self) -> Self:
        if (self.api_key_env is None) == (self.api_key_file is None):
            count = "no key is set" if self.api_key_env is None else "two keys are set"
            raise Mistake(f"{count}; set api_key_env or api_key_file")
        return self


class PollOverride(Section):
    """``[poll.<provider>]``: overrides of ``[poll]`` for one provider."""

    tick_s: PositiveDuration | None = None
    first_delay_s: Duration | None = None
    min_interval_s: PositiveDuration | None = None
    max_interval_s: PositiveDuration | None = None
    deadline_s: PositiveDuration | None = None
    missing_output_grace_s: Duration | None = None
    not_found_grace_s: Duration | None = None
    submit_retry_s: Duration | None = None


class Poll(ByProvider):
    """``[poll]``: intervals and deadlines, in seconds."""

    tick_s: PositiveDuration = 1.0
    first_delay_s: Duration = _POLICY.first_delay_s
    min_interval_s: PositiveDuration = _POLICY.min_interval_s
    max_interval_s: PositiveDuration = _POLICY.max_interval_s
    deadline_s: PositiveDuration = _POLICY.deadline_s
    missing_output_grace_s: Duration = _POLICY.missing_output_grace_s
    not_found_grace_s: Duration = _POLICY.not_found_grace_s
    submit_retry_s: Duration = _POLICY.submit_retry_s
    providers: Mapping[Name, PollOverride] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        tables: dict[str, Section] = {"": self, **self.providers}
        for name, table in tables.items():
            low, high = (self.of(name, key) for key in ("min_interval_s", "max_interval_s"))
            if high < low:
                key = "max_interval_s" if "max_interval_s" in table.model_fields_set else "min_interval_s"
                what = f"max_interval_s ({high:g}) is less than min_interval_s ({low:g}); raise it or lower the other"
                raise Mistake(what, *([name] if name else []), key)
        return self

    def of(self, provider: str, key: str) -> float:
        """The value for a provider; an empty name means the general value."""
        own = getattr(self.providers.get(provider), key, None)
        return float(getattr(self, key) if own is None else own)


class ProviderCallbacks(Section):
    """``[callbacks.<provider>]``: how callbacks of one provider are signed."""

    scheme: Literal["none", "standard-webhooks", "suno-hmac"] = "none"
    secret_env: EnvName | None = None
    secret_file: ResolvedPath | None = None

    @model_validator(mode="after")
    def _names_its_secret(self) -> Self:
        if self.secret_env is not None and self.secret_file is not None:
            raise Mistake("two secrets are set; remove secret_env or secret_file", "secret_file")
        if self.scheme != "none" and self.secret_env is None and self.secret_file is None:
            raise Mistake("a signature requires a secret; set secret_env or secret_file", "secret_env")
        return self


class Callbacks(ByProvider):
    """``[callbacks]``: trust in callbacks, and their secrets."""

    trust: Literal["token", "confirm"] = "token"
    secret_env: EnvName = "TRACKER_CALLBACK_SECRET"  # noqa: S105 - the name of a variable
    secret_file: ResolvedPath | None = None
    park_s: Duration = 86400.0
    placeholder_url: VerbatimUrl = "https://callback.invalid/"
    providers: Mapping[Name, ProviderCallbacks] = Field(default_factory=dict)


class Archive(Section):
    """``[archive]``: copies of outputs in a directory or an object store."""

    enabled: bool = True
    dir: ResolvedPath | None = None
    url: StoreUrl | None = None
    max_bytes: Count = 2147483648
    allow_private_addresses: bool = False


class Retention(Section):
    """``[retention]``: days until data of finished tasks is deleted; 0: never."""

    events_days: Days = 90
    payload_days: Days = 30
    outputs_days: Days = 0


class ModelAlias(Section):
    """The target of an alias like ``@video``: a model, and fallbacks if it is not available."""

    id: str = Field(min_length=1)
    fallback: tuple[str, ...] = ()


class Models(Section):
    """``[models]``: aliases, and overrides per environment."""

    names: Mapping[str, ModelAlias] = Field(default_factory=dict)
    environments: Mapping[str, Mapping[str, ModelAlias]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split_environments(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        names: dict[str, object] = {}
        environments: dict[str, object] = {}
        for key, value in data.items():
            if isinstance(value, Mapping) and "id" not in value:
                environments[key] = {alias: _alias(target) for alias, target in value.items()}
            else:
                names[key] = _alias(value)
        return {"names": names, "environments": environments}


class _Messages(Section):
    """``[messages]``: sentences for end users in place of those of `MESSAGES`, and words for what is made."""

    assets: Mapping[Name, Sentence] = Field(default_factory=dict)

    def sentences(self) -> dict[str, str]:
        """The sentences that are set, by state."""
        return {key: value for key in MESSAGES if (value := getattr(self, key)) is not None}


_keys: dict[str, Any] = {str(key): (Sentence | None, None) for key in MESSAGES}
if TYPE_CHECKING:
    Messages = _Messages
else:
    Messages = create_model("Messages", __base__=_Messages, __doc__=_Messages.__doc__, **_keys)


class Tracing(Section):
    """``[tracing]``: where spans of tasks are exported to, by OTLP over HTTP; off without an endpoint."""

    endpoint: VerbatimUrl | None = None
    headers_env: EnvName | None = None
    headers_file: ResolvedPath | None = None
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _names_its_headers(self) -> Self:
        if self.headers_env is not None and self.headers_file is not None:
            raise Mistake("two sources of headers are set; remove headers_env or headers_file", "headers_file")
        return self


class Log(Section):
    """``[log]``: level and format."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


def _alias(target: object) -> object:
    return {"id": target} if isinstance(target, str) else target
