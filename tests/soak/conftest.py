"""The seed of the long runs, given on the command line."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take ``--soak-seed``."""
    parser.addoption("--soak-seed", type=int, default=1, help="decides what goes wrong, and when, in the long runs")


@pytest.fixture
def soak_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run."""
    return int(request.config.getoption("--soak-seed"))
