"""Exit codes, and the exception that ends a command with lines on standard error and a code.

0    success
1    the task or check failed, or the thing does not exist
2    wrong usage, or a request that the daemon refuses as invalid
69   the daemon cannot be reached or cannot do its work (sysexits: EX_UNAVAILABLE)
78   bad configuration, refused token, or a database that cannot be used (EX_CONFIG)
124  timed out
130  interrupted
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from click.core import ParameterSource

FINE = 0
FAILED = 1
USAGE = 2
UNAVAILABLE = 69
BAD_CONFIG = 78
TIMED_OUT = 124
INTERRUPTED = 130

ERROR = 3
WARNING = 4
"""Priorities of the journal, see `severity_mark`."""


def severity_mark(priority: int) -> str:
    """The prefix that gives a line on standard error this priority in the journal; empty outside of the journal."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    from tracker.systemd.journal import is_journal

    return f"<{priority}>" if is_journal(os.environ) else ""


_SERVE = "tracker serve"
_COMMAND = re.compile(
    r"\btracker (?:serve|doctor|track|wait|why|list|cancel|adopt|events|(?:db|config|deliveries|hooks) [a-z]+)\b"
)


def for_same_config(line: str) -> str:
    """Add the ``--config`` of this command to the commands that a line suggests, so that they use the same store.

    Where the configuration belongs to a service, it is the service that is to be started: a daemon that root starts by
    hand would have other rights and none of the service's keys.
    """
    context = click.get_current_context(silent=True)
    if context is None or "config_path" not in context.params:
        return line
    if _SERVE in line:
        line = line.replace(_SERVE, _start_command(context.params["config_path"]))
    if context.get_parameter_source("config_path") is not ParameterSource.COMMANDLINE:
        return line
    option = f" --config {shlex.quote(str(context.params['config_path']))}"
    return line if option in line else _COMMAND.sub(lambda found: found[0] + option, line)


def _start_command(path: Path | None) -> str:
    from tracker.cli.systemd_unit import start_command
    from tracker.config.sources import find_file

    return start_command(path or find_file(os.environ))


class Failure(click.ClickException):
    """Ends a command.

    Args:
        lines: for standard error, one per error.
        code: the exit code.
    """

    def __init__(self, lines: Iterable[str], code: int) -> None:
        self.lines = list(map(for_same_config, lines))
        super().__init__("\n".join(self.lines))
        self.exit_code = code  # type: ignore[misc]  # of each failure, not of the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the lines to standard error."""
        mark = severity_mark(ERROR) if file is None else ""
        for line in self.lines:
            click.echo(f"{mark}{line}", file=file, err=file is None)


class Refused(Failure):
    """The daemon answered with an error.

    Args:
        lines: for standard error.
        code: the exit code.
        problem: the JSON of the response.
    """

    def __init__(self, lines: Iterable[str], code: int, problem: Any) -> None:  # noqa: ANN401 - decoded JSON
        super().__init__(lines, code)
        self._problem = problem if isinstance(problem, dict) else {}

    @property
    def kind(self) -> str:
        """The last part of the ``type`` of problem details."""
        return str(self._problem.get("type", "")).rpartition(":")[2]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The wrong fields."""
        return list(self._problem.get("errors") or [])


class Unreachable(Failure):
    """No daemon of the configured store answers.

    Args:
        line: for standard error.
        brief: the same without the fix; None for the usual text.
        is_sent: the request may have reached the daemon.
    """

    def __init__(self, line: str, brief: str | None = None, *, is_sent: bool = False) -> None:
        super().__init__([line], UNAVAILABLE)
        self.brief = brief
        self.is_sent = is_sent


@contextmanager
def report_errors(*, unavailable: int = UNAVAILABLE) -> Iterator[None]:
    """Turn errors of the configuration and of the store into lines and an exit code.

    Args:
        unavailable: the exit code if the store or a copy cannot be read or written now.
    """
    from tracker.errors import ConfigError, StoreUnavailable, StoreUnusable

    try:
        yield
    except ConfigError as error:
        raise Failure(error.problems, BAD_CONFIG) from error
    except StoreUnusable as error:
        raise Failure([str(error)], BAD_CONFIG) from error
    except StoreUnavailable as error:
        raise Failure([str(error)], unavailable) from error
