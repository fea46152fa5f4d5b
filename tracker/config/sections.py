"""Every table of the configuration file but ``[[hooks]]``, with its defaults.

Owns keys, defaults and what may stand in each. Must not read files or the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

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
    StoreUrl,
    VerbatimUrl,
    surroundings,
)

DEFAULT_GATEWAY = "https://gateway.api.anyint.ai"
"""Source: https://anyint.ai/docs/api-reference (read 2026-11)."""
DEFAULT_KEY_ENV = "ANYINT_API_KEY"


class Mistake(ValueError):
    """A mistake found in a whole table.

    Attributes:
        key: path of the key in it that the mistake belongs to; empty: the table itself.
    """

    def __init__(self, what: str, *key: str) -> None:
        super().__init__(what)
        self.key = key


class Server(Section):
    """``[server]``: where the daemon listens and who may ask it."""

    listen: ListenAddress = "127.0.0.1:8780"
    api_token_env: EnvName = "TRACKER_API_TOKEN"  # noqa: S105 - the name of a variable
    api_token_file: ResolvedPath | None = None
    max_callback_bytes: Count = 1048576


class StoreSection(Section):
    """``[store]``: the SQLite file; without a path the state directory holds it."""

    path: ResolvedPath | None = None


class Account(Section):
    """``[accounts.<name>]``: a base URL and the key that pays."""

    base_url: GatewayUrl = DEFAULT_GATEWAY
    api_key_env: EnvName | None = None
    api_key_file: ResolvedPath | None = None
    max_requests_per_s: Rate = 20

    @model_validator(mode="after")
    def _names_one_key(self) -> Self:
        if (self.api_key_env is None) == (self.api_key_file is None):
            said = "names no key" if self.api_key_env is None else "names two keys"
            raise Mistake(f"{said}; set api_key_env or api_key_file")
        return self


class PollOverride(Section):
    """``[poll.<provider>]``: what differs from ``[poll]`` for one provider."""

    tick_s: PositiveDuration | None = None
    first_delay_s: Duration | None = None
    min_interval_s: PositiveDuration | None = None
    max_interval_s: PositiveDuration | None = None
    deadline_s: PositiveDuration | None = None
    missing_output_grace_s: Duration | None = None
    not_found_grace_s: Duration | None = None
    submit_retry_s: Duration | None = None


class Poll(Section):
    """``[poll]``: how often upstreams are asked, and when the tracker gives up. Seconds."""

    tick_s: PositiveDuration = 1.0
    first_delay_s: Duration = 5.0
    min_interval_s: PositiveDuration = 3.0
    max_interval_s: PositiveDuration = 30.0
    deadline_s: PositiveDuration = 86400.0
    missing_output_grace_s: Duration = 300.0
    not_found_grace_s: Duration = 600.0
    submit_retry_s: Duration = 900.0
    providers: Mapping[Name, PollOverride] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_providers(cls, data: object, info: ValidationInfo) -> object:
        return gather_providers(data, set(cls.model_fields), info)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        tables: list[tuple[tuple[str, ...], Section]] = [((), self)]
        tables += [((name,), override) for name, override in self.providers.items()]
        for where, table in tables:
            low, high = (self.of(where, key) for key in ("min_interval_s", "max_interval_s"))
            if high < low:
                key = "max_interval_s" if "max_interval_s" in table.model_fields_set else "min_interval_s"
                words = f"max_interval_s ({high:g}) is less than min_interval_s ({low:g}); raise it or lower the other"
                raise Mistake(words, *where, key)
        return self

    def of(self, provider: tuple[str, ...] | str, key: str) -> float:
        """The number that holds for a provider; an empty tuple asks for the general one."""
        name = provider if isinstance(provider, str) else "".join(provider)
        own = getattr(self.providers.get(name), key, None)
        return float(getattr(self, key) if own is None else own)


class ProviderCallbacks(Section):
    """``[callbacks.<provider>]``: how callbacks of one provider are signed."""

    scheme: Literal["none", "standard-webhooks", "suno-hmac"] = "none"
    secret_env: EnvName | None = None
    secret_file: ResolvedPath | None = None

    @model_validator(mode="after")
    def _names_its_secret(self) -> Self:
        if self.secret_env is not None and self.secret_file is not None:
            raise Mistake("two secrets are named; keep secret_env or secret_file", "secret_file")
        if self.scheme != "none" and self.secret_env is None and self.secret_file is None:
            raise Mistake("a signature needs a secret; set secret_env or secret_file", "secret_env")
        return self


class Callbacks(Section):
    """``[callbacks]``: what the tracker believes of what it is told."""

    trust: Literal["token", "confirm"] = "token"
    secret_env: EnvName = "TRACKER_CALLBACK_SECRET"  # noqa: S105 - the name of a variable
    secret_file: ResolvedPath | None = None
    park_s: Duration = 86400.0
    placeholder_url: VerbatimUrl = "https://callback.invalid/"
    providers: Mapping[Name, ProviderCallbacks] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_providers(cls, data: object, info: ValidationInfo) -> object:
        return gather_providers(data, set(cls.model_fields), info)


class Archive(Section):
    """``[archive]``: keeping copies of outputs, in a directory or in an object store."""

    enabled: bool = True
    dir: ResolvedPath | None = None
    url: StoreUrl | None = None
    max_bytes: Count = 2147483648
    allow_private_addresses: bool = False


class Retention(Section):
    """``[retention]``: how long things of finished tasks are kept, days; 0 keeps for ever."""

    events_days: Days = 90
    payload_days: Days = 30
    outputs_days: Days = 0


class ModelAlias(Section):
    """What an alias like ``@video`` stands for: a model, and others to try when it is not to be had."""

    id: str = Field(min_length=1)
    fallback: tuple[str, ...] = ()


class Models(Section):
    """``[models]``: aliases, and the tables of environments that replace them."""

    names: Mapping[str, ModelAlias] = Field(default_factory=dict)
    environments: Mapping[str, Mapping[str, ModelAlias]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _tell_aliases_from_environments(cls, data: object) -> object:
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


class Log(Section):
    """``[log]``: how much is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


def _alias(target: object) -> object:
    return {"id": target} if isinstance(target, str) else target


def gather_providers(data: object, keys: set[str], info: ValidationInfo) -> object:
    """Move the sub-tables of a table (``[poll.suno]``) to its field ``providers``, checking their names."""
    if not isinstance(data, Mapping):
        return data
    own: dict[str, Any] = {key: value for key, value in data.items() if key != "providers"}
    tables = {key: own.pop(key) for key, value in data.items() if isinstance(value, Mapping) and key not in keys}
    known = surroundings(info).providers
    if "providers" in data:
        tables["providers"] = data["providers"]
    for name in tables:
        if known is not None and name not in known:
            raise Mistake(f"there is no such provider; the known ones are {', '.join(sorted(known))}", name)
    return {**own, "providers": tables}
