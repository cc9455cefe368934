"""Replays of langchain-mcp-adapters (mcp 1.x), which opens a session for every call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient

import langfuse_integration_langchain
from peers.mcp_servers import stdio_parameters

from .replays import Wire, again, record
from .scripted import Scripted

pytestmark = [pytest.mark.mcp, pytest.mark.langchain, pytest.mark.asyncio]


async def test_an_agent_with_two_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools of both servers are listed, and each call is answered, without either."""
    langfuse_integration_langchain.instrument()

    def server(name: str) -> Any:
        parameters = stdio_parameters(name)
        return {"transport": "stdio", "command": sys.executable, "args": parameters.args, "env": parameters.env}

    async def application() -> Any:
        client = MultiServerMCPClient({"a": server("first"), "b": server("second")}, tool_name_prefix=True)
        tools = await client.get_tools()
        agent = create_agent(Scripted(calls=[("a_echo", {"text": "one"}), ("b_echo", {"text": "two"})]), tools)
        result = await agent.ainvoke({"messages": [("user", "go")]})
        return sorted(tool.name for tool in tools), result["messages"][-1].text

    try:
        before = await record(application, tmp_path / "a.session.json")
        Wire("stdio", "", monkeypatch).cut()
        assert await again(application, tmp_path / "a.session.json") == before
    finally:
        langfuse_integration_langchain.uninstrument()
    assert before[0][1] == "one and two"
