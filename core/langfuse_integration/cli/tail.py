"""The command `tail`: observations as they are recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from .options import nothing_in
from .screen import Screen, note, reported, stop

if TYPE_CHECKING:
    from ..reading.archive import Archive
    from ..reading.replay import Observed

POLL_S = 0.2
LOOKED_BACK = 10_000
"""Recent observations that are searched for the first ones to print."""


def tail(
    session: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="Only sessions whose id begins like that.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="USER", help="Only of this user.")] = None,
    errors: Annotated[bool, typer.Option("--errors", "-e", help="Only errors.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="COUNT", min=0, help="How many earlier ones are shown first.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object a line.")] = False,
) -> None:
    """Follow what is recorded, until Ctrl-C."""
    with reported():
        from ..reading.archive import Archive
        from ..settings import settings
        from .live import Log

        def matches(observation: Observed) -> bool:
            return (
                (session is None or (observation.session_id or "").startswith(session))
                and (user is None or observation.user_id == user)
                and (not errors or observation.level == "ERROR")
            )

        log = Log(Screen(), as_json=as_json)
        with Archive.of_settings() as archive:
            if archive.path is None:
                raise stop(nothing_in(archive))
            if settings().mode == "langfuse" and not settings().keep_delivered:
                note("What Langfuse has leaves the journal: LANGFUSE_INTEGRATION_KEEP_DELIVERED=1 keeps it here.")
            number = archive.last_number
            for observation in _last(archive, number, lines, matches):
                log.write(observation)
            try:
                _follow(archive, number, matches, log.write)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None


def _last(archive: Archive, number: int, most: int, matches: Callable[[Observed], bool]) -> list[Observed]:
    entries = archive.after(max(number - LOOKED_BACK, 0), LOOKED_BACK) if most else []
    observations = [entry.observed for entry in entries if entry.number <= number and matches(entry.observed)]
    return observations[-most:] if most else []


def _follow(
    archive: Archive, number: int, matches: Callable[[Observed], bool], write: Callable[[Observed], None]
) -> None:
    """Write all observations after the given number, until interrupted."""
    version = None
    while True:
        archive.refresh()
        if archive.version == version:
            time.sleep(POLL_S)
            continue
        version = archive.version
        while entries := archive.after(number):
            for entry in entries:
                number = entry.number
                if matches(entry.observed):
                    write(entry.observed)
