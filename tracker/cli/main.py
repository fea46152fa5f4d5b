"""The ``tracker`` command: finds the command asked for, runs it, and ends with its exit code.

Owns the list of commands. Each is imported only when it runs; the one-line helps stand here for the same reason.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

import click

from tracker import __version__
from tracker.cli.exits import FAILED, FINE, INTERRUPTED

COMMANDS = {
    "serve": ("run", "serve", "Run the daemon."),
    "demo": ("run", "demo", "See it work: no key, no network."),
    "sandbox": ("sandbox", "sandbox", "Run the embedded gateway alone, with faults on demand."),
    "submit": ("act", "submit", "Create a paid task."),
    "track": ("act", "track", "Follow a task that was created elsewhere."),
    "list": ("look", "list_tasks", "List tasks, newest first."),
    "show": ("look", "show", "Show all that is known of a task."),
    "events": ("look", "events", "Show the history of a task."),
    "why": ("look", "why", "Explain why a task is where it is."),
    "wait": ("act", "wait_for", "Wait until tasks have ended."),
    "poll": ("act", "poll", "Ask the upstream about a task now."),
    "download": ("download", "download", "Copy a task's files; fetch again what is missing."),
    "cancel": ("act", "cancel", "Stop following a task."),
    "routes": ("look", "routes", "List the routes that tasks can be created on."),
    "hooks": ("hooks", "hooks", "See how hooks are doing; try one."),
    "deliveries": ("deliveries", "deliveries", "See the runs of hooks; run failed ones again."),
    "models": ("models", "models", "See which models an account can use."),
    "db": ("db", "db", "Look after the SQLite file."),
    "doctor": ("doctor", "doctor", "Check that everything is there that a daemon needs."),
    "config": ("settings", "config", "Check, show or start the configuration."),
}
"""Command -> module below `tracker.cli`, attribute, one-line help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"tracker.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, naming the nearest one for a misspelt name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - the same
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, _attribute, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tracker")
def cli() -> None:
    """Follow paid asynchronous media jobs to their end: callbacks in, polls out, hooks run exactly as recorded.

    Exit codes: 0 fine, 1 the thing asked about failed, 2 usage, 69 daemon unreachable, 78 bad configuration,
    124 timed out.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process.

    Args:
        arguments: what follows the program's name; None: the process's own.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Errors become lines on standard error, never tracebacks."""
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output has seen enough
        _give_up(sys.stdout)
        return FINE
    except OSError as error:
        # what no command foresaw: mostly a standard output that takes nothing, on a full disk for one
        _give_up(sys.stdout)
        where = f"{error.filename}: " if error.filename else "standard output, or a file: "
        with contextlib.suppress(OSError):
            click.echo(f"{where}{error.strerror or error}", err=True)
        _give_up(sys.stderr)
        return FAILED
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="tracker", standalone_mode=False)
    except click.ClickException as error:
        _complain(error.show)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain(lambda: click.echo("interrupted", err=True))
        return INTERRUPTED
    except SystemExit:
        # click ends the process itself in two cases: shell completion, and a closed pipe that it met first
        if "_TRACKER_COMPLETE" in os.environ:
            raise
        return FINE
    return code if isinstance(code, int) else FINE


def _complain(say: Callable[[], None]) -> None:
    """Say what is wrong; that nobody listens makes no failure a success."""
    try:
        say()
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def _prepare_streams() -> None:
    """Have all three streams take or give something, and no character be too much for them.

    A stream that was closed before we started is None, and the next file that is opened would get its number.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process lives
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - the same
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up(stream: TextIO) -> None:
    """Have a stream that takes nothing lead nowhere: the interpreter must not complain when it flushes at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
