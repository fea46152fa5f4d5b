"""``mcp``: tools for AI agents, on standard input and output; see `tracker.mcp`."""

from __future__ import annotations

import asyncio

import click

from tracker.cli.exits import BAD_CONFIG, Failure
from tracker.cli.session import Session, with_session

_PATIENCE_S = 3.0
"""How long a call waits for a daemon that restarts; the agent may repeat it."""


@click.command()
@with_session
def mcp(session: Session) -> None:
    """Serve tools for AI agents on standard input and output, by the Model Context Protocol.

    An agent starts this command itself: name it in the agent's list of MCP servers.
    """
    try:
        from tracker.mcp.server import Server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tracker"):
            raise
        fix = "install it with: pip install 'task-tracker[mcp]'"
        raise Failure([f"tracker mcp needs the package {error.name}; {fix}"], BAD_CONFIG) from None
    from tracker.client import AsyncClient

    daemon = session.client  # of the configured store

    async def serve() -> None:
        async with AsyncClient(daemon.url, daemon.token, patience_s=_PATIENCE_S) as client:
            await Server(client).run_stdio_async()

    asyncio.run(serve())
