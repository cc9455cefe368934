"""Parameters that several commands share, and how a session is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import typer

from ..reading import times
from .screen import stop
from .text import in_one_line

if TYPE_CHECKING:
    from ..reading.archive import Archive

T = TypeVar("T")


def age_s(value: str) -> float:
    """Return an age such as `90s`, `15m`, `2h`, `7d` or `3w` in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    return _parsed(times.age_s, value)


def since_ns(value: str) -> int:
    """Return a point in time, given as an age or in ISO 8601 (local unless it says a zone), in ns since 1970.

    Raises:
        typer.BadParameter: it is neither.
    """
    return _parsed(times.since_ns, value)


def _parsed(parse: Callable[[str], T], value: str) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def complete_session(incomplete: str) -> Iterator[str]:
    """Yield the session ids that complete *incomplete*, for the shell."""
    from ..errors import LangfuseIntegrationError
    from ..reading.archive import Archive

    try:
        with Archive.of_settings() as archive:
            yield from archive.matching(incomplete)
    except LangfuseIntegrationError:
        return


def chosen(archive: Archive, prefix: str | None) -> str:
    """Return the session with this id or with an id that begins like that; for None the newest.

    Raises:
        typer.Exit: there is none, or several; a sentence was written.
    """
    if prefix is None:
        newest = archive.matching("", limit=1)
        if not newest:
            raise stop(nothing_in(archive))
        return newest[0]
    session_ids = archive.matching(prefix)
    if len(session_ids) == 1:
        return session_ids[0]
    if session_ids:
        listed = "".join(f"\n  {in_one_line(session)}" for session in session_ids[:10])
        raise stop(f"Several sessions begin with {in_one_line(prefix)}: say which one.{listed}")
    unknown = f"No session {in_one_line(prefix)} is in the journal {archive.path}"
    from ..reading.nearest import nearest_sessions

    nearest = nearest_sessions(archive, prefix)
    named = f" The nearest are {', '.join(map(in_one_line, nearest))}." if nearest else ""
    raise stop(f"{unknown}: `langfuse-integration sessions` lists them.{named}")


def untagged_hint(archive: Archive) -> str:
    """Return how many traces belong to no session, and how to see them; nothing where there are none."""
    from ..presentation import counted

    untagged = archive.session(None)
    if untagged is None:
        return ""
    return f"{counted(untagged.traces, 'trace')} without a session: `langfuse-integration show --no-session`."


def nothing_in(archive: Archive) -> str:
    """Return why there is no session to show, and what to do."""
    from ..settings import settings

    current = settings()
    hint = untagged_hint(archive)
    if hint:
        return f"The journal {archive.path} holds no sessions. {hint} Call set_session() before anything is traced."
    if current.mode == "off":
        return "Tracing is switched off by LANGFUSE_TRACING_ENABLED, and the journal holds no sessions."
    if archive.path is None:
        return "The journal is switched off by LANGFUSE_INTEGRATION_JOURNAL, so there is nothing to show."
    if current.mode == "langfuse" and not current.keep_delivered:
        return (
            f"The journal {archive.path} holds no sessions: Langfuse at {current.address} has what was recorded. "
            "LANGFUSE_INTEGRATION_KEEP_DELIVERED=1 keeps a copy here."
        )
    return f"The journal {archive.path} holds no sessions yet: `langfuse-integration demo` makes two."
