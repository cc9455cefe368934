"""The metric of OpenTelemetry's conventions for MCP, through a real meter provider."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from langfuse_integration_mcp import wrap_session
from peers.mcp_servers import VERSION, memory_session, stdio_session

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


@pytest.fixture(scope="module")
def provided() -> InMemoryMetricReader:
    """A meter provider as an application sets it, which it can do once."""
    reader = InMemoryMetricReader({Histogram: AggregationTemporality.DELTA})
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return reader


@pytest.fixture
def reader(provided: InMemoryMetricReader) -> InMemoryMetricReader:
    """The provided reader, with nothing measured yet."""
    provided.get_metrics_data()
    return provided


def points(reader: InMemoryMetricReader) -> list[Any]:
    """Return the data points of the duration metric, since the last look."""
    data = reader.get_metrics_data()
    return [
        (found.unit, point)
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for found in scope.metrics
        if found.name == "mcp.client.operation.duration"
        for point in found.data.data_points
    ]


async def test_calls_are_timed_in_seconds(reader: InMemoryMetricReader, sessions: Any) -> None:
    """One point for each kind of outcome: method, tool, error, protocol version and transport."""
    async with stdio_session() as session:
        wrap_session(session)
        await session.call_tool("echo", {"text": "one"})
        await session.call_tool("echo", {"text": "two"})
        await session.call_tool("fail", {})
    found = {
        (point.attributes["mcp.method.name"], point.attributes.get("gen_ai.tool.name")): (unit, point)
        for unit, point in points(reader)
    }
    unit, echoed = found["tools/call", "echo"]
    assert (unit, echoed.count) == ("s", 2)
    assert 0 < echoed.sum < 10
    assert echoed.explicit_bounds[0] == 0.01
    version = {"mcp.protocol.version": "2025-11-25"} if VERSION == 2 else {}
    assert dict(echoed.attributes) == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
        "network.transport": "pipe",
        **version,
    }
    assert found["tools/call", "fail"][1].attributes["error.type"] == "tool_error"


async def test_plumbing_is_timed_as_well(reader: InMemoryMetricReader, sessions: Any) -> None:
    """A listing that makes no row has its duration."""
    async with memory_session() as session:
        wrap_session(session)
        await session.list_tools()
    assert [point.attributes["mcp.method.name"] for _, point in points(reader)] == ["tools/list"]
    assert sessions.observations == []
