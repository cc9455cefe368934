"""The requests of an MCP client, and which of them make a row.

A tool call, a resource that was read, a prompt that was fetched and a completion are steps of the conversation: a row
each, always. A listing is how a framework finds its tools. Below something (an agent run, a span of the application)
it explains where time went, and is a row there; alone it would be a trace of its own before the conversation has
begun, so it is a row only when it fails: then it is the reason why nothing else follows. The handshake is the same,
but nobody asks how long it took. Pings, subscriptions, log levels and notifications are never rows, and neither is
anything that the SDK does on its own account within a call, such as the `tools/list` before the first call of a tool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from langfuse_integration.recording.observation import ObservationType

from .tasks import METHODS

Arguments = tuple[str | None, Any]
"""A request's subject (a tool's name, or None), and its input as the row shows it."""


class Shown(Enum):
    """The condition under which a request makes a row."""

    ALWAYS = "always"
    BELOW = "below something, or when it fails"
    FAILED = "when it fails"
    NEVER = "never"


class Method(NamedTuple):
    """One kind of request.

    Attributes:
        wire: the method's name in the protocol.
        label: what its rows are called, after the server's name; a tool's are called after the tool.
        read: takes positional and keyword arguments of the typed method.
        fields: where `read`'s arguments are found in the parameters of a raw request, in order.
    """

    wire: str
    label: str
    type: ObservationType
    shown: Shown
    read: Callable[[Sequence[Any], Mapping[str, Any]], Arguments]
    fields: tuple[str, ...] = ()


def _nth(index: int, names: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Return an argument by its place, or by one of its *names*: llama-index's client has some of its own."""
    if len(positional) > index:
        return positional[index]
    return next((named[name] for name in names.split() if name in named), None)


def _tool(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    if len(positional) > 1:
        return str(positional[0]), positional[1] or {}
    return str(_nth(0, "name tool_name", positional, named)), _nth(1, "arguments", positional, named) or {}


def _prompt(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    name = str(_nth(0, "name prompt_name", positional, named))
    return name, {"name": name, "arguments": _nth(1, "arguments", positional, named) or {}}


def _resource(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    uri = str(_nth(0, "uri resource_uri", positional, named))  # an AnyUrl in mcp 1.x
    return uri, {"uri": uri}


def _completion(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    return None, {"ref": _nth(0, "ref", positional, named), "argument": _nth(1, "argument", positional, named)}


def _page(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    cursor = _nth(0, "cursor", positional, named) or getattr(named.get("params"), "cursor", None)
    return None, {"cursor": cursor} if cursor else {}


def _nothing(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    return None, {}


def _task(positional: Sequence[Any], named: Mapping[str, Any]) -> Arguments:
    return named.get("task_id") or named.get("taskId"), {}


CALL_TOOL = Method("tools/call", "call_tool", "tool", Shown.ALWAYS, _tool, ("name", "arguments"))
READ_RESOURCE = Method("resources/read", "read_resource", "retriever", Shown.ALWAYS, _resource, ("uri",))
GET_PROMPT = Method("prompts/get", "get_prompt", "span", Shown.ALWAYS, _prompt, ("name", "arguments"))
COMPLETE = Method("completion/complete", "complete", "span", Shown.ALWAYS, _completion, ("ref", "argument"))
LIST_TOOLS = Method("tools/list", "list_tools", "span", Shown.BELOW, _page, ("cursor",))
LIST_RESOURCES = Method("resources/list", "list_resources", "span", Shown.BELOW, _page, ("cursor",))
LIST_TEMPLATES = Method("resources/templates/list", "list_resource_templates", "span", Shown.BELOW, _page, ("cursor",))
LIST_PROMPTS = Method("prompts/list", "list_prompts", "span", Shown.BELOW, _page, ("cursor",))
INITIALIZE = Method("initialize", "initialize", "span", Shown.FAILED, _nothing)

TYPED: dict[str, Method] = {
    "call_tool": CALL_TOOL,
    "read_resource": READ_RESOURCE,
    "get_prompt": GET_PROMPT,
    "complete": COMPLETE,
    "list_tools": LIST_TOOLS,
    "list_resources": LIST_RESOURCES,
    "list_resource_templates": LIST_TEMPLATES,
    "list_prompts": LIST_PROMPTS,
}
"""The typed methods of a session, by their Python names."""

ROUNDS = {name: TYPED[name] for name in ("call_tool", "read_resource", "get_prompt")}
"""Methods that `mcp.Client` may answer in several rounds (input required), or from its cache: one row for all of it."""

FASTMCP_ROUNDS = {f"{name}_mcp": method for name, method in ROUNDS.items()}
"""ROUNDS of `fastmcp.Client`, whose other methods are built on these."""

TASKS = [Method(wire, wire, "span", Shown.NEVER, _task, ("task_id", "taskId")) for wire in sorted(METHODS)]
"""Requests about a background task: they show in the row of the call that began it."""

BY_WIRE: dict[str, Method] = {method.wire: method for method in (*TYPED.values(), INITIALIZE, *TASKS)}

NOT_ASIDE = frozenset({"ping", *(method.wire for method in (*ROUNDS.values(), COMPLETE, *TASKS))})
"""Requests whose answers are good for one call only; those of others (a handshake, a listing) hold for a connection."""

SUBJECTS = {CALL_TOOL.wire: "mcp_tool", READ_RESOURCE.wire: "mcp_resource", GET_PROMPT.wire: "mcp_prompt"}
"""The metadata entry that names a request's subject."""


def of_request(request: Any) -> tuple[Method, Arguments]:
    """Return the method and the arguments of a raw request, of either generation of the SDK."""
    inner = getattr(request, "root", request)
    wire = str(inner.method)
    method = BY_WIRE.get(wire) or Method(wire, wire, "span", Shown.NEVER, _nothing)
    params = getattr(inner, "params", None)
    return method, method.read((), {field: getattr(params, field, None) for field in method.fields})
