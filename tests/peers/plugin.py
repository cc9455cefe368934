"""The fixtures of the peers, for `pytest_plugins = ["peers.plugin"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peers.models import ModelServer
from peers.otlp import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A Langfuse server on a port of its own, for one test."""
    with Receiver() as peer:
        yield peer


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A model provider on a port of its own, for one test."""
    with ModelServer() as peer:
        yield peer
