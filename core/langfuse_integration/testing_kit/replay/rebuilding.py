"""Answers that cannot be rebuilt: the file was edited, or is of another release of a framework."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ...errors import NotRecorded
from .player import ReplaySession

SHOWN = 200


@contextmanager
def rebuilding(session: ReplaySession, form: Mapping[str, Any]) -> Generator[None]:
    """Raise NotRecorded, with the step, for whatever goes wrong while an answer is made of its exact form.

    Args:
        form: what `session.answer` has returned.
    """
    try:
        yield
    except NotRecorded:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:SHOWN]
        problem = f"the recorded answer cannot be rebuilt ({type(error).__name__}: {reason})"
        raise session.unanswered(problem, form) from error
