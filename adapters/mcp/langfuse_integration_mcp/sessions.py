"""wrap_session() and unwrap_session(): trace single sessions."""

from __future__ import annotations

from typing import Any, TypeVar

from langfuse_integration.recording import tracing

from .connection import Policy
from .instrumentation import keep
from .wrapping import unwrap, wrap

T = TypeVar("T")


def wrap_session(session: T, *, server_name: str | None = None, send_identity: bool = False) -> T:
    """Trace a client session, and return the same object.

    Every call is one tool row, `{server}.{tool}`; inside a framework's run of the same tool that run's row is it.

    Args:
        session: an `mcp.ClientSession` (1.x or 2.x) or an `mcp.Client` (2.x), connected or not. Traced already, by
            this or by `instrument`, it stays traced once, with these arguments.
        server_name: what the server is called in names and metadata. By default what it calls itself; mcp 1.x keeps
            that only until the session is initialized: wrap it before, or give a name.
        send_identity: send the session's and the user's id to this server, as baggage. The trace's ids are always
            sent.

    Raises:
        TypeError: *session* is neither.
    """
    wrap(session, server_name, Policy(send_identity))
    keep(session)
    tracing.hooks.ready()
    return session


def unwrap_session(session: Any) -> None:
    """Stop tracing *session*; an untraced session stays as it is."""
    unwrap(session)
