"""The block in which an application is replayed: seams in, network out, rows recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict

from ...reading.replay import SessionReplay
from ...recording import tracing
from ...sessions.session import Session
from . import configured, network, session_file
from .flows import tasks_noted
from .fork import ForkPoint
from .places import observations_noted
from .player import ReplaySession
from .question import QuestionKind
from .recording import Recording, recording_of
from .seams import seams_for

Source = Literal["recorded", "live"]
RecordingBlock = Callable[[], AbstractContextManager[Any]]
"""Returns a block that records what runs in it."""


class ReplayOptions(TypedDict, total=False):
    """What `replay` takes beside the file.

    Attributes:
        models, mcp: `recorded`, or `live`: these calls are made for real.
        tools, retrievers, embeddings: of the application; `live`, or `recorded`: they do not run.
        until: the first step that is live: its number, or its label such as `think 2 of herder`.
        answers: other answers by the numbers of their steps: a text, or plain values in the form of the adapter;
            without *until* what follows the last of them is live.
        ignore: regular expressions of parts that differ in every run, beside ids, times and temporary paths.
    """

    models: Source
    mcp: Source
    tools: Source
    retrievers: Source
    embeddings: Source
    until: int | str | None
    answers: Mapping[int, Any] | None
    ignore: Iterable[str]


SOURCES: dict[QuestionKind, tuple[str, Source]] = {
    "model": ("models", "recorded"),
    "mcp": ("mcp", "recorded"),
    "tool": ("tools", "live"),
    "retriever": ("retrievers", "live"),
    "embedding": ("embeddings", "live"),
}
"""The option for each kind of step, and its default."""


class Replaying(AbstractContextManager[ReplaySession]):
    """A `with` or `async with` block that yields a `ReplaySession`, and raises for divergences at its end.

    Args:
        recording: a recording, or the path of a session file.
        options: see `ReplayOptions`.
        record: makes the block in which rows are recorded; None leaves recording as it is.
        session: the session of the replayed rows; None takes the recorded one.
    """

    def __init__(
        self,
        recording: Recording | Path | str,
        options: ReplayOptions,
        record: RecordingBlock | None = None,
        session: Session | None = None,
    ) -> None:
        _check(options)
        self._recording = recording
        self._options = options
        self._record = record
        self._of_rows = session
        self._rerecords = configured.is_rerecording and record is not None and not isinstance(recording, Recording)
        self._stack = ExitStack()
        self._session: ReplaySession | None = None

    def __enter__(self) -> ReplaySession:
        recording = self._recording
        if not isinstance(recording, Recording):
            recording = session_file.read(Path(recording))
        options: ReplayOptions = {"models": "live", "mcp": "live"} if self._rerecords else self._options
        live = [kind for kind, (name, default) in SOURCES.items() if options.get(name, default) == "live"]
        fork = ForkPoint.of(recording, options.get("until"), options.get("answers"))
        session = ReplaySession(recording, live, fork, (*configured.ignored, *options.get("ignore", ())))
        with ExitStack() as stack:
            if self._record is not None:
                session.recorded = stack.enter_context(self._record())
            of_rows = self._of_rows
            if of_rows is None and recording.session_id is not None:
                of_rows = Session(recording.session_id, recording.user_id)
            if of_rows is not None:
                stack.enter_context(tracing.store.scoped(of_rows))
            stack.enter_context(tasks_noted())
            stack.enter_context(observations_noted())
            for seam in seams_for(recording.forms):
                stack.enter_context(seam(session))
            stack.enter_context(network.blocked(session.refuse_connection))
            self._stack = stack.pop_all()
        self._session = session
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        session = self._session
        try:
            if error is None and session is not None and self._rerecords:
                self._write(session)
        finally:
            self._stack.close()
        if session is None:
            return
        if error is None:
            session.finish()
        else:
            for divergence in session.divergences:
                error.add_note(str(divergence))

    async def __aenter__(self) -> ReplaySession:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _write(self, session: ReplaySession) -> None:
        """Record the session anew: what ran live in this block replaces the file."""
        rows = SessionReplay(session.recording.session_id, session.recorded.observations)
        session_file.write(recording_of(rows), Path(str(self._recording)))


def _check(options: ReplayOptions) -> None:
    unknown = options.keys() - ReplayOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"replay() takes {', '.join(ReplayOptions.__annotations__)}, not {', '.join(sorted(unknown))}")
    for name, _ in SOURCES.values():
        if options.get(name, "live") not in ("recorded", "live"):
            raise ValueError(f"{name} is {options.get(name)!r}, but must be 'recorded' or 'live'")
