"""What the fault tests share: short by default, whole with `--full`, repeatable with `--seed`."""

from __future__ import annotations

import random
import secrets

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make test-faults`."""
    parser.addoption("--full", action="store_true", help="every moment, object and fault")
    parser.addoption("--seed", type=int, help="repeat the random choices of an earlier run")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the marker of this folder."""
    config.addinivalue_line("markers", "full: only with --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for --full alone."""
    if not config.getoption("--full"):
        long = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether everything is wanted, not the short form."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of all random choices."""
    given: int | None = request.config.getoption("--seed")
    return secrets.randbelow(10**6) if given is None else given


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Return random numbers of this test's own, the same for the same seed."""
    print(f"\nseed {seed} (repeat with --seed {seed})")  # with the failure of this very test
    return random.Random(f"{seed} {request.node.name}")
