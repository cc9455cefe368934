"""Checks of recorded sessions: why traces are not grouped as expected (the guide's Troubleshooting)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from .installation import Finding, Installation

JUST_BEFORE_NS = 5_000_000_000
"""An untagged trace that started within this time before a session's first one belongs to it."""
RUSH_NS = 600_000_000_000
RUSH_SESSIONS = 5
"""Sessions of one trace each, by one user within RUSH_NS, from which on the ids count as created per message."""
TRACES_LIMIT = 20_000
"""Traces and sessions that are looked at, the newest."""
_NAMED = 5


class Start(NamedTuple):
    """The start of a trace, its process and its session."""

    at_ns: int
    user: str | None
    name: str


def before_the_session(installation: Installation) -> Iterator[Finding]:
    """Report traces that the same process recorded just before it set the session, for no other user."""
    untagged = installation.rows.query(
        "SELECT writer, min(started_ns), max(user_id), trace_id FROM spans GROUP BY trace_id "
        "HAVING max(session_id) IS NULL ORDER BY max(id) DESC LIMIT :most",
        {"most": TRACES_LIMIT},
    )
    firsts = installation.rows.query(
        "SELECT writer, min(started_ns), max(user_id), session_id FROM spans WHERE session_id IS NOT NULL "
        "GROUP BY writer, session_id ORDER BY max(id) DESC LIMIT :most",
        {"most": TRACES_LIMIT},
    )
    begun: dict[int, list[Start]] = defaultdict(list)
    for writer, at_ns, user, session_id in firsts:
        begun[writer].append(Start(at_ns, user, session_id))
    for starts in begun.values():
        starts.sort(key=lambda start: start.at_ns)
    missed: dict[str, list[str]] = defaultdict(list)
    for writer, at_ns, user, trace_id in untagged:
        starts = begun[writer]
        place = bisect_right(starts, at_ns, key=lambda start: start.at_ns)
        if place == len(starts):
            continue
        following = starts[place]
        if following.at_ns - at_ns <= JUST_BEFORE_NS and user in (None, following.user):
            missed[following.name].append(trace_id)
    for session_id, traces in list(missed.items())[:_NAMED]:
        noun = "trace was" if len(traces) == 1 else "traces were"
        yield Finding(
            "grouping",
            f"{len(traces):,} {noun} made just before the session {session_id} was set, and belong to none "
            f"(trace {traces[0]}).",
            "Call set_session() before anything is traced.",
        )


def inside_a_trace(installation: Installation) -> Iterator[Finding]:
    """Report traces whose session was set or changed after they had begun."""
    rows = installation.rows.query(
        "SELECT trace_id, count(DISTINCT session_id), max(CASE WHEN parent_id = '' THEN coalesce(session_id, '') END) "
        "FROM spans GROUP BY trace_id HAVING count(DISTINCT coalesce(session_id, '')) > 1"
    )
    late = [trace_id for trace_id, _, root in rows if root == ""]
    several = [trace_id for trace_id, count, root in rows if count > 1 and root != ""]
    if late:
        noun = "trace has" if len(late) == 1 else "traces have"
        yield Finding(
            "grouping",
            f"{len(late):,} {noun} steps in a session, but began in none (trace {late[0]}).",
            "Call set_session() before the outermost trace_span() or agent run, not inside of it.",
        )
    if several:
        noun = "trace belongs" if len(several) == 1 else "traces belong"
        yield Finding(
            "grouping",
            f"{len(several):,} {noun} to several sessions at once (trace {several[0]}).",
            "Do not change the session while a trace runs: clear_session() and set_session() belong between them.",
        )


def a_session_each_time(installation: Installation) -> Iterator[Finding]:
    """Report users whose sessions have one trace each in a row: the application creates an id per message."""
    rows = installation.rows.query(
        "SELECT user_id, session_id, min(started_ns), count(DISTINCT trace_id) FROM spans "
        "WHERE session_id IS NOT NULL AND user_id IS NOT NULL GROUP BY user_id, session_id "
        "ORDER BY user_id, min(started_ns) LIMIT :most",
        {"most": TRACES_LIMIT},
    )
    for user, of_user in groupby(rows, key=lambda row: row[0]):
        starts: list[int] = []
        for _, _, at_ns, traces in of_user:
            starts = [*starts, at_ns] if traces == 1 else []
            if len(starts) >= RUSH_SESSIONS and at_ns - starts[-RUSH_SESSIONS] <= RUSH_NS:
                yield Finding(
                    "grouping",
                    f"The user {user} has {RUSH_SESSIONS} or more sessions of a single trace within minutes.",
                    "Make the session's id once and keep it, in Streamlit in st.session_state; not with each message.",
                )
                break


def almost_the_same(installation: Installation) -> Iterator[Finding]:
    """Report session ids that differ only in case or spaces."""
    rows = installation.rows.query(
        "SELECT group_concat(session_id, ' and ') FROM (SELECT DISTINCT session_id FROM spans "
        "WHERE session_id IS NOT NULL) GROUP BY lower(replace(session_id, ' ', '')) HAVING count(*) > 1 LIMIT :most",
        {"most": _NAMED},
    )
    for (ids,) in rows:
        yield Finding(
            "grouping",
            f"The sessions {ids} differ in case or spaces only: they are not grouped together.",
            "Pass the same session_id, character by character.",
        )


def several_users(installation: Installation) -> Iterator[Finding]:
    """Report session ids with several users."""
    rows = installation.rows.query(
        "SELECT session_id, count(DISTINCT user_id), group_concat(DISTINCT user_id) FROM spans "
        "WHERE session_id IS NOT NULL AND user_id IS NOT NULL GROUP BY session_id HAVING count(DISTINCT user_id) > 1 "
        "ORDER BY max(id) DESC LIMIT :most",
        {"most": _NAMED},
    )
    for session_id, count, users in rows:
        named = users if len(users) <= 80 else users[:79] + "…"
        yield Finding(
            "grouping",
            f"The session {session_id} has {count} users ({named}): their traces are mixed.",
            'Give every session an id of its own: f"chat-{uuid.uuid4().hex[:8]}".',
        )
