"""The ``tracker`` command: finds the requested command, runs it, and ends with its exit code.

Owns the list of commands with their one-line helps, so that each command is imported only when it runs.
"""

from __future__ import annotations

import contextlib
import gc
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
    "demo": ("run", "demo", "Run a demonstration: no key, no network."),
    "sandbox": ("sandbox", "sandbox", "Run the sandbox gateway, with faults on demand."),
    "submit": ("task_commands", "submit", "Create a paid task."),
    "track": ("task_commands", "track", "Follow a task that was created elsewhere."),
    "list": ("query_commands", "list_tasks", "List tasks, newest first."),
    "show": ("query_commands", "show", "Show everything about a task."),
    "events": ("query_commands", "events", "Show the history of a task."),
    "why": ("query_commands", "why", "Explain the state of a task and what happens next."),
    "wait": ("task_commands", "wait_for", "Wait until tasks end."),
    "watch": ("watch", "watch", "Show tasks live."),
    "poll": ("action_commands", "poll", "Poll a task now, or all that match."),
    "download": ("download", "download", "Download a task's files."),
    "cancel": ("action_commands", "cancel", "Stop following a task, or all that match."),
    "resubmit": ("task_commands", "resubmit", "Send the request of a task again (also: retry)."),
    "adopt": ("task_commands", "adopt", "Give a task whose create got no clear answer the service's id."),
    "report": ("report", "report", "Add up tasks: successes, failures, durations and costs."),
    "routes": ("route_commands", "routes", "List the routes for tasks, or show the fields and models of one."),
    "hooks": ("hook_commands", "hooks", "List hooks and their health; test a hook."),
    "deliveries": ("hook_commands", "deliveries", "List deliveries; retry failed ones."),
    "providers": ("provider_commands", "providers", "Declared providers: list, write and try their files."),
    "models": ("query_commands", "models", "List the models of an account."),
    "export": ("export_commands", "export", "Write a task as one document without secrets."),
    "replay": ("export_commands", "replay", "Run an exported task through the state machine again."),
    "mcp": ("mcp", "mcp", "Serve tools for AI agents on stdin and stdout."),
    "db": ("db_commands", "db", "Check, back up, restore and prune the database."),
    "status": ("status", "status", "Show the state of the daemon on one screen."),
    "doctor": ("doctor", "doctor", "Check everything the daemon needs."),
    "config": ("config_commands", "config", "Check, show, create or reload the configuration."),
}
"""Command -> module below `tracker.cli`, attribute, one-line help."""
ALIASES = {"retry": "resubmit"}
"""What people type -> the command."""


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """Import one command."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module, attribute, _help = COMMANDS[name]
        command = getattr(importlib.import_module(f"tracker.cli.{module}"), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, naming the nearest one for a misspelt name."""
        if args and args[0] not in {*COMMANDS, *ALIASES} and not args[0].startswith("-"):
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
    """Submit paid, asynchronous media jobs once, follow each to its end, and run hooks.

    Exit codes: 0 success, 1 the task or check failed, 2 usage, 69 daemon unreachable, 78 bad configuration,
    124 timed out.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process; None: with the arguments of the process."""
    code = run(arguments)
    gc.freeze()  # the interpreter would look for garbage once more, a fifth of the time of a short command
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Errors become lines on standard error, never tracebacks."""
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader closed the pipe
        _discard(sys.stdout)
        return FINE
    except OSError as error:
        # not handled by a command: mostly a standard output on a full disk
        _discard(sys.stdout)
        where = f"{error.filename}: " if error.filename else "standard output, or a file: "
        with contextlib.suppress(OSError):
            click.echo(f"{where}{error.strerror or error}", err=True)
        _discard(sys.stderr)
        return FAILED
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="tracker", standalone_mode=False)
    except click.ClickException as error:
        _report(error.show)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _report(lambda: click.echo("interrupted", err=True))
        return INTERRUPTED
    except SystemExit:
        # click ends the process itself in two cases: shell completion, and a closed pipe that it met first
        if "_TRACKER_COMPLETE" in os.environ:
            raise
        return FINE
    return code if isinstance(code, int) else FINE


def _report(write: Callable[[], None]) -> None:
    """Write an error; a closed standard error does not change the exit code."""
    try:
        write()
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _prepare_streams() -> None:
    """Open closed standard streams, and let them escape characters that they cannot encode.

    A stream that was closed before the start is None; the next opened file would get its descriptor.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process lives
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - the same
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Redirect a broken stream to the null device: the interpreter must not fail when it flushes at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
