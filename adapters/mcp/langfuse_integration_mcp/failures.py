"""What an exception that ends a request says on its row: the kind of error, a status message and an output."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.observation import describe

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
