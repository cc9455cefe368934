"""The metric `mcp.client.operation.duration`, of OpenTelemetry's conventions for MCP (Development, 2026).

Recorded through the metrics API: nothing happens until the application has set a meter provider.
"""

from __future__ import annotations

from typing import Any

NAME = "mcp.client.operation.duration"
BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""The bounds that the conventions advise."""
TRANSPORTS = {"stdio": "pipe", "http": "tcp", "sse": "tcp", "websocket": "tcp"}

_histogram: Any = None


def record(
    wire: str, tool: str | None, duration_s: float, error_type: str | None, version: str | None, transport: str | None
) -> None:
    """Record the duration of one request.

    Args:
        wire: the method's name in the protocol.
        tool: the name of the tool that is called, or None: another request.
        error_type: the kind of its error, or None: it succeeded.
        version: the negotiated protocol version, or None.
        transport: how the server is reached, or None.
    """
    attributes: dict[str, Any] = {"mcp.method.name": wire}
    if tool is not None:
        attributes["gen_ai.operation.name"] = "execute_tool"
        attributes["gen_ai.tool.name"] = tool
    if error_type is not None:
        attributes["error.type"] = error_type
    if version is not None:
        attributes["mcp.protocol.version"] = version
    if transport in TRANSPORTS:
        attributes["network.transport"] = TRANSPORTS[transport]
    (_histogram or _made()).record(duration_s, attributes)


def _made() -> Any:
    """Make the instrument, once; the API's own stand-in until there is a provider, which then takes its place."""
    global _histogram
    from opentelemetry import metrics

    _histogram = metrics.get_meter("langfuse-integration").create_histogram(
        NAME,
        unit="s",
        description="Duration of an MCP request as the client sees it",
        explicit_bucket_boundaries_advisory=BUCKETS_S,
    )
    return _histogram
