"""Turns of a chat engine: a streamed one ends when its answer has been read off the model and put into the history."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from langfuse_integration.registry import Run
from langfuse_integration.shield import shielded

from . import rows
from .folding import Role, is_a
from .places import Fold

_ENDING_UNUSED = shielded("ending a chat turn that nobody read")


class Turn(rows.Row):
    """The state of a turn.

    Attributes:
        response: what the engine returned, or None while it has not.
        written: whether the background task has read the answer to its end.
    """

    __slots__ = ("error", "finalizer", "response", "written")

    def __init__(self, role: Role, instance: Any) -> None:
        super().__init__(role, instance)
        self.response: Any = None
        self.written = False
        self.error: BaseException | None = None
        self.finalizer: Any = None

    def exit(self, run: Run, result: Any) -> None:
        """End the turn, or wait for the task that reads the streamed answer."""
        if not is_a(result, "StreamingAgentChatResponse"):
            super().exit(run, result)
            return
        self.response = weakref.ref(result)
        self.finalizer = weakref.finalize(result, partial(_gone, run))
        if self.written or getattr(result, "is_done", False):
            self._end(run, result)

    def write(self, run: Run, response: Any, error: BaseException | None = None) -> None:
        """Take note of the end of the task that reads the answer."""
        self.error = error
        self.written = True
        if self.response is not None:
            self._end(run, response)

    def unused(self, run: Run) -> None:
        """End the turn when its answer is gone."""
        rows.cancel_below(run)
        rows.cancel(run.key)

    def _end(self, run: Run, response: Any) -> None:
        if self.finalizer is not None:
            self.finalizer.detach()
        text = getattr(response, "response", None) or None
        if self.error is not None:
            rows.cancel_below(run)
            rows.fail(run.key, self.error, text)
        else:
            rows.finish(run.key, text)


class Writer(Fold):
    """The task that reads a streamed answer and puts it into the history."""

    __slots__ = ("response",)

    def __init__(self, run: Run | None, key: Any, response: Any) -> None:
        super().__init__(run, key)
        self.response = response

    def exit(self, result: Any) -> None:
        """End the turn with the whole answer."""
        if self.run is not None and isinstance(self.run.state, Turn):
            self.run.state.write(self.run, self.response)

    def drop(self, error: BaseException) -> None:
        """End the turn with the error, and what had come until then."""
        if self.run is not None and isinstance(self.run.state, Turn):
            self.run.state.write(self.run, self.response, error)


def _gone(run: Run) -> None:
    with _ENDING_UNUSED:
        run.state.unused(run)
