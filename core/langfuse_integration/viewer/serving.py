"""Serve the viewer on this machine, and only to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import MissingExtra


def serve(journal: Path | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        journal: the file to show.
        port: on 127.0.0.1; 0 takes a free one.
        ready: called with the address once it answers.

    Raises:
        MissingExtra: the extra `viewer` is not installed.
        OSError: the port is taken.
    """
    try:
        import jinja2  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import uvicorn

        from ..reading.prices import list_price
        from .app import application
        from .pages import environment
    except ImportError as error:
        raise MissingExtra((error.name or "starlette").partition(".")[0], "viewer") from error
    import socket

    # Loaded now, not while the first visitor waits.
    for name in ("sessions.html", "session.html"):
        environment().get_template(name)
    list_price("gpt-5", {"input": 1})
    listening = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        application(journal),
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    ready(f"http://127.0.0.1:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])
