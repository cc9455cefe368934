"""Calls to MCP servers, recorded under the right user session.

session = wrap_session(session, server_name="llama-mcp")    # one session or client
instrument()                                                # or all of them, also those that libraries open
trace_server(server)                                        # in a server: continue the trace of its callers
"""

from __future__ import annotations

from importlib.util import find_spec

from langfuse_integration.errors import MissingExtra

if find_spec("mcp") is None:
    raise MissingExtra("mcp", "mcp")

from .instrumentation import instrument, instrumented, uninstrument
from .server import TraceMiddleware, trace_server
from .sessions import unwrap_session, wrap_session

__all__ = [
    "TraceMiddleware",
    "instrument",
    "instrumented",
    "trace_server",
    "uninstrument",
    "unwrap_session",
    "wrap_session",
]
