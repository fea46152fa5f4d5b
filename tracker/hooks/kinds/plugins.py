"""Hooks that are Python plug-ins, found through the entry-point group ``tracker.hooks``.

Owns finding, checking and calling them. Must not decide when to retry.

The daemon's event loop never runs a plug-in's code. Each call of a plain function has its own thread; all calls of a
coroutine function share one event loop, on its own thread. Python cannot end a thread: at the timeout a coroutine is
cancelled, but a function runs on and occupies its slot. A plug-in with ``concurrency`` such calls is not called again
until one of them ends, and a delivery is not called again while its last call still runs.
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
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import orjson
import pluggy
from pydantic import Field

from tracker.config.hooks import HookSpec
from tracker.errors import ConfigError
from tracker.hooks import plugin_spec
from tracker.hooks.plugin_spec import GROUP, PROJECT, PermanentFailure
from tracker.hooks.runner import RunOutcome, RunResult, retry
from tracker.hooks.running.tail import tail_text
from tracker.hooks.running.threads import in_thread
from tracker.hooks.spec import HookKind

if TYPE_CHECKING:
    from tracker.domain.deliveries import DeliveryJob

_HOOK = plugin_spec.tracker_task_event.__name__


class PluginHook(HookSpec):
    """The keys of a plug-in hook: ``plugin`` is the name of its entry point."""

    plugin: Annotated[str, Field(min_length=1)] | None = None


@dataclass(frozen=True, slots=True)
class PluginAction:
    """Which plug-in to call.

    Attributes:
        name: its entry point.
        function: its implementation; takes the arguments below by position.
        arguments: the names of these arguments.
    """

    kind: ClassVar[str] = "plugin"
    name: str
    function: Callable[..., Any] = field(compare=False, repr=False)
    arguments: tuple[str, ...] = field(compare=False, repr=False)


class PluginRunner:
    """Calls plug-ins."""

    def __init__(self) -> None:
        self._threads: dict[str, set[str]] = {}
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}

    async def run(self, job: DeliveryJob, payload: bytes, spec: HookSpec) -> RunResult:
        """Call the plug-in once; see `Runner.run`."""
        action = spec.action
        if not isinstance(action, PluginAction):
            raise TypeError(f"hook {spec.name!r} is not a plug-in hook")
        given = {"event": orjson.loads(payload), "delivery_id": job.id, "attempt": job.attempt}
        call = partial(action.function, *(given[name] for name in action.arguments))
        if inspect.iscoroutinefunction(action.function):
            return await self._await_result(spec, self._call_async(action.name, call))
        held = self._threads.setdefault(spec.name, set())
        if job.id in held:
            return retry("the call of an earlier attempt still runs")
        if len(held) >= spec.concurrency:
            return retry(f"{len(held)} earlier calls still run", unreachable=True)
        return await self._await_result(spec, self._call_plain(held, job.id, call))

    async def close(self) -> None:
        """Stop the event loops; threads that still run end with the process."""
        loops, self._loops = self._loops, {}
        for loop in loops.values():
            loop.call_soon_threadsafe(loop.stop)

    async def _await_result(self, spec: HookSpec, call: asyncio.Future[Any]) -> RunResult:
        try:
            async with asyncio.timeout(spec.timeout_s):
                answer = await call
        except TimeoutError as error:
            if call.done() and not call.cancelled():  # raised by the plug-in itself
                return read_error(error)
            return retry(f"timed out after {spec.timeout_s:g} s")
        except PermanentFailure as error:
            return RunResult(RunOutcome.FAILED_FOR_GOOD, str(error) or "failed for good")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if call.done() and (task is None or not task.cancelling()):
                return retry("the plug-in cancelled itself")
            raise
        except Exception as error:  # noqa: BLE001 - any exception of a plug-in is a failed attempt
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


def make_action(hook: PluginHook, _secret: str | None) -> PluginAction:
    """The action of a hook; raises as `load_plugin` does."""
    installed = {point.name: point for point in entry_points(group=GROUP)}
    return load_plugin(hook.name, hook.plugin or "", installed)


def load_plugin(hook: str, name: str, installed: Mapping[str, EntryPoint]) -> PluginAction:
    """Import a plug-in and check it against the specification.

    Args:
        hook: the hook's name, for messages.
        name: the entry point's name.
        installed: all entry points of the group, by name.

    Raises:
        ConfigError: it is not installed, cannot be imported, or does not match the specification.
    """
    where = f"hooks[{hook}].plugin"
    if name not in installed:
        known = f"installed: {', '.join(sorted(installed)) or 'none'}"
        raise ConfigError([f"{where}: plug-in {name!r} is not in the entry-point group {GROUP!r}; {known}"])
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
            [f"{where}: plug-in {name!r} has no implementation; mark its function {_HOOK} with tracker.hooks.hookimpl"]
        )
    implementation = implementations[0]
    if implementation.hookwrapper or implementation.wrapper:
        raise ConfigError([f"{where}: plug-in {name!r} is a wrapper; {_HOOK} must be a plain function"])
    return PluginAction(name, implementation.function, tuple(implementation.argnames))


def read_error(error: Exception) -> RunResult:
    """A retry, with the exception's traceback as its output."""
    text = "".join(traceback.format_exception(error))
    return retry(f"{type(error).__name__}: {error}", tail_text(text))


def _misfit(name: str, plugin: object, error: pluggy.PluginValidationError) -> str:
    """Why a plug-in does not match the specification, in one line."""
    known = list(inspect.signature(plugin_spec.tracker_task_event).parameters)
    function = getattr(plugin, _HOOK, None)
    if callable(function):
        with contextlib.suppress(ValueError, TypeError):
            wrong = [argument for argument in inspect.signature(function).parameters if argument not in known]
            if wrong:
                listed = ", ".join(map(repr, wrong))
                return f"plug-in {name!r}: {_HOOK} must not have the argument {listed}; it may have {', '.join(known)}"
    return f"plug-in {name!r} does not match the specification: {' '.join(str(error).split())}"


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


KIND = HookKind("plugin", "plugin", PluginHook, make_action, lambda _tools: PluginRunner())
