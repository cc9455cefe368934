"""The archive: sessions and observations in a journal, read-only.

    with Archive.of_settings() as archive:
        for summary in archive.sessions(limit=20):
            replay = archive.replay(summary.session_id)

Everything that reads the journal for people reads it through this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..journal.journal import DELIVERED, PENDING, SET_ASIDE
from ..settings import settings
from .conditions import of_session, of_trace
from .replay import Observed, SessionReplay, Trace
from .scores import RecordedScore, scores_in
from .search import may_hold
from .session_summaries import FAILED, SessionSummaries, SessionSummary
from .totals import Totals
from .totals_cache import RowsVersion

__all__ = ["Archive", "NumberedObservation", "ObservationColumns", "RecordedScore", "SessionSummary"]

VALUES_LIMIT = 500
"""Ids in one query."""
_STATES = {PENDING: "pending", DELIVERED: "delivered", SET_ASIDE: "set aside"}


class ObservationColumns(NamedTuple):
    """What the journal tells of an observation without decoding it; *ended_ns* is 0 in one that is open."""

    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    level: str


class NumberedObservation(NamedTuple):
    """An observation and its place in the journal: later ones have a higher number."""

    number: int
    observed: Observed


class ForkOrigin(NamedTuple):
    """The session that a fork comes from, and the step at which it went on live."""

    forked_from: str
    forked_at: str | None

    def __str__(self) -> str:
        return self.forked_from if self.forked_at is None else f"{self.forked_from} at {self.forked_at}"


class Archive(SessionSummaries):
    """A journal, open for reading; a file that does not exist is an empty one.

    Raises:
        JournalTooNew: the file was written by a newer release.
        JournalUnreadable: it is no journal, or may not be read.
    """

    @classmethod
    def of_settings(cls) -> Archive:
        """Return the journal that the settings name."""
        return cls(settings().journal_path)

    # -- traces

    def traces(self, session_id: str | None) -> Iterator[Trace]:
        """Yield the traces of a session, or with None those of none, in the order of their starts, one at a time."""
        for trace_id in self.trace_ids(session_id):
            trace = self.trace(trace_id, session_id)
            if trace is not None:
                yield trace

    def origin(self, session_id: str | None) -> ForkOrigin | None:
        """Return where a session that `lfi fork` made comes from, or None."""
        if session_id is None:
            return None
        where, values = of_session(session_id)
        first = self.query(f"SELECT id FROM spans WHERE {where} ORDER BY started_ns, id LIMIT 1", values)
        rows = [row for (number,) in first for row in self.selected("id = :id", {"id": number})]
        metadata = (
            min((*rows, *self.open_in(session_id)), key=lambda row: row.started_ns).trace_metadata if rows else {}
        )
        if "forked_from" not in metadata:
            return None
        return ForkOrigin(str(metadata["forked_from"]), str(metadata["forked_at"]) if "forked_at" in metadata else None)

    def trace_ids(self, session_id: str | None) -> list[str]:
        """Return the traces of a session, or with None those of none, in the order of their starts."""
        where, values = of_session(session_id)
        starts: dict[str, int] = dict(
            self.query(f"SELECT trace_id, min(started_ns) FROM spans WHERE {where} GROUP BY trace_id", values)
        )
        for observation in self.open_in(session_id):
            starts[observation.trace_id] = min(
                observation.started_ns, starts.get(observation.trace_id, observation.started_ns)
            )
        return sorted(starts, key=lambda trace_id: (starts[trace_id], trace_id))

    def columns(self, trace_id: str, session_id: str | None = None) -> list[ObservationColumns]:
        """Return a trace's observations undecoded, by their starts; with *session_id* without those of another one."""
        where, values = of_trace(trace_id, session_id)
        rows = self.query(f"SELECT span_id, parent_id, started_ns, ended_ns, level FROM spans WHERE {where}", values)
        by_id = {row[0]: ObservationColumns(*row) for row in rows}
        for still_open in self.open_of(trace_id, session_id):
            row = (still_open.id, still_open.parent_id or "", still_open.started_ns, 0, still_open.level)
            by_id.setdefault(still_open.id, ObservationColumns(*row))
        return sorted(by_id.values(), key=lambda row: (row.started_ns, row.ended_ns, row.span_id))

    def find(self, session_id: str | None, text: str, *, errors: bool = False, limit: int = 100) -> list[Observed]:
        """Return the first observations of a session in which *text* occurs, by their starts; finished ones only.

        Args:
            errors: only those of level ERROR.
        """
        where, values = of_session(session_id)
        conditions = [where, *(["holds(body, :text)"] if text else []), *([FAILED] if errors else [])]
        numbers = self.query(
            f"SELECT id FROM spans WHERE {' AND '.join(conditions)} ORDER BY started_ns, id LIMIT :limit",
            {**values, "text": text, "limit": limit},
        )
        return [observation for (number,) in numbers for observation in self.selected("id = :id", {"id": number})]

    def candidates(self, session_id: str | None, words: Sequence[str], only_type: str = "") -> Iterator[Observed]:
        """Yield those observations of a session that may hold all *words*, by their starts, open ones too.

        One without a word is rarely decoded, so that a few are found quickly among 10,000.

        Args:
            only_type: Langfuse's type, or empty: any.
        """
        where, values = of_session(session_id)
        where += " AND type = :type" if only_type else ""
        rows = self.query(
            f"SELECT id, started_ns FROM spans WHERE {where} ORDER BY started_ns, id", {**values, "type": only_type}
        )
        still_open = sorted(self.open_in(session_id), key=lambda each: each.started_ns)
        still_open = [each for each in still_open if not only_type or each.type == only_type]
        for start in range(0, len(rows), VALUES_LIMIT):
            part = rows[start : start + VALUES_LIMIT]
            numbers = ", ".join(str(number) for number, _ in part)
            bodies = dict(self.query(f"SELECT id, body FROM spans WHERE id IN ({numbers})"))
            for number, started_ns in part:
                while still_open and still_open[0].started_ns < started_ns:
                    yield still_open.pop(0)
                body = bodies.get(number)
                if body is not None and all(may_hold(body, word) for word in words):
                    yield from Observed.decoded(body)
        yield from still_open

    def owners(self, trace_id: str) -> list[str | None]:
        """Return the sessions that a trace belongs to, None last; empty if it is unknown."""
        rows = self.query("SELECT DISTINCT session_id FROM spans WHERE trace_id = :trace", {"trace": trace_id})
        session_ids = {row[0] for row in rows} | {
            observation.session_id for observation in self.open_of(trace_id, None)
        }
        return sorted(session_ids, key=lambda session_id: (session_id is None, session_id or ""))

    def totals(self, trace_id: str, session_id: str | None = None) -> Totals:
        """Return what a trace's finished observations used up; its errors are not counted."""
        condition = of_trace(trace_id, session_id)
        rows = self.query(f"SELECT count(*), max(id) FROM spans WHERE {condition.where}", condition.values)
        count, newest = rows[0] if rows else (0, 0)
        return self.summed(condition, (session_id, trace_id), RowsVersion(count, newest or 0))

    def observed(self, trace_id: str, span_ids: Sequence[str]) -> list[Observed]:
        """Return some observations of a trace, in no order; those that are unknown are left out."""
        by_id: dict[str, Observed] = {}
        for start in range(0, len(span_ids), VALUES_LIMIT):
            names = {f"id{place}": span_id for place, span_id in enumerate(span_ids[start : start + VALUES_LIMIT])}
            listed = ", ".join(":" + name for name in names)
            for observation in self.selected(
                f"trace_id = :trace AND span_id IN ({listed})", {"trace": trace_id, **names}
            ):
                by_id[observation.id] = observation
        requested = set(span_ids)
        for observation in self.open_of(trace_id, None):
            if observation.id in requested:
                by_id.setdefault(observation.id, observation)
        return list(by_id.values())

    def trace(self, trace_id: str, session_id: str | None = None) -> Trace | None:
        """Return a trace, or None if it is unknown; with *session_id* without what is of another session."""
        finished = self.selected(*of_trace(trace_id, session_id))
        by_id: dict[str, Observed] = {observation.id: observation for observation in finished}
        for observation in self.open_of(trace_id, session_id):
            by_id.setdefault(observation.id, observation)
        return Trace(by_id.values()) if by_id else None

    def replay(self, session_id: str | None) -> SessionReplay:
        """Return a whole session at once, empty if there is nothing of it."""
        return SessionReplay(
            session_id, [observation for trace in self.traces(session_id) for observation in trace.observations]
        )

    def bodies(self, session_id: str | None) -> Iterator[bytes]:
        """Yield the finished observations of a session, by their starts, each as an OTLP request of one span."""
        where, values = of_session(session_id)
        for (number,) in self.query(f"SELECT id FROM spans WHERE {where} ORDER BY started_ns, id", values):
            yield from self.bodies_where("id = :id", {"id": number})

    def scores(self, session_id: str | None) -> list[RecordedScore]:
        """Return the scores of a session, of its traces and of their steps, in the order of their creation."""
        return scores_in(self, session_id)

    # -- new observations

    @property
    def last_number(self) -> int:
        """The number of the last written observation; 0 when there is none."""
        rows = self.query("SELECT coalesce(max(id), 0) FROM spans")
        return int(rows[0][0]) if rows else 0

    def after(self, number: int, limit: int = 1_000) -> list[NumberedObservation]:
        """Return what was written after the observation of that number, in the order of writing."""
        rows = self.query(
            "SELECT id, body FROM spans WHERE id > :id ORDER BY id LIMIT :limit", {"id": number, "limit": limit}
        )
        return [
            NumberedObservation(row_number, observation)
            for row_number, body in rows
            for observation in Observed.decoded(body)
        ]

    def states(self, session_ids: Sequence[str] | None = None) -> dict[str, int]:
        """Return how many observations are `pending`, `delivered` and `set aside`, of these sessions or of all."""
        names = {f"session{place}": session for place, session in enumerate(session_ids or ())}
        where = f"session_id IN ({', '.join(':' + name for name in names)})" if session_ids is not None else "1"
        counts = dict(self.query(f"SELECT state, count(*) FROM spans WHERE {where} GROUP BY state", names))
        return {name: counts.get(state, 0) for state, name in _STATES.items()}
