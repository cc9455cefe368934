"""Errors on a row: kind, status message and output."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.observation import Observation, describe

CLOSED = -32000
"""The SDK's own code for a connection that was closed before the answer."""
TIMEOUTS = (-32001, 408)
"""The codes of the SDK's own time-outs: 2.x, and 1.x."""


def innermost(error: BaseException) -> BaseException:
    """Return the one error in a group of one: task groups in transports wrap it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def kind_and_status(error: BaseException) -> tuple[str | None, str]:
    """Return (the kind of error, the status message); the kind is None for cancellation and other control flow."""
    if not isinstance(error, Exception) or type(error).__name__ in ("CancelledError", "Cancelled"):
        return None, "cancelled"
    code = getattr(getattr(error, "error", None), "code", None)
    if code in TIMEOUTS or isinstance(error, TimeoutError):
        return "timeout", "timeout"
    if code is not None:
        return str(code), f"{code}: {getattr(error.error, 'message', error)}"  # type: ignore[attr-defined]
    return type(error).__name__, describe(error)


def output_of(error: BaseException) -> dict[str, Any]:
    """Return the row's output: the protocol's error with its code and data, else a description."""
    rpc_error: Any = getattr(error, "error", None)
    if rpc_error is None or getattr(rpc_error, "code", None) is None:
        return {"error": describe(error)}
    fields = {"code": rpc_error.code, "message": rpc_error.message, "data": rpc_error.data}
    return {"error": {key: value for key, value in fields.items() if value is not None}}


def is_answer(error: BaseException) -> bool:
    """Return whether the server has answered with *error*: neither a time-out nor a closed connection."""
    code = getattr(getattr(error, "error", None), "code", None)
    return code is not None and code != CLOSED and code not in TIMEOUTS


def mark(row: Observation, kind: str, status: str) -> None:
    """Write an error into *row*."""
    row.level = "ERROR"
    row.status_message = status
    row.metadata = {**(row.metadata or {}), "mcp_error_type": kind}


def mark_tool_error(row: Observation, text: str) -> None:
    """Mark *row* as a tool that failed, with the text of its result."""
    mark(row, "tool_error", f"tool_error: {text}" if text else "tool_error")
