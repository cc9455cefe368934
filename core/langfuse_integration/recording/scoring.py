"""The target of a score of the manager: a trace, or else a session."""

from __future__ import annotations

import re

from ..sessions.session import valid
from . import ambient, tracing

_TRACE_ID = re.compile("[0-9a-f]{32}")


def scored(trace_id: str | None, session_id: str | None) -> tuple[int, str | None]:
    """Return the trace, or 0 and the session, that a score belongs to.

    Args:
        trace_id, session_id: what was passed; without either it is the trace that runs here, or the active session.

    Raises:
        ValueError: there is neither, both were passed, or an id is not valid.
    """
    if trace_id is not None and session_id is not None:
        raise ValueError("A score belongs to a trace or to a session: pass trace_id or session_id, not both.")
    if session_id is not None:
        return 0, valid("session_id", session_id)
    if trace_id is not None:
        if _TRACE_ID.fullmatch(trace_id) is None or not int(trace_id, 16):
            raise ValueError(f"{trace_id!r} is no trace id: it has 32 hex digits in lower case.")
        return int(trace_id, 16), None
    parent = ambient.current()
    if parent is not None and parent.exported and not getattr(parent, "ended_ns", 0):
        return parent.trace, None
    active = tracing.store.current()
    if active is None or active.session_id is None:
        raise ValueError(
            "There is nothing to score: no trace is running and no session is active. "
            "Call set_session() before, or pass trace_id or session_id."
        )
    return 0, active.session_id
