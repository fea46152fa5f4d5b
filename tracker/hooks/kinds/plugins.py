"""Hooks that are Python plug-ins, found through the entry-point group ``tracker.hooks``.

Owns finding, checking and calling them. Must not decide when to try again.

The daemon's event loop never runs a plug-in's code. A plain function is called on a thread of its own; a coroutine
function on an event loop that all calls of the plug-in share, on a thread of its own. Python cannot end a thread:
when the time is up, a coroutine is cancelled, but a function goes on and keeps its place. A plug-in with
``concurrency`` such calls is not called again until one of them ends, and a delivery whose last call still goes on
is not called a second time beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import orjson
import pluggy

from tracker.errors import ConfigError
from tracker.hooks import plugin_spec
from tracker.hooks.plugin_spec import GROUP, PROJECT, PermanentFailure
from tracker.hooks.running.tail import tail_text
from tracker.hooks.running.threads import in_thread
from tracker.hooks.spec import Configured, RunOutcome, RunResult, Tools

if TYPE_CHECKING:
    from tracker.hooks.spec import HookSpec
    from tracker.store.values import DeliveryJob

KIND = "plugin"
_HOOK = plugin_spec.tracker_task_event.__name__


@dataclass(frozen=True, slots=True)
class PluginAction:
    """Which plug-in to call.

    Attributes:
        name: of its entry point.
        function: what it implements; takes the arguments below by position.
        arguments: the names of these arguments.
    """

    name: str
    function: Callable[..., Any] = field(compare=False, repr=False)
    arguments: tuple[str, ...] = field(compare=False, repr=False)

    @property
    def kind(self) -> str:
        """``plugin``."""
        return KIND


class PluginRunner:
    """Calls plug-ins."""

    def __init__(self) -> None:
        self._threads: dict[str, set[str]] = {}
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Call the plug-in once; see `Runner.run`."""
        action = spec.action
        if not isinstance(action, PluginAction):
            raise TypeError(f"hook {spec.name!r} is no plug-in hook")
        given = {"event": orjson.loads(payload), "delivery_id": job.id, "attempt": job.attempt}
        call = partial(action.function, *(given[name] for name in action.arguments))
        if inspect.iscoroutinefunction(action.function):
            return await self._judge(spec, self._call_async(action.name, call))
        held = self._threads.setdefault(spec.name, set())
        if job.id in held:
            return _again("the call of an earlier attempt still goes on")
        if len(held) >= spec.concurrency:
            return _again(f"{len(held)} earlier calls still go on", unreachable=True)
        return await self._judge(spec, self._call_plain(held, job.id, call))

    async def close(self) -> None:
        """Stop the event loops; threads that still go on end with the process."""
        loops, self._loops = self._loops, {}
        for loop in loops.values():
            loop.call_soon_threadsafe(loop.stop)

    async def _judge(self, spec: HookSpec, call: asyncio.Future[Any]) -> RunResult:
        try:
            async with asyncio.timeout(spec.timeout_s):
                answer = await call
        except TimeoutError as error:
            if call.done() and not call.cancelled():  # its own, not ours
                return read_error(error)
            return _again(f"no end within {spec.timeout_s:g} s")
        except PermanentFailure as error:
            return RunResult(RunOutcome.FAILED_FOR_GOOD, str(error) or "failed for good")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call.done() and (task is None or not task.cancelling()):
                return _again("the plug-in cancelled itself")
            raise
        except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is a failed attempt
            return read_error(error)
        return RunResult(RunOutcome.SUCCEEDED, output=tail_text(answer) if isinstance(answer, str) else None)

    def _call_plain(self, held: set[str], delivery_id: str, call: Callable[[], Any]) -> asyncio.Future[Any]:
        def work() -> object:
            try:
                return call()
            finally:
                held.discard(delivery_id)  # one operation of the interpreter: needs no lock

        held.add(delivery_id)
        try:
            return in_thread(work, name="hook plug-in")
        except BaseException:
            held.discard(delivery_id)
            raise

    def _call_async(self, name: str, call: Callable[[], Any]) -> asyncio.Future[Any]:
        loop = self._loops.get(name)
        if loop is None:
            loop = self._loops[name] = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(loop,), name=f"hook plug-in {name}", daemon=True).start()
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), loop))


def make_runner(_tools: Tools) -> PluginRunner:
    """The runner of plug-ins; see `tracker.hooks.kinds.registry`."""
    return PluginRunner()


def make_action(hook: Configured, _secret: str | None) -> PluginAction:
    """The action of a configured hook.

    Raises:
        ConfigError: the plug-in is not installed, cannot be imported, or does not fit the specification.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    return load_plugin(hook.name, hook.plugin or "", installed)


def load_plugin(hook: str, name: str, installed: Mapping[str, EntryPoint]) -> PluginAction:
    """Import a plug-in and check it against the specification.

    Args:
        hook: name of the hook, for messages.
        name: of the entry point.
        installed: all entry points of the group, by name.

    Raises:
        ConfigError: it is not installed, cannot be imported, or does not fit; the line names plug-in and argument.
    """
    where = f"hooks[{hook}].plugin"
    if name not in installed:
        known = f"installed are {', '.join(sorted(installed))}" if installed else "none is installed"
        raise ConfigError([f"{where}: no plug-in is named {name!r} in the entry-point group {GROUP!r}; {known}"])
    try:
        plugin = installed[name].load()
        if inspect.isclass(plugin):
            plugin = plugin()
    except Exception as error:
        raise ConfigError([f"{where}: {name!r} cannot be loaded: {type(error).__name__}: {error}"]) from error
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(plugin_spec)
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ConfigError([f"{where}: {_misfit(name, plugin, error)}"]) from error
    implementations = manager.hook.tracker_task_event.get_hookimpls()
    if not implementations:
        raise ConfigError(
            [f"{where}: plug-in {name!r} implements nothing; mark its function {_HOOK} with tracker.hooks.hookimpl"]
        )
    implementation = implementations[0]
    if implementation.hookwrapper or implementation.wrapper:
        raise ConfigError([f"{where}: plug-in {name!r} is a wrapper; {_HOOK} must be a plain function"])
    return PluginAction(name, implementation.function, tuple(implementation.argnames))


def read_error(error: Exception) -> RunResult:
    """What an exception of a plug-in means: again, with the traceback as its output."""
    text = "".join(traceback.format_exception(error))
    return RunResult(RunOutcome.RETRY, f"{type(error).__name__}: {error}", tail_text(text))


def _misfit(name: str, plugin: object, error: pluggy.PluginValidationError) -> str:
    """Which argument of a plug-in is none, in one line."""
    known = list(inspect.signature(plugin_spec.tracker_task_event).parameters)
    function = getattr(plugin, _HOOK, None)
    if callable(function):
        with contextlib.suppress(ValueError, TypeError):
            wrong = [argument for argument in inspect.signature(function).parameters if argument not in known]
            if wrong:
                listed = ", ".join(map(repr, wrong))
                return f"plug-in {name!r}: {_HOOK} takes no argument {listed}; it may take {', '.join(known)}"
    return f"plug-in {name!r} does not fit: {' '.join(str(error).split())}"


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _again(error: str, *, unreachable: bool = False) -> RunResult:
    return RunResult(RunOutcome.RETRY, error, unreachable=unreachable)
