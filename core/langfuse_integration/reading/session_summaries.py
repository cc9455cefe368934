"""Summaries of sessions: ids, users, times and totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, Unpack

from .conditions import Condition, of_session
from .observation_reader import ObservationReader
from .scores import RecordedScore, scores_in
from .search import holds
from .totals import Totals
from .totals_cache import RowsVersion

FAILED = "level = 'ERROR'"


class SessionFilter(TypedDict, total=False):
    """A filter for listed sessions.

    Attributes:
        user: only those with this user.
        since_ns: only those in which something ended at or after this time.
        text: only those in which this text occurs, in ids, names or payloads, whatever the case.
        errors: only those with an observation of level ERROR.
    """

    user: str | None
    since_ns: int | None
    text: str | None
    errors: bool


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session in one line.

    Attributes:
        session_id: None for what belongs to no session.
        users: in order of appearance; more than one is a mix-up.
        observations: finished and open ones.
        still_open: how many of them have not ended: they run, or their process died.
        started_ns, ended_ns: wall time in ns since 1970, from the first start to the last end known.
        totals: its errors count a chain of failing steps once.
        scores: of the session, its traces and their steps, in the order of their creation.
    """

    session_id: str | None
    users: tuple[str, ...]
    traces: int
    observations: int
    still_open: int
    started_ns: int
    ended_ns: int
    totals: Totals
    scores: tuple[RecordedScore, ...] = ()


class SessionSummaries(ObservationReader):
    """Reads the list of sessions, and the summary of one."""

    def sessions(
        self, *, limit: int | None = None, offset: int = 0, **chosen: Unpack[SessionFilter]
    ) -> list[SessionSummary]:
        """Return the sessions in which something was started last, first.

        Args:
            limit: how many at most; None for all.
            offset: how many to leave out first.
            chosen: see SessionFilter.
        """
        session_ids = self._session_ids(**chosen)
        end = None if limit is None else offset + limit
        return [self._summary(session_id) for session_id in session_ids[offset:end]]

    def session(self, session_id: str | None) -> SessionSummary | None:
        """Return one session, or with None what belongs to no session; None if there is nothing of it."""
        summary = self._summary(session_id)
        return summary if summary.observations else None

    def matching(self, beginning: str, limit: int = 20) -> list[str]:
        """Return the session ids that begin like that, the newest first; an id that is exactly that alone."""
        session_ids = [session_id for session_id in self._session_ids() if session_id.startswith(beginning)]
        return [beginning] if beginning in session_ids else session_ids[:limit]

    def _session_ids(self, **chosen: Unpack[SessionFilter]) -> list[str]:
        user, text, errors = chosen.get("user"), chosen.get("text"), chosen.get("errors", False)
        conditions = ["session_id IS NOT NULL"]
        if user is not None:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE user_id = :user)")
        if chosen.get("since_ns") is not None:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE ended_ns >= :since)")
        if text:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE holds(body, :text))")
        if errors:
            conditions.append(f"session_id IN (SELECT session_id FROM spans WHERE {FAILED})")
        rows = self.query(
            f"SELECT session_id, max(started_ns) FROM spans WHERE {' AND '.join(conditions)} GROUP BY session_id",
            {"user": user, "since": chosen.get("since_ns"), "text": text},
        )
        last: dict[str, int] = dict(rows)
        for observation in [] if errors else self.open_observations:
            session_id = observation.session_id
            other_user = user is not None and observation.user_id != user
            if session_id is None or other_user or (text and not holds(observation, text)):
                continue
            last[session_id] = max(observation.started_ns, last.get(session_id, 0))
        return sorted(last, key=lambda session_id: (-last[session_id], session_id))

    def _summary(self, session_id: str | None) -> SessionSummary:
        condition = of_session(session_id)
        where, values = condition
        rows = self.query(
            "SELECT count(DISTINCT span_id), count(DISTINCT trace_id), min(started_ns), max(ended_ns), max(id) "
            f"FROM spans WHERE {where}",
            values,
        )
        count, traces, first, last, newest = rows[0] if rows else (0, 0, None, None, None)
        users: list[str] = [
            row[0]
            for row in self.query(
                f"SELECT user_id FROM spans WHERE {where} AND user_id IS NOT NULL "
                "GROUP BY user_id ORDER BY min(started_ns)",
                values,
            )
        ]
        still_open = self.open_in(session_id)
        if still_open:
            trace_ids = {row[0] for row in self.query(f"SELECT DISTINCT trace_id FROM spans WHERE {where}", values)}
            traces += len({observation.trace_id for observation in still_open} - trace_ids)
            users += [observation.user_id for observation in still_open if observation.user_id]
        starts = [observation.started_ns for observation in still_open] + ([first] if first is not None else [])
        totals = self.summed(condition, (session_id,), RowsVersion(count, newest or 0))
        return SessionSummary(
            session_id=session_id,
            users=tuple(dict.fromkeys(users)),
            traces=traces,
            observations=count + len(still_open),
            still_open=len(still_open),
            started_ns=min(starts, default=0),
            ended_ns=max([last or 0, *starts]),
            totals=totals._replace(errors=self._failures(condition)),
            scores=tuple(scores_in(self, session_id)),
        )

    def _failures(self, condition: Condition) -> int:
        """Return how many failed rows have no failed row below them: a chain of failing steps counts once."""
        rows = self.query(
            f"SELECT trace_id, span_id, parent_id FROM spans WHERE {condition.where} AND {FAILED}", condition.values
        )
        above = {(trace_id, parent_id) for trace_id, _, parent_id in rows}
        return len({(trace_id, span_id) for trace_id, span_id, _ in rows} - above)
