"""Types of configuration values, each with its check and error message. `sections` assigns them to keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from tracker.config.listen import parse_listen
from tracker.config.sources import is_variable, resolve

_TEN_YEARS_S = 10 * 365 * 86400
STORE_SCHEMES = ("s3", "gs", "az")
"""Object stores for the archive."""
_BRACES = re.compile(r"[{}]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Context:
    """Context of the checks.

    Attributes:
        base: directory that relative paths start from.
        home: the user's home directory, for ``~``.
        providers: names of all providers; None if unknown.
        hook_table: makes the model of ``[[hooks]]`` with the keys of all kinds; None: no kinds.
    """

    base: Path = field(default_factory=Path)
    home: Path | None = None
    providers: frozenset[str] | None = None
    hook_table: Callable[[], type[BaseModel]] | None = None


def context_of(info: ValidationInfo) -> Context:
    """The context of a validation."""
    return info.context if isinstance(info.context, Context) else Context()


class Section(BaseModel):
    """One table of the file: unknown keys are errors, values are frozen, errors contain no values."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)


def resolve_path(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute: ``~`` is the home directory, relative ones start beside the file."""
    context = context_of(info)
    return resolve(path, context.base, context.home)


def no_bool(value: object) -> object:
    """Refuse true and false, which are numbers to Python."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


def _http_url(text: str, example_host: str = "tracker.example.com") -> str:
    example = f"write for example https://{example_host}"
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL; {example}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"is not an http(s) URL; {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user name or password; remove it")
    if parts.query or parts.fragment:
        raise ValueError("has a query or fragment; remove everything from ? or #")
    return text.rstrip("/")


def _hook_url(text: str) -> str:
    """Check an endpoint URL, which may have a query."""
    _http_url(text.partition("?")[0])
    if "#" in text:
        raise ValueError("has a fragment; remove everything from #")
    return text


def _store_url(text: str) -> str:
    scheme, colon, rest = text.partition("://")
    if scheme not in STORE_SCHEMES or not colon or not rest.strip("/"):
        known = ", ".join(f"{known}://" for known in STORE_SCHEMES)
        raise ValueError(f"is not an object store URL; write for example s3://bucket/prefix (known: {known})")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise ValueError("has credentials, a query or a fragment; set credentials in the environment")
    return text.rstrip("/")


def _sentence(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of text")
    if _BRACES.search(text.replace("{asset}", "")):
        raise ValueError("has a brace; the only placeholder is {asset}")
    return text


def _env_name(name: str) -> str:
    # the message omits the value, which may be a key pasted here by mistake
    if not is_variable(name):
        raise ValueError("is not the name of an environment variable; write the variable's name, not its value")
    return name


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is not a valid name; use up to 64 letters, digits, dots, hyphens and underscores")
    return name


_number = BeforeValidator(no_bool)
Duration = Annotated[float, _number, Field(ge=0, le=_TEN_YEARS_S, allow_inf_nan=False)]
"""Seconds, 0 or more."""
PositiveDuration = Annotated[float, _number, Field(gt=0, le=_TEN_YEARS_S, allow_inf_nan=False)]
"""Seconds, more than 0."""
Rate = Annotated[float, _number, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
"""Per second, more than 0."""
Count = Annotated[int, _number, Field(ge=1, le=2**53)]
"""An integer, 1 or more."""
Days = Annotated[int, _number, Field(ge=0, le=36500)]
"""Days; 0 means never."""
GatewayUrl = Annotated[str, AfterValidator(partial(_http_url, example_host="gateway.api.anyint.ai"))]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""Without a trailing slash: paths are appended."""
HookUrl = Annotated[str, AfterValidator(_hook_url)]
"""An endpoint, used exactly as written; may have a query."""
VerbatimUrl = Annotated[str, AfterValidator(lambda text: _http_url(text) and text)]
"""Used exactly as written."""
StoreUrl = Annotated[str, AfterValidator(_store_url)]
"""A bucket and a prefix; without a trailing slash."""
EnvName = Annotated[str, AfterValidator(_env_name)]
Name = Annotated[str, AfterValidator(_name)]
ListenAddress = Annotated[str, AfterValidator(lambda text: str(parse_listen(text)))]
ResolvedPath = Annotated[Path, AfterValidator(resolve_path)]
Sentence = Annotated[str, AfterValidator(_sentence)]
"""A text for end users; ``{asset}`` is what is made."""
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One name or several."""
