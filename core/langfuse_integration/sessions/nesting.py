"""The session of what starts below a run or span, where its code has set another session or propagates attributes."""

from __future__ import annotations

from typing import Any

from .session import Session


def inside(active: Session | None, origin: Session | None, around: Session | None) -> Session | None:
    """Return the session of what starts where the active session is *active*, below a parent; None is untagged.

    What was set or propagated since the parent started goes before the parent's session.

    Args:
        active: where the child starts; a session that holds what is propagated, see `Session.carrying`.
        origin: the same, where the parent started.
        around: the parent's session.
    """
    if active is not None and active.propagated is not None and set_by(active) == set_by(origin):
        session = nested(active, origin, around)
        if session is not None:
            return session
    if active == origin:
        return around
    if active is None or around is None:
        return active
    if active.session_id is None:
        return active.over(around)  # a user, tags or the like were set: the session stays
    if around == origin or origin is None or active.session_id != origin.session_id:
        return active
    session = _changes(active, origin).over(around)
    return session if active.user_id is not None or origin.user_id is None else session.with_user(None)


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
