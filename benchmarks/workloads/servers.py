"""MCP: calls of a server in the same process, over the SDK's own transport in memory."""

from __future__ import annotations

import asyncio
from typing import Any

from .workload import AsyncWorkload, Reading

IN_FLIGHT = 100


def connected() -> Any:
    """Return a block in which a client of a small server is connected."""
    from mcp.client import Client
    from mcp.client._memory import InMemoryTransport  # the other in-memory transport makes no messages
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("stock")

    @server.tool()
    def find_part(shelf: str, number: int) -> str:
        """Tell whether a part is in stock."""
        return f"part {number} is on the {shelf} shelf"

    return Client(InMemoryTransport(server))


class CallsInFlight(AsyncWorkload):
    """Many calls of one tool at once."""

    about = "100 MCP calls in flight"
    runs = IN_FLIGHT
    turns = 1

    async def measure_async(self, turns: int) -> tuple[Reading, Reading]:
        """Connect, call once to load everything, then take the turns."""
        async with connected() as session:
            client = self.contender.client(session)
            await client.call_tool("find_part", {"shelf": "south", "number": 0})
            with self.watch:
                before = Reading.now()
                for _ in range(turns):
                    await asyncio.gather(
                        *(client.call_tool("find_part", {"shelf": "north", "number": n}) for n in range(IN_FLIGHT))
                    )
                return before, Reading.now()
