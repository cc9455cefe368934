"""For your own tests: record what an agent did in memory, and compare it plainly.

    def test_the_agent_searches_before_it_answers(sessions):
        with langfuse_manager.session("s-1", user_id="u-1"):
            agent.invoke(...)
        assert sessions.one().traces[0].tree() == [{"agent assistant": ["generation model", "tool search"]}]

The fixture `sessions` comes with the package; nothing is sent, and nothing is written. It is an ordinary fixture: tests
under pytest-asyncio and anyio use it the same way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from .encoding.fields import Fields
from .errors import NotRecorded, ReplayDiverged
from .export.outlet import Outlet
from .reading.replay import Observed, SessionReplay, Trace, sessions_of, traces_of
from .recording import tracing
from .recording.recorder import QueueRecorder
from .recording.score import Score
from .testing_kit.deterministic_ids import DeterministicIds
from .testing_kit.replay.player import ReplaySession
from .testing_kit.replay.replaying import Replaying, ReplayOptions

__all__ = [
    "NotRecorded",
    "Observed",
    "RecordedSessions",
    "ReplayDiverged",
    "ReplaySession",
    "SessionReplay",
    "Trace",
    "recorded_sessions",
    "replay",
]

SETTLE_S = 60
"""How long reading waits for the worker on a busy machine, in seconds."""


class RecordedSessions:
    """All observations recorded while it is active. Each property waits until the recorder is idle."""

    def __init__(self) -> None:
        self._outlet = _Memory()
        self._counted = False

    def deterministic(self) -> None:
        """Number ids and let times tick, in everything read from here on.

        Traces and observations are numbered by their starts, and a millisecond passes between any two things that
        happened, from 2030-01-01 in UTC on. The application itself goes on seeing its own ids and times.
        """
        self._counted = True

    @property
    def observations(self) -> list[Observed]:
        """All observations that have ended, in the order of their starts."""
        self._settle()
        if self._counted:
            return DeterministicIds(self._outlet.observed).observed()
        return sorted(self._outlet.observed, key=lambda observation: observation.started_ns)

    @property
    def all(self) -> list[SessionReplay]:
        """The sessions, in the order in which they started; what is untagged comes last, with session_id None."""
        return sessions_of(self.observations)

    @property
    def traces(self) -> list[Trace]:
        """The traces of all sessions, in the order in which they started."""
        return traces_of(self.observations)

    @property
    def scores(self) -> list[Score]:
        """The scores given."""
        self._settle()
        if self._counted:
            return DeterministicIds(self._outlet.observed).scores(self._outlet.scores)
        return list(self._outlet.scores)

    @property
    def still_open(self) -> list[str]:
        """The names of framework runs that have not ended."""
        return [run.observation.name for run in tracing.registry.open_runs()]

    def one(self) -> SessionReplay:
        """Return the only session.

        Raises:
            AssertionError: there is none, or there are several.
        """
        __tracebackhide__ = True  # pytest then points at the test's own line
        replays = self.all
        if len(replays) != 1:
            raise AssertionError(f"one session was expected, found {[replay.session_id for replay in replays]}")
        return replays[0]

    def trace(self) -> Trace:
        """Return the only trace.

        Raises:
            AssertionError: there is none, or there are several.
        """
        __tracebackhide__ = True
        traces = self.traces
        if len(traces) != 1:
            raise AssertionError(f"one trace was expected, found {[trace.tree() for trace in traces]}")
        return traces[0]

    def of(self, session_id: str | None) -> SessionReplay:
        """Return the session of that id, empty if nothing was recorded in it; None for what is untagged."""
        return SessionReplay(
            session_id, [observation for observation in self.observations if observation.session_id == session_id]
        )

    def clear(self) -> None:
        """Drop all observations recorded so far."""
        self._settle()
        self._outlet.observed.clear()
        self._outlet.scores.clear()

    def worker(self, recorder: QueueRecorder) -> Any:
        """Return a worker that records here."""
        return self._outlet.worker(recorder)

    def _settle(self) -> None:
        result = tracing.recorder.flush(SETTLE_S)
        assert not result.pending, f"the worker did not settle within {SETTLE_S} s"


@contextmanager
def recorded_sessions() -> Generator[RecordedSessions]:
    """Record in memory within the block, whatever the settings say, and start from no session."""
    recorded = RecordedSessions()
    previous = tracing.recorder.divert(recorded.worker)
    try:
        with tracing.store.unset():
            yield recorded
    finally:
        tracing.recorder.divert(previous, SETTLE_S)


def replay(path: Path | str, **options: Unpack[ReplayOptions]) -> Replaying:
    """Return a `with` or `async with` block in which models and MCP servers answer from a recorded session.

    At its end, divergences that `session.allow` has not allowed raise ReplayDiverged, an AssertionError. What the
    application does is recorded in memory: `session.recorded`.

    Args:
        path: a session file, as `lfi test` writes it.
        options: see `ReplayOptions`.

    Raises:
        TypeError, ValueError: an option is unknown, or has a value that makes no sense.
        SessionFileUnreadable: the file is none, is damaged, or has another version.
        InvalidFork: a step that the recording does not have.
        SeamMoved: a framework in whose installed release a replay cannot answer.
    """
    return Replaying(path, options, recorded_sessions)


class _Memory(Outlet):
    """An outlet that keeps rows as they would be sent, media replaced by references."""

    def __init__(self) -> None:
        self.observed: list[Observed] = []
        self.scores: list[Score] = []
        self._taken = 0

    def worker(self, recorder: QueueRecorder) -> Any:
        from .encoding.media import MediaSieve
        from .encoding.row import Encoder
        from .export.worker import Worker

        self._sieve = MediaSieve()
        self._encoder = Encoder(Fields(media=self._sieve.sift), None, None, {}, exact=True)
        return Worker(recorder, self, interval_s=0.001)

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        for record in finished:
            self._taken += 1
            row = self._encoder.encode(record)
            self.observed.extend(Observed.decoded(bytes(row.body)))
            self._sieve.collected.clear()
        self.scores.extend(scores)

    def outcome(self) -> tuple[int, int, int]:
        return self._taken, 0, 0
