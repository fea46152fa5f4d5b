"""``sandbox``: the embedded gateway alone, with a knob for every fault it knows.

The knobs are the fields of `tracker.sandbox.Chaos`; a new field is a new option without a change here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import signal

import click

from tracker.cli.exits import UNAVAILABLE, USAGE, Failure
from tracker.cli.render import clean
from tracker.config import parse_listen
from tracker.sandbox import DEFAULT_KEY, Chaos, Sandbox


def _knobs() -> list[click.Option]:
    """An option for each field of `Chaos`."""
    options = []
    for field in dataclasses.fields(Chaos):
        is_value = field.name.endswith("_s")
        options.append(
            click.Option(
                [f"--{field.name.replace('_', '-')}", field.name],
                type=int if isinstance(field.default, int) else float,
                default=field.default,
                metavar="SECONDS" if is_value else "RATE",
                help="Seconds." if is_value else "How often, from 0 to 1.",
            )
        )
    return options


@click.command(params=_knobs())
@click.option("--listen", default="127.0.0.1:8790", show_default=True, help="Loopback only; port 0: any free one.")
@click.option("--key", default=DEFAULT_KEY, show_default=True, help="The API key that it accepts.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides all that is random.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a job takes.",
)
@click.option(
    "--url-ttl",
    "url_ttl_s",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long an output URL is valid.",
)
def sandbox(listen: str, key: str, seed: int, duration_s: float, url_ttl_s: float, **knobs: float) -> None:
    """Run a gateway that behaves as the real one, with faults on demand."""
    try:
        address = parse_listen(listen)
        if address.path is not None:
            raise ValueError("is a Unix socket; the sandbox listens on host:port")  # noqa: TRY301 - one message
        gateway = Sandbox(
            key=key,
            seed=seed,
            duration_s=duration_s,
            url_ttl_s=url_ttl_s,
            chaos=Chaos(**knobs),  # type: ignore[arg-type]  # the options are made from its fields
            on_event=_tell,
        )
    except ValueError as error:
        raise Failure([f"sandbox: {error}"], USAGE) from error
    try:
        asyncio.run(_run(gateway, address.host, address.port))
    except ValueError as error:
        raise Failure([f"sandbox: {error}"], USAGE) from error
    except OSError as error:
        raise Failure([f"sandbox: cannot listen on {listen} ({error.strerror or error})"], UNAVAILABLE) from error


async def _run(gateway: Sandbox, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    await gateway.start(host, port)
    try:
        click.echo(f"base URL  {gateway.base_url}")
        click.echo(f"API key   {gateway.key}")
        click.echo("\nA tracker that uses it:\n")
        click.echo(f"  TRACKER_ACCOUNTS__DEFAULT__BASE_URL={gateway.base_url} \\")
        click.echo(f"  ANYINT_API_KEY={shlex.quote(gateway.key)} \\")
        click.echo("  TRACKER_PUBLIC_URL=http://127.0.0.1:8780 \\")
        click.echo("  tracker serve\n")
        await stopped.wait()
    finally:
        await gateway.stop()


def _tell(event: str, fields: object) -> None:
    """Write what the gateway did, for whoever watches; results are on standard output."""
    words = " ".join(f"{name}={clean(value)}" for name, value in fields.items()) if isinstance(fields, dict) else ""
    click.echo(f"{event} {words}".rstrip(), err=True)
