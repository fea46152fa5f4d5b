"""``providers list``, ``init`` and ``try``: the files of declared providers, without a daemon, a key or a payment."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.client import Json
from tracker.cli.exits import BAD_CONFIG, FAILED, Failure
from tracker.cli.files import write_new
from tracker.cli.render import clean, echo_result, echo_table
from tracker.cli.session import json_option

if TYPE_CHECKING:
    from tracker.domain.observation import Reading
    from tracker.domain.task import Output
    from tracker.domain.upstream_http import WireReply
    from tracker.providers.provider import Provider
    from tracker.providers.route import Route

_HTTP = re.compile(r"(?:([1-5][0-9]{2}):)?(.+)", re.DOTALL)
_OUTCOMES = {
    "accepted": "accepted",
    "refused": "refused: the task fails",
    "deferred": "not accepted: sent again later",
    "ambiguous": "unclear: it may have been accepted, and is never sent again",
}
"""What a reply to a create means, as text."""
_CALLBACK_URL = "https://tracker.example.com/callbacks/provider/token"
_ANSWER = "[STATUS:]FILE"


@click.group()
def providers() -> None:
    """List, write and try the files of declared providers."""


@providers.command("list")
@json_option
def list_files(*, as_json: bool) -> None:
    """List the provider files that come with the program; `providers init` writes one."""
    from tracker.daemon.provider_files import list_shipped

    items = []
    for name, file in list_shipped().items():
        provider = _load(name, file.read_text(encoding="utf-8"))
        items.append(
            {"name": name, "routes": [route.name for route in provider.routes], "source": provider.routes[0].source}
        )
    echo_result({"items": items}, _echo_files, as_json=as_json)


def _echo_files(found: Json) -> None:
    rows = [(item["name"], ", ".join(item["routes"]), item["source"]) for item in found["items"]]
    echo_table(("name", "routes", "source"), rows)


@providers.command()
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(name: str, path: Path | None, *, force: bool) -> None:
    """Write the provider file NAME to PATH (providers.d/NAME.toml), or to - for stdout.

    Its first lines show the account that it needs.
    """
    text = _shipped_text(name)
    if text is None:
        raise Failure([_unknown(name)], FAILED)
    target = path or Path("providers.d") / f"{name}.toml"
    if str(target) == "-":
        click.echo(text, nl=False)
        return
    if path is None:
        with suppress(OSError):  # reported for the file
            target.parent.mkdir(exist_ok=True)
    write_new(target, text, force=force)
    click.echo(f"{target}: written; add the account that its first lines show, then: tracker config check", err=True)


@providers.command("try")
@click.argument("file")
@click.option("--route", "route_name", help="The route; default: the first of the file.")
@click.option("--request", "request_file", metavar="FILE", help="A request: print the create call for it.")
@click.option("--create", "creates", multiple=True, metavar=_ANSWER, help="A reply to a create.")
@click.option("--query", "queries", multiple=True, metavar=_ANSWER, help="A reply to a status call.")
@click.option("--result", "results", multiple=True, metavar=_ANSWER, help="A reply to the second call; see --query.")
@click.option("--callback", "callbacks", multiple=True, metavar="FILE", help="The body of a callback.")
@json_option
def try_file(
    file: str,
    *,
    route_name: str | None,
    request_file: str | None,
    creates: Sequence[str],
    queries: Sequence[str],
    results: Sequence[str],
    callbacks: Sequence[str],
    as_json: bool,
) -> None:
    """Print how the provider file FILE reads replies and callbacks; nothing is sent.

    FILE is a path, or the name of a shipped file. Replies have HTTP status 200 unless it is written before them, as in
    `--create 429:reply.json`; - is standard input. The first --result is the second call after the first --query, and
    so on. Exit 1 if a reply cannot be read.
    """
    if len(results) > len(queries):
        raise click.UsageError("--result needs the --query before it: it is read together with that reply")
    provider = _load_any(file)
    route = _route_of(provider, route_name)
    trial = _Trial(provider, route, _json_of(request_file) if request_file else None)
    answers = [*trial.sent(), *(trial.create(name) for name in creates)]
    answers += [trial.query(name, results[n] if n < len(results) else None) for n, name in enumerate(queries)]
    answers += [trial.callback(name) for name in callbacks]
    echo_result({"route": route.name, "items": answers}, _echo_answers, as_json=as_json)
    if any(not answer["readable"] for answer in answers):
        raise click.exceptions.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Reads the files of one trial with one route."""

    provider: Provider
    route: Route
    request: Json

    def sent(self) -> Iterator[Json]:
        """The create call for the request, and the fields that it lacks."""
        if self.request is None:
            return
        problems = self.provider.check_request(self.route, self.request)
        if problems:
            raise Failure([f"request: {'.'.join(map(str, one.loc[1:]))}: {one.msg}" for one in problems], FAILED)
        call = self.provider.create_request(self.route, self.request, _CALLBACK_URL)
        target = call.path + "".join(f"{'&' if n else '?'}{key}={value}" for n, (key, value) in enumerate(call.query))
        body = (call.body or b"").decode()
        yield {
            "kind": "request",
            "readable": True,
            "call": f"{call.method} {target}",
            "key": str(call.auth),
            "body": body,
        }

    def create(self, name: str) -> Json:
        """A reply to a create."""
        reply, shown = _reply_of(name)
        return _described("create", shown, reply, self.provider.read_create(self.route, reply))

    def query(self, name: str, second: str | None) -> Json:
        """A reply to a status call, and the reply to the second call after it."""
        from tracker.domain.task import ExternalId
        from tracker.providers.route import Created

        reply, shown = _reply_of(name)
        if second is None:
            answer = _described("query", shown, reply, self.provider.read_poll(self.route, reply))
            created = Created("MODEL", self.request or {"model": "MODEL"}, None)
            task_id = ExternalId(answer["external_id"] or "TASK_ID")
            call = self.provider.result_request(self.route, task_id, created, reply)
            if call is not None:
                query = "&".join(f"{key}={value}" for key, value in call.query)
                answer["second_call"] = f"{call.method} {call.path}{'?' if query else ''}{query}"
            return answer
        result, also = _reply_of(second)
        joined = self.provider.join_result(self.route, reply, result)
        return _described("query", f"{shown}, {also}", joined, self.provider.read_poll(self.route, joined))

    def callback(self, name: str) -> Json:
        """A callback."""
        from tracker.errors import PayloadInvalid

        reply, shown = _reply_of(name)
        try:
            self.provider.callback_ids(reply.decoded.value)
            reading = self.provider.read_callback(self.route, reply.decoded.value)
        except PayloadInvalid as error:
            fault = reply.decoded.fault
            answer = {"kind": "callback", "file": shown, "http_status": None, "readable": False}
            return answer | {"detail": fault or f"{error}; it would be answered 400"}
        return _described("callback", shown, None, reading)


def _described(kind: str, file: str, reply: WireReply | None, reading: Reading) -> Json:
    """A reading as JSON."""
    from tracker.domain.observation import Trouble

    error = reading.error
    is_unclear = reading.trouble in {Trouble.UNREADABLE, Trouble.UNKNOWN_STATUS} or reading.submission == "ambiguous"
    is_hint = kind == "callback" and reading.status is None and reading.trouble is None
    return {
        "kind": kind,
        "file": file,
        "http_status": reply.status if reply is not None else None,
        "readable": not is_unclear,
        "outcome": reading.submission and reading.submission.value,
        "status": reading.status and reading.status.value,
        "upstream_status": reading.upstream_status,
        "trouble": reading.trouble and reading.trouble.value,
        "reason": reading.reason and reading.reason.value,
        "external_id": reading.external_id,
        "progress": reading.progress,
        "outputs": [_output_json(output) for output in reading.outputs],
        "error": error and {"code": error.code, "message": error.message},
        "cost": reading.cost and {"amount": float(reading.cost.amount), "currency": reading.cost.currency},
        "retry_after_s": reading.retry_after_s,
        "detail": "it only causes a poll" if is_hint else reading.detail,
        "second_call": None,
    }


def _output_json(output: Output) -> Json:
    return {
        "kind": output.kind,
        "url": output.url,
        "text": output.text,
        "inline": output.inline is not None,
        "mime": output.mime,
        "duration_s": output.duration_s,
        "authenticated": output.authenticated,
    }


def _echo_answers(found: Json) -> None:
    click.echo(f"route {found['route']}")
    for answer in found["items"]:
        if answer["kind"] == "request":
            click.echo(f"request: {clean(answer['call'])}\n  key   {answer['key']}\n  body  {clean(answer['body'])}")
            continue
        status = f" (HTTP {answer['http_status']})" if answer["http_status"] else ""
        head = f"{answer['kind']} {clean(answer['file'])}{status}: {_summary_of(answer)}"
        click.echo(head)
        if answer["readable"]:
            for line in _lines_of(answer):
                click.echo(f"  {clean(line)}")


def _summary_of(answer: Json) -> str:
    if not answer["readable"]:
        unknown = answer.get("upstream_status")
        if unknown is not None:
            return clean(f"unknown status {unknown!r}: add it to [statuses]; the task would count as running")
        return clean(f"cannot be read: {answer['detail']}")
    if answer["outcome"] is not None:
        return _OUTCOMES[answer["outcome"]]
    if answer["status"] is None:
        if answer["trouble"] is None:
            return clean(answer["detail"] or "it says nothing about the task")
        detail = f": {answer['detail']}" if answer["detail"] else ""
        return clean(f"the task does not change and is polled again ({answer['trouble']}){detail}")
    if answer["status"] == "SUCCEEDED" and not answer["outputs"]:
        return "SUCCEEDED without an output: the task stays RUNNING until there is one"
    return str(answer["status"])


def _lines_of(answer: Json) -> Iterator[str]:
    """The further lines about a reading, names first."""
    if answer["status"] is not None and answer["outcome"] is not None:
        yield f"status      {answer['status']}"
    if answer["upstream_status"] is not None:
        yield f"upstream    {answer['upstream_status']}"
    for name, key in (("id", "external_id"), ("reason", "reason")):
        if answer[key] is not None:
            yield f"{name:<11} {answer[key]}"
    if answer["progress"] is not None:
        yield f"progress    {answer['progress']} %"
    error = answer["error"]
    if error is not None and (error["code"] or error["message"]):
        yield f"error       {error['message'] or ''}" + (f" (code {error['code']})" if error["code"] else "")
    for n, output in enumerate(answer["outputs"]):
        what = output["url"] or (
            "data in the reply" if output["inline"] else f"text of {len(output['text'])} characters"
        )
        length = f", {output['duration_s']:g} s" if output["duration_s"] is not None else ""
        yield f"output {n:<4} {output['kind']}{length}: {what}" + (
            " (needs the key)" if output["authenticated"] else ""
        )
    if answer["cost"] is not None:
        yield f"cost        {answer['cost']['amount']:g} {answer['cost']['currency']}"
    if answer["retry_after_s"] is not None:
        yield f"again in    {answer['retry_after_s']:g} s"
    if answer["second_call"] is not None:
        yield f"then        {answer['second_call']}"
    elif answer["status"] == "SUCCEEDED" and not answer["outputs"] and answer["detail"]:
        yield f"outputs     {answer['detail']}"


# -- files ---------------------------------------------------------------------------------------------------


def _load_any(file: str) -> Provider:
    """The provider of a file, or of a shipped one."""
    shipped = _shipped_text(file) if not Path(file).exists() else None
    if shipped is not None:
        return _load(file, shipped)
    if not Path(file).exists():
        raise Failure([f"{file}: no such file; {_unknown(file)}"], FAILED)
    return _load(file, _text_of(file))


def _load(file: str, text: str) -> Provider:
    from tracker.errors import ConfigError
    from tracker.providers.declared import load_declared
    from tracker.providers.declared.load import SUFFIX
    from tracker.providers.registry import PROVIDERS

    try:
        (provider,) = load_declared(
            {file if file.endswith(SUFFIX) else file + SUFFIX: text}, (p.name for p in PROVIDERS)
        )
    except ConfigError as error:
        raise Failure(error.problems, BAD_CONFIG) from error
    return provider


def _shipped_text(name: str) -> str | None:
    from tracker.daemon.provider_files import list_shipped

    file = list_shipped().get(name)
    return None if file is None else file.read_text(encoding="utf-8")


def _unknown(name: str) -> str:
    from tracker.daemon.provider_files import list_shipped

    return f"no shipped provider is named {name!r}; there are: {', '.join(list_shipped())}"


def _route_of(provider: Provider, name: str | None) -> Route:
    found = [route for route in provider.routes if name in {None, route.name, route.name.partition(".")[2]}]
    if not found:
        raise click.UsageError(f"no route {name!r}; there are: {', '.join(route.name for route in provider.routes)}")
    return found[0]


def _text_of(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Failure([f"{name}: cannot be read ({error.strerror})"], FAILED) from error


def _json_of(name: str) -> Json:
    import orjson

    try:
        value = orjson.loads(_text_of(name).encode(errors="surrogateescape"))
    except orjson.JSONDecodeError as error:
        raise Failure([f"{name}: not JSON ({error})"], FAILED) from error
    if not isinstance(value, dict):
        raise Failure([f"{name}: a request is a JSON object"], FAILED)
    return value


def _reply_of(written: str) -> tuple[WireReply, str]:
    """The reply in a file, with the HTTP status before it, and the file's name."""
    from tracker.domain.upstream_http import WireReply

    found = _HTTP.fullmatch(written)
    status, name = (found[1], found[2]) if found is not None and not Path(written).exists() else (None, written)
    body = _text_of(name).encode(errors="surrogateescape")
    return WireReply(int(status or 200), {"content-type": "application/json"}, body), name
