"""The session of a run: that of its handler, or the one that the run's configuration names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langfuse_integration.internals.secrets import names_a_secret
from langfuse_integration.recording import ambient, tracing
from langfuse_integration.recording.registry import Run
from langfuse_integration.sessions.session import MAX_LENGTH, Session, usable
from langfuse_integration.settings import settings

from .private import PLUMBING_METADATA, PLUMBING_TAGS

IDS = {"langfuse_session_id": "session_id", "langfuse_user_id": "user_id", "langfuse_trace_name": "trace_name"}
TAGS_KEY = "langfuse_tags"
"""Keys in the metadata of a root run, as the Langfuse SDK's own handler reads them (SDK 3 to 5)."""
SIMPLE = (str, int, float, bool)
"""Types of metadata that go onto the trace, texts of up to 200 characters; the rest stays on the run's own row."""
SOURCE = "the metadata of a LangChain run"


class Binding:
    """The session that a handler is bound to; parts that it leaves open come from the active session.

    Attributes:
        session: the ids, tags and metadata of the handler.
        empty: the handler is bound to nothing.

    Raises:
        ValueError: an id is blank, too long or not printable.
        TypeError: an id is no `str`.
    """

    def __init__(
        self,
        session_id: str | None,
        user_id: str | None,
        tags: Iterable[str] | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        self.session = bound = Session(session_id, user_id, tags=tags, metadata=metadata)
        self.empty = bound.session_id is None and bound.user_id is None and not bound.tags and not bound.metadata

    def over(self, active: Session | None) -> Session | None:
        """Return the session of a run whose session without the binding is *active*."""
        return active if self.empty else self.session.over(active)

    def rebind(self, run: Run | None) -> None:
        """Bind an open run that another handler has announced, unless that handler is bound, too."""
        if run is not None and not self.empty and not run.state.bound:
            run.state.bound = True
            run.observation.session = self.over(run.observation.session)


def _is_simple(value: Any) -> bool:
    return type(value) in SIMPLE and (type(value) is not str or len(value) <= MAX_LENGTH)


def named(metadata: Mapping[str, Any], tags: list[str] | None) -> Session | None:
    """Return the session and trace attributes that a root run's configuration names, or None.

    Tags and the application's own metadata go onto the trace, as with the Langfuse SDK's handler; an unusable value
    is left out with a warning.
    """
    values: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in metadata.items():
        if key in IDS:
            values[IDS[key]] = value
        elif (
            not key.startswith(PLUMBING_METADATA)
            and key != "thread_id"
            and _is_simple(value)
            and not names_a_secret(key)
        ):
            own[key] = value
    kept = [tag for tag in tags if not tag.startswith(PLUMBING_TAGS)] if tags else []
    given = metadata.get(TAGS_KEY)
    if given is not None:
        values["tags"] = [*given, *kept] if isinstance(given, (list, tuple)) else given
        if kept and values["tags"] is given:
            usable(SOURCE, {"tags": given})
            values["tags"] = kept
    elif kept:
        values["tags"] = kept
    if own:
        values["metadata"] = own
    return usable(SOURCE, values) if values else None


def named_by_thread(metadata: Mapping[str, Any], named: Session | None) -> Session | None:
    """Return *named* with LangGraph's thread as its session, if the settings say so and nothing else names a session.

    Args:
        metadata: of a root run.
        named: what the run's configuration names besides.
    """
    if not settings().thread_sessions or (named is not None and named.session_id):
        return named
    active, _ = tracing.store.resolve(ambient.current())
    if active is not None and active.session_id:
        return named
    thread = usable(SOURCE, {"session_id": str(metadata["thread_id"])})
    return thread if named is None else named.over(thread)
