"""The daemon as a process: signals, the service manager, reloads, and an orderly stop.

Owns what happens around a `Tracker`: it is started, watched, reloaded and stopped. Must not know what a tracker does.

SIGTERM and SIGINT stop it; a second signal stops the wait for paid creates. SIGHUP reloads. READY is sent once store,
sockets and the first sweep work. The watchdog is pinged while sweep, writer, archiver and dispatcher make progress: a
process that makes none is killed and restarted, which loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.daemon.app import Tracker
from tracker.daemon.descriptors import raise_limit
from tracker.daemon.listening import quiet_accept
from tracker.daemon.reload_results import Marks, Outcome, outcome_path, write_outcome
from tracker.errors import ConfigError, StoreUnavailable
from tracker.logs import OwnText, get_logger
from tracker.systemd import (
    Notifier,
    find_journal,
    hide_credentials,
    protect_memory,
    read_credentials,
    take_sockets,
)

if TYPE_CHECKING:
    from tracker.config import Config

log = get_logger(__name__)

STATUS_EVERY_S = 10.0
SAME_REQUEST_S = 1.0
"""A shell and a wrapper each forward one Ctrl-C: a signal so soon after the first is not a second request."""
START_STEP_S = 10.0
"""During a long start (a large file is copied and migrated), more time is requested this often …"""
START_MORE_S = 30.0
"""… and so much of it."""

ReadConfig = Callable[[], "Config"]
"""Reads the configuration again; raises `ConfigError`."""


def serve(config: Config, environ: MutableMapping[str, str], read_config: ReadConfig) -> int:
    """Run the daemon on the fastest event loop there is; the process's exit code.

    Args:
        config: the configuration.
        environ: the process environment, for hook scripts; systemd's variables about sockets are removed.
        read_config: reads the configuration again, for SIGHUP.

    Raises:
        StoreUnusable: the database cannot be used.
        ConfigError: the configuration has a mistake that only a start detects.
    """
    protect_memory()
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    marks = Marks.of(read_credentials({"CREDENTIALS_DIRECTORY": directory}))
    if _names_credential_file(config, environ):
        log.warning("credentials.not_protected", error="a …_file key names one of them; use …_env instead")
    else:
        hide_credentials(environ)
    raise_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, contextlib.suppress(asyncio.CancelledError):
        runner.run(run(config, environ, read_config, marks))
    return 0


async def run(
    config: Config, environ: MutableMapping[str, str], read_config: ReadConfig, marks: Marks | None = None
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        config: the configuration.
        environ: the process environment.
        read_config: reads the configuration again.
        marks: of the credentials that it is started with.

    Raises:
        StoreUnusable: the database cannot be used.
        ConfigError: the configuration has a mistake that only a start detects.
    """
    loop = asyncio.get_running_loop()
    quiet_accept(loop)
    asked_to_stop, asked_to_reload = asyncio.Event(), asyncio.Event()
    notifier = Notifier(environ)
    sockets = take_sockets(environ)
    report = outcome_path(environ, config.store_path)

    def write(began_s: float, problems: Sequence[str], restart: Sequence[str]) -> None:
        outcome = Outcome(began_s, tuple(problems), tuple(restart), marks or Marks())
        try:
            write_outcome(report, outcome)
        except OSError as error:
            log.warning(
                "config.reload_failed", step="write outcome", path=str(report), error=error.strerror or str(error)
            )

    tracker = Tracker(config, environ, sockets=sockets, journal=find_journal(environ))

    asked_at = 0.0

    def stop_or_hurry() -> None:
        nonlocal asked_at
        if not asked_to_stop.is_set():
            asked_at = loop.time()
            asked_to_stop.set()
        elif loop.time() - asked_at > SAME_REQUEST_S:
            tracker.hurry()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_hurry)
    loop.add_signal_handler(signal.SIGHUP, asked_to_reload.set)
    async with _meanwhile(_ask_for_time(notifier)):
        await tracker.start()
    # what exists now lives until the end: full collections skip it (6 to 7 % less CPU per callback)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # there are few cycles to collect: 3 to 4 % less CPU per callback
    stop = asyncio.create_task(asked_to_stop.wait())
    first_tick = asyncio.create_task(tracker.poller.first_tick.wait())
    async with _meanwhile(_feed(tracker, notifier, asked_to_stop)):
        try:
            await asyncio.wait({stop, first_tick}, return_when=asyncio.FIRST_COMPLETED)
            if not asked_to_stop.is_set():
                notifier.ready(await _status_of(tracker))
                if notifier.is_available:
                    tracker.scheduler.add("status", partial(_report, tracker, notifier), STATUS_EVERY_S)
                async with _meanwhile(_reload(tracker, notifier, asked_to_reload, read_config, write)):
                    await stop
        finally:
            notifier.stopping("Stopping: waiting for work under way")
            first_tick.cancel()
            stop.cancel()
            await tracker.stop()


@contextlib.asynccontextmanager
async def _meanwhile(work: Any) -> Any:  # noqa: ANN401 - any coroutine; the manager yields nothing of use
    """Run a coroutine beside the body, and cancel it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ask_for_time(notifier: Notifier) -> None:
    while notifier.is_available:
        notifier.starting("Opening the database", START_MORE_S)
        await asyncio.sleep(START_STEP_S)


async def _feed(tracker: Tracker, notifier: Notifier, stopping: asyncio.Event) -> None:
    """Ping the watchdog while there is progress, and during the stop, which has its own limit."""
    is_logged = False
    while notifier.watchdog_s is not None:
        reasons = [] if stopping.is_set() else tracker.health_checks.wedged()
        if not reasons:
            notifier.alive()
        elif not is_logged:
            log.error("watchdog.not_pinged", reasons=reasons)
        is_logged = bool(reasons)
        await asyncio.sleep(notifier.watchdog_s / 3)


async def _report(tracker: Tracker, notifier: Notifier) -> None:
    """Refresh the status line."""
    if not tracker.is_stopping:
        notifier.status(await _status_of(tracker))


async def _status_of(tracker: Tracker) -> str:
    try:
        return await tracker.health_checks.status_line()
    except StoreUnavailable as error:
        return f"The counts cannot be read: {error}"


async def _reload(
    tracker: Tracker,
    notifier: Notifier,
    asked: asyncio.Event,
    read_config: ReadConfig,
    write: Callable[[float, Sequence[str], Sequence[str]], None],
) -> None:
    """Reload on each request; requests at the same time are one. ``write`` stores the outcome of each."""
    while True:
        await asked.wait()
        asked.clear()
        began_s = time.monotonic()
        notifier.reloading()
        status = ""
        problems: list[str] = []
        needs_restart: list[str] = []
        try:
            changed, needs_restart = tracker.reload(await asyncio.to_thread(read_config))
        except ConfigError as error:
            problems = error.problems
            for problem in problems:
                log.error("config.reload_refused", problem=OwnText(problem))  # noqa: TRY400 - the line says it all
            status = f"Reload refused, the old configuration stays in effect: {problems[0]}"
        except Exception:
            log.exception("config.reload_failed", step="apply")
            problems = ["the reload failed and the old configuration stays in effect; see the daemon's log"]
            status = "Reload failed, the old configuration stays in effect; see the log"
        else:
            for key in needs_restart:
                log.warning("config.restart_needed", key=OwnText(key))
            log.info("config.reloaded", changed=changed, needs_restart=needs_restart)
        tracker.state.is_reload_successful = not problems
        write(began_s, problems, needs_restart)
        notifier.ready(status or await _status_of(tracker))


def _names_credential_file(config: Config, environ: Mapping[str, str]) -> bool:
    """Whether the configuration names a file of the credentials directory, which must then stay readable."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and _holds_path_in(config.model_dump(), Path(directory))


def _holds_path_in(value: object, directory: Path) -> bool:
    match value:
        case Path():
            return value.is_relative_to(directory)
        case dict():
            return any(_holds_path_in(item, directory) for item in value.values())
        case list() | tuple():
            return any(_holds_path_in(item, directory) for item in value)
        case _:
            return False


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop polls about 1.2 times as fast; without it, the standard loop is used."""
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
