"""Recording and replaying an application within one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from langfuse_integration import langfuse_manager
from langfuse_integration.errors import NotRecorded
from langfuse_integration.testing import RecordedSessions, ReplaySession, recorded_sessions, replay
from langfuse_integration.testing_kit.replay import session_file
from langfuse_integration.testing_kit.replay.recording import recording_of


def record(run: Callable[[], Any], path: Path, session_id: str = "s-1") -> Any:
    """Record what *run* does as a session file, and return its result."""
    with recorded_sessions() as sessions, langfuse_manager.session(session_id, "u-1"):
        result = run()
        write(sessions, path)
    return result


def write(sessions: RecordedSessions, path: Path) -> None:
    """Write the only recorded session."""
    session_file.write(recording_of(sessions.one()), path)


def divergences(path: Path, run: Callable[[ReplaySession], Any]) -> list[tuple[int, str]]:
    """Replay an application that may have changed; return its divergences as (step, sentence).

    Args:
        run: the application; a call that is refused may end it.
    """
    sessions: list[ReplaySession] = []
    try:
        with replay(path) as session:
            sessions.append(session)
            session.allow("")
            run(session)
    except BaseException as error:
        if not _refused(error):
            raise
    return [(each.step, each.text) for each in sessions[0].all_divergences]


def _refused(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):  # of the transports' task groups
        return all(map(_refused, error.exceptions))
    return isinstance(error, NotRecorded)
