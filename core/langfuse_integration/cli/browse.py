"""`sessions` and `show`: what is in the journal."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import chosen, complete_session, nothing_in, since_ns
from .screen import Screen, note, reported

SHOWN = 20


def sessions(
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="USER", help="Only of this user.")] = None,
    since: Annotated[
        int | None,
        typer.Option(
            "--since",
            "-s",
            parser=since_ns,
            metavar="WHEN",
            help="Only with something in the last 15m, 2h, 7d, or since a date.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", "-t", metavar="TEXT", help="Only where this occurs, in names, inputs or outputs."),
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", "-e", help="Only with an error.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="COUNT", min=1, help="How many at most.")] = SHOWN,
    offset: Annotated[int, typer.Option("--offset", metavar="COUNT", min=0, help="How many to leave out first.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON array.")] = False,
) -> None:
    """List the sessions, the newest first."""
    with reported():
        from ..reading.archive import Archive

        with Archive.of_settings() as archive:
            summaries = archive.sessions(
                user=user, since_ns=since, text=text, errors=errors, limit=limit + 1, offset=offset
            )
            untagged = archive.session(None)
            screen = Screen()
            if as_json:
                from .plain import summary_of
                from .text import to_json

                screen.raw(to_json([summary_of(summary) for summary in summaries[:limit]]) + "\n")
                return
            filtered = user is not None or since is not None or bool(text) or errors or offset > 0
            if not summaries:
                note("No session matches." if filtered else nothing_in(archive))
                return
            from .table import table

            screen.lines(table(summaries[:limit], screen.width))
            if len(summaries) > limit:
                note(f"There are more: --offset {offset + limit} shows the next ones.")
            if untagged is not None and not filtered:
                from .text import counted

                note(
                    f"{counted(untagged.traces, 'trace')} without a session: `langfuse-integration show --no-session`."
                )


def show(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            autocompletion=complete_session,
            help="The session's id, or its beginning; without it the newest.",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", "-f", help="Whole inputs, outputs and metadata.")] = False,
    no_session: Annotated[bool, typer.Option("--no-session", help="What belongs to no session.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Replay a session: what was said, and what the agent thought and did."""
    if no_session and session is not None:
        raise typer.BadParameter("A session and --no-session exclude each other.", param_hint="SESSION")
    with reported():
        from ..reading.archive import Archive

        with Archive.of_settings() as archive:
            session_id = None if no_session else chosen(archive, session)
            screen = Screen()
            if as_json:
                from .plain import session_of
                from .text import to_json

                screen.raw(to_json(session_of(archive, session_id)) + "\n")
                return
            from .tree import replayed

            screen.lines(replayed(archive, session_id, screen, everything=full))
