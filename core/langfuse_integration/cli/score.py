"""The command `score`: scores a session or one of its turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import chosen, complete_session
from .screen import Screen, note, reported, stop
from .text import in_one_line

if TYPE_CHECKING:
    from ..reading.archive import Archive

DELIVER_S = 10.0
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def score(
    session: Annotated[
        str,
        typer.Argument(metavar="SESSION", autocompletion=complete_session, help="The session's id, or its beginning."),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What is judged, such as helpful.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A number, yes or no, or a category as text.")],
    turn: Annotated[int | None, typer.Option("--turn", metavar="N", min=1, help="Only this turn.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", "-c", metavar="TEXT", help="Why.")] = None,
) -> None:
    """Score a session or one of its turns. With keys the score also goes to Langfuse."""
    with reported():
        from .. import langfuse_manager
        from ..reading.archive import Archive
        from ..settings import settings

        if settings().mode == "off" or settings().journal_path is None:
            raise stop("Nothing is recorded: tracing or the journal is switched off.")
        with Archive.of_settings() as archive:
            session_id = chosen(archive, session)
            trace_id = _trace(archive, session_id, turn) if turn is not None else None
        langfuse_manager.score(
            name,
            _value(value),
            comment=comment,
            trace_id=trace_id,
            session_id=session_id if trace_id is None else None,
        )
        result = langfuse_manager.flush(DELIVER_S)
        subject = f"turn {turn} of {session_id}" if turn is not None else session_id
        Screen().line(f"{in_one_line(name)} {in_one_line(value)} given to {in_one_line(subject)}.")
        if result.pending:
            note("It waits in the journal until Langfuse can be reached.")


def _trace(archive: Archive, session_id: str, turn: int) -> str:
    trace_ids = archive.trace_ids(session_id)
    if turn > len(trace_ids):
        raise stop(f"There is no turn {turn}: the last one is {len(trace_ids)}.")
    return trace_ids[turn - 1]


def _value(text: str) -> float | bool | str:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) < float("inf") else text
