"""``config check``, ``config show`` and ``config init``. Secrets are never printed, only whether they are set."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.exits import BAD_CONFIG, FAILED, WARNING, Failure, severity_mark
from tracker.cli.reload import reload_config
from tracker.cli.render import echo_json
from tracker.cli.session import account_rules, config_option, json_option, read_config

if TYPE_CHECKING:
    from tracker.config import Config


@click.group()
def config() -> None:
    """Check, show, create or reload the configuration."""


@config.command()
@config_option
@json_option
def check(config_path: Path | None, *, as_json: bool) -> None:
    """Check the configuration: exit 0, or 78 with one line per error."""
    from tracker.cli.advice import list_advice

    try:
        found = read_config(config_path, os.environ, serving=True)
        warnings = [f"{key}: has no effect in this release" for key in found.not_acted_on()]
        warnings += found.missing_secrets() + account_rules(found).list_missing() + _hook_problems(found)
        warnings += list_advice(found, os.environ) + _scripts(found)
    except Failure as failure:
        if as_json:
            echo_json({"ok": False, "problems": failure.lines})
            raise click.exceptions.Exit(BAD_CONFIG) from None
        raise
    if as_json:
        echo_json({"ok": True, "file": _path(found.file), "warnings": warnings})
        return
    for warning in warnings:
        click.echo(f"{severity_mark(WARNING)}warning: {warning}", err=True)
    click.echo(f"{found.file or 'defaults'}: ok")


@config.command()
@config_option
@json_option
def show(config_path: Path | None, *, as_json: bool) -> None:
    """Show the configuration in force, defaults and overrides included, and which secrets are set."""
    found = read_config(config_path, os.environ, serving=False, hooks=True)
    values = _values(found)
    secrets = _secrets(found)
    if as_json:
        echo_json({"file": _path(found.file), "config": values, "secrets": secrets})
        return
    click.echo(f"# {found.file or 'no file: the defaults and the environment'}")
    for line in toml_lines(values):
        click.echo(line)
    click.echo()
    for name, is_set in secrets.items():
        click.echo(f"# secret {name}: {'set' if is_set else 'not set'}")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("tracker.toml"))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(path: Path, *, force: bool) -> None:
    """Write a configuration file that documents every key to PATH (tracker.toml), or to - for stdout."""
    text = resources.files("tracker.config").joinpath("tracker.toml").read_text(encoding="utf-8")
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Failure([f"{path}: exists; choose another path, or overwrite it with --force"], FAILED) from error
    except OSError as error:
        raise Failure([f"{path}: cannot be written ({error.strerror})"], FAILED) from error
    click.echo(f"{path}: written; check it with: tracker config check --config {path}", err=True)


config.add_command(reload_config)


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


def _values(found: Config) -> dict[str, Any]:
    """The configuration in the shape of the file, with the paths in force."""
    values = found.model_dump(mode="json")
    for section in ("poll", "callbacks"):
        values[section] |= {name: _given(table) for name, table in values[section].pop("providers").items()}
    models = values["models"]
    values["models"] = models["names"] | models["environments"]
    values["store"]["path"] = str(found.store_path)
    values["hooks_dir"] = _path(found.hooks_path)
    values["hooks"] = [
        _given(table | {key: _without_token(value) for key, value in hook.sensitive().items()})
        for hook, table in zip(found.hooks, values["hooks"], strict=True)
    ]
    return values


def _hook_problems(found: Config) -> list[str]:
    """Errors that stop the daemon here; secrets and plug-ins may exist where it runs."""
    from tracker.errors import ConfigError
    from tracker.hooks.kinds.registry import read_hooks

    try:
        read_hooks(found)
    except ConfigError as error:
        return error.problems
    return []


def _scripts(found: Config) -> list[str]:
    """Errors that stop a hook here."""
    from tracker.cli.checkup import check_hooks

    return [f"{line.check}: {line.detail}; {line.fix}" for line in check_hooks(found) if line.state == "failed"]


def _without_token(address: str) -> str:
    """Only the service of a notification URL, which may contain a token."""
    service, is_address, _rest = address.partition("://")
    return f"{service}://…" if is_address else address


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in (None, [], {})}


def _secrets(found: Config) -> dict[str, bool]:
    from tracker.errors import ConfigError

    try:
        secrets = {f"accounts.{name}.api_key": bool(found.account_key(name)) for name in found.accounts}
        named = [hook for hook in found.hooks if hook.secret_env or hook.secret_file]
        secrets |= {f"hooks[{hook.name}].secret": bool(found.hook_secret(hook)) for hook in named}
        return {"server.api_token": bool(found.api_token()), **secrets}
    except ConfigError as error:
        raise Failure(error.problems, BAD_CONFIG) from error


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
