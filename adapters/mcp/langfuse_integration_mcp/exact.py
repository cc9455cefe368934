"""Exact forms of requests and answers: the protocol's own JSON, from which an equal object is rebuilt.

Objects of mcp 1.x and 2.x have the same form, so that a recording of one generation is replayed with the other.
"""

from __future__ import annotations

from typing import Any, TypeVar

M = TypeVar("M")


def form_of(value: Any) -> Any:
    """Return a model of the SDK, or plain values, as the protocol's JSON.

    Raises:
        TypeError: *value* is neither.
    """
    if value is None or isinstance(value, (dict, list, str, int, float)):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} has no exact form: it is no model of the MCP SDK.")
    return dump(by_alias=True, mode="json", exclude_none=True)


def rebuilt(kind: type[M], form: Any) -> M:
    """Return the object of class *kind* whose form this is."""
    made: M = kind.model_validate(form)  # type: ignore[attr-defined]
    return made


def form_of_error(error: BaseException) -> dict[str, Any] | None:
    """Return the protocol's error in an exception of the SDK: code, message, data; None when there is none."""
    data = getattr(error, "error", None)
    return form_of(data) if hasattr(data, "code") and hasattr(data, "message") else None


def rebuilt_error(form: dict[str, Any]) -> Exception:
    """Return the SDK's exception for a protocol error."""
    from mcp.shared import exceptions
    from mcp.types import ErrorData

    data = ErrorData.model_validate(form)
    two = getattr(exceptions, "MCPError", None)
    if two is not None:
        made: Exception = two(data.code, data.message, data.data)
        return made
    return exceptions.McpError(data)  # type: ignore[attr-defined,no-any-return,unused-ignore]
