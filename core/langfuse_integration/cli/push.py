"""The command `push`: delivers observations of the journal to Langfuse, or to another server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported

if TYPE_CHECKING:
    from ..destinations import OtlpDestination


def push(
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="SESSION", autocompletion=complete_session, help="This session only."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was recorded for another project or with other keys.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help="Another OTLP server; it gets everything that it does not have."),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Sent to that server; may be repeated.")
    ] = None,
    conventions: Annotated[
        str | None,
        typer.Option("--conventions", metavar="NAMES", help="Attributes to add: genai, openinference, both, none."),
    ] = None,
) -> None:
    """Deliver the journal to Langfuse. It can be interrupted and repeated. Exit code 1 if something still waits."""
    if to is None and (header or conventions):
        raise typer.BadParameter("--header and --conventions go with --to.")
    if to is not None and everything:
        raise typer.BadParameter("--to and --all exclude each other: --to delivers everything.")
    with reported():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        from ..export.push import Progress
        from ..presentation import counted
        from ..reading.archive import Archive
        from .text import in_one_line

        session_id = session
        if session is not None:
            with Archive.of_settings() as archive:
                session_id = chosen(archive, session)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("pushing", total=None)

            def tell(state: Progress) -> None:
                bar.update(task, completed=state.delivered + state.refused, total=state.total)

            if to is None:
                from ..export.push import push as deliver

                result = deliver(session_id=session_id, everything=everything, progress=tell)
            else:
                from ..export.push_to import push_to

                result = push_to(_destination(to, header or [], conventions), session_id=session_id, progress=tell)
        Screen().line(f"{counted(result.delivered, 'observation')} delivered.")
        receiver = "Langfuse" if to is None else "the server"
        if result.refused:
            note(f"{counted(result.refused, 'observation')} refused by {receiver}, and set aside: doctor says why.")
        if result.pending:
            note(f"{counted(result.pending, 'observation')} still waiting.")
        if result.problem:
            note(f"It gave up: {in_one_line(result.problem)}.")
        if result.pending or result.problem:
            raise typer.Exit(1)


def _destination(url: str, headers: list[str], conventions: str | None) -> OtlpDestination:
    """Return the destination at *url*: as the settings have it, unless the options say otherwise."""
    from dataclasses import replace

    from ..destinations import OtlpDestination, conventions_of, headers_of, traces_url
    from ..settings import settings

    try:
        address = traces_url(url)
        given = {name: value for text in headers for name, value in headers_of(text).items()}
        chosen = conventions_of(conventions) if conventions is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    configured = [one for one in settings().all_destinations if one.url == address]
    destination = configured[0] if configured else OtlpDestination(address)
    if given:
        destination = replace(destination, headers=given)
    return destination if chosen is None else replace(destination, conventions=chosen)
