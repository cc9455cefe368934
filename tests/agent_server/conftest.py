"""A journal, and an MCP client of the server that reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.lowlevel")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"


class Agent:
    """A scripted client: it calls tools and counts what that takes."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls = 0
        self.tokens = 0.0

    async def ask(self, tool: str, **arguments: Any) -> str:
        """Call a tool and return its text; it must not fail."""
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert not result.is_error, content.text
        self.calls += 1
        self.tokens += len(content.text) / 3  # a cautious estimate
        return str(content.text)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that has to refuse, and return why."""
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert result.is_error
        return str(content.text)


@asynccontextmanager
async def agent_of(journal: Path | None) -> AsyncGenerator[Agent, None]:
    """Yield a client of a server in this process."""
    from mcp import Client

    from langfuse_integration.agent_server.protocol import JournalServer

    async with Client(JournalServer(journal, "1.0").server) as client:
        yield Agent(client)
