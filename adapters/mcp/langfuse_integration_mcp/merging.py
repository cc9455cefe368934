"""Which framework's tool run a call of the same tool belongs to, so that both are one row."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation

SEPARATORS = "_.-/:"
"""What frameworks put between a server's name and a tool's."""


def run_for(parent: Parent | None, server: str, tool: str | None, arguments: Any, resumed: bool) -> Observation | None:
    """Return *parent* if it is a framework's open run of this tool that no call has joined yet, else None.

    Frameworks put a server's name of their own choice before the tool's; then the arguments have to agree as well,
    if the run has kept them.

    Args:
        resumed: a further round of a call that has joined the run: the server asked for input, and this brings it.
    """
    if type(parent) is not Observation or parent.type != "tool" or parent.ended_ns or not tool:
        return None
    metadata = parent.metadata or {}
    if "mcp_tool" in metadata:
        return parent if resumed and metadata["mcp_tool"] == tool else None
    name = parent.name
    if name == tool or name == f"{server}_{tool}":
        return parent
    prefixed = name.endswith(tool) and len(name) > len(tool) + 1 and name[-len(tool) - 1] in SEPARATORS
    return parent if prefixed and (not isinstance(parent.input, dict) or parent.input == arguments) else None
