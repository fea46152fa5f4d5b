"""The composition root: the only place that builds the parts, connects them, and orders their start and stop.

Start: log, lock and migrate the store, build, tick, dispatch, listen. Stop is the same backwards, and each part
drains before what it needs goes away: no new requests; sends under way end and are recorded; polls end; hooks end;
connections close; the store writes what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from tracker import __version__
from tracker.catalogue import Catalogue
from tracker.clock import Clock, SystemClock
from tracker.domain.tokens import CallbackTokens
from tracker.errors import ConfigError
from tracker.hooks.base import HookSpec, Tools
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.registry import make_runners
from tracker.hooks.script import ScriptAction
from tracker.logs import configure_logging, get_logger
from tracker.poller import Poller
from tracker.provider_files import read_registry
from tracker.providers.signatures import find_secret_problem, verify
from tracker.reconciler import Reconciler
from tracker.server.app import make_app
from tracker.server.services import Health, Services, SignatureCheck
from tracker.store.sqlite import SqliteStore
from tracker.submitter import CallbackUrls, Submitter
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import Account, UpstreamClient
from tracker.upstream.limits import RateLimits

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.config import HookSpec as HookConfig
    from tracker.store.protocol import Applied

log = get_logger(__name__)

DRAIN_SENDS_S = 10.0
"""Sends get the longest: one that is cut off is ambiguous for ever."""
DRAIN_POLLS_S = 2.0
DRAIN_HOOKS_S = 10.0
"""All three together stay below systemd's usual 90 s until SIGKILL."""
KEEP_ALIVE_S = 75.0
BACKLOG = 1024
STUCK_AFTER_S = 60.0
"""A writer with work waiting, or a dispatcher, that made no progress for so long is stuck."""


class Tracker:
    """The daemon, put together.

    Args:
        config: the whole configuration.
        environ: the process environment, for hook scripts.
        clock: what time it is.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self.redactor = configure_logging(
            config.log.level,
            json={"auto": None, "json": True, "console": False}[config.log.format],
            secrets=config.secrets(),
        )
        self.store = SqliteStore(config.store_path, self._clock.now)
        self.registry = read_registry(config.providers_path)
        self._check_signature = _signature_check(config, self._clock)
        self._limits = RateLimits(
            {name: account.max_requests_per_s for name, account in config.accounts.items()}, self._clock
        )
        self._breakers = Breakers(self._clock)
        self._client = UpstreamClient(self._accounts(), self._clock, self._limits, self._breakers)
        self.reconciler = Reconciler(
            self.store,
            policy_of=config.poll_policy,
            interval_of={route.name: route.poll_interval_s for route in self.registry.routes()},
        )
        self.dispatcher = Dispatcher(
            self.store,
            [_hook(hook) for hook in config.hooks],
            make_runners(Tools(environ=environ, clock=self._clock)),
            self._clock,
            hooks_dir=config.hooks_path,
        )
        self.catalogue = Catalogue(
            store=self.store,
            client=self._client,
            clock=self._clock,
            accounts=config.accounts.keys(),
            configured={
                f"models.{name}": model
                for name, target in config.model_aliases().items()
                for model in (target.id, *target.fallback)
            },
        )
        self._runner: web.AppRunner | None = None
        self.submitter: Submitter
        self.poller: Poller

    async def start(self) -> None:
        """Open the store and begin to work; when this returns, requests are answered.

        Raises:
            StoreUnusable: the database cannot be used.
            ConfigError: the callback secret cannot be read or made, or the address cannot be listened on.
        """
        await self.store.open()
        try:
            await self._start_parts()
        except BaseException:
            await self.stop()
            raise

    async def _start_parts(self) -> None:
        config = self._config
        tokens = CallbackTokens(config.callback_secret())
        self.submitter = Submitter(
            store=self.store,
            reconciler=self.reconciler,
            client=self._client,
            registry=self.registry,
            clock=self._clock,
            tokens=tokens,
            urls=CallbackUrls(config.public_url, config.callbacks.placeholder_url),
            accounts=config.accounts.keys(),
            default_account=config.default_account,
            aliases=config.model_aliases(),
            redact=self.redactor.json_text,
        )
        self.poller = Poller(
            store=self.store,
            reconciler=self.reconciler,
            client=self._client,
            limits=self._limits,
            breakers=self._breakers,
            registry=self.registry,
            submitter=self.submitter,
            clock=self._clock,
            redact=self.redactor.json_text,
            tick_s=config.poll.tick_s,
            park_s=config.callbacks.park_s,
        )
        self.store.subscribe(self._wake_dispatcher)
        runner = web.AppRunner(
            make_app(self._services(tokens)),
            access_log=None,  # halves the callback rate; what matters is logged by the handlers
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=DRAIN_SENDS_S,
            handler_cancellation=False,
        )
        await runner.setup()
        self._runner = runner  # from here on there is something to stop
        self.poller.start()
        self.dispatcher.start()
        self.catalogue.start()
        await self._listen(runner)
        for line in config.missing_secrets():
            log.warning("config.secret_is_missing", what=line)
        for key in config.not_acted_on():
            log.warning("config.key_is_not_acted_on_yet", key=key)
        log.info("tracker.started", version=__version__, listen=self.url, store=str(config.store_path))

    async def stop(self) -> None:
        """Drain and stop, in the order in which the parts need each other."""
        self._stopping.set()
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            self.poller.halt()
            await self.submitter.drain(DRAIN_SENDS_S)
            await self._runner.cleanup()
            await self.catalogue.stop()
            await self.poller.stop(DRAIN_POLLS_S)
            await self.dispatcher.stop(DRAIN_HOOKS_S)
        await self._client.close()
        await self.store.close()
        log.info("tracker.stopped")

    @property
    def url(self) -> str:
        """Where it listens, as a base URL; ``unix:/path`` for a Unix socket."""
        if self._runner is not None:
            for address in self._runner.addresses:
                if isinstance(address, tuple):
                    host, port = address[:2]
                    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self._config.listen.url

    def health(self) -> Health:
        """Whether the daemon can do its work, and why not."""
        reasons = []
        if self._stopping.is_set():
            reasons.append("The tracker is stopping.")
        if self.poller.is_stalled:
            reasons.append("The polling loop has stopped completing its sweeps.")
        last_commit, waiting = self.store.writer_progress
        if waiting and self._clock.monotonic() - last_commit > STUCK_AFTER_S:
            reasons.append(f"The store has not completed a write for {STUCK_AFTER_S:g} s.")
        if self._clock.monotonic() - self.dispatcher.last_progress > STUCK_AFTER_S:
            reasons.append("The hook dispatcher has stopped.")
        return Health(not reasons, reasons)

    # -- parts ---------------------------------------------------------------------------------------------

    def _accounts(self) -> dict[str, Account]:
        return {
            name: Account(
                name=name,
                base_url=account.base_url,
                api_key=self._key_reader(name),
                max_requests_per_s=account.max_requests_per_s,
            )
            for name, account in self._config.accounts.items()
        }

    def _key_reader(self, name: str) -> Callable[[], str | None]:
        return lambda: self._config.account_key(name)

    def _services(self, tokens: CallbackTokens) -> Services:
        config = self._config
        return Services(
            store=self.store,
            reconciler=self.reconciler,
            submitter=self.submitter,
            poller=self.poller,
            catalogue=self.catalogue,
            accounts=config.accounts.keys(),
            registry=self.registry,
            tokens=tokens,
            clock=self._clock,
            redact=self.redactor.json_text,
            api_token=config.api_token,
            health=self.health,
            policy_of=config.poll_policy,
            stopping=self._stopping,
            max_callback_bytes=config.server.max_callback_bytes,
            trust=config.callbacks.trust,
            check_signature=self._check_signature,
        )

    def _wake_dispatcher(self, applied: Sequence[Applied]) -> None:
        if any(change.announced for change in applied):
            self.dispatcher.wake()

    async def _listen(self, runner: web.AppRunner) -> None:
        listen = self._config.listen
        try:
            if listen.path is not None:
                listen.path.unlink(missing_ok=True)  # left by a killed process; the store's lock says it is dead
                await web.UnixSite(runner, str(listen.path), backlog=BACKLOG).start()
            else:
                await web.TCPSite(runner, listen.host, listen.port, backlog=BACKLOG).start()
        except (OSError, socket.gaierror) as error:
            raise ConfigError(
                [f"server.listen: cannot listen on {listen} ({error.strerror or error}); free it or choose another"]
            ) from error


def _hook(hook: HookConfig) -> HookSpec:
    """A configured hook as the dispatcher knows it; the configuration has checked that it runs a script."""
    return HookSpec(
        name=hook.name,
        on=hook.on,
        action=ScriptAction.of(hook.run or ()),
        providers=hook.provider,
        routes=hook.route,
        accounts=hook.account,
        labels=hook.labels,
        timeout_s=hook.timeout_s,
        max_attempts=hook.max_attempts,
        retry_first_s=hook.retry_first_s,
        retry_max_s=hook.retry_max_s,
        concurrency=hook.concurrency,
    )


def _signature_check(config: Config, clock: Clock) -> SignatureCheck | None:
    """How callbacks are checked; None when no provider's are signed.

    Raises:
        ConfigError: a scheme is configured whose secret is missing or cannot serve: it would let nothing in, or all.
    """
    schemes = {name: rules.scheme for name, rules in config.callbacks.providers.items() if rules.scheme != "none"}
    problems = []
    for name, scheme in schemes.items():
        secrets = (config.provider_secret(name) or "").split()
        if not secrets:
            problems.append(f"callbacks.{name}: scheme {scheme!r} needs its secret; set what secret_env names")
        problems += [
            f"callbacks.{name}: {problem}" for secret in secrets if (problem := find_secret_problem(scheme, secret))
        ]
    if problems:
        raise ConfigError(problems)
    if not schemes:
        return None

    def check(provider: str, headers: Mapping[str, str], body: bytes, task_ids: Sequence[str]) -> bool:
        scheme = schemes.get(provider)
        if scheme is None:
            return False
        secrets = (config.provider_secret(provider) or "").split()  # read anew: a rotated one counts at once
        lower = {name.lower(): value for name, value in headers.items()}
        return verify(scheme, secrets, lower, body, task_ids, clock.now()).confirm

    return check


async def run(config: Config, environ: Mapping[str, str], on_ready: Callable[[Tracker], None] | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Args:
        config: the whole configuration.
        environ: the process environment, for hook scripts.
        on_ready: called once requests are answered.

    Raises:
        StoreUnusable: the database cannot be used.
        ConfigError: something that only shows at start is wrong with the configuration.
    """
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    tracker = Tracker(config, environ)
    await tracker.start()
    try:
        if on_ready is not None:
            on_ready(tracker)
        await asked_to_stop.wait()
    finally:
        await tracker.stop()


def serve(config: Config, environ: Mapping[str, str]) -> int:
    """Run the daemon on the fastest event loop there is; the process's exit code.

    Raises:
        StoreUnusable: the database cannot be used.
        ConfigError: something that only shows at start is wrong with the configuration.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, contextlib.suppress(asyncio.CancelledError):
        runner.run(run(config, environ))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop polls about 1.2 times as fast; where it is not to be had, the standard loop serves."""
    try:
        import uvloop  # noqa: PLC0415  not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
