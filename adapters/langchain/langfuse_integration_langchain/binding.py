"""Whose runs a handler's are: what it was bound to, and what a run's own metadata suggests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langfuse_integration.internals.faults import warn_once
from langfuse_integration.recording.registry import Run
from langfuse_integration.sessions.session import Session

SESSION_KEY, USER_KEY, TAGS_KEY = "langfuse_session_id", "langfuse_user_id", "langfuse_tags"
"""In the metadata of a root run, as the Langfuse SDK's own handler reads them (SDK 3 to 5)."""


class Binding:
    """What a handler was bound to; what it leaves open is taken from where it is used.

    Raises:
        ValueError: an id is blank, too long or not printable.
        TypeError: an id is no text.
    """

    def __init__(
        self,
        session_id: str | None,
        user_id: str | None,
        tags: Iterable[str] | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        self._bound = Session(session_id, user_id, tags=tags, metadata=metadata)
        bound = self._bound
        self.empty = bound.session_id is None and bound.user_id is None and not bound.tags and not bound.metadata
        self._last: tuple[Session | None, Session] | None = None

    def over(self, active: Session | None) -> Session | None:
        """Return the session for a run where *active* is what would hold without the binding."""
        if self.empty:
            return active
        last = self._last
        if last is not None and (last[0] is active or last[1] is active):
            return last[1]
        merged = merge(active, self._bound)
        self._last = (active, merged)
        return merged

    def rebind(self, run: Run | None) -> None:
        """Give an open run that another handler has announced this binding, unless that one was bound, too."""
        if run is not None and not self.empty and not run.state.bound:
            run.state.bound = True
            run.observation.session = self.over(run.observation.session)


def suggested(metadata: Mapping[str, Any], active: Session | None) -> Session | None:
    """Return the session that a root run's metadata names, or None when it names none that can be used."""
    if not (SESSION_KEY in metadata or USER_KEY in metadata or TAGS_KEY in metadata):
        return None
    try:
        named = Session(metadata.get(SESSION_KEY), metadata.get(USER_KEY), tags=metadata.get(TAGS_KEY))
    except (TypeError, ValueError) as error:
        warn_once(f"metadata {error}", "The metadata of a LangChain run cannot be used: %s", error)
        return None
    return merge(active, named)


def merge(active: Session | None, named: Session) -> Session:
    """Return *named*, with what it leaves open taken from *active*.

    From another session nothing is taken over: its user is not this one's.
    """
    if active is None or named.session_id not in (None, active.session_id):
        return named
    return Session(
        active.session_id,
        named.user_id if named.user_id is not None else active.user_id,
        tags=tuple(dict.fromkeys((*active.tags, *named.tags))),
        metadata={**active.metadata, **named.metadata},
    )
