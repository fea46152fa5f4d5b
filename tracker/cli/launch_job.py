"""The job of ``doctor --full --account NAME``: which one, what it costs, and the question before it.

Must not send anything: the daemon checks requests without sending them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import quote

import click

from tracker.cli.client import Client, Json
from tracker.cli.exits import FAILED, USAGE, Failure, Refused
from tracker.cli.render import clean, describe_amount
from tracker.client import calls
from tracker.domain.ai_models import model_of, with_model

CHEAP_ROUTES = ("kling.image", "suno.generate", "seedance.video", "dashscope.video", "openai.video", "kling.omni-video")
"""Routes that make a file from a text alone; those that usually cost least come first: pictures, songs, films."""
LABEL = "doctor"
"""The label of its tasks."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user named.

    Attributes:
        account: the account that pays.
        route: the route; None: the cheapest one.
        request: the request; None: the example of the route.
        is_agreed: do not ask.
        timeout_s: how long the job may take, seconds.
    """

    account: str
    route: str | None
    request: Json
    is_agreed: bool
    timeout_s: float

    def check(self) -> None:
        """Refuse what cannot be done, before anything is checked.

        Raises:
            Failure: the options do not go together, or there is no terminal to ask on.
        """
        if self.request is not None and self.route is None:
            raise Failure(["--data: needs the --route that the request is for"], USAGE)
        if self.route is not None and self.route not in CHEAP_ROUTES and self.request is None:
            fields = f"tracker routes {self.route} shows the fields"
            raise Failure([f"--route {self.route}: needs --data with a request for it; {fields}"], USAGE)
        if not self.is_agreed and not sys.stdin.isatty():
            raise Failure([f"the check pays for a job on account {self.account}: to agree, add --yes"], USAGE)


@dataclass(frozen=True, slots=True)
class Job:
    """The job that is paid.

    Attributes:
        price: by the price list; None if it does not say.
        calls_back: whether the service gets a callback URL.
    """

    route: str
    request: Mapping[str, Json]
    price: Mapping[str, Json] | None
    calls_back: bool

    def described(self) -> str:
        """The route, the model and the price."""
        model = model_of(self.request)
        price = f"about {describe_amount(self.price)}" if self.price else "at a price that [prices] does not list"
        return f"{self.route}{f' with model {model}' if model else ''}, {price}"


def choose_job(client: Client, options: Options) -> Job:
    """The job of the named route, or of the cheapest one that the account may use; nothing is sent.

    By the price list, or where it has none of them in the order of `CHEAP_ROUTES`.

    Raises:
        Failure: the daemon refuses every request, with its reason.
    """
    found, refusals = [], []
    for name in [options.route] if options.route else CHEAP_ROUTES:
        route = client.get(f"/v1/routes/{quote(name, safe='')}", {"account": options.account})
        if route["query"] is None:
            raise Failure([f"--route {name}: it has no task to follow; name another route"], USAGE)
        request = _fitting(route) if options.request is None else options.request
        try:
            _known, price = client.check(calls.make_body(name, request, account=options.account), strict=False)
        except Refused as refusal:
            refusals.append(refusal)
        else:
            found.append(Job(name, request, price, route["callback"]))
    if not found and options.route is None and any(error["loc"][:1] == ["account"] for error in refusals[0].errors):
        what = f"account {options.account} belongs to a declared provider"
        raise Failure([f"{what}; name --route ROUTE and --data JSON: tracker routes shows its routes"], USAGE)
    if not found:
        raise refusals[0]
    return min(found, key=lambda job: Decimal(str(job.price["amount"])) if job.price else Decimal("inf"))


def _fitting(route: Json) -> Json:
    """The example of a route, for a model of the account."""
    example = route["example"]
    if route["models_source"] != "account" or model_of(example) in route["models"]:
        return example
    return with_model(example, route["models"][0])


def ask(options: Options, job: Job, hooks: Sequence[str]) -> None:
    """Ask on the terminal, with what it costs and which hooks run.

    Raises:
        Failure: the answer is no.
    """
    lines = [
        f"This pays for one job on account {options.account}: {job.described()}.",
        "Before it, a request for a model that does not exist is sent, which services refuse without a charge;",
        "if it is accepted, it is the job, and no other is sent.",
    ]
    if hooks:
        lines.append(f"Hooks run for both, as for any task (label {LABEL}): {', '.join(map(clean, hooks))}.")
    click.echo("\n".join(lines), err=True)
    if not click.confirm("Go on?", err=True):
        raise Failure(["nothing was sent"], FAILED)
