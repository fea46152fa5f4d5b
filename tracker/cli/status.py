"""``status``: one screen about the daemon, its store, accounts, tasks, hooks and archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from tracker.cli.client import Client, Json
from tracker.cli.exits import FAILED, for_same_config
from tracker.cli.render import clock_time, describe_amount, echo_columns, echo_json, localize, when
from tracker.cli.session import Session, json_option, with_session
from tracker.cli.store_identity import find_lock_holder
from tracker.cli.tables import table_lines
from tracker.domain.text import about, size

if TYPE_CHECKING:
    from tracker.cli.offline import Offline

_TASKS = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED")
_STOPPED = "The daemon is not running. Start it with: tracker serve"
_SILENT = (
    "Process {} uses the store, but no daemon of it answers at {}. If server.listen was changed, restart the daemon; "
    "otherwise see its log."
)
_STATES = {True: ("ready", "green"), False: ("not ready", "red"), None: ("not running", "red")}


@click.command()
@json_option
@with_session
def status(session: Session, *, as_json: bool) -> None:
    """Show the state of the daemon on one screen: exit 0 if it is ready.

    Without a daemon, the tasks and deliveries are read from the file.
    """
    found = session.read(_ask, partial(_read_file, session))
    if as_json:
        echo_json(found)
    else:
        _echo(found, datetime.now(UTC))
    if not found["ready"]:
        raise click.exceptions.Exit(FAILED)


def _read_file(session: Session, file: Offline) -> Json:
    holder = find_lock_holder(session.config.store_path)
    trouble = for_same_config(_STOPPED) if holder is None else _SILENT.format(holder, session.url)
    return {"ready": None, "troubles": [trouble], "alarms": [], "daemon": None, **file.overview()}


def _ask(client: Client) -> Json:
    facts, stats, hooks = (client.get(path) for path in ("/v1/doctor", "/v1/stats", "/v1/hooks"))
    ready = client.readiness()
    return {
        "ready": ready["ready"],
        "troubles": ready["reasons"],
        "alarms": facts.get("alarms", []),
        "daemon": facts,
        "stats": stats,
        "hooks": hooks["items"],
    }


def _echo(found: Json, now: datetime) -> None:
    text, colour = _STATES[found["ready"]]
    if found["ready"] is None and found["troubles"] != [_STOPPED]:
        text = "not reachable"
    facts = found["daemon"] or {}
    since = f" (since {clock_time(facts['started_at'], now)}, pid {facts['pid']})" if "started_at" in facts else ""
    click.echo(f"tracker {facts.get('version', '')}".rstrip() + f" is {click.style(text, fg=colour)}{since}")
    for title, lines in _sections(found, facts, now):
        for n, line in enumerate(lines):
            echo_columns(((title if n == 0 else "").ljust(8), localize(line, now)), indent=0)


def _sections(found: Json, facts: Mapping[str, Json], now: datetime) -> Iterator[tuple[str, list[str]]]:
    stats = found["stats"]
    if facts:
        free = facts.get("disk_free_bytes")
        yield "Store", [f"{facts['store']}{f', {size(free)} free on its disk' if free is not None else ''}"]
        yield "Accounts", _aligned([_account(account) for account in facts["accounts"]])
    tasks = ", ".join(f"{stats['tasks'][name]} {name.lower()}{_oldest(stats, name, now)}" for name in _TASKS)
    yield "Tasks", [tasks, *_waiting(stats), *_reasons(stats["reasons"])]
    oldest_due = when(stats["oldest_due_poll_at"], now).removesuffix(" ago")
    yield "Polls", [f"{stats['due_polls'] or 'none'} due{f' (the oldest for {oldest_due})' if oldest_due else ''}"]
    yield "Hooks", _aligned([_hook(hook) for hook in found["hooks"]]) or ["none"]
    archives = stats["archives"]
    waiting = archives["pending"] + archives["running"]
    yield "Archive", [_counts(waiting=waiting, saved=archives["stored"], given_up=archives["dead"])]
    if costs := _costs(stats.get("cost") or {}, now):
        yield "Costs", [f"today (UTC) {', '.join(costs)}"]
    yield "Troubles", _troubles(found["troubles"], found.get("alarms") or ()) or ["none"]


def _troubles(troubles: Sequence[str], alarms: Sequence[Json]) -> list[str]:
    """Each sentence, and below it what to do, where that is known."""
    fixes = {alarm["message"]: alarm["fix"] for alarm in alarms}
    return [line for trouble in troubles for line in (trouble, *([f"  {fixes[trouble]}"] if trouble in fixes else ()))]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    return list(table_lines([""] * len(rows[0]), rows, None)) if rows else []


def _account(account: Mapping[str, Json]) -> tuple[str, ...]:
    state = "has a key" if account["has_key"] else "has no key, so it sends nothing"
    if account.get("alarm"):
        state = "refused, see Troubles"
    return account["name"], account.get("base_url", ""), state


def _oldest(stats: Mapping[str, Json], name: str, now: datetime) -> str:
    at = stats.get(f"oldest_{name.lower()}_at")
    return f" (the oldest for {about((now - datetime.fromisoformat(at)).total_seconds())})" if at else ""


def _costs(cost: Mapping[str, Json], now: datetime) -> list[str]:
    """What the tasks that were created today cost; older daemons do not add it up."""
    today = now.astimezone(UTC).date().isoformat()
    kinds = {"actual": "", "estimate": " estimated"}
    return [f"{describe_amount(one)}{kinds[one['kind']]}" for one in cost.get("days", ()) if one["day"] == today]


def _waiting(stats: Mapping[str, Json]) -> list[str]:
    """Tasks that wait until fewer of their account are in flight; older daemons do not count them."""
    waiting = [f"{number} of account {account}" for account, number in (stats.get("waiting_for_slot") or {}).items()]
    return [f"waiting for a free slot: {', '.join(waiting)}"] if waiting else []


def _reasons(reasons: Mapping[str, int]) -> list[str]:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [f"failed: {', '.join(f'{count} {reason}' for reason, count in ordered)}"] if ordered else []


def _hook(hook: Mapping[str, Json]) -> tuple[str, ...]:
    counts = hook["deliveries"]
    waiting = counts["pending"] + counts["running"]
    error = f"; last error: {hook['last_error']}" if hook.get("last_error") and hook["state"] != "healthy" else ""
    ended = _counts(delivered=counts["succeeded"], waiting=waiting, given_up=counts["failed"] + counts["dead"])
    return hook["name"], hook["state"], f"{ended}{error}"


def _counts(**counts: int) -> str:
    """``2 waiting, 60 saved``: what there is."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "nothing yet"
