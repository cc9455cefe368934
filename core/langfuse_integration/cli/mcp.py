"""The command `mcp`: recorded sessions for coding agents."""

from __future__ import annotations

from .screen import reported


def mcp() -> None:
    """Serve the journal to a coding agent, over MCP on standard input and output. It only reads."""
    with reported():
        from importlib.metadata import version

        from ..errors import MissingExtra
        from ..settings import settings

        try:
            from ..agent_server.protocol import serve
        except ImportError as error:
            raise MissingExtra("mcp 2", "mcp") from error
        serve(settings().journal_path, version("langfuse-integration"))
