"""Sessions and steps by the handles that an agent passes: whole ids, or their beginnings."""

from __future__ import annotations

from difflib import get_close_matches

from ..errors import LangfuseIntegrationError
from ..reading.archive import Archive, SessionSummary
from ..reading.nearest import nearest_sessions
from ..reading.replay import Observed, Trace

NEAREST = 3


class UnknownHandle(LangfuseIntegrationError, LookupError):
    """A session, turn or step that is not in the journal; the message names the nearest."""


def session_of(archive: Archive, session_id: str) -> SessionSummary:
    """Return the session whose id is given, or begins with what is given.

    Raises:
        UnknownHandle: there is none, or several.
    """
    matching = archive.matching(session_id)
    summary = archive.session(matching[0]) if len(matching) == 1 else None
    if summary is not None:
        return summary
    if matching:
        raise UnknownHandle(f"Several sessions begin with {session_id!r}: {', '.join(map(repr, matching[:10]))}.")
    nearest = nearest_sessions(archive, session_id, NEAREST) or archive.matching("", limit=NEAREST)
    named = f" The nearest are {', '.join(map(repr, nearest))}." if nearest else " The journal holds no sessions."
    raise UnknownHandle(f"No session {session_id!r} is recorded.{named}")


def step_of(archive: Archive, summary: SessionSummary, step: str) -> tuple[int, Trace, Observed]:
    """Return a step with its turn's number and its trace.

    Raises:
        UnknownHandle: there is none, or several.
    """
    begins = step.strip().lower()
    matches: list[tuple[int, str, str]] = []
    ids: list[str] = []
    for number, trace_id in enumerate(archive.trace_ids(summary.session_id), 1):
        for row in archive.columns(trace_id, summary.session_id):
            ids.append(row.span_id)
            if begins and row.span_id.startswith(begins):
                matches.append((number, trace_id, row.span_id))
    if len(matches) > 1:
        raise UnknownHandle(f"Several steps begin with {step!r}: {', '.join(each[2] for each in matches[:10])}.")
    if not matches:
        nearest = get_close_matches(begins, ids[:5_000], NEAREST, 0.4) or ids[:NEAREST]
        raise UnknownHandle(f"No step {step!r} is in this session. The nearest are {', '.join(nearest)}.")
    number, trace_id, span_id = matches[0]
    trace = archive.trace(trace_id, summary.session_id)
    observation = next((each for each in trace.observations if each.id == span_id), None) if trace is not None else None
    if trace is None or observation is None:
        raise UnknownHandle(f"The step {span_id} is damaged in the journal.")
    return number, trace, observation
