"""The commands `sessions` and `show`, which read the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import chosen, complete_session, nothing_in, since_ns, untagged_hint
from .parameters import takes
from .screen import Screen, note, reported, stop

if TYPE_CHECKING:
    from ..reading.archive import Archive, SessionSummary
    from ..reading.session_summaries import SessionFilter

SHOWN = 20


@dataclass(frozen=True)
class ListOptions:
    """Parameters of `sessions`."""

    user: Annotated[str | None, typer.Option("--user", "-u", metavar="USER", help="Only of this user.")] = None
    since: Annotated[
        int | None,
        typer.Option(
            "--since",
            "-s",
            parser=since_ns,
            metavar="WHEN",
            help="Only with something in the last 15m, 2h, 7d, or since a date.",
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option("--text", "-t", metavar="TEXT", help="Only where this occurs, in names, inputs or outputs."),
    ] = None
    errors: Annotated[bool, typer.Option("--errors", "-e", help="Only with an error.")] = False
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="COUNT", min=1, help="How many at most.")] = SHOWN
    offset: Annotated[int, typer.Option("--offset", metavar="COUNT", min=0, help="How many to leave out first.")] = 0
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON array.")] = False

    @property
    def filter(self) -> SessionFilter:
        """The filter that the options describe."""
        return {"user": self.user, "since_ns": self.since, "text": self.text, "errors": self.errors}

    @property
    def filtered(self) -> bool:
        """Whether the options may leave out sessions."""
        return self.user is not None or self.since is not None or bool(self.text) or self.errors or self.offset > 0


@takes(ListOptions)
def sessions(options: ListOptions) -> None:
    """List the sessions, the newest first."""
    with reported():
        from ..reading.archive import Archive

        with Archive.of_settings() as archive:
            summaries = archive.sessions(limit=options.limit + 1, offset=options.offset, **options.filter)
            if options.as_json:
                from .plain import summary_of
                from .text import to_json

                Screen().raw(to_json([summary_of(summary) for summary in summaries[: options.limit]]) + "\n")
                return
            _list(archive, summaries, options)


def _list(archive: Archive, summaries: list[SessionSummary], options: ListOptions) -> None:
    if not summaries:
        note("No session matches." if options.filtered else nothing_in(archive))
        return
    from .table import table

    screen = Screen()
    screen.lines(table(summaries[: options.limit], screen.width))
    if len(summaries) > options.limit:
        note(f"There are more: --offset {options.offset + options.limit} shows the next ones.")
    hint = "" if options.filtered else untagged_hint(archive)
    if hint:
        note(hint)


@dataclass(frozen=True)
class ShowOptions:
    """Parameters of `show`."""

    session: Annotated[
        str | None,
        typer.Argument(
            metavar="SESSION",
            autocompletion=complete_session,
            help="The session's id, or its beginning; without it the newest.",
        ),
    ] = None
    full: Annotated[bool, typer.Option("--full", "-f", help="Whole inputs, outputs and metadata, however long.")] = (
        False
    )
    turn: Annotated[int | None, typer.Option("--turn", metavar="N", min=1, help="Only this turn.")] = None
    step: Annotated[
        str | None, typer.Option("--step", metavar="ID", help="Only the step whose id begins like that, in full.")
    ] = None
    errors: Annotated[bool, typer.Option("--errors", "-e", help="Only what went wrong.")] = False
    slowest: Annotated[bool, typer.Option("--slowest", help="Only the steps that took longest by themselves.")] = False
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Only the steps of this agent.")] = None
    grep: Annotated[str | None, typer.Option("--grep", metavar="TEXT", help="Only the steps in which this occurs.")] = (
        None
    )
    no_pager: Annotated[bool, typer.Option("--no-pager", help="Write everything to the terminal at once.")] = False
    no_session: Annotated[bool, typer.Option("--no-session", help="Show what belongs to no session.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False

    def narrowed(self) -> dict[str, Any]:
        """Return the part of the session that the options select."""
        names = ("full", "turn", "step", "errors", "slowest", "agent", "grep")
        return {name: getattr(self, name) for name in names}


@takes(ShowOptions)
def show(options: ShowOptions) -> None:
    """Replay a session: what was said, what went wrong, and what the agent thought and did."""
    if options.no_session and options.session is not None:
        raise typer.BadParameter("A session and --no-session exclude each other.", param_hint="SESSION")
    with reported():
        from ..reading.archive import Archive

        with Archive.of_settings() as archive:
            no_session = options.no_session or (options.session is None and _only_untagged(archive))
            if no_session and not options.no_session:
                note("No trace belongs to a session. Call set_session() before anything is traced.")
            session_id = None if no_session else chosen(archive, options.session)
            screen = Screen()
            if options.as_json:
                from .plain import session_of
                from .text import to_json

                screen.raw(to_json(session_of(archive, session_id)) + "\n")
                return
            from .replaying import ReplayPart, replayed, unknown_in

            if session_id is None and archive.session(None) is None and not archive.matching("", limit=1):
                note(nothing_in(archive))
                return
            from .pager import paged

            part = ReplayPart(**options.narrowed())
            unknown = unknown_in(archive, session_id, part)
            if unknown is not None:
                raise stop(unknown)
            lines = replayed(archive, session_id, screen, part)
            paged(screen, lines, pager=not options.no_pager)


def _only_untagged(archive: Archive) -> bool:
    return not archive.matching("", limit=1) and archive.session(None) is not None
