"""The command `view`: the sessions in a browser."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported, stop

PORT = 8123


def view(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            autocompletion=complete_session,
            help="Where to begin: the session's id, or its beginning; without it the list.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")
    ] = PORT,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only serve: open no browser.")] = False,
) -> None:
    """Show the sessions in a browser on this machine, until Ctrl-C."""
    with reported():
        from ..reading.archive import Archive
        from ..viewer.serving import serve

        begin = "/"
        with Archive.of_settings() as archive:
            journal = archive.path
            if session is not None:
                session_id = chosen(archive, session)
                from ..viewer.paths import session_path

                begin = session_path(session_id)

        def ready(address: str) -> None:
            screen = Screen()
            screen.line(f"{address}{begin}")
            screen.flush()
            note("Ctrl-C ends it.")
            if not no_browser:
                import webbrowser

                webbrowser.open(address + begin)

        try:
            serve(journal, port, ready)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise stop(f"Port {port} of 127.0.0.1 cannot be used ({why}): choose another one with --port.") from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
