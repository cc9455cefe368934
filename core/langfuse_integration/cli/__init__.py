"""The command `langfuse-integration` (short: `lfi`): a demo, and a look at the sessions in the local journal."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .app import app

    app()
