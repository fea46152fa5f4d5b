"""``doctor``: a checklist of everything the daemon needs, with a fix for each failed line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.exits import FAILED, Failure, for_same_config
from tracker.cli.render import clean, echo_json
from tracker.cli.session import account_rules, config_option, json_option, read_config

if TYPE_CHECKING:
    from tracker.cli.checkup import Line
    from tracker.config import Config
    from tracker.domain.ai_models import Model

_STYLES = {"ok": "green", "failed": "red", "skipped": "yellow"}
_WIDTH = max(map(len, _STYLES))


@click.command()
@config_option
@json_option
def doctor(config_path: Path | None, *, as_json: bool) -> None:
    """Check configuration, keys, gateways, models, callbacks, hooks, disk, clock and store: exit 0 or 1."""
    lines = []
    for line in _examine(config_path):
        lines.append(line)
        if not as_json:
            _echo(line)
    is_well = all(line.state != "failed" for line in lines)
    if as_json:
        echo_json({"ok": is_well, "checks": [asdict(line) for line in lines]})
    if not is_well:
        raise click.exceptions.Exit(FAILED)


def _examine(config_path: Path | None) -> Iterator[Line]:
    """The checklist, line by line."""
    from tracker.cli import checks, checkup, reach
    from tracker.cli.advice import unknown_variables

    try:
        config = read_config(config_path, os.environ, serving=True)
    except Failure as failure:
        for problem in failure.lines:
            what, _, fix = problem.partition("; ")
            yield checkup.Line("configuration", "failed", what, fix or "correct that line")
        return
    yield checkup.Line("configuration", "ok", str(config.file or "no file: the defaults are used"))
    for variable in unknown_variables(config, os.environ):
        what, _, fix = variable.partition("; ")
        yield checkup.Line("environment", "failed", what, fix)
    daemon = reach.find_daemon(config)
    yield from reach.check_keys(config, daemon.facts)
    rules = account_rules(config)
    yield from (checkup.Line("provider", "skipped", line) for line in rules.list_missing())
    yield from reach.check_gateways(config, rules.serves_builtin)
    store, models = _check_store(config)
    yield checkup.check_models(config, models)
    yield reach.check_public_url(config, daemon)
    yield from checkup.check_hooks(config)
    yield from checks.check_hook_secrets(config)
    yield checkup.check_disk(config)
    yield from checks.check_file_system(config)
    yield checkup.check_descriptors(config)
    yield store
    yield reach.check_daemon(config, daemon)


def _check_store(config: Config) -> tuple[Line, list[Model] | None]:
    """The state of the file, and its list of models; None without one."""
    from tracker.cli import checkup
    from tracker.errors import StoreUnavailable, StoreUnusable
    from tracker.filesystem import is_store
    from tracker.store.sqlite import open_reader
    from tracker.store.sqlite.files import log_bytes

    path = config.store_path

    async def read() -> list[Model]:
        reader = await open_reader(path)
        try:
            return [model for name in config.accounts for model in (await reader.list_models(name)).models]
        finally:
            await reader.close()

    try:
        if not is_store(path):
            return checkup.check_new_store(config), None
        models = asyncio.run(read())
        if checkup.holder_of(path) is None:  # a running daemon finds damage itself
            from tracker.store.sqlite.backup_files import refuse_damaged

            refuse_damaged(path)
    except (StoreUnusable, StoreUnavailable) as error:
        what, _, fix = str(error).partition("; ")
        return checkup.Line("store", "failed", what, fix or "check the file and its permissions"), None
    detail = f"{path} is readable; its write-ahead log has {log_bytes(path) // 2**20} MiB"
    return checkup.Line("store", "ok", detail), models or None


def _echo(line: Line) -> None:
    state = click.style(line.state.ljust(_WIDTH), fg=_STYLES[line.state])
    click.echo(f"{state}  {clean(line.check)}: {clean(line.detail)}")
    if line.fix:
        click.echo(f"{' ' * _WIDTH}  -> {clean(for_same_config(line.fix))}")
