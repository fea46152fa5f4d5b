"""The interpreter of the data files: routes whose answers are templates.

Owns how a table of a file becomes a route. The docstring of ``families`` lists the keys of a table. Must not know
any family.

A table's ``variants`` are laid over it where their ``when`` matches: the request, the dialect, a directive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tracker.sandbox.checks import find_failed
from tracker.sandbox.fate import JobFate
from tracker.sandbox.jobs import FAILED, SUCCEEDED, Snapshot, Stage
from tracker.sandbox.prompts import find_scripted, read_prompt
from tracker.sandbox.routes import CallbackMessage, Context, PaidRoute, Refusal, SyncRoute
from tracker.sandbox.scope import Table, add_work, draws, resolve, write_time
from tracker.sandbox.signatures import SCHEMES
from tracker.sandbox.speech import stream
from tracker.sandbox.streams import STREAMS
from tracker.sandbox.templates import Scope, dig, fill, merge
from tracker.sandbox.wire import Answer, Call, Json, json_answer, unauthorised


def refuse(table: Table, name: str | Table, scope: Scope) -> Answer:
    """Answer with an error: an entry of ``refusals``, or a table like one, in the family's shape.

    Args:
        table: The route's table.
        name: The name of the entry, or the entry itself: ``http``, perhaps ``body``, and values for the template.
        scope: What the request says.
    """
    entry = table["refusals"][name] if isinstance(name, str) else name
    values = fill({key: value for key, value in entry.items() if key not in {"body", "when"}}, scope)
    template = entry.get("body", table["error"])
    return json_answer(fill(template, {**scope, **table.get("values", {}), **values}), values.get("http", 200))


def _key_header(declared: str, key: str) -> tuple[str, str]:
    """Return the header that carries the key, its name in lower case: the name alone, or with a template."""
    name, colon, value = declared.partition(":")
    template = value.strip() if colon else "Bearer {key}" if name == "authorization" else "{key}"
    return name.lower(), template.replace("{key}", key)


class _FromTable:
    """What the interpreter does alike for routes with and without jobs."""

    __slots__ = ()
    name: str
    table: Table

    def authorised(self, headers: Mapping[str, str], key: str) -> bool:
        """Return whether one of the headers of the family carries the key."""
        return any(headers.get(name) == value for name, value in (_key_header(one, key) for one in self.table["auth"]))

    def refuse_key(self) -> Answer:
        """Answer a request without the right key: as the family does, else as the gateway."""
        return refuse(self.table, "key", {}) if "key" in self.table["refusals"] else unauthorised()

    def prompt_of(self, body: Json) -> str:
        """Return the text at ``prompt``; without one, the texts that hold directives."""
        prompt = read_prompt(body, self.table["prompt"])
        return prompt or ("" if isinstance(dig(body, self.table["prompt"]), list) else find_scripted(body))

    def reject(self, call: Call, context: Context) -> Answer | None:
        """Return the refusal of the first of the ``checks`` that fails, or of what ``once`` forbids to repeat."""
        scope = self.read_request(call)
        failed = find_failed(self.table.get("checks", []), scope)
        if failed is not None:
            return refuse(self.table, {**self.table["refusals"]["invalid"], **failed}, {**scope, **failed})
        once = self.table.get("once", {})
        for job in context.jobs.list_jobs() if once else ():
            same = all(dig(job.request, name) == dig(call.body, name) for name in once["fields"])
            if job.route == self.name and same and job.fate.fault is None:
                return refuse(self.table, once, {"earlier": job.id})
        return None

    def refuse(self, refusal: Refusal, call: Call) -> Answer:
        """Return an entry of ``refusals``."""
        return refuse(self.table, refusal.value, self.read_request(call))

    def read_request(self, call: Call) -> dict[str, Any]:
        """Return what templates and conditions know of a request."""
        return {
            "request": merge(self.table.get("defaults", {}), call.body),
            "body": call.body,
            "params": call.params,
            "headers": call.headers,
            "request_id": call.request_id,
            "prompt": self.prompt_of(call.body),
            "now": int(time.time()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSyncRoute(_FromTable, SyncRoute):
    """A route that answers at once, as its table says."""

    table: Table

    def result(self, call: Call, fate: JobFate, context: Context) -> Answer:
        """Return ``result``, with ``result.shown`` unless the output is missing, or an error of ``faults``."""
        scope = self.read_request(call)
        table = resolve(self.table, scope)
        fault = table.get("faults", {}).get(fate.fault, {}) if fate.fault is not None else {}
        if fault.get("http"):
            return refuse(table, fault, scope)
        shows = fate.fault is None and not fate.url_missing
        subject = fill(table.get("subject", "$request_id"), scope)
        made = add_work(table, scope, context, fate.fault, subject, shows=shows, cut=False)
        made |= fault
        names = ["body", *(["succeeded"] if fate.fault is None else []), *(["shown"] if shows else [])]
        payload = merge(*(fill(table["result"].get(name, {}), made) for name in names))
        return _answer(table, payload, call)


def _answer(table: Table, payload: Json, call: Call) -> Answer:
    if "stream" in table and call.body.get("stream") is True:
        return stream(STREAMS[table["stream"]](payload, call.body))
    return json_answer(payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataJobRoute(_FromTable, PaidRoute):
    """A POST that makes a job, and the query for it, as its table says.

    Several routes may share one query path; an id is known there if one of them made it.

    Attributes:
        query_path: aiohttp path template of the query.
        query_method: Its HTTP method.
        stages: The job's stages before the final one, the first at 0.
    """

    query_path: str
    query_method: str
    stages: tuple[Stage, ...]
    table: Table

    def make_id(self, context: Context, nth: str) -> str:
        """Return an id that looks like the family's."""
        return str(fill(self.table["id"], dict(draws(context.dice, self.name, nth))))

    def accepted(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """Return ``accepted``; what a query answers where there is none."""
        if "accepted" not in self.table:
            return self.shown(snapshot, call, context)
        table, scope = self._describe(snapshot, context)
        layers = [table["accepted"]["body"]]
        if "sometimes" in table["accepted"] and context.dice.hits(0.5, self.name, snapshot.job.nth, "sometimes"):
            layers.append(table["accepted"]["sometimes"])
        return json_answer(merge(*(fill(layer, {**scope, "request_id": call.request_id}) for layer in layers)))

    def answers_when_done(self, body: Json) -> bool:
        """Return whether the request lacks the flag that ``waits_unless`` names."""
        flag = self.table.get("waits_unless")
        return flag is not None and body.get(flag) is not True

    def shown(self, snapshot: Snapshot, call: Call, context: Context) -> Answer:
        """Return ``query_answer``: its ``body``, and what each stage up to now adds."""
        table, scope = self._describe(snapshot, context)
        scope["request_id"] = call.request_id
        query, job = table["query_answer"], snapshot.job
        layers = [fill(query["body"], scope)]
        for stage in job.timeline():
            began = write_time(table, job.created_at_s + job.begins_after_s(stage))
            layers.append(fill(query.get(stage.name, {}), {**scope, "began": began}))
            if stage == snapshot.stage:
                break
        layers += [fill(query.get(name, {}), scope) for name in _ends(snapshot)]
        return _answer(table, merge(*layers), call)

    def task_id_of(self, call: Call) -> str:
        """Return the id that a query asks for: in its path, its parameters or its body."""
        name = self.table.get("id_name", "task_id")
        if name_in_path(name) in call.params:
            return call.params[name_in_path(name)]
        asked = {**self.table.get("query_parameters", {}), **(self.table.get("query_body") or {})}
        return find_placeholder(asked, {**call.query, **call.body}, name)

    def unknown(self, call: Call) -> Answer:
        """Return ``refusals.unknown``; ``refusals.unnamed`` where the id is missing."""
        task_id = self.task_id_of(call)
        name = "unknown" if task_id or "unnamed" not in self.table["refusals"] else "unnamed"
        return refuse(self.table, name, {**self.read_request(call), "task_id": task_id})

    def callback_url_of(self, call: Call, context: Context) -> str | None:
        """Return the text at ``callback.field``, or the query parameter ``callback.parameter``.

        With ``callback.account`` it is the address set up for the account.
        """
        callback = self.table.get("callback")
        if callback is None:
            return None
        if "parameter" in callback:
            url: object = call.query.get(callback["parameter"])
        else:
            url = context.openai_webhook_url if callback.get("account") else dig(call.body, callback["field"])
        return (url.strip() or None) if isinstance(url, str) else None

    def write_callback(self, snapshot: Snapshot, context: Context) -> CallbackMessage | None:
        """Return ``callback``: its ``body``, and what the stage adds; none for a stage that is false."""
        table, scope = self._describe(snapshot, context)
        callback, job, stage = table.get("callback", {}), snapshot.job, snapshot.stage.name
        names = ["body", stage, *_ends(snapshot)]
        if any(callback.get(name) is False for name in names) or not ("body" in callback or stage in callback):
            return None
        scope["message_id"] = fill(callback.get("id", "$id"), {**scope, **dict(draws(context.dice, job.id, stage))})
        payload = merge({}, *(fill(callback[name], scope) for name in names if name in callback))
        scheme, secret = callback.get("signature"), context.secrets.get(table["family"])
        sign = None
        if scheme is not None and secret is not None:
            sign = partial(SCHEMES[scheme], secret, scope["message_id"])
        return CallbackMessage(callback.get("phases", {}).get(stage) or scope["status"], payload, sign)

    def _describe(self, snapshot: Snapshot, context: Context) -> tuple[Table, dict[str, Any]]:
        """Return the table as it holds for a job, and what its templates know."""
        job, stage = snapshot.job, snapshot.stage
        scope: dict[str, Any] = {
            "id": job.id,
            "request": merge(self.table.get("defaults", {}), job.request),
            "body": job.request,
            "prompt": job.prompt,
            "dialect": job.script.dialect or context.suno_callbacks,
            "stage": job.script.stage,
            "progress": _scale(snapshot.progress, self.table.get("progress_full", 100)),
            "phase": stage.name,
            "created_at_s": job.created_at_s,
        }
        table = resolve(self.table, scope)
        failed = job.fate.fault if stage is FAILED else None
        fault = table.get("faults", {}).get(failed, {}) if failed is not None else {}
        shows, cut = snapshot.shows_outputs, job.script.file == "cut"
        made = add_work(table, scope, context, failed, job.id, shows=shows, cut=cut)
        write = partial(write_time, table)
        made |= {
            "created": write(job.created_at_s),
            "updated": write(snapshot.updated_at_s),
            "expires": write(snapshot.updated_at_s + context.files.url_ttl_s),
            **fault,
            "status": self._status(table, snapshot, fault),
        }
        return table, made

    def _status(self, table: Table, snapshot: Snapshot, fault: Table) -> object:
        statuses = table["statuses"]
        if snapshot.strange:
            return statuses["strange"]
        if snapshot.stage is SUCCEEDED and snapshot.job.script.stage == "callback_exception":
            return statuses.get("callback_exception", statuses["succeeded"])
        return fault.get("status", statuses.get(snapshot.stage.name))


def _scale(percent: int, full: float) -> float:
    """Return a progress as the upstream counts it."""
    return percent if full == 100 else round(percent * full / 100, 2)  # noqa: PLR2004 - percent


def find_placeholder(template: object, value: object, name: str) -> str:
    """Return the text that a template has as ``{name}``; empty if there is none."""
    if isinstance(template, dict) and isinstance(value, dict):
        found = (find_placeholder(inner, value.get(key), name) for key, inner in template.items())
    elif isinstance(template, list) and isinstance(value, list):
        found = (find_placeholder(inner, one, name) for inner, one in zip(template, value, strict=False))
    elif isinstance(template, str) and f"{{{name}}}" in template:
        before, _, after = template.partition(f"{{{name}}}")
        return str(value or "").removeprefix(before).removesuffix(after)
    else:
        return ""
    return next(filter(None, found), "")


def _ends(snapshot: Snapshot) -> list[str]:
    """Return the names of what is laid over an answer last: shown outputs, a fault."""
    names = ["shown"] if snapshot.shows_outputs and snapshot.stage is SUCCEEDED else []
    fault = snapshot.job.fate.fault if snapshot.stage is FAILED else None
    return names if fault is None else [*names, fault.value]


def build_sync_route(name: str, table: Table) -> DataSyncRoute:
    """Return the route that a table without a ``query`` describes."""
    path, takes_forms = write_path(table["create"]), table.get("takes_forms", False)
    return DataSyncRoute(name=name, path=path, takes_forms=takes_forms, table=table)


def build_job_route(name: str, table: Table, job_route: type[DataJobRoute] = DataJobRoute) -> DataJobRoute:
    """Return the route that a table with a ``query`` describes, as an instance of this class."""
    _, _, target = table["query"].partition("?")
    asked = dict(pair.split("=", 1) for pair in target.split("&") if "=" in pair)
    return job_route(
        name=name,
        path=write_path(table["create"]),
        takes_forms=table.get("takes_forms", False),
        query_path=write_path(table["query"]),
        query_method=table["query"].partition(" ")[0],
        stages=tuple(Stage(**stage) for stage in table["stages"]),
        table={**table, "query_parameters": asked | table.get("query_parameters", {})},
    )


def write_path(call: str) -> str:
    """Return the path of a call as aiohttp requires it: ``{+name}`` may hold slashes, dots in names become ``_``."""

    def put(found: re.Match[str]) -> str:
        return f"{{{name_in_path(found[2])}{':.+' if found[1] else ''}}}"

    return re.sub(r"\{(\+?)([\w.-]+)\}", put, call.partition(" ")[2].partition("?")[0])


def name_in_path(name: str) -> str:
    """Return the name of a placeholder as aiohttp knows it."""
    return re.sub(r"[^0-9A-Za-z]", "_", name)
