"""The command `push`: delivers waiting observations to Langfuse."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported


def push(
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", metavar="SESSION", autocompletion=complete_session, help="This session only."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was recorded for another project or with other keys.")
    ] = False,
) -> None:
    """Deliver the journal to Langfuse. It can be interrupted and repeated. Exit code 1 if something still waits."""
    with reported():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        from ..export.push import Progress
        from ..export.push import push as deliver
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

            result = deliver(session_id=session_id, everything=everything, progress=tell)
        Screen().line(f"{counted(result.delivered, 'observation')} delivered.")
        if result.refused:
            note(f"{counted(result.refused, 'observation')} refused by Langfuse, and set aside: doctor says why.")
        if result.pending:
            note(f"{counted(result.pending, 'observation')} still waiting.")
        if result.problem:
            note(f"It gave up: {in_one_line(result.problem)}.")
        if result.pending or result.problem:
            raise typer.Exit(1)
