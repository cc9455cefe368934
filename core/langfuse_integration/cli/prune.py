"""The command `prune`: removes sessions from the journal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from .options import age_s, chosen, complete_session
from .parameters import takes
from .screen import Screen, note, reported


@dataclass(frozen=True)
class PruneOptions:
    """Parameters of `prune`."""

    older_than: Annotated[
        float | None,
        typer.Option("--older-than", parser=age_s, metavar="AGE", help="Traces that ended longer ago: 15m, 7d."),
    ] = None
    session: Annotated[
        list[str] | None,
        typer.Option(
            "--session", metavar="SESSION", autocompletion=complete_session, help="This session only; may be repeated."
        ),
    ] = None
    delivered: Annotated[bool, typer.Option("--delivered", help="Only what Langfuse has acknowledged.")] = False
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Also what is not yet in Langfuse or at another destination.")
    ] = False
    destination: Annotated[
        str | None,
        typer.Option("--destination", metavar="URL", help="Forget what waits for this server, or was refused by it."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would be removed.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False

    def check(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            typer.BadParameter: they do.
        """
        if self.destination is not None:
            if self.everything or self.delivered or self.session or self.older_than is not None:
                raise typer.BadParameter("--destination stands alone: the observations themselves are not removed.")
            return
        narrowed = self.older_than is not None or bool(self.session) or self.delivered
        if self.everything == narrowed:
            raise typer.BadParameter(
                "Name what to remove: --older-than 30d, --session ID or --delivered (they combine), or --all alone."
            )
        if self.delivered and self.undelivered:
            raise typer.BadParameter("--delivered and --undelivered exclude each other.")


@takes(PruneOptions)
def prune(options: PruneOptions) -> None:
    """Remove sessions from the journal, for good."""
    options.check()
    with reported():
        if options.destination is not None:
            _forget(options.destination, options)
            return
        from ..journal.pruning import Pruning, Selection, before
        from ..presentation import counted
        from ..reading.archive import Archive

        with Archive.of_settings() as archive:
            path = archive.path
            session_ids = [chosen(archive, one) for one in options.session or []]
        if path is None or not path.exists():
            note("There is no journal, so there is nothing to remove.")
            return
        selection = Selection(
            ended_before_ns=before(options.older_than) if options.older_than is not None else None,
            session_ids=session_ids,
            delivered_only=options.delivered,
            owed=options.undelivered,
        )
        with Pruning(path) as pruning:
            to_remove = pruning.amount(selection)
            kept = pruning.amount(selection._replace(owed=True)).observations - to_remove.observations
            if kept and not options.delivered:
                waiting = f"{counted(kept, 'observation')} not yet delivered"
                note(f"{waiting} will stay: --undelivered removes that, too.")
            amount = f"{counted(to_remove.observations, 'observation')} of {counted(to_remove.sessions, 'session')}"
            if options.dry_run or not to_remove.observations:
                Screen().line(f"{amount} would be removed." if to_remove.observations else "Nothing matches.")
                return
            if not options.yes:
                if not sys.stdin.isatty():
                    raise typer.BadParameter(
                        "Nobody is there to be asked: add --yes, or --dry-run to see how much it is."
                    )
                typer.confirm(f"Remove {amount} from {path}?", abort=True)
            removed = pruning.remove(selection)
        Screen().line(
            f"{counted(removed.observations, 'observation')} of {counted(removed.sessions, 'session')} removed."
        )


def _forget(url: str, options: PruneOptions) -> None:
    """Forget what waits for a server: the observations stay, unless it alone still waited for them."""
    from ..destinations import traces_url
    from ..journal.pruning import Pruning
    from ..presentation import counted
    from ..settings import settings

    try:
        address = traces_url(url).partition("?")[0]
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    path = settings().journal_path
    if path is None or not path.exists():
        note("There is no journal, so there is nothing to remove.")
        return
    with Pruning(path) as pruning:
        count = pruning.waiting_for(address)
        if options.dry_run or not count:
            Screen().line(f"{counted(count, 'observation')} would be forgotten." if count else "Nothing matches.")
            return
        if not options.yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("Nobody is there to be asked: add --yes, or --dry-run to see how much it is.")
            typer.confirm(f"Forget {counted(count, 'observation')} for {address}?", abort=True)
        pruning.forget(address, keep_delivered=settings().keep_delivered)
    Screen().line(f"{counted(count, 'observation')} forgotten for {address}.")
