"""The format of log lines (JSON, or text for a terminal) and their target (stderr, or a sink).

Owns the configuration of structlog and of the standard library's logging. Must not decide what is secret.
"""

from __future__ import annotations

import json as stdlib_json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog

from tracker.logs.redactor import Redactor

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor


Sink = Callable[[Mapping[str, Any]], None]
"""Receives redacted events instead of lines, without a time, for a log that adds its own."""


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines have ``logger: name``.

    May be called before `configure_logging`, which configures every logger. Until then, warnings and errors go to
    standard error.
    """
    return cast("FilteringBoundLogger", _loggers.setdefault(name, _Logger(name)))


class _Logger:
    """Binds a logger when one of its methods is first used, and caches the method until logging is reconfigured.

    structlog's own proxy either binds again for each line, or ignores a new configuration.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401  any method of a bound logger
        if not structlog.is_configured():
            # not configured: structlog would write to standard output, which is for results
            _configure(logging.WARNING, Redactor(()), as_json=not sys.stderr.isatty(), sink=None)
        found = self.__dict__[method] = getattr(structlog.get_logger(self._name).bind(), method)
        return found

    def reset(self) -> None:
        """Drop cached methods, after logging was reconfigured."""
        self.__dict__ = {"_name": self._name}


_loggers: dict[str, _Logger] = {}
_ATOMIC_BYTES = 4096
"""A longer write to a pipe may be mixed with that of another process: ``PIPE_BUF`` of Linux."""


def configure_logging(
    level: str | int = "info",
    *,
    json: bool | None = None,
    secrets: Iterable[str] = (),
    sink: Sink | None = None,
    redactor: Redactor | None = None,
) -> Redactor:
    """Configure logging for the process and its libraries; may be called again to change it.

    Args:
        level: the lowest severity: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        json: JSON lines, or text; None: text if stderr is a terminal.
        secrets: values that never appear in a line.
        sink: receives the events instead of standard error.
        redactor: of an earlier call: it also masks the new secrets, and still the old ones, which running requests may
            contain.

    Returns:
        The redactor, for everything else that is stored or shown.
    """
    number = level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]
    as_json = not sys.stderr.isatty() if json is None else json
    if redactor is None:
        redactor = Redactor(secrets)
    else:
        redactor.add(secrets)
    _configure(number, redactor, as_json=as_json, sink=sink)
    for logger in _loggers.values():  # a reload may change level and secrets
        logger.reset()
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(number)
    logging.getLogger("apscheduler").setLevel(max(number, logging.WARNING))
    logging.getLogger("aiosqlite").setLevel(max(number, logging.WARNING))
    logging.getLogger("asyncio").setLevel(max(number, logging.INFO))
    access = logging.getLogger("aiohttp.access")  # halves the throughput and shows tokens in paths
    access.disabled = True
    access.propagate = False
    return redactor


def _configure(number: int, redactor: Redactor, *, as_json: bool, sink: Sink | None) -> None:
    clock: list[Processor] = [_add_time] if sink is None else []
    structlog.configure(
        processors=[_add_origin, *clock, _add_traces, *_last_steps(redactor, as_json=as_json, sink=sink)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=partial(_Target, sink or _write_line),
    )


def _last_steps(redactor: Redactor, *, as_json: bool, sink: Sink | None) -> list[Processor]:
    """Redact and render."""
    if sink is not None:
        return [redactor.event, _pass_event]
    if as_json:
        return [_json_renderer(redactor)]
    traces, colors = structlog.dev.plain_traceback, sys.stderr.isatty()
    return [
        redactor.event,
        structlog.dev.ConsoleRenderer(timestamp_key="at", colors=colors, exception_formatter=traces),
    ]


def _json_renderer(redactor: Redactor) -> Processor:
    """Render JSON. Checking the finished line nearly always shows that nothing must be masked."""

    def render(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        try:
            line = orjson.dumps(event).decode()
        except TypeError:  # a value that is not JSON: masking makes it text
            line = None
        if line is not None and not redactor.is_suspicious(line):
            return line
        masked = redactor.event(logger, method, event)
        try:
            return orjson.dumps(masked).decode()
        except TypeError:  # a lone surrogate, or an integer beyond 64 bits
            return stdlib_json.dumps(masked, default=str)

    return render


def _pass_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[Any], dict[str, Any]]:
    """Pass the event to the logger."""
    return (event,), {}


def _add_origin(logger: _Target, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["logger"] = logger.name
    return structlog.processors.add_log_level(logger, method, event)


def _add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Like structlog's own, in a fifth of the time."""
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    event["at"] = f"{_second(second)}.{nanoseconds // 1000:06}Z"
    return event


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_add_stack = structlog.processors.StackInfoRenderer()


def _add_traces(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Format tracebacks; hardly any line has one."""
    if "exc_info" in event or "stack_info" in event:
        event = structlog.processors.format_exc_info(logger, method, _add_stack(logger, method, event))
    return event


class _Target:
    """Passes each line or event to a function."""

    def __init__(self, write: Callable[[Any], None], name: str = "tracker") -> None:
        self._write = write
        self.name = name

    def msg(self, item: str | Mapping[str, Any]) -> None:
        self._write(item)

    log = debug = info = warn = warning = msg
    error = exception = critical = fatal = failure = err = msg


class _Held(threading.local):
    """The lines that this thread has not written yet; None: each is written at once."""

    lines: list[str] | None = None


_held = _Held()


@contextmanager
def written_together() -> Iterator[None]:
    """Write the lines of a block at its end, with few calls. The block must not await.

    Under load each call gives the interpreter lock away. A sink gets each event at once.
    """
    if _held.lines is not None:
        yield
        return
    lines = _held.lines = []
    try:
        yield
    finally:
        _held.lines = None
        text, size = "", 0
        for line in lines:
            added = len(line.encode(errors="replace")) + 1
            if text and size + added > _ATOMIC_BYTES:
                _write(text)
                text, size = "", 0
            text += f"{line}\n"
            size += added
        if text:
            _write(text)


def _write_line(line: str) -> None:
    """Write a line with one call, now or at the end of `written_together`."""
    if _held.lines is None:
        _write(f"{line}\n")
    else:
        _held.lines.append(line)


def _write(text: str) -> None:
    """Write to the current stderr."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # stderr is closed; the daemon continues


class _LibraryHandler(logging.Handler):
    """Passes log records of libraries to the same processors."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on a record; its severity is rounded down to a named one."""
        severity = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            get_logger(record.name).log(severity, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging must never raise
            self.handleError(record)
