"""The command `forget`: removes a user or a session everywhere, and prints a receipt."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import Screen, note, reported
from .text import in_one_line

if TYPE_CHECKING:
    from ..journal.forgetting import Forgotten, Subject


def forget(
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Everything of this user.")] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="Everything of this session: its whole id.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Do not tell Langfuse.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a user or a session from the journal, from Redis and from Langfuse, for good; prints a receipt.

    Whole traces are removed. While Langfuse cannot be reached, the request waits in the journal. The next process that
    delivers sends it, as do `push` and another `forget`. Exit code 1 if something is left to do.
    """
    if (user is None) == (session is None):
        raise typer.BadParameter("Name one: --user USER or --session SESSION.")
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("Nobody is there to be asked: add --yes.")
        typer.confirm(
            f"Remove everything of {'user' if user is not None else 'session'} {user or session}?", abort=True
        )
    with reported():
        from ..journal.forgetting import Subject

        subject = Subject(user, session)
        Screen().line(f"Receipt of {time.strftime('%Y-%m-%d %H:%M:%S %z')}")
        done = [_journal(subject, local), _redis(subject), _langfuse(subject, local)]
    if not all(done):
        raise typer.Exit(1)


def _journal(subject: Subject, local: bool) -> bool:
    from ..journal.forgetting import Forgetting
    from ..journal.writers import destination_of
    from ..settings import settings

    current = settings()
    path = current.journal_path
    tells = current.mode == "langfuse" and not local
    if path is None or not (path.exists() or tells):
        Screen().line("Journal: there is none.")
        return True
    with Forgetting(path) as forgetting:
        forgotten = forgetting.forget(subject, destination_of(current) if tells else None)
    Screen().line(f"Journal {path}: {_amount(forgotten)} removed.")
    for address in forgotten.elsewhere:
        note(f"{address} was not told: OTLP has no request to delete. Delete there what it has.")
    if forgotten.damaged_copies:
        note(f"Damaged journals that had been set aside were removed, too: {forgotten.damaged_copies}.")
    if not forgotten.is_clean:
        note("Another process keeps the journal in use: traces of what was removed are left in its file. Run it again.")
    return forgotten.is_clean


def _amount(forgotten: Forgotten) -> str:
    from ..presentation import counted

    traces = f"{counted(forgotten.observations, 'observation')} of {counted(forgotten.traces, 'trace')}"
    waiting = f" ({forgotten.waiting} not delivered yet)" if forgotten.waiting else ""
    return f"{traces}{waiting}, {counted(forgotten.scores, 'score')}, {forgotten.media} media"


def _redis(subject: Subject) -> bool:
    from ..presentation import counted
    from ..sessions.shared_state.forgetting import forget_shared

    try:
        removed = forget_shared(*subject)
    except Exception as error:  # noqa: BLE001  whatever redis-py raises
        note(f"Redis does not answer ({type(error).__name__}): run it again.")
        return False
    if removed is not None:
        Screen().line(f"Redis: {counted(removed, 'entry', 'entries')} removed.")
    return True


def _langfuse(subject: Subject, local: bool) -> bool:
    from ..settings import settings

    current = settings()
    if local or current.mode != "langfuse" or current.journal_path is None:
        Screen().line("Langfuse: not told" + ("." if local else ", since there are no keys."))
        return True
    from ..export.erasure import erase
    from ..export.http import LangfuseHttp
    from ..export.response import Outcome
    from ..journal.forgetting import settle_erasure, waiting_erasures
    from ..journal.journal import Journal
    from ..journal.writers import destination_of
    from ..presentation import counted

    journal, http = Journal(current.journal_path), LangfuseHttp(current)
    try:
        for erasure in waiting_erasures(journal, destination_of(current)):
            result, count = erase(http, current, erasure)
            if result.outcome is not Outcome.TAKEN:
                note(f"Langfuse at {current.address} was not told: {in_one_line(result.reason)}.")
                note("The request waits in the journal: the next process that delivers goes on, or run it again.")
                return False
            settle_erasure(journal, erasure)
            if erasure.subject == subject:
                Screen().line(f"Langfuse at {current.address}: told to delete {counted(count, 'trace')}.")
    finally:
        http.close()
        journal.close()
    return True
