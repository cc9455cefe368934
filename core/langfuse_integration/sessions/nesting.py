"""The session within a block of Langfuse's `propagate_attributes` that began inside of a run or span."""

from __future__ import annotations

from typing import Any

from .session import Session


def nested(active: Session | None, origin: Session | None, around: Session | None) -> Session | None:
    """Return the session of what starts in a block that began after its parent did; None without such a block.

    What the block changed goes before the parent's session. In a block of another session, only what is propagated
    there counts.

    Args:
        active: where the child starts; a session that holds what is propagated, see `Session.carrying`.
        origin: the same, where the parent started.
        around: the parent's session.
    """
    propagated = None if active is None else active.propagated
    before = None if origin is None else origin.propagated
    if propagated is None or propagated is before or propagated == before:
        return None
    if around is None:
        return propagated
    changes = propagated if before is None else _changes(propagated, before)
    if changes.session_id is not None and around.session_id not in (None, changes.session_id):
        return propagated
    return changes.over(around)


def set_by(session: Session | None) -> Session | None:
    """Return the part of an active session that was set, without what is propagated."""
    return session if session is None or session.propagated is None else session.active


def _changes(session: Session, before: Session) -> Session:
    """Return *session* without what *before* has, too."""
    changes: dict[str, Any] = {}
    for name, value in session.to_values().items():
        old = getattr(before, name)
        if name == "tags":
            value = [tag for tag in value if tag not in old]
        elif name in ("metadata", "extra"):
            value = {key: item for key, item in value.items() if key not in old or old[key] != item}
        elif value == old:
            continue
        changes[name] = value
    return Session.from_values(changes)
