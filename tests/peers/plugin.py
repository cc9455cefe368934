"""The fixtures of the peers, for `pytest_plugins = ["peers.plugin"]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from peers.backend import Backend
from peers.models import ModelServer
from peers.otlp import Receiver

if TYPE_CHECKING:
    from peers.mcp_servers import HttpServer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A Langfuse server on a port of its own, for one test."""
    with Receiver() as peer:
        yield peer


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A server for OTLP traces that is no Langfuse, for one test."""
    with Backend() as peer:
        yield peer


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A model provider on a port of its own, for one test."""
    with ModelServer() as peer:
        yield peer


@pytest.fixture(scope="session")
def mcp_http() -> Iterator[HttpServer]:
    """The MCP server of `mcp_tools` over streamable HTTP, one process for all tests that ask for it."""
    from peers.mcp_servers import http_server  # only where mcp is installed

    with http_server() as server:
        yield server
