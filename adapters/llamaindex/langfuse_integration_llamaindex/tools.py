"""Tool calls: arguments as JSON, the outcome as the value returned or the text that the model saw."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.noted import MODEL, Noted, as_it_was
from langfuse_integration.recording.observation import Observation, describe

from .arguments import given

JSON_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "List": "array",
    "Dict": "object",
}
"""The types of parameters whose names are Python's in Cohere's first API."""
READABLE = (str, int, float, bool, dict, list, tuple)


class ToolOutcome:
    """A `ToolOutput` as it is now: what a tool has returned may be changed by the next one."""

    __slots__ = ("noted",)

    def __init__(self, output: Any) -> None:
        self.noted = noted_output(output)


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


def noted_output(output: Any) -> Any:
    """Return a note of a `ToolOutput`, with what the tool's function has returned."""
    return Noted(output, ("raw_output",)) if hasattr(type(output), MODEL) else output


def outcome(result: Any) -> Any:
    """Return the outcome of a tool."""
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
    output = as_it_was(outcome.noted)
    raw = output.raw_output
    if getattr(output, "is_error", False) or raw is None:
        return output.content
    kind = type(raw)
    if isinstance(raw, READABLE) or hasattr(kind, "model_fields") or hasattr(kind, "__dataclass_fields__"):
        return raw
    return output.content


def offered(tools: Any) -> list[Any]:
    """Return the tools that a model got, in OpenAI's form, from the form of any provider."""
    entries = _get(tools, "tools") or tools  # Bedrock: with the choice beside them
    forms: list[Any] = []
    for tool in entries if isinstance(entries, (list, tuple)) else [entries]:
        declarations = _get(tool, "function_declarations", "functionDeclarations")
        if declarations:  # Google
            forms.extend(_function(declaration) for declaration in declarations)
        elif _get(tool, "toolSpec"):  # Bedrock
            forms.append(_function(_get(tool, "toolSpec")))
        elif _get(tool, "parameter_definitions") is not None:  # Cohere
            forms.append(_function({**tool, "parameters": _schema(tool["parameter_definitions"])}))
        else:
            forms.append(_without_none(tool))
    return forms


def _function(declaration: Any) -> dict[str, Any]:
    schema = _get(declaration, "parameters", "parameters_json_schema", "parametersJsonSchema", "inputSchema")
    if isinstance(schema, Mapping) and "json" in schema:
        schema = schema["json"]
    function = {
        "name": _get(declaration, "name"),
        "description": _get(declaration, "description"),
        "parameters": _without_none(
            _get(schema, "json") if isinstance(schema, Mapping) and "json" in schema else schema
        ),
    }
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _schema(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as Cohere's first API has them as a JSON schema."""
    properties: dict[str, Any] = {}
    for name, definition in definitions.items():
        kind, description = _get(definition, "type"), _get(definition, "description") or None
        properties[name] = {"type": JSON_TYPES.get(kind, kind), "description": description}
    required = [name for name, definition in definitions.items() if _get(definition, "required")]
    return {"type": "object", "properties": properties, "required": required}


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        entry = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        if entry is not None:
            return entry
    return None


def _without_none(value: Any) -> Any:
    """Return plain values without entries that are None; what is no data stays as it is."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(entry) for entry in value]
    return value


def _description(tool: Any) -> dict[str, Any]:
    """Return the description of a tool that a model gets."""
    metadata = tool.metadata
    function: dict[str, Any] = {"name": name_of(tool), "description": metadata.description}
    try:
        function["parameters"] = metadata.get_parameters_dict()
    except Exception:  # noqa: BLE001  a schema of the application's own that cannot be written
        pass
    return {"type": "function", "function": function}


def _described(tool: Any) -> Any:
    """Return what a tool's description is made of."""
    return vars(tool.metadata)


def register() -> None:
    """Register converters for tools and their outputs."""
    from llama_index.core.tools import BaseTool, ToolOutput

    json_text.register(BaseTool, _description, state=_described)
    json_text.register(ToolOutcome, _outcome)
    json_text.register(ToolOutput, lambda output: _outcome(ToolOutcome(output)))
