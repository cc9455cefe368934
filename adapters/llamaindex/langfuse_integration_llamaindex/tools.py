"""Tool calls: arguments as JSON, the outcome as the value returned or the text that the model saw."""

from __future__ import annotations

from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.observation import Observation, describe

from .arguments import given

READABLE = (str, int, float, bool, dict, list, tuple)


class ToolOutcome:
    """A `ToolOutput` by reference."""

    __slots__ = ("output",)

    def __init__(self, output: Any) -> None:
        self.output = output


# -- on the application's thread: references


def name_of(tool: Any) -> str:
    """Return a tool's own name."""
    return str(getattr(getattr(tool, "metadata", None), "name", None) or type(tool).__name__)


def arguments(bound: BoundArguments) -> Any:
    """Return the arguments of a `call` or `acall`, whichever way they were passed."""
    named = given(bound)
    positional = named.pop("args", None)
    if positional:
        return {**named, "args": positional} if named else positional
    return named["input"] if set(named) == {"input"} and "input" in bound.arguments else named


def outcome(result: Any) -> Any:
    """Return the outcome of a tool, by reference."""
    return ToolOutcome(result) if hasattr(result, "raw_output") else result


def note_failure(observation: Observation, output: Any) -> None:
    """Mark the row of a tool that answered with an error, which ends the call but not the agent."""
    if getattr(output, "is_error", False):
        error = getattr(output, "exception", None)
        observation.level = "ERROR"
        text = describe(error) if isinstance(error, BaseException) else output.content
        observation.status_message = text or "tool error"


# -- on the worker: plain values


def _outcome(outcome: ToolOutcome) -> Any:
    output = outcome.output
    raw = output.raw_output
    if getattr(output, "is_error", False) or raw is None:
        return output.content
    kind = type(raw)
    if isinstance(raw, READABLE) or hasattr(kind, "model_fields") or hasattr(kind, "__dataclass_fields__"):
        return raw
    return output.content


def _offered(tool: Any) -> dict[str, Any]:
    """Return the description of a tool that a model gets."""
    metadata = tool.metadata
    function: dict[str, Any] = {"name": name_of(tool), "description": metadata.description}
    try:
        function["parameters"] = metadata.get_parameters_dict()
    except Exception:  # noqa: BLE001  a schema of the application's own that cannot be written
        function["parameters"] = None
    return {"type": "function", "function": function}


def register() -> None:
    """Register how the worker writes tools and their outputs."""
    from llama_index.core.tools import BaseTool, ToolOutput

    json_text.register(BaseTool, _offered, immutable=True)
    json_text.register(ToolOutcome, _outcome)
    json_text.register(ToolOutput, lambda output: _outcome(ToolOutcome(output)))
