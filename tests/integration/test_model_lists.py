"""Lists of models: the commands against the sandbox, and the warning at the start about an unknown model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.kits.alarms import alarms_of
from tests.kits.daemon import KEY_ENV, ApiClient, Ran, Setting, account, run_tracker, running_daemon
from tests.kits.waiting import Signal
from tests.kits.world import World
from tracker.clock import Clock
from tracker.domain.histograms import Histogram
from tracker.domain.upstream_http import WireReply, WireRequest
from tracker.errors import Unanswered
from tracker.logs import Redactor
from tracker.maintenance.model_sync import RETRY_S, ModelSync
from tracker.sandbox import Sandbox
from tracker.upstream.breaker import Breakers
from tracker.upstream.client import UpstreamClient
from tracker.upstream.limits import RateLimits
from tracker.upstream.payloads import Payloads


class Journal(Signal):
    """Records what the daemon logs."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Mapping[str, Any]] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Record an event."""
        self.events.append(event)
        self.notify()

    def whats(self, event: str) -> list[str]:
        """The messages of an event."""
        return [entry["what"] for entry in self.events if entry["event"] == event]

    def named(self, event: str) -> list[Mapping[str, Any]]:
        """The entries of an event."""
        return [entry for entry in self.events if entry["event"] == event]


async def models(api: ApiClient, directory: Path, *arguments: str) -> Ran:
    """``tracker models …`` for a running daemon."""
    return await run_tracker("models", *arguments, "--url", api.tracker.url, directory=directory)


async def test_the_commands_show_and_fetch_the_lists(tmp_path: Path) -> None:
    """``sync`` fetches both lists; ``list`` shows them with their age; JSON is the API's."""
    async with Sandbox() as sandbox, running_daemon(tmp_path, Setting(gateway=sandbox.base_url)) as api:
        synced = await models(api, tmp_path, "sync")
        assert synced.code == 0, synced.err
        listed = await models(api, tmp_path, "list", "--json")
        items = listed.json["items"]
        assert {item["family"] for item in items} == {"openai", "anthropic"}
        heading, *lines = (await models(api, tmp_path, "list")).out.splitlines()
    assert heading.split() == ["ID", "LISTED", "BY", "NAME", "CREATED"]
    assert [line.split()[0] for line in lines] == list(dict.fromkeys(item["id"] for item in items))
    assert len(lines) == len(items) / 2, "a model that both lists name has one line"
    assert all("anthropic, openai" in line for line in lines)
    assert f"{len(lines)} models of account default, fetched 0 s ago" in synced.err


async def test_a_failed_fetch_is_reported_and_the_old_list_stays(tmp_path: Path) -> None:
    """Exit 1 with the reason; the old models are still listed. An unknown account is a usage error."""
    async with Sandbox() as sandbox, running_daemon(tmp_path, Setting(gateway=sandbox.base_url)) as api:
        before = (await models(api, tmp_path, "sync", "--json")).json
        await sandbox.stop()
        failed = await models(api, tmp_path, "sync", "--json")
        assert (failed.code, failed.json["items"]) == (1, before["items"])
        assert [problem.partition(":")[0] for problem in failed.json["problems"]] == ["openai", "anthropic"]
        wrong = await models(api, tmp_path, "list", "--account", "nobody")
        assert (wrong.code, wrong.out) == (2, "")
        assert "configured accounts: default" in wrong.err


async def test_an_unknown_configured_model_is_logged_at_the_start(tmp_path: Path) -> None:
    """One line with the key and the model, at every start, also with fresh lists; a listed model causes none."""
    async with Sandbox() as red, Sandbox(key="another", seed=2) as blue:
        known = (await model_ids(red, tmp_path))[0]
        setting = Setting(
            gateway=red.base_url,
            tables="\n".join(
                [
                    account("blue", blue.base_url, "BLUE_KEY"),
                    "[models]",
                    f'good = "{known}"',
                    f'bad = {{ id = "{known}", fallback = ["no-such-model"] }}',
                ]
            ),
            env={"BLUE_KEY": "another"},
            log='level = "info"',
        )
        journal = Journal()
        async with running_daemon(tmp_path, setting, journal) as api:
            await journal.until(lambda: journal.named("alarm.raised"))
            (alarm,) = await alarms_of(api, "model_gone")
        assert alarm["subject"] == "models.bad.fallback[0]"
        assert "'no-such-model'" in alarm["message"]
        assert len(journal.named("models.synced")) == 2
        journal = Journal()
        async with running_daemon(tmp_path, setting, journal) as api:
            await api.tracker.model_sync.refresh()
            assert await alarms_of(api, "model_gone") == [alarm]
        assert not journal.named("models.synced")
        assert not journal.named("alarm.raised"), "once for both starts"


async def test_a_start_warns_about_likely_mistakes(tmp_path: Path) -> None:
    """A gateway that rejects the key (once, not at each fetch), an unreachable public URL, an unknown variable."""
    env = {"TRACKER_PUBLC_URL": "https://tracker.dev", KEY_ENV: "sk-wrong"}
    async with Sandbox() as sandbox:
        setting = Setting(gateway=sandbox.base_url, log='level = "info"', env=env)
        setting = replace(setting, is_called_back=False, top='public_url = "https://tracker.example.com"')
        journal = Journal()
        async with running_daemon(tmp_path, setting, journal) as api:
            await journal.until(lambda: journal.named("models.failed"))
            assert (await models(api, tmp_path, "sync")).code == 1
    (failed,) = journal.named("models.failed")
    assert (failed["level"], failed["account"], failed["step"]) == ("warning", "default", "fetch")
    assert failed["error"].startswith("openai: HTTP 401: ")
    assert not journal.named("models.synced")
    public, variable = journal.whats("config.mistake_suspected")
    assert public.startswith("public_url: providers cannot reach tracker.example.com, ")
    assert variable.endswith("did you mean TRACKER_PUBLIC_URL?")


async def test_known_models_cause_no_warning(tmp_path: Path) -> None:
    """After the lists were checked."""
    async with Sandbox() as sandbox:
        known = await model_ids(sandbox, tmp_path)
        setting = Setting(gateway=sandbox.base_url, log='level = "info"', tables=f'[models]\ngood = "{known[0]}"')
        journal = Journal()
        async with running_daemon(tmp_path, setting, journal) as api:
            await journal.until(lambda: journal.named("models.synced"))
            assert await api.tracker.model_sync.find_unknown() == {}
            assert await alarms_of(api, "model_gone") == []


async def model_ids(sandbox: Sandbox, directory: Path) -> list[str]:
    """The models of a sandbox, as a separate daemon fetches them."""
    own = directory / "own"
    own.mkdir()
    async with running_daemon(own, Setting(gateway=sandbox.base_url)) as api:
        _, synced = await api.call("POST", "/v1/models/sync")
    return [item["id"] for item in synced["items"]]


class OddClient(UpstreamClient):
    """Raises an unexpected error for the account ``odd``, and finds no lists for others."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({}, clock, RateLimits({}, clock), Breakers(clock))
        self.asked: list[str] = []

    async def fetch(
        self,
        account_name: str,
        request: WireRequest,
        *,
        provider: str = "",
        paid: bool = False,
        has_slot: bool = False,
        timer: Histogram | None = None,
    ) -> WireReply:
        """See the client."""
        self.asked.append(account_name)
        if account_name == "odd":
            raise OverflowError("year 99999 is out of range")
        raise Unanswered("no complete answer in time")


async def test_an_unexpected_error_of_one_account_does_not_stop_the_refresh(tmp_path: Path) -> None:
    """The error is logged, and the lists of the other accounts are fetched."""
    async with World(tmp_path / "t.db") as world:
        client = OddClient(world.clock)
        sync = ModelSync(
            store=world.store,
            client=client,
            clock=world.clock,
            payloads=Payloads(Redactor()),
            accounts=["odd", "even"],
            configured={},
        )
        assert await sync.refresh() == RETRY_S
    assert client.asked[:2] == ["odd", "even"]
