"""The engines that the suite runs on. A new engine is one more entry in `ENGINES`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.kits.world import World

OpenWorld = Callable[..., AbstractAsyncContextManager[World]]
ENGINES = {"sqlite": lambda folder: partial(World, folder / "t.db")}
"""Each makes a function that opens one and the same store: again after it was closed, or with another clock."""


@pytest.fixture(params=[*ENGINES])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> OpenWorld:
    """Opens a store of one engine."""
    return ENGINES[request.param](tmp_path)
