"""The parts of the daemon that exist before its start: built and connected, without a loop and without requests.

Must not start, stop or reload anything; `tracker.daemon.app` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tracker.archive.archiver import RESERVE_BYTES
from tracker.archive.file_storage import make_storage
from tracker.config.shown import config_values, list_secrets
from tracker.daemon.alarm_checks import AlarmChecks
from tracker.daemon.alarm_sources import AlarmSources, LookedAt
from tracker.daemon.live_state import Disks, LiveParts
from tracker.daemon.provider_files import read_files, read_registry
from tracker.daemon.reload import Live
from tracker.daemon.signature_checks import list_signature_problems, make_signature_check
from tracker.daemon.tracing import make_traces
from tracker.domain.live_state import ShownConfig
from tracker.errors import ConfigError
from tracker.hooks.dispatcher import Dispatcher
from tracker.hooks.kinds.registry import make_runners, read_hooks
from tracker.hooks.runner import Tools
from tracker.logs import Redactor, Sink, configure_logging
from tracker.maintenance.alarms import Alarms
from tracker.maintenance.disk_space import DiskSpace
from tracker.maintenance.model_sync import ModelSync
from tracker.maintenance.pruning import Pruning
from tracker.store.sqlite import SqliteStore
from tracker.store.sqlite.backup_files import backup_directory, newest_backup_at
from tracker.tracking.account_alarms import AccountAlarms
from tracker.tracking.account_slots import AccountSlots
from tracker.tracking.accounts import AccountRules
from tracker.tracking.learning import Learning
from tracker.tracking.reconciler import Reconciler
from tracker.tracking.tallies import TaskTallies
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import UpstreamClient
from tracker.upstream.limits import RateLimits
from tracker.upstream.payloads import Payloads

if TYPE_CHECKING:
    from datetime import datetime

    from tracker.archive.archiver import Archiver
    from tracker.clock import Clock
    from tracker.config import Config
    from tracker.daemon.process_state import ProcessState
    from tracker.daemon.scheduler import Scheduler
    from tracker.domain.deliveries import DeliveryJob
    from tracker.domain.durations import Durations, Outlook
    from tracker.domain.task import Task
    from tracker.tracking.poller import Poller


class Parts:
    """The parts.

    Args:
        config: the configuration.
        environ: the process environment, for hook scripts.
        clock: all clocks of the daemon.
        journal: gets log events instead of standard error.

    Raises:
        ConfigError: the configuration has a mistake that only a start detects.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], clock: Clock, journal: Sink | None) -> None:
        self._config = config
        self._live = Live(config)
        self._clock = clock
        self._journal = journal
        self.redactor = self._set_up_logging(config, config.secrets(), None)
        self.payloads = Payloads(self.redactor)
        self.store = SqliteStore(config.store_path, self._clock.now)
        self.registry = read_registry(config.providers_path)
        self._provider_files = read_files(config.providers_path)
        if problems := list_signature_problems(config):
            raise ConfigError(problems)
        self._check_signature = make_signature_check(config, self._clock)
        self._limits = RateLimits(self._live.rates, self._clock)
        self._breakers = Breakers(self._clock)
        self._account_alarms = AccountAlarms(self._clock, self._live.credentials_of, self.redactor.json_text)
        self._slots = AccountSlots(self.store, self._live.slots, self._clock.monotonic)
        self._client = UpstreamClient(self._live.accounts, self._clock, self._limits, self._breakers)
        self.reconciler = Reconciler(
            self.store,
            policy_of=config.poll_policy,
            interval_of={route.name: route.poll_interval_s for route in self.registry.routes()},
            redactor=self.redactor,
            prices=lambda: self._live.prices,
        )
        self._traces = make_traces(config, self._clock)
        self._storage = make_storage(config.archive_path, config.archive.url)
        self.dispatcher = Dispatcher(
            self.store,
            read_hooks(config),
            make_runners(
                Tools(
                    environ=environ,
                    clock=self._clock,
                    locate=self._storage.locate,
                    traceparent=self._traceparent_of,
                )
            ),
            self._clock,
            hooks_dir=config.hooks_path,
            redact=self.redactor.text,
            outlook=self._outlook,
        )
        self._account_rules = AccountRules(self.registry.routes(), self._live.accounts.keys())
        self.model_sync = ModelSync(
            store=self.store,
            client=self._client,
            clock=self._clock,
            payloads=self.payloads,
            accounts=self._live.accounts.keys(),
            configured=self._live.named_models,
            has_lists=self._account_rules.serves_builtin,
        )
        self.learning = Learning(self.store, self.reconciler, self._clock)
        self.pruning = Pruning(self.store, self._clock, lambda: self._live.config.retention, self._storage.remove)
        self._disk = DiskSpace(config.store_path.parent)
        reserve_bytes = RESERVE_BYTES if config.archive.enabled else 0
        self._archive_disk = None if config.archive.url else DiskSpace(config.archive_path, reserve_bytes=reserve_bytes)
        self.alarms = Alarms(self.store, self._clock, self.dispatcher.wake)
        self.task_tallies = TaskTallies(self.store, self._clock)

    def _make_alarm_sources(
        self, poller: Poller, archiver: Archiver, scheduler: Scheduler, state: ProcessState
    ) -> AlarmSources:
        looked_at = LookedAt(
            clock=self._clock,
            live=self._live,
            accounts=self._account_alarms,
            breakers=self._breakers,
            client=self._client,
            tasks=self.task_tallies,
            hooks=self.dispatcher,
            poller=poller,
            archive=archiver,
            scheduler=scheduler,
            process=state,
            disk=self._disk,
        )
        return AlarmSources(self.alarms, looked_at)

    def _make_live_parts(self, started_at: datetime, state: ProcessState) -> LiveParts:
        return LiveParts(
            started_at=started_at,
            clock=self._clock,
            store=self.store,
            live=self._live,
            alarms=self._account_alarms,
            breakers=self._breakers,
            client=self._client,
            limits=self._limits,
            tasks=self.task_tallies,
            process=state,
            disks=Disks([self._disk, *([] if self._archive_disk is None else [self._archive_disk])]),
        )

    def show_config(self) -> ShownConfig:
        """The configuration in force, without secrets."""
        config = self._live.config
        file = None if config.file is None else str(config.file)
        return ShownConfig(file, config_values(config), list_secrets(config))

    def _make_alarm_checks(self, sources: AlarmSources, archiver: Archiver) -> AlarmChecks:
        store_path = self._config.store_path
        return AlarmChecks(
            self.alarms,
            sources,
            store=self.store,
            clock=self._clock,
            live=self._live,
            models=self.model_sync,
            archive=archiver.tallies,
            store_disk=self._disk,
            archive_disk=self._archive_disk,
            backups=backup_directory(store_path),
            newest_backup=lambda: newest_backup_at(store_path),
        )

    def _traceparent_of(self, job: DeliveryJob) -> str | None:
        return None if self._traces is None else self._traces.traceparent_of(job)

    def learned(self) -> Durations:
        """How long tasks usually take, up to the last commit."""
        self.learning.learn()
        return self.reconciler.durations

    def _outlook(self, task: Task) -> Outlook:
        return self.reconciler.durations.outlook(task, self._clock.now())

    def _set_up_logging(self, config: Config, secrets: Sequence[str], redactor: Redactor | None) -> Redactor:
        return configure_logging(
            config.log.level,
            json={"auto": None, "json": True, "console": False}[config.log.format],
            secrets=secrets,
            # with log.format = "json" the journal gets JSON lines, too
            sink=None if config.log.format == "json" else self._journal,
            redactor=redactor,
        )
