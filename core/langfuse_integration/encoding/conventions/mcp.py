"""OpenTelemetry's conventions for the Model Context Protocol: semantic-conventions-genai v0.1.0.

A row of an MCP call stands for the tool's execution, too: it has the attributes of both, as the conventions ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .genai import CLIENT
from .reading import Pair, Reader, TranslatedRow

TRANSPORTS = {"stdio": "pipe", "http": "tcp", "sse": "tcp", "websocket": "tcp"}
"""What the network conventions call the transports."""
PROTOCOLS = {"http": "http", "sse": "http", "websocket": "websocket"}

QUESTIONS = {"sampling": "sampling/createMessage", "elicitation": "elicitation/create"}
"""What rows call the questions of a server to its client, and the protocol's methods."""
SERVER = 2
"""`Span.SPAN_KIND_SERVER`."""


def method_of(row: TranslatedRow) -> str | None:
    """Return the method of an MCP call, such as `tools/call`; None for any other row."""
    method = row.metadata.get("mcp_method")
    return QUESTIONS.get(str(method), str(method)) if method else None


def kind_of(row: TranslatedRow) -> int:
    """Return the span's kind of an MCP call: who answers a question of a server is the server of that request."""
    return SERVER if str(row.metadata.get("mcp_method")) in QUESTIONS else CLIENT


def name_of(row: TranslatedRow) -> str | None:
    """Return the span's name by the conventions: the method and what it works on; None for any other row."""
    method = method_of(row)
    if method is None:
        return None
    subject = row.metadata.get("mcp_tool") or row.metadata.get("mcp_prompt")
    return f"{method} {subject}" if subject else method


def _method(row: TranslatedRow) -> Iterator[Pair]:
    if method_of(row) is None:
        return
    metadata = row.metadata
    yield "mcp.method.name", method_of(row)
    yield "mcp.protocol.version", _text(metadata.get("mcp_protocol_version"))
    yield "mcp.resource.uri", _text(metadata.get("mcp_resource"))
    yield "gen_ai.prompt.name", _text(metadata.get("mcp_prompt"))
    transport = str(metadata.get("mcp_transport"))
    yield "network.transport", TRANSPORTS.get(transport)
    yield "network.protocol.name", PROTOCOLS.get(transport)
    for key in ("jsonrpc.request.id", "mcp.session.id"):
        yield key, row.beside.get(key)
    code = str(metadata.get("mcp_error_type"))
    yield "rpc.response.status_code", code if code.lstrip("-").isdigit() else None


READERS: tuple[Reader, ...] = (_method,)


def _text(value: Any) -> str | None:
    return str(value) if value else None
