"""The configuration in force as people see it: in the shape of the file, and never with a secret.

Must not read a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.config import Config


def config_values(found: Config) -> dict[str, Any]:
    """The configuration in the shape of the file, with the paths in force."""
    values = found.model_dump(mode="json")
    for section in ("poll", "callbacks"):
        values[section] |= {name: _given(table) for name, table in values[section].pop("providers").items()}
    models = values["models"]
    values["models"] = models["names"] | models["environments"]
    values["prices"] |= values["prices"].pop("rates")
    values["store"]["path"] = str(found.store_path)
    values["hooks_dir"] = found.hooks_path and str(found.hooks_path)
    values["server"]["tokens"] = [_given(table) for table in values["server"]["tokens"]]
    values["hooks"] = [
        _given(table | {key: _without_token(value) for key, value in hook.sensitive().items()})
        for hook, table in zip(found.hooks, values["hooks"], strict=True)
    ]
    return values


def _without_token(address: str) -> str:
    """Only the service of a notification URL, which may contain a token."""
    service, is_address, _rest = address.partition("://")
    return f"{service}://…" if is_address else address


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in (None, [], {})}


def list_secrets(found: Config) -> dict[str, bool]:
    """Each secret, and whether it is set."""
    secrets = {f"accounts.{name}.api_key": bool(found.account_key(name)) for name in found.accounts}
    named = [hook for hook in found.hooks if hook.secret_env or hook.secret_file]
    secrets |= {f"hooks[{hook.name}].secret": bool(found.hook_secret(hook)) for hook in named}
    tokens = {f"server.tokens[{table.name}]": bool(found.named_token(table)) for table in found.server.tokens}
    return {"server.api_token": bool(found.api_token()), **tokens, **secrets}


def toml_lines(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Write nested values as TOML: plain keys first, then tables, without unset keys."""
    for key, value in values.items():
        if value is not None and not isinstance(value, dict) and not _is_tables(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        if isinstance(value, dict) and value:
            lines = list(toml_lines(value, inner))
            if lines and not lines[0].startswith("\n"):
                yield f"\n[{name}]"
            yield from lines
        elif _is_tables(value):
            for table in value:
                yield f"\n[[{name}]]"
                yield from toml_lines(table, inner)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
