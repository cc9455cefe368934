"""An application whose own back end reads OpenTelemetry's spans: it keeps the MCP SDK's, and Langfuse gets none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from applications import run

pytestmark = pytest.mark.mcp

CODE = """
    import asyncio, json, sys
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from langfuse_integration.testing import recorded_sessions
    import langfuse_integration_mcp
    from mcp import Client
    from mcp.server.mcpserver import MCPServer

    when, mode, traced = sys.argv[1:]
    exporter = InMemorySpanExporter()
    server = MCPServer("barn", log_level="CRITICAL")

    def use_own_back_end():
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)

    @server.tool()
    def feed(what: str) -> str:
        with trace.get_tracer("app").start_as_current_span("app work"), langfuse_manager.trace_span("handling"):
            return f"fed {what}"

    async def main():
        if when == "after":
            with langfuse_manager.trace_span("first"):
                pass
        use_own_back_end()
        langfuse_integration_mcp.instrument()
        if traced == "traced":
            langfuse_integration_mcp.trace_server(server)
        with recorded_sessions() as sessions:
            async with Client(server, mode=mode) as client:
                exporter.clear()
                with langfuse_manager.session("session-a"), trace.get_tracer("app").start_as_current_span("request"):
                    await client.call_tool("feed", {"what": "hay"})
        spans = exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans}
        parents = {span.name: names.get(span.parent.span_id) for span in spans if span.parent}
        print(json.dumps([parents, [found.tree() for found in sessions.traces],
                          [row.session_id for row in sessions.observations]]))

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("when", "mode", "traced"),
    [
        ("before", "2026-07-28", "traced"),
        ("after", "legacy", "plain"),
        pytest.param("before", "legacy", "traced", marks=pytest.mark.slow),
        pytest.param("before", "legacy", "plain", marks=pytest.mark.slow),
        pytest.param("after", "legacy", "traced", marks=pytest.mark.slow),
        pytest.param("before", "2026-07-28", "plain", marks=pytest.mark.slow),
    ],
)
def test_both_back_ends_have_the_whole_call(when: str, mode: str, traced: str, tmp_path: Path) -> None:
    """The application's back end has the SDK's client and server spans, Langfuse has one row with the handler below."""
    pytest.importorskip("mcp.server.mcpserver")
    parents, trees, in_sessions = json.loads(run(CODE, tmp_path / "journal.db", None, when, mode, traced))
    assert trees == [[{"tool barn.feed": ["span handling"]}]]
    assert in_sessions == ["session-a"] * 2
    assert parents["app work"] == "tools/call feed"
    if mode == "legacy":  # without a wire the SDK's client makes no span
        assert parents["MCP send tools/call feed"] == "request"
