"""States of tool calls: a row of their own, or folded into the act of an agent."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.tracing import recorder

from . import results, rows, tools
from .places import Fold, SpanPlace


class ToolRun(rows.RowState):
    """The state of a tool call outside of an agent's act."""

    __slots__ = ()

    @property
    def inner(self) -> Any:
        """The tool that an adapter for async use calls."""
        return getattr(self.instance, "base_tool", None)

    def exit(self, run: Any, result: Any) -> None:
        """End the call; an error that the tool answered with marks the row."""
        tools.note_failure(run.observation, result)
        if _is_kept(self.instance):
            results.returned("tool", run.observation, result, tools.name_of(self.instance))
        super().exit(run, result)

    def drop(self, run: Any, error: BaseException) -> None:
        """End the call with its error."""
        if _is_kept(self.instance):
            results.raised("tool", run.observation, error, tools.name_of(self.instance))
        super().drop(run, error)


class ToolOfAct(Fold):
    """A tool's own span, folded into the act, which takes its error."""

    def __init__(self, place: SpanPlace, tool: Any) -> None:
        self.run, self.key = place.run, place.key
        self.tool = tool

    def exit(self, result: Any) -> None:
        """Note the exact form of the result on the act."""
        if self.run is not None and _is_kept(self.tool):
            results.returned("tool", self.run.observation, result, tools.name_of(self.tool))

    def drop(self, error: BaseException) -> None:
        """Note the error on the act, which ends with a text about it."""
        if self.run is not None:
            self.run.state.error = error
            if _is_kept(self.tool):
                results.raised("tool", self.run.observation, error, tools.name_of(self.tool))


def _is_kept(tool: Any) -> bool:
    """Return whether the row of a call of *tool* holds the exact form of its result."""
    return recorder.replayable and not results.is_plumbing(tool)
