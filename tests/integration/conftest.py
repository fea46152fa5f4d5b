"""Fixtures of several modules. A module with another `world` or `client` has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kits.hooks import LinePipe
from tests.kits.sandbox import Client, Receiver, receiving, running
from tests.kits.server import ServerWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServerWorld]:
    """The HTTP server without an API token."""
    async with ServerWorld(tmp_path) as world:
        yield world


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A sandbox without faults."""
    async with running() as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A callback target on loopback."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def pipe(tmp_path: Path) -> AsyncIterator[LinePipe]:
    """A pipe for scripts to write into."""
    pipe = LinePipe(tmp_path / "pipe")
    yield pipe
    pipe.close()
