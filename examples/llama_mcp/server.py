"""llama-mcp: an MCP server that searches a small library about llamas, alpacas and agents.

    python examples/llama_mcp/server.py                     # over standard input and output
    python examples/llama_mcp/server.py --http --port 8000  # over streamable HTTP, at http://127.0.0.1:8000/mcp

It runs with mcp 1.24 and newer, and with mcp 2.
"""

from __future__ import annotations

import argparse
import inspect
import socket
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from library import Library, Searchable

NAME = "llama-mcp"
DOCUMENTS = Path(__file__).parent / "documents"

# What mcp 1 calls FastMCP is MCPServer in mcp 2; the rest of this file is the same for both.
SDK, CLASS = ("mcpserver", "MCPServer") if find_spec("mcp.server.mcpserver") else ("fastmcp", "FastMCP")
Server: Any = getattr(import_module(f"mcp.server.{SDK}"), CLASS)
ToolError: type[Exception] = import_module(f"mcp.server.{SDK}.exceptions").ToolError


class Tools:
    """The tools that the server offers over *library*; their docstrings are what a model reads about them."""

    def __init__(self, library: Searchable) -> None:
        self._library = library

    def search(self, query: str) -> str:
        """Search short articles about llamas, alpacas, agents and their observability.

        Returns the best passages, each with the title of its article and a score.
        """
        if not query.strip():
            raise ToolError("The query is empty: name what you look for, for example 'alpaca fibre'.")
        hits = self._library.search(query)
        if not hits:
            return f"Nothing found for {query!r}. There are articles on: {', '.join(self._library.titles)}."
        return "\n\n".join(f"{hit.title} (score {hit.score:.2f})\n{hit.passage}" for hit in hits)

    def read(self, title: str) -> str:
        """Return the whole article with this title, as `search` gives it."""
        text = self._library.read(title)
        if text is None:
            raise ToolError(f"There is no article {title!r}. There are: {', '.join(self._library.titles)}.")
        return text


def serve(library: Searchable) -> Any:
    """Return the MCP server over *library*."""
    server = Server(NAME, instructions="Search first, then read what you need in full.", log_level="WARNING")
    tools = Tools(library)
    for tool in (tools.search, tools.read):
        # Text without structured content, which would repeat it.
        server.add_tool(tool, description=inspect.getdoc(tool), structured_output=False)
    return server


def serve_http(server: Any, port: int) -> None:
    """Serve over streamable HTTP on 127.0.0.1 until interrupted; *port* 0 takes a free one. Prints the address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", port)) as listening:
        print(f"{NAME} listens on http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


def library(folder: Path) -> Searchable:
    """Return the library of a folder: behind a LlamaIndex index where LlamaIndex is installed."""
    if find_spec("llama_index") is None:
        return Library(folder)
    from index import IndexedLibrary

    return IndexedLibrary(folder)


def main() -> None:
    """Run the server as the command line says."""
    parser = argparse.ArgumentParser(prog="server.py", description="An MCP server that searches a small library.")
    parser.add_argument("--http", action="store_true", help="serve over streamable HTTP instead of standard input")
    parser.add_argument("--port", type=int, default=8000, help="the port for --http; 0 takes a free one")
    parser.add_argument("--documents", type=Path, default=DOCUMENTS, help="a folder of Markdown files")
    options = parser.parse_args()
    server = serve(library(options.documents))
    if options.http:
        serve_http(server, options.port)
    else:
        server.run("stdio")


if __name__ == "__main__":
    main()
