"""What the test server gets for tests of a traced server, in its own process: see `--setup` of peers.mcp_tools."""

from __future__ import annotations

import json
from typing import Any

from langfuse_integration import langfuse_manager
from langfuse_integration_mcp import trace_server
from peers.mcp_tools import Context


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
    """Trace *server* without accepting identities from clients, and add the tools above."""
    server.add_tool(work)
    server.add_tool(flush)
    trace_server(server, accept_identity=False)


async def headers(ctx: Context) -> str:
    """Return the trace's headers of the HTTP request, as JSON."""
    received = ctx.request_context.request.headers
    return json.dumps({key: received[key] for key in ("traceparent", "tracestate", "baggage") if key in received})


def install_headers(server: Any) -> None:
    """Add the tool above; the server itself is not traced, and reads no `_meta`."""
    server.add_tool(headers)
