"""The command `langfuse-integration` (short: `lfi`): a demo, and commands that read the local journal."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["mcp"]:
        _serve()
    else:
        from .app import app

        app()


def _serve() -> None:
    """Run the command `mcp` without loading the others: a client waits for its start."""
    from ..errors import LangfuseIntegrationError
    from .mcp import serve_journal

    try:
        serve_journal()
    except LangfuseIntegrationError as error:
        from .screen import note

        note(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
