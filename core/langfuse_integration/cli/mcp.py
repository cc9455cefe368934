"""The command `mcp`: recorded sessions for coding agents."""

from __future__ import annotations


def mcp() -> None:
    """Serve the journal to a coding agent, over MCP on standard input and output. It only reads."""
    from .screen import reported

    with reported():
        serve_journal()


def serve_journal() -> None:
    """Serve the journal until the client is gone.

    Raises:
        MissingExtra: the MCP SDK is missing, or older than 2.
    """
    from importlib.metadata import version

    from ..errors import MissingExtra
    from ..settings import settings

    try:
        from ..agent_server.protocol import serve
    except ImportError as error:
        raise MissingExtra("mcp 2", "mcp") from error
    serve(settings().journal_path, version("langfuse-integration"))
