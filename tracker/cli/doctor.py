"""``doctor``: a checklist of everything the daemon needs, with a fix for each failed line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from tracker.cli import local_checks, network_checks
from tracker.cli.exits import FAILED, for_same_config, report_errors
from tracker.cli.local_checks import Line
from tracker.cli.render import echo_columns, echo_json, localize
from tracker.cli.session import account_rules, config_option, json_option, read_config
from tracker.cli.store_identity import find_lock_holder
from tracker.config import Config
from tracker.config.likely_mistakes import unknown_variables
from tracker.domain.ai_models import Model
from tracker.errors import ConfigError, StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store
from tracker.store.sqlite import open_reader
from tracker.store.sqlite.backup_files import refuse_damaged

_STYLES = {"ok": "green", "failed": "red", "skipped": "yellow"}
_WIDTH = max(map(len, _STYLES))


@click.command()
@config_option
@json_option
def doctor(config_path: Path | None, *, as_json: bool) -> None:
    """Check configuration, keys, services, models, callbacks, hooks, disk, clock and store: exit 0 or 1."""
    lines = []
    with report_errors():
        for line in _list_lines(config_path):
            lines.append(line)
            if not as_json:
                _echo(line)
    is_ok = all(line.state != "failed" for line in lines)
    if as_json:
        echo_json({"ok": is_ok, "checks": list(map(asdict, lines))})
    if not is_ok:
        raise click.exceptions.Exit(FAILED)


def _list_lines(config_path: Path | None) -> Iterator[Line]:
    """The checklist, line by line."""
    try:
        config = read_config(config_path, serving=True)
    except ConfigError as error:
        for problem in error.problems:
            what, _, fix = problem.partition("; ")
            yield Line("configuration", "failed", what, fix or "correct that line")
        return
    yield Line("configuration", "ok", str(config.file or "no file: the defaults are used"))
    for variable in unknown_variables(config, os.environ):
        what, _, fix = variable.partition("; ")
        yield Line("environment", "failed", what, fix)
    daemon = network_checks.find_daemon(config)
    yield from network_checks.check_keys(config, daemon.facts)
    yield from network_checks.check_tokens(config, daemon.facts)
    rules = account_rules(config)
    yield from (Line("provider", "skipped", line) for line in rules.list_missing())
    yield from network_checks.check_gateways(config, rules.serves_builtin)
    store, models = _check_store(config)
    yield local_checks.check_models(config, models)
    yield network_checks.check_public_url(config, daemon)
    yield from local_checks.check_hooks(config)
    yield from local_checks.check_hook_secrets(config)
    yield local_checks.check_disk(config)
    yield from local_checks.check_file_system(config)
    yield local_checks.check_descriptors(config)
    yield store
    yield network_checks.check_daemon(config, daemon)
    yield from network_checks.check_troubles(config, daemon)


def _check_store(config: Config) -> tuple[Line, list[Model] | None]:
    """The state of the file, and its list of models; None without one."""
    path = config.store_path

    async def read() -> list[Model]:
        reader = await open_reader(path)
        try:
            return [model for name in config.accounts for model in (await reader.list_models(name)).models]
        finally:
            await reader.close()

    try:
        if not is_store(path):
            return local_checks.check_new_store(config), None
        models = asyncio.run(read())
        if find_lock_holder(path) is None:  # a running daemon finds damage itself
            refuse_damaged(path)
    except (StoreUnusable, StoreUnavailable) as error:
        what, _, fix = str(error).partition("; ")
        return Line("store", "failed", what, fix or "check the file and its permissions"), None
    return Line("store", "ok", f"{path} can be read"), models or None


def _echo(line: Line) -> None:
    colour = _STYLES[line.state]
    text = f"{line.check}: {localize(line.detail, datetime.now(UTC))}"
    echo_columns((line.state.ljust(_WIDTH), text), indent=0, style=lambda state: click.style(state, fg=colour))
    if line.fix:
        echo_columns((" " * _WIDTH, f"-> {for_same_config(line.fix)}"), indent=0)
