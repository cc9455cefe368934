"""Runs that resume an interrupted one: in the same session one more root of its trace, in another a linked trace.

Langfuse lists a trace in one session only, that of the row written last.
"""

from __future__ import annotations

from ..sessions.session import Session
from . import tracing
from .anchor import Anchor, Parent
from .observation import Observation
from .registry import Run, RunStart


def trace_of(root: Parent) -> Anchor:
    """Return the anchor that names the trace of *root* and no span: what starts below it is one more root."""
    return Anchor(root.trace, 0, (root.session, root.origin), root.started_ns, exported=False)


def continues(start: RunStart, interrupted: Session | None, active: Session | None) -> bool:
    """Return whether a root that resumes another run belongs to the same session, and so to the same trace.

    Args:
        start: the root; its own sessions take precedence over *active*.
        interrupted: the session of the run that it resumes.
        active: the session where it starts; None, or one without an id, is taken for the same.
    """
    session = active
    for own in (start.named, start.session):
        if own is not None:
            session = own.over(session)
    if session is None or not session.session_id:
        return True
    return interrupted is not None and interrupted.session_id == session.session_id


def join(row: Observation, interrupted: Anchor) -> None:
    """Make a root one more root of the trace of *interrupted*, in its session; nothing has started below it yet.

    Args:
        row: the root; see `continues`.
        interrupted: as `trace_of` returns it.
    """
    row.move(interrupted)
    if interrupted.session is not None and (row.session is None or not row.session.session_id):
        row.session = interrupted.session if row.session is None else row.session.over(interrupted.session)


def link(run: Run, resumed: Anchor) -> None:
    """Link a run that resumes another session's trace with that trace: an entry here, and an event there."""
    row = run.observation
    row.add_metadata({"resumed_trace_id": f"{resumed.trace:032x}"})
    event = tracing.start_below(resumed, "resumed in another session", "event")
    event.add_metadata({"resumed_in_trace_id": row.trace_id})
    event.finish()
