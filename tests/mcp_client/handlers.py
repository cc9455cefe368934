"""What the test server gets for tests of a traced server, in its own process: see `--setup` of peers.mcp_tools."""

from __future__ import annotations

from typing import Any

from langfuse_integration import langfuse_manager
from langfuse_integration_mcp import trace_server


async def work(topic: str) -> str:
    """Record a span, and return the session and the user that are active."""
    with langfuse_manager.trace_span("handled", input=topic) as span:
        span.update(output="done")
        return f"{langfuse_manager.current_session_id} {langfuse_manager.current_user_id}"


def flush() -> str:
    """Deliver what the server has recorded."""
    result = langfuse_manager.flush(10)
    return f"{result.pending} pending"


def install(server: Any) -> None:
    """Trace *server*, and add the tools above."""
    server.add_tool(work)
    server.add_tool(flush)
    trace_server(trace_server(server))


def install_wary(server: Any) -> None:
    """The same, but believe nobody who they are."""
    server.add_tool(work)
    server.add_tool(flush)
    trace_server(server, accept_identity=False)
