"""``sandbox``: the embedded gateway alone, with an option for every fault.

The options are the fields of `tracker.sandbox.Chaos`; a new field is a new option without a change here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import shlex
import signal
from pathlib import Path

import click

from tracker.cli.exits import UNAVAILABLE, USAGE, Failure
from tracker.cli.render import clean
from tracker.cli.session import read_config
from tracker.config import parse_listen
from tracker.errors import ConfigError
from tracker.sandbox import DEFAULT_KEY, Chaos, PlayedProvider, Sandbox, load_providers
from tracker.sandbox.directives import DIRECTIVES
from tracker.sandbox.routes import PaidRoute


def _directives() -> str:
    """Return the list of directives for the end of the help text."""
    lines = []
    for directive in DIRECTIVES:
        name, values = directive.name, directive.values
        shown = f"{name}={'|'.join(values)}" if values else directive.example
        lines += [f"  {shown}", f"      {directive.meaning}"]
    return """A prompt can set its faults with directives; no RATE then applies to it:

\b
  tracker submit suno.generate -d '{…, "prompt": "a song [sandbox: callback=lost]"}'

Separate several with semicolons. Directives:

\b
""" + "\n".join(lines)


def _chaos_options() -> list[click.Option]:
    """Return an option for each field of `Chaos`."""
    return [
        click.Option(
            [f"--{field.name.replace('_', '-')}", field.name],
            type=int if isinstance(field.default, int) else float,
            default=field.default,
            metavar="SECONDS" if field.name.endswith("_s") else "RATE",
            help=f"{field.metadata['meaning']}.",
            show_default=bool(field.default),
        )
        for field in dataclasses.fields(Chaos)
    ]


_seconds_option = functools.partial(click.option, type=click.FloatRange(min=0), show_default=True, metavar="SECONDS")


@click.command(params=_chaos_options(), epilog=_directives())
@click.option("--listen", default="127.0.0.1:8790", show_default=True, help="Loopback only; port 0: any free one.")
@click.option("--key", default=DEFAULT_KEY, show_default=True, help="The API key that it accepts.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of all random decisions.")
@_seconds_option("--duration", "duration_s", default=4.0, help="How long a job takes.")
@_seconds_option("--url-ttl", "url_ttl_s", default=3600.0, help="How long an output URL is valid.")
@click.option(
    "--providers",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Play the providers that TOML files declare here. Default: those of the configuration.",
)
def sandbox(
    listen: str, key: str, seed: int, *, duration_s: float, url_ttl_s: float, providers: Path | None, **chaos: float
) -> None:
    """Run a gateway that behaves as the real one, with faults on demand.

    A RATE says how often that happens, from 0 (never) to 1 (always).
    """
    try:
        address = parse_listen(listen)
        if address.path is not None:
            raise ValueError("is a Unix socket; the sandbox listens on host:port")  # noqa: TRY301 - one message
        played = load_providers(providers) if providers is not None else _load_configured()
        gateway = Sandbox(
            key=key,
            seed=seed,
            duration_s=duration_s,
            url_ttl_s=url_ttl_s,
            chaos=Chaos(**chaos),  # type: ignore[arg-type]  # the options are made from its fields
            on_event=_print_event,
            providers=played,
        )
    except (ValueError, OSError) as error:
        raise Failure([f"sandbox: {error}"], USAGE) from error
    try:
        asyncio.run(_run(gateway, address.host, address.port, played))
    except ValueError as error:
        raise Failure([f"sandbox: {error}"], USAGE) from error
    except OSError as error:
        raise Failure([f"sandbox: cannot listen on {listen} ({error.strerror or error})"], UNAVAILABLE) from error


def _load_configured() -> tuple[PlayedProvider, ...]:
    """Load the providers of the configuration; none, with a note, if it or a file of theirs cannot be used."""
    try:
        directory = read_config(None).providers_path
        return () if directory is None else load_providers(directory)
    except (ConfigError, ValueError, OSError) as error:
        click.echo(f"sandbox: the providers of the configuration are not played ({error})", err=True)
        return ()


async def _run(gateway: Sandbox, host: str, port: int, played: tuple[PlayedProvider, ...]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    await gateway.start(host, port)
    try:
        # the last variable: its files are on this machine
        click.echo(f"""base URL  {gateway.base_url}
API key   {gateway.key}

A tracker that uses it:

  TRACKER_ACCOUNTS__DEFAULT__BASE_URL={gateway.base_url} \\
  ANYINT_API_KEY={shlex.quote(gateway.key)} \\
  TRACKER_PUBLIC_URL=http://127.0.0.1:8780 \\
  TRACKER_ARCHIVE__ALLOW_PRIVATE_ADDRESSES=true \\
  tracker serve
""")
        for provider in played:
            names = ", ".join(route.name for route in provider.routes if isinstance(route, PaidRoute))
            click.echo(f'{provider.name}: base_url = "{gateway.base_url}{provider.prefix}"  ({names})')
        await stopped.wait()
    finally:
        await gateway.stop()


def _print_event(event: str, fields: object) -> None:
    """Print an event of the gateway to standard error."""
    text = " ".join(f"{name}={clean(value)}" for name, value in fields.items()) if isinstance(fields, dict) else ""
    click.echo(f"{event} {text}".rstrip(), err=True)
