"""The composition root: the only place that builds the parts, connects them, and orders their start and stop.

Start: log, lock and migrate the store, build, tick, dispatch, listen. Stop is the reverse: each part drains before
those that it needs stop: no new requests; sends under way end and are recorded; polls end; hooks end; connections
close; the store writes what waits.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracker import __version__
from tracker.archive.archiver import Archiver
from tracker.archive.download import Bounds
from tracker.archive.partial import DIRECTORY as PARTIAL_DIRECTORY
from tracker.clock import Clock, SystemClock
from tracker.daemon import alarm_checks
from tracker.daemon.descriptors import current_limit, share_of_connections, share_of_streams
from tracker.daemon.health import HealthChecks
from tracker.daemon.listening import base_url, check_exposure, open_sites
from tracker.daemon.parts import Parts
from tracker.daemon.process_state import ProcessState
from tracker.daemon.provider_files import read_files
from tracker.daemon.reload import list_changes, warn_about
from tracker.daemon.scheduler import Scheduler
from tracker.domain.alarms import alarm_json
from tracker.domain.health import Health
from tracker.domain.records import iso
from tracker.domain.tokens import CallbackTokens
from tracker.filesystem import is_store
from tracker.hooks.kinds.registry import read_hooks
from tracker.logs import Sink, get_logger
from tracker.maintenance import clock_watch, model_sync, pruning
from tracker.maintenance.clock_watch import ClockWatch
from tracker.metrics.scrape import Metrics
from tracker.metrics.sources import Sources
from tracker.pages.app import WebPages
from tracker.providers.reading.requests import RESULT_WITHIN_S
from tracker.server.app import make_app
from tracker.server.connections import Runner
from tracker.server.services import Services
from tracker.server.tallies import HttpTallies
from tracker.store.sqlite.backup_files import find_good_copy
from tracker.tracking.feed import EventFeed
from tracker.tracking.intake import CallbackUrls, Intake
from tracker.tracking.learning import LEARN_EVERY_S
from tracker.tracking.poller import Poller, polls_within
from tracker.tracking.submitter import Submitter

if TYPE_CHECKING:
    from tracker.config import Config
    from tracker.daemon.alarm_sources import AlarmSources
    from tracker.domain.alarms import Alarm

log = get_logger(__name__)

DRAIN_SENDS_S = RESULT_WITHIN_S + 10.0
"""The longest time that a send may take, with the wait for its slot: one that is cut off stays ambiguous, and its
result is paid and lost. Without a send under way the stop does not wait."""
DRAIN_CONNECTIONS_S = 10.0
DRAIN_POLLS_S = 2.0
DRAIN_HOOKS_S = 10.0
LINGER_S = 0.2
"""From the last accepted connection to the closing of idle ones: its request may still be on its way."""
ARRIVE_S = 3.0
"""At a stop, a body that is being received may take so long; then its sender is answered to try again."""
KEEP_ALIVE_S = 75.0
SWEEP = "sweep"


class Tracker(Parts):
    """The daemon, put together.

    Args:
        config: the configuration.
        environ: the process environment, for hook scripts.
        clock: all clocks of the daemon.
        sockets: listening sockets of the service manager; they override ``server.listen``.
        journal: gets log events instead of standard error.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        *,
        sockets: Sequence[socket.socket] = (),
        journal: Sink | None = None,
    ) -> None:
        super().__init__(config, environ, clock or SystemClock(), journal)
        self._sockets = list(sockets)
        self._stopping = asyncio.Event()
        self.scheduler = Scheduler()
        self._runner: Runner | None = None
        self._is_started = False
        self._started_at = self._clock.now()
        self._callback_secret = b""
        archive_dir = [] if config.archive.url else [config.archive_path]
        self.state = ProcessState([config.store_path.parent, *archive_dir], self._clock)
        self.submitter: Submitter
        self.poller: Poller
        self.archiver: Archiver
        self.health_checks: HealthChecks
        self.alarm_sources: AlarmSources

    async def start(self) -> None:
        """Open the store and begin to work; when this returns, requests are answered.

        Raises:
            StoreUnusable: the database cannot be used.
            ConfigError: the callback secret cannot be read or made, or the address cannot be listened on.
        """
        is_new = not is_store(self._config.store_path)
        await self.store.open()
        if is_new and (copy := await asyncio.to_thread(find_good_copy, self._config.store_path)) is not None:
            fix = f"if the database is missing by mistake, stop the tracker and run: tracker db restore {copy.path}"
            log.warning("store.created_beside_copies", store=str(self._config.store_path), copy=str(copy.path), fix=fix)
        try:
            await self.learning.load()
            await self.alarms.load()
            await self._start_parts()
        except BaseException:
            await self.stop()
            raise

    async def _start_parts(self) -> None:
        config = self._config
        check_exposure(self._sockets, config)
        self._callback_secret = config.callback_secret()
        tokens = CallbackTokens(self._callback_secret)
        self.intake = Intake(
            registry=self.registry,
            clock=self._clock,
            tokens=tokens,
            urls=CallbackUrls(config.public_url, config.callbacks.placeholder_url),
            accounts=self._live.accounts.keys(),
            default_account=config.default_account,
            aliases=self._live.aliases,
            prices=lambda: self._live.prices,
            budget_of=self._live.budget_of,
        )
        self.submitter = Submitter(
            store=self.store,
            reconciler=self.reconciler,
            client=self._client,
            intake=self.intake,
            clock=self._clock,
            payloads=self.payloads,
            alarms=self._account_alarms,
            slots=self._slots,
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
            payloads=self.payloads,
            alarms=self._account_alarms,
            slots=self._slots,
            tick_s=config.poll.tick_s,
            park_s=config.callbacks.park_s,
            max_polls=polls_within(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        )
        self.archiver = Archiver(
            self.store,
            self._clock,
            self._live.accounts,
            self.poller.renew,
            storage=self._storage,
            partial_dir=config.archive_path / PARTIAL_DIRECTORY,
            enabled=config.archive.enabled,
            bounds=Bounds(config.archive.max_bytes),
            allow_private=config.archive.allow_private_addresses,
        )
        self.alarm_sources = self._make_alarm_sources(self.poller, self.archiver, self.scheduler, self.state)
        self.health_checks = HealthChecks(
            self.store,
            self.poller,
            self.dispatcher,
            self.archiver,
            self._clock,
            disk=self._disk.measure,
            alarms=self.list_alarms,
        )
        self.store.subscribe_commits(self.dispatcher.note_commit)
        if self._traces is not None:
            self._traces.watch(self.store, self.submitter.calls, self.dispatcher.tallies, self.archiver.tallies)
        services = self._services(tokens)
        runner = Runner(
            make_app(services, WebPages(services)),
            self._clock,
            access_log=None,  # halves the callback rate; what matters is logged by the handlers
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=DRAIN_CONNECTIONS_S,
            handler_cancellation=False,
            max_connections=share_of_connections(current_limit()),
        )
        await runner.setup()
        self._runner = runner  # from here on there is something to stop
        await open_sites(runner, config.listen, self._sockets)  # before any request to a gateway: the port may be taken
        self.dispatcher.start()
        self.archiver.start()
        self.state.start()
        self._schedule_jobs()
        warn_about(config, self._account_rules)
        self._is_started = True
        log.info("tracker.started", version=__version__, listen=self.url, store=str(config.store_path))

    async def stop(self) -> None:
        """Drain and stop, in the order in which the parts need each other."""
        self._stopping.set()
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            self.state.stop()
            self.poller.halt()
            self.pruning.halt()
            await asyncio.gather(self.submitter.drain(DRAIN_SENDS_S), self._let_requests_arrive(self._runner))
            await self._runner.cleanup()
            await self.scheduler.stop(DRAIN_POLLS_S)
            await self.archiver.stop()
            await self.poller.stop(DRAIN_POLLS_S)
            await self.dispatcher.stop(DRAIN_HOOKS_S)
        await self._client.close()
        self.learning.learn()
        await self.learning.write()
        await self.store.close()
        if self._traces is not None:
            await self._traces.close()
        if self._is_started:
            log.info("tracker.stopped")

    def hurry(self) -> None:
        """Let a stop that is under way no longer wait for paid creates."""
        if self._runner is not None:  # else nothing was started
            log.warning("tracker.stop_hurried")
            self.submitter.hurry()

    @property
    def url(self) -> str:
        """Where it listens, as a base URL; ``unix:/path`` for a Unix socket."""
        where = base_url(self._runner) if self._runner is not None else None
        return where or self._config.listen.url

    async def health(self) -> Health:
        """Whether the daemon can do its work, and why not."""
        if self._stopping.is_set():
            return Health(ready=False, reasons=["The tracker is stopping."])
        return await self.health_checks.health()

    def list_alarms(self) -> list[Alarm]:
        """The alarms that are raised now."""
        self.alarm_sources.look()
        return self.alarms.list_raised()

    @property
    def is_stopping(self) -> bool:
        """Whether a stop has begun."""
        return self._stopping.is_set()

    def facts(self) -> dict[str, Any]:
        """The state of this process, see `tracker.server.schemas.DoctorView`."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": iso(self._started_at),
            "store": str(self._config.store_path.absolute()),
            "disk_free_bytes": self._disk.free_bytes(),
            "alarms": list(map(alarm_json, self.list_alarms())),
            "accounts": self._live.describe_accounts(self._account_alarms.describe_account),
            "tokens": self._live.describe_tokens(),
        }

    def reload(self, config: Config) -> tuple[list[str], list[str]]:
        """Apply another configuration; nothing is stopped or closed.

        Returns:
            The keys whose change holds now, and those whose change needs a restart.

        Raises:
            ConfigError: it cannot be used; the old configuration stays.
        """
        check_exposure(self._sockets, config)
        secrets, callback_secret = config.secrets(), config.callback_secret()
        self.dispatcher.set_specs(read_hooks(config))  # the last that may refuse
        self._set_up_logging(config, secrets, self.redactor)
        changed, unchanged = list_changes(self._live.config, config)
        if "providers_dir" not in unchanged and read_files(config.providers_path) != self._provider_files:
            unchanged.append("providers_dir")
        if callback_secret != self._callback_secret:
            unchanged.append("callbacks.secret")
        self._live.adopt(config)
        self._slots.note_limits()
        self.reconciler.set_policies(config.poll_policy)
        self.poller.configure(config.poll.tick_s, config.callbacks.park_s)
        self.scheduler.set_interval(SWEEP, config.poll.tick_s)
        self.intake.set_defaults(
            CallbackUrls(config.public_url, config.callbacks.placeholder_url), config.default_account
        )
        warn_about(config, self._account_rules)
        return changed, unchanged

    # -- parts ---------------------------------------------------------------------------------------------

    def _schedule_jobs(self) -> None:
        """Begin all periodic work."""
        add, clock = self.scheduler.add, ClockWatch(self.store, self._clock)
        add(SWEEP, self.poller.tick, self._config.poll.tick_s)
        add("durations", self.learning.run, LEARN_EVERY_S)
        add("clock watch", clock.check, clock_watch.CHECK_EVERY_S, first_after_s=clock_watch.CHECK_EVERY_S)
        add("alarms", self._make_alarm_checks(self.alarm_sources, self.archiver).check, alarm_checks.CHECK_EVERY_S)
        add("model sync", self.model_sync.refresh, model_sync.REFRESH_S, retry_s=model_sync.RETRY_S)
        first_after_s, retry_s = pruning.FIRST_AFTER_S, pruning.RETRY_S
        add("pruning", self.pruning.run_daily, pruning.EVERY_S, first_after_s=first_after_s, retry_s=retry_s)

    async def _let_requests_arrive(self, runner: Runner) -> None:
        """Wait for requests that have begun to arrive: aiohttp drops incomplete ones when it closes."""
        await asyncio.sleep(LINGER_S)
        await runner.arrivals.settle(ARRIVE_S)

    def _services(self, tokens: CallbackTokens) -> Services:
        config, tallies = self._config, HttpTallies()
        return Services(
            store=self.store,
            reconciler=self.reconciler,
            feed=EventFeed(self.store, share_of_streams(current_limit()), self._outlook),
            submitter=self.submitter,
            poller=self.poller,
            archive=self.archiver,
            model_sync=self.model_sync,
            pruning=self.pruning,
            hooks=self.dispatcher,
            accounts=self._live.accounts.keys(),
            registry=self.registry,
            tokens=tokens,
            clock=self._clock,
            payloads=self.payloads,
            api_tokens=self._live.api_tokens,
            health=self.health,
            facts=self.facts,
            list_alarms=self.list_alarms,
            live_state=self._make_live_parts(self._started_at, self.state),
            show_config=self.show_config,
            stopping=self._stopping,
            max_callback_bytes=config.server.max_callback_bytes,
            trust=config.callbacks.trust,
            check_signature=self._check_signature,
            public_url=lambda: self._live.config.public_url,
            max_in_flight=self._slots.limit_of,
            tallies=tallies,
            on_submit=None if self._traces is None else self._traces.note_request,
            metrics=self._metrics(tallies).render,
        )

    def _metrics(self, http: HttpTallies) -> Metrics:
        self.state.watch(self.scheduler, self.poller, self.dispatcher, self.archiver)
        return Metrics(
            Sources(
                store=self.store,
                clock=self._clock,
                accounts=self._live.accounts.keys(),
                registry=self.registry,
                tasks=self.task_tallies,
                creates=self.submitter.calls,
                polls=self.poller.calls,
                client=self._client,
                breakers=self._breakers,
                limits=self._limits,
                accounts_refused=self._account_alarms,
                alarms=self.list_alarms,
                hooks=self.dispatcher,
                archive=self.archiver,
                http=http,
                process=self.state,
            )
        )
