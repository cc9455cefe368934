"""The journal as a reader sees it: which sessions it holds, and their observations. Nothing here writes.

    with Archive.of_settings() as archive:
        for summary in archive.sessions(limit=20):
            replay = archive.replay(summary.session_id)

Everything that reads the journal for people reads it through this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ..journal.journal import DELIVERED, PENDING, SET_ASIDE
from ..settings import settings
from .database import JournalFile
from .open_observations import OpenObserved
from .replay import Observed, SessionReplay, Trace
from .search import holds
from .totals import Totals
from .totals_cache import Rows, remembered, spent

OPEN_LIMIT = 10_000
"""Observations that are still open and are looked at."""
VALUES_LIMIT = 500
"""Ids in one query."""
_STATES = {PENDING: "pending", DELIVERED: "delivered", SET_ASIDE: "set aside"}
_IN_SESSION = (
    "(session_id = :session OR (session_id IS NULL AND trace_id IN "
    "(SELECT trace_id FROM spans WHERE session_id = :session)))"
)
_UNTAGGED = "(session_id IS NULL AND trace_id NOT IN (SELECT trace_id FROM spans WHERE session_id IS NOT NULL))"


class Columns(NamedTuple):
    """What the journal tells of an observation without decoding it; *ended_ns* is 0 in one that is open."""

    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    level: str


class Found(NamedTuple):
    """An observation and its place in the journal: later ones have a higher number."""

    number: int
    observed: Observed


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One session in one line.

    Attributes:
        session_id: None for what belongs to no session.
        users: in order of appearance; more than one is a mix-up.
        observations: finished and open ones.
        still_open: how many of them have not ended: they run, or their process died.
        started_ns, ended_ns: wall time in ns since 1970, from the first start to the last end known.
    """

    session_id: str | None
    users: tuple[str, ...]
    traces: int
    observations: int
    still_open: int
    started_ns: int
    ended_ns: int
    totals: Totals


class Archive(JournalFile):
    """A journal, open for reading; a file that does not exist is an empty one.

    Raises:
        JournalTooNew: the file was written by a newer release.
        JournalUnreadable: it is no journal, or may not be read.
    """

    @classmethod
    def of_settings(cls) -> Archive:
        """Return the journal that the settings name."""
        return cls(settings().journal_path)

    # -- sessions

    def sessions(
        self,
        *,
        user: str | None = None,
        since_ns: int | None = None,
        text: str | None = None,
        errors: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[SessionSummary]:
        """Return the sessions in which something was started last, first.

        Args:
            user: only those with this user.
            since_ns: only those in which something happened at or after this time.
            text: only those in which this text occurs, in ids, names or payloads, in upper or lower case.
            errors: only those with an observation of level ERROR.
            limit, offset: how many at most, and how many to leave out first.
        """
        session_ids = self._session_ids(user, since_ns, text, errors)
        return [
            self._summary(session_id) for session_id in session_ids[offset : None if limit is None else offset + limit]
        ]

    def session(self, session_id: str | None) -> SessionSummary | None:
        """Return one session, or with None what belongs to no session; None if there is nothing of it."""
        summary = self._summary(session_id)
        return summary if summary.observations else None

    def matching(self, beginning: str, limit: int = 20) -> list[str]:
        """Return the session ids that begin like that, the newest first; an id that is exactly that alone."""
        session_ids = [session_id for session_id in self._session_ids() if session_id.startswith(beginning)]
        return [beginning] if beginning in session_ids else session_ids[:limit]

    def _session_ids(
        self, user: str | None = None, since_ns: int | None = None, text: str | None = None, errors: bool = False
    ) -> list[str]:
        conditions = ["session_id IS NOT NULL"]
        if user is not None:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE user_id = :user)")
        if since_ns is not None:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE ended_ns >= :since)")
        if text:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE holds(body, :text))")
        if errors:
            conditions.append("session_id IN (SELECT session_id FROM spans WHERE level = 'ERROR')")
        rows = self.query(
            f"SELECT session_id, max(started_ns) FROM spans WHERE {' AND '.join(conditions)} GROUP BY session_id",
            {"user": user, "since": since_ns, "text": text},
        )
        last: dict[str, int] = dict(rows)
        for observation in [] if errors else self._open:
            session_id = observation.session_id
            if (
                session_id is None
                or (user is not None and observation.user_id != user)
                or (text and not holds(observation, text))
            ):
                continue
            last[session_id] = max(observation.started_ns, last.get(session_id, 0))
        return sorted(last, key=lambda session_id: (-last[session_id], session_id))

    def _summary(self, session_id: str | None) -> SessionSummary:
        where, values = _where(session_id)
        rows = self.query(
            "SELECT count(DISTINCT span_id), count(DISTINCT trace_id), total(level = 'ERROR'), "
            f"min(started_ns), max(ended_ns), max(id) FROM spans WHERE {where}",
            values,
        )
        count, traces, errors, first, last, newest = rows[0] if rows else (0, 0, 0, None, None, None)
        appeared = self.query(
            f"SELECT user_id FROM spans WHERE {where} AND user_id IS NOT NULL "
            "GROUP BY user_id ORDER BY min(started_ns)",
            values,
        )
        users: list[str] = [row[0] for row in appeared]
        totals = remembered.of(
            (self.path, self.identity, session_id), Rows(count, newest or 0), lambda: spent(self._bodies(where, values))
        )
        still_open = self._open_in(session_id)
        if still_open:
            trace_ids = {row[0] for row in self.query(f"SELECT DISTINCT trace_id FROM spans WHERE {where}", values)}
            traces += len({observation.trace_id for observation in still_open} - trace_ids)
            users += [observation.user_id for observation in still_open if observation.user_id]
        starts = [observation.started_ns for observation in still_open] + ([first] if first is not None else [])
        return SessionSummary(
            session_id=session_id,
            users=tuple(dict.fromkeys(users)),
            traces=traces,
            observations=count + len(still_open),
            still_open=len(still_open),
            started_ns=min(starts, default=0),
            ended_ns=max([last or 0, *starts]),
            totals=totals._replace(errors=int(errors)),
        )

    # -- what is in one

    def traces(self, session_id: str | None) -> Iterator[Trace]:
        """Yield the traces of a session, or with None those of none, in the order of their starts, one at a time."""
        for trace_id in self.trace_ids(session_id):
            trace = self.trace(trace_id, session_id)
            if trace is not None:
                yield trace

    def trace_ids(self, session_id: str | None) -> list[str]:
        """Return the traces of a session, or with None those of none, in the order of their starts."""
        where, values = _where(session_id)
        starts: dict[str, int] = dict(
            self.query(f"SELECT trace_id, min(started_ns) FROM spans WHERE {where} GROUP BY trace_id", values)
        )
        for observation in self._open_in(session_id):
            starts[observation.trace_id] = min(
                observation.started_ns, starts.get(observation.trace_id, observation.started_ns)
            )
        return sorted(starts, key=lambda trace_id: (starts[trace_id], trace_id))

    def columns(self, trace_id: str, session_id: str | None = None) -> list[Columns]:
        """Return a trace's observations undecoded, by their starts; with *session_id* without those of another one."""
        rows = self.query(
            f"SELECT span_id, parent_id, started_ns, ended_ns, level FROM spans WHERE {_of_trace(session_id)}",
            {"trace": trace_id, "session": session_id},
        )
        by_id = {row[0]: Columns(*row) for row in rows}
        for observation in self._open_of(trace_id, session_id):
            by_id.setdefault(
                observation.id,
                Columns(observation.id, observation.parent_id or "", observation.started_ns, 0, observation.level),
            )
        return sorted(by_id.values(), key=lambda row: (row.started_ns, row.ended_ns, row.span_id))

    def find(self, session_id: str | None, text: str, *, errors: bool = False, limit: int = 100) -> list[Observed]:
        """Return the first observations of a session in which *text* occurs, by their starts; finished ones only.

        Args:
            errors: only those of level ERROR.
        """
        where, values = _where(session_id)
        conditions = [where, *(["holds(body, :text)"] if text else []), *(["level = 'ERROR'"] if errors else [])]
        numbers = self.query(
            f"SELECT id FROM spans WHERE {' AND '.join(conditions)} ORDER BY started_ns, id LIMIT :limit",
            {**values, "text": text, "limit": limit},
        )
        return [observation for (number,) in numbers for observation in self._observed("id = :id", {"id": number})]

    def owners(self, trace_id: str) -> list[str | None]:
        """Return the sessions that a trace belongs to, None last; empty if it is unknown."""
        rows = self.query("SELECT DISTINCT session_id FROM spans WHERE trace_id = :trace", {"trace": trace_id})
        session_ids = {row[0] for row in rows} | {
            observation.session_id for observation in self._open_of(trace_id, None)
        }
        return sorted(session_ids, key=lambda session_id: (session_id is None, session_id or ""))

    def totals(self, trace_id: str, session_id: str | None = None) -> Totals:
        """Return what a trace's finished observations used up; its errors are not counted."""
        where, values = _of_trace(session_id), {"trace": trace_id, "session": session_id}
        rows = self.query(f"SELECT count(*), max(id) FROM spans WHERE {where}", values)
        count, newest = rows[0] if rows else (0, 0)
        return remembered.of(
            (self.path, self.identity, session_id, trace_id),
            Rows(count, newest or 0),
            lambda: spent(self._bodies(where, values)),
        )

    def observed(self, trace_id: str, span_ids: Sequence[str]) -> list[Observed]:
        """Return some observations of a trace, in no order; those that are unknown are left out."""
        by_id: dict[str, Observed] = {}
        for start in range(0, len(span_ids), VALUES_LIMIT):
            names = {f"id{place}": span_id for place, span_id in enumerate(span_ids[start : start + VALUES_LIMIT])}
            listed = ", ".join(":" + name for name in names)
            for observation in self._observed(
                f"trace_id = :trace AND span_id IN ({listed})", {"trace": trace_id, **names}
            ):
                by_id[observation.id] = observation
        asked_ids = set(span_ids)
        for observation in self._open_of(trace_id, None):
            if observation.id in asked_ids:
                by_id.setdefault(observation.id, observation)
        return list(by_id.values())

    def trace(self, trace_id: str, session_id: str | None = None) -> Trace | None:
        """Return a trace, or None if it is unknown; with *session_id* without what is of another session."""
        values = {"trace": trace_id, "session": session_id}
        by_id: dict[str, Observed] = {
            observation.id: observation for observation in self._observed(_of_trace(session_id), values)
        }
        for observation in self._open_of(trace_id, session_id):
            by_id.setdefault(observation.id, observation)
        return Trace(by_id.values()) if by_id else None

    def replay(self, session_id: str | None) -> SessionReplay:
        """Return a whole session at once, empty if there is nothing of it."""
        return SessionReplay(
            session_id, [observation for trace in self.traces(session_id) for observation in trace.observations]
        )

    def bodies(self, session_id: str | None) -> Iterator[bytes]:
        """Yield the finished observations of a session, by their starts, each as an OTLP request of one span."""
        where, values = _where(session_id)
        for (number,) in self.query(f"SELECT id FROM spans WHERE {where} ORDER BY started_ns, id", values):
            for (body,) in self.query("SELECT body FROM spans WHERE id = :id", {"id": number}):
                yield body

    # -- what comes in

    @property
    def last_number(self) -> int:
        """The number of the observation that was written last; 0 when there is none."""
        rows = self.query("SELECT coalesce(max(id), 0) FROM spans")
        return int(rows[0][0]) if rows else 0

    def after(self, number: int, limit: int = 1_000) -> list[Found]:
        """Return what was written after the observation of that number, in the order of writing."""
        rows = self.query(
            "SELECT id, body FROM spans WHERE id > :id ORDER BY id LIMIT :limit", {"id": number, "limit": limit}
        )
        return [Found(number_, observation) for number_, body in rows for observation in Observed.decoded(body)]

    def refresh(self) -> None:
        """Forget what was open, and take up the file anew if it has come or was replaced since."""
        self.__dict__.pop("_open", None)
        super().refresh()

    def states(self, session_ids: Sequence[str] | None = None) -> dict[str, int]:
        """Return how many observations are `pending`, `delivered` and `set aside`, of these sessions or of all."""
        names = {f"session{place}": session for place, session in enumerate(session_ids or ())}
        where = f"session_id IN ({', '.join(':' + name for name in names)})" if session_ids is not None else "1"
        counts = dict(self.query(f"SELECT state, count(*) FROM spans WHERE {where} GROUP BY state", names))
        return {name: counts.get(state, 0) for state, name in _STATES.items()}

    # -- what is open

    def running(self) -> list[Observed]:
        """Return the observations that have begun and not ended, of processes that live."""
        return [observation for observation in self._open if observation.alive]

    def _open_in(self, session_id: str | None) -> list[OpenObserved]:
        return [observation for observation in self._open if observation.session_id == session_id]

    def _open_of(self, trace_id: str, session_id: str | None) -> list[OpenObserved]:
        return [
            observation
            for observation in self._open
            if observation.trace_id == trace_id and session_id in (None, observation.session_id)
        ]

    @cached_property
    def _open(self) -> list[OpenObserved]:
        rows = self.query("SELECT pid, body FROM open_spans LIMIT :limit", {"limit": OPEN_LIMIT})
        noted = [observation for pid, body in rows for observation in OpenObserved.of(pid, body)]
        ended = "SELECT 1 FROM spans WHERE trace_id = :trace AND span_id = :span LIMIT 1"
        return [
            observation
            for observation in noted
            if not self.query(ended, {"trace": observation.trace_id, "span": observation.id})
        ]

    # -- decoding

    def _observed(self, where: str, values: dict[str, Any]) -> list[Observed]:
        rows = self.query(f"SELECT body FROM spans WHERE {where} ORDER BY id", values)
        return [observation for (body,) in rows for observation in Observed.decoded(body)]

    def _bodies(self, where: str, values: dict[str, Any]) -> Iterator[bytes]:
        """Yield what may tell tokens or a cost."""
        has_sums = "instr(body, CAST('_details' AS BLOB))"
        return (body for (body,) in self.stream(f"SELECT body FROM spans WHERE {where} AND {has_sums}", values))


def _where(session_id: str | None) -> tuple[str, dict[str, Any]]:
    return (_UNTAGGED, {}) if session_id is None else (_IN_SESSION, {"session": session_id})


def _of_trace(session_id: str | None) -> str:
    return "trace_id = :trace" + (" AND (session_id = :session OR session_id IS NULL)" if session_id else "")
