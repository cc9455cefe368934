"""The command `langfuse-integration` (short: `lfi`): a demo, and commands that read the local journal."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .app import app

    app()
