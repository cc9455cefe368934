"""Tool calls that a server runs as background tasks: the row stays open until the task has ended.

The answer to such a call is only a handle. The client asks for the status (`tasks/get`) and for the result: in protocol
2025-11-25 by `tasks/result`, from 2026-07-28 on it comes with the status.
"""

from __future__ import annotations

import weakref
from typing import Any

from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.snapshot import snapshot

from . import failures, private, readable

LIMIT = 1_000
"""How many open tasks a connection has at most; the row of a further one ends with the handle."""

GET, RESULT, CANCEL = "tasks/get", "tasks/result", "tasks/cancel"
METHODS = frozenset({GET, RESULT, CANCEL})


def id_of(result: Any) -> str | None:
    """Return the id of the task that *result* is the handle of, or None when it is none."""
    handle = getattr(result, "task", result)
    task_id = readable.either(handle, "task_id", "taskId")
    return task_id if isinstance(task_id, str) else None


class Tasks:
    """The open tasks of one connection, each with the row of the call that began it."""

    def __init__(self) -> None:
        self._rows: dict[str, Observation] = {}
        self._guarded = False

    def open(self, task_id: str, row: Observation, handle: Any, target: Any) -> bool:
        """Keep *row* open until the task ends; return False when there are too many.

        Args:
            target: the session or client that owns the connection; with it the open rows end.
        """
        if len(self._rows) >= LIMIT:
            return False
        row.output = snapshot(handle)
        row.add_metadata({"mcp_task": task_id})
        self._rows[task_id] = row
        if not self._guarded and target is not None:
            self._guarded = True
            weakref.finalize(target, self.abandon)
        return True

    def row_of(self, task_id: str | None) -> Observation | None:
        """Return the open row of a task, or None."""
        return self._rows.get(task_id) if task_id is not None else None

    def answered(self, wire: str, task_id: str | None, result: Any) -> None:
        """Take the server's answer to a request about a task."""
        row = self.row_of(task_id)
        if row is None or task_id is None:
            return
        if wire == RESULT:
            self._end(task_id, row, result)
            return
        status = getattr(result, "status", None)
        if status == "completed":
            inlined = getattr(result, "result", None)
            if inlined is not None:  # else the client still asks for it
                self._end(task_id, row, private.tool_result(inlined))
        elif status == "failed":
            error = getattr(result, "error", None)
            message = error.get("message") if isinstance(error, dict) else None
            message = message or readable.either(result, "status_message", "statusMessage")
            failures.mark(row, "task_failed", f"task_failed: {message}" if message else "task_failed")
            self._end(task_id, row, {"error": error or message} if error or message else None)
        elif status == "cancelled" or wire == CANCEL:
            row.cancel()
            self._end(task_id, row, None)

    def failed(self, wire: str, task_id: str | None, error: BaseException) -> None:
        """Take an error: that of `tasks/result`, if the protocol says it, is the error of the task."""
        row = self.row_of(task_id)
        error = failures.innermost(error)
        kind, status = failures.kind_and_status(error)
        if wire == RESULT and row is not None and task_id is not None and failures.is_answer(error):
            failures.mark(row, kind or "error", status)
            self._end(task_id, row, failures.output_of(error))

    def abandon(self) -> None:
        """End the rows of all open tasks with their handles: nobody will ask for the results."""
        while self._rows:
            _, row = self._rows.popitem()
            row.finish()

    def _end(self, task_id: str, row: Observation, result: Any) -> None:
        self._rows.pop(task_id, None)
        if readable.is_error(result):
            failures.mark_tool_error(row, readable.text_of(result))
        row.finish(result)
