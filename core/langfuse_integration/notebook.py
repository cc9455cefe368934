"""A session's replay in a notebook.

from langfuse_integration import show_session

show_session()    # the session that is active here, or else the newest
"""

from __future__ import annotations

import html

from .errors import MissingExtra
from .internals.lazy import lazy
from .reading.archive import Archive
from .recording.tracing import recorder, store

TURNS_LIMIT = 100
STEPS_LIMIT = 200
"""Turns of a session that a notebook's file holds."""
HEIGHT_PX = 640
SETTLE_S = 5.0


class SessionView:
    """What a notebook shows of a session, as it was when this was made.

    Attributes:
        session_id: None when there is no session to show.
    """

    def __init__(self, session_id: str | None) -> None:
        from .viewer.document import document

        with Archive.of_settings() as archive:
            if session_id is None:
                session_id = next(iter(archive.matching("", limit=1)), None)
            self.session_id = session_id
            summary = archive.session(session_id) if session_id is not None else None
            self._traces = summary.traces if summary is not None else 0
            pieces = document(archive, session_id, turns=TURNS_LIMIT, steps=STEPS_LIMIT, whole=False)
            self._document = "".join(pieces) if summary is not None else ""

    def _repr_html_(self) -> str:
        """Return the replay in a frame of its own: its style stays inside, and no script runs in it."""
        if not self._document:
            return f"<p>{html.escape(self._nothing)}</p>"
        return (
            f'<iframe sandbox srcdoc="{html.escape(self._document)}" title="{html.escape(self._title)}" '
            f'width="100%" height="{HEIGHT_PX}" frameborder="0"></iframe>'
        )

    @lazy
    def _title(self) -> str:
        return f"session {self.session_id}"

    @property
    def _nothing(self) -> str:
        from .settings import settings

        current = settings()
        if current.mode == "langfuse" and not current.keep_delivered:
            return "Langfuse has what was recorded: LANGFUSE_INTEGRATION_KEEP_DELIVERED=1 keeps a copy to show here."
        return (
            f"Nothing is recorded of the session {self.session_id}." if self.session_id else "There is no session yet."
        )

    def __repr__(self) -> str:
        if not self._document:
            return self._nothing
        return f"<{self._title}: {self._traces} {'trace' if self._traces == 1 else 'traces'}>"


def show_session(session_id: str | None = None) -> SessionView:
    """Return the replay of a session for a notebook to show.

    Args:
        session_id: default: the session that is active here, or else the newest in the journal.

    Raises:
        ImportError: the extra `viewer` is not installed.
        RuntimeError: the journal cannot be read.
    """
    try:
        import jinja2  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtra("jinja2", "viewer") from error
    recorder.flush(SETTLE_S)
    active = store.current()
    return SessionView(session_id or (active.session_id if active is not None else None))
