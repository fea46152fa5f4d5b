"""``doctor``: a checklist of everything the daemon needs, with a fix for each failed line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
from click.core import ParameterSource

from tracker.cli import local_checks, network_checks
from tracker.cli.exits import FAILED, for_same_config, report_errors
from tracker.cli.launch_job import Options
from tracker.cli.local_checks import Line
from tracker.cli.render import echo_columns, echo_json, localize
from tracker.cli.session import Session, account_rules, config_option, json_option, read_config, url_option
from tracker.cli.store_identity import find_lock_holder
from tracker.cli.task_commands import read_data
from tracker.config import Config
from tracker.config.likely_mistakes import unknown_variables
from tracker.domain.ai_models import Model
from tracker.errors import ConfigError, StoreUnavailable, StoreUnusable
from tracker.filesystem import is_store
from tracker.store.sqlite import open_reader
from tracker.store.sqlite.backup_files import refuse_damaged

_OF_ACCOUNT = ("key of ", "service of ", "account ")
"""Begin the names of checks of one account."""
_UNRELATED = frozenset({"models", "trouble"})
"""Checks that may fail before a job is paid."""
_STYLES = {"ok": "green", "failed": "red", "skipped": "yellow"}
_WIDTH = max(map(len, _STYLES))


@click.command()
@config_option
@click.option("--full", is_flag=True, help="Run launch checks, too: against the sandbox, without a key or money.")
@click.option("--account", metavar="NAME", help="With --full: pay for one job on this account, by the running daemon.")
@click.option("--route", help="With --account: the route of the job. Default: the cheapest one.")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="With --route: the request. Default: its example.")
@click.option("--yes", is_flag=True, help="With --account: agree to pay, without a question.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    help="With --account: how long the job may take, and then its callback.",
)
@url_option
@json_option
def doctor(
    config_path: Path | None,
    *,
    full: bool,
    account: str | None,
    route: str | None,
    data: str | None,
    yes: bool,
    timeout_s: float,
    url: str | None,
    as_json: bool,
) -> None:
    """Check configuration, keys, services, models, callbacks, hooks, disk, clock and store: exit 0 or 1.

    With --full also what the documents of a gateway ask to verify before a launch: creation, polling, callbacks that
    come once or twice, a failed task, output storage, messages about quota and policy, and a hook.
    """
    _check_usage(full=full, account=account)
    session = Session(config_path, url)
    lines: list[Line] = []
    with report_errors():
        options = None
        if account is not None:
            options = Options(account, route, None if data is None else read_data(data), yes, timeout_s)
            options.check()
        for line in _list_lines(config_path):
            _add(line, lines, as_json=as_json)
        if full:
            with _ended_by_sigterm(), closing(_launch_lines(session, options, lines)) as launch_lines:
                for line in launch_lines:
                    _add(line, lines, as_json=as_json)
    is_ok = all(line.state != "failed" for line in lines)
    if as_json:
        echo_json({"ok": is_ok, "checks": list(map(asdict, lines))})
    if not is_ok:
        raise click.exceptions.Exit(FAILED)


def _check_usage(*, full: bool, account: str | None) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: one needs another.
    """
    if account is not None and not full:
        raise click.UsageError("--account needs --full")
    context = click.get_current_context()
    for name in ("route", "data", "yes", "timeout_s", "url"):
        if account is None and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.removesuffix('_s')} needs --full --account NAME")


def _concerns(check: str, account: str) -> bool:
    """Whether a job on this account is not to be paid while a check fails."""
    of_account = next((prefix for prefix in _OF_ACCOUNT if check.startswith(prefix)), None)
    return check not in _UNRELATED and (of_account is None or check == of_account + account)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the command like Ctrl-C: what it made is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _add(line: Line, lines: list[Line], *, as_json: bool) -> None:
    lines.append(line)
    if not as_json:
        _echo(line)


def _launch_lines(session: Session, options: Options | None, before: Sequence[Line]) -> Generator[Line]:
    """The launch checks; none on a real account while the installation has a fault that concerns it."""
    if options is None:
        from tracker.cli.launch_sandbox import check_sandbox  # it needs the daemon and the sandbox, slow to import

        yield from check_sandbox()
        return
    from tracker.cli.launch_account import check_account

    wrong = [line.check for line in before if line.state == "failed" and _concerns(line.check, options.account)]
    if wrong:
        yield Line("creation", "skipped", f"no job was sent: first fix {', '.join(dict.fromkeys(wrong))}")
        return
    yield from check_account(session, options)


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
    yield from local_checks.check_hook_secrets(config, is_running=daemon.serves == "same")
    yield from local_checks.check_credentials(config)
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
    text = f"{line.check}: {for_same_config(localize(line.detail, datetime.now(UTC)))}"
    echo_columns((line.state.ljust(_WIDTH), text), indent=0, style=lambda state: click.style(state, fg=colour))
    if line.fix:
        echo_columns((" " * _WIDTH, f"-> {for_same_config(line.fix)}"), indent=0)
