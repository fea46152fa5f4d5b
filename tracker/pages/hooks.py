"""Hooks and their deliveries: health, what failed, retries by filter, and trial runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from tracker.domain.hook_events import EVENTS, DeliveryStatus
from tracker.domain.nearest import did_you_mean
from tracker.domain.records import delivery_json
from tracker.domain.text import count
from tracker.errors import ConfigError
from tracker.pages.texts import count_deliveries, number_word
from tracker.server.hooks import merge_counts
from tracker.server.queries import DELIVERY_LIST, DELIVERY_RETRY, parse_query
from tracker.server.responses import Problem
from tracker.server.searches import search
from tracker.store.values import DeliveryFilter

if TYPE_CHECKING:
    from aiohttp import web

    from tracker.pages.site import Visit

Json = Any

_RETRIED: Final = "retried"
"""Parameter of the list: how many were retried, by the form that led here."""
_OUTCOMES: Final = {
    "succeeded": ("ok", "Succeeded"),
    "retry": ("warn", "Would be tried again"),
    "failed_for_good": ("bad", "Failed for good"),
    "gone": ("bad", "Gone: it would be disabled"),
}


class Retry(NamedTuple):
    """What a retry by filter would do.

    Attributes:
        text: how many deliveries it concerns, in words.
        fields: of the form.
    """

    text: str
    fields: Sequence[tuple[str, str]]


async def show_hooks(visit: Visit) -> web.StreamResponse:
    """Show every hook with its health."""
    services = visit.services
    hooks = merge_counts(services.hooks.describe(), await services.store.count_deliveries())
    troubled = [hook for hook in hooks if hook["state"] not in {"healthy", "absent"}]
    failed = sum(_failed(hook) for hook in hooks)
    return await visit.render(
        "hooks.html",
        hooks=hooks,
        heading=_heading(hooks, troubled, failed),
        lead=_lead(hooks, failed),
        ignored=services.hooks.ignored(),
        events=EVENTS,
    )


def _failed(hook: Mapping[str, Json]) -> int:
    return int(hook["deliveries"]["failed"] + hook["deliveries"]["dead"])


def _heading(hooks: Sequence[Json], troubled: Sequence[Json], failed: int) -> str:
    if not hooks:
        return "No hook yet"
    if not troubled and failed:
        return f"{number_word(failed)} {'delivery' if failed == 1 else 'deliveries'} failed"
    if not troubled:
        return "Every hook works"
    return f"{number_word(len(troubled))} hook{' does' if len(troubled) == 1 else 's do'} not work"


def _lead(hooks: Sequence[Json], failed: int) -> str:
    if not hooks:
        return "A hook is a script, a URL or a message that runs when a task changes."
    waiting = sum(hook["deliveries"]["pending"] + hook["deliveries"]["running"] for hook in hooks)
    text = f"{count(waiting, 'run')} {'waits' if waiting == 1 else 'wait'}" if waiting else "No run waits"
    if failed:
        many = count_deliveries(failed)
        return f"{text}. {many} failed for good or ran out of attempts: fix the hook, then retry them."
    return f"{text}, and none has failed."


# -- deliveries ------------------------------------------------------------------------------------------------


async def show_deliveries(visit: Visit) -> web.StreamResponse:
    """Show the deliveries that match, newest first.

    Raises:
        RequestInvalid: for a wrong parameter.
    """
    given = {name: text for name, text in visit.request.query.items() if text}
    retried = given.pop(_RETRIED, "")
    wanted = DeliveryFilter(**parse_query(given.items(), DELIVERY_LIST))
    page = await search(visit.request, visit.services.store.list_all_deliveries(wanted))
    counts = await visit.services.store.count_deliveries()
    names = {hook["name"] for hook in visit.services.hooks.describe()} | counts.keys()
    return await visit.render(
        "deliveries.html",
        items=[delivery_json(item) for item in page.items],
        is_cut=page.is_cut,
        given=given,
        chosen={name: given.get(name, "") for name in ("hook", "status", "since")},
        names=sorted(names),
        statuses=[str(status) for status in DeliveryStatus],
        retry=_plan_retry(given, counts, has_items=bool(page.items)),
        retried=count_deliveries(int(retried[:9])) if retried.isascii() and retried.isdigit() else None,
        next_link=_link(given, cursor=page.next_cursor) if page.next_cursor else None,
        first_link=_link(given) if "cursor" in given else None,
    )


def _link(given: Mapping[str, str], **changes: str) -> str:
    kept = {name: text for name, text in given.items() if name != "cursor"} | changes
    return f"deliveries?{urlencode(kept)}" if kept else "deliveries"


def _plan_retry(given: Mapping[str, str], counts: Mapping[str, Mapping[str, int]], *, has_items: bool) -> Retry | None:
    """The retry of what the filter shows; None if nothing of it has failed."""
    status, hook, since = given.get("status"), given.get("hook"), given.get("since")
    if status not in {None, "failed", "dead"} or not has_items:
        return None
    statuses = ("failed", "dead") if status is None else (status,)
    number = sum(found.get(one, 0) for name, found in counts.items() if hook in {None, name} for one in statuses)
    if not number:
        return None
    text = count_deliveries(number) + (f" of the hook {hook}" if hook else "")
    text = f"up to {text}, those since {since}" if since else text
    fields = [(name, text) for name, text in given.items() if name in {"hook", "status", "since"}]
    return Retry(text, fields or [("since", "1970-01-01")])


async def retry_deliveries(visit: Visit) -> web.StreamResponse:
    """Retry all failed deliveries that match a filter, as ``POST /v1/deliveries/retry``.

    Raises:
        RequestInvalid: for a wrong filter.
        Problem: 422, no filter is given.
    """
    given = {name: str(text) for name, text in (await visit.request.post()).items() if text}
    wanted = parse_query(given.items(), DELIVERY_RETRY)
    if not wanted:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "Name a hook, a status or a time.")
    retried = await visit.services.store.retry_deliveries(DeliveryFilter(**wanted))
    visit.services.hooks.wake()
    hook = {"hook": given["hook"]} if "hook" in given else {}
    # not the same filter: what is retried is pending now
    return visit.redirect(f"deliveries?{urlencode({**hook, _RETRIED: str(retried)})}")


# -- trial runs ------------------------------------------------------------------------------------------------


async def try_hook(visit: Visit) -> web.StreamResponse:
    """Run a hook twice with one synthetic event, as ``tracker hooks test``.

    Raises:
        Problem: 404 for an unknown hook; 422 for an unknown event.
    """
    name = visit.request.match_info["name"]
    event = str((await visit.request.post()).get("event") or "") or None
    try:
        event, *trials = await visit.services.hooks.try_twice(name, event)
    except KeyError:
        hint = did_you_mean(name, [hook["name"] for hook in visit.services.hooks.describe()])
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-hook", f"No hook has this name; {hint or 'see Hooks.'}") from None
    except ConfigError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "; ".join(error.problems)) from error
    shown = [trial.as_json() for trial in trials]
    return await visit.render(
        "trial.html",
        name=name,
        event=event,
        trials=[{**trial, "state": _OUTCOMES[trial["outcome"]]} for trial in shown],
        is_same=len({(one["outcome"], one["error"], one["output"]) for one in shown}) == 1,
        has_worked=all(one["outcome"] == "succeeded" for one in shown),
    )
