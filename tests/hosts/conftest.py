"""Fixtures of the hosts' tests: a Redis server, and shelves that no test leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosts.redis_server import RedisServer
from langfuse_integration import owners


@pytest.fixture(autouse=True)
def nobody_owns_anything() -> Iterator[None]:
    """Begin without a known owner of any session."""
    owners.forget()
    yield
    owners.forget()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server of the test's own."""
    with RedisServer() as server:
        yield server
