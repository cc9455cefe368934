"""A session as one HTML document that stands alone: to send to a colleague, to keep, to show in a notebook.

It has no script and asks for nothing: its policy allows the style sheet that is in it, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from markupsafe import Markup

from ..reading.archive import Archive
from .conversation_page import ConversationTurn, RowsView, tree_of, turn_of
from .outline import head
from .pages import environment, style

EVERYTHING = 10**9


def document(
    archive: Archive, session_id: str | None, *, turns: int = EVERYTHING, steps: int = EVERYTHING, whole: bool = True
) -> Iterator[str]:
    """Yield the document of a session piece by piece; empty if there is nothing of it.

    Args:
        turns, steps: how many turns at most, and how many steps of each.
        whole: with long inputs and outputs in full.
    """
    summary = archive.session(session_id)
    if summary is None:
        return
    sheet = style()
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    yield from (
        environment()
        .get_template("document.html")
        .generate(
            summary=summary,
            scores=archive.scores(session_id),
            turns=_turns(archive, session_id, turns, steps, whole),
            left=max(summary.traces - turns, 0),
            style=Markup(sheet),
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        )
    )


def _turns(archive: Archive, session_id: str | None, most: int, steps: int, whole: bool) -> Iterator[ConversationTurn]:
    view = RowsView(size=steps, details=True, whole=whole)
    for number, trace_id in enumerate(archive.trace_ids(session_id)[:most], 1):
        trace_head = head(archive, trace_id, session_id)
        if trace_head is not None:
            yield turn_of(number, trace_head, tree_of(archive, trace_id, session_id, view))
