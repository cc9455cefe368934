"""The example server llama-mcp, started as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from peers.mcp_servers import http_session, is_error, text_of

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "llama_mcp"
SERVER = str(FOLDER / "server.py")
TITLES = [path.read_text(encoding="utf-8").partition("\n")[0][2:] for path in sorted(FOLDER.glob("documents/*.md"))]


BEST = {
    "alpaca fibre": "Alpaca fibre",
    "How many kilograms does a llama carry in the mountains?": "Trekking with llamas",
    "guard sheep against coyotes": "Guard llamas",
    "vicuñas": "Guanacos and vicuñas",
    "session id on every observation": "Sessions, traces and observations",
    "tool error isError": "The Model Context Protocol",
    "cached tokens counted twice": "Tokens and what they cost",
}


async def test_search_finds_the_right_article_first() -> None:
    """Over stdio, started in another directory: a query's best passage comes first, with its title and score."""
    parameters = StdioServerParameters(command=sys.executable, args=[SERVER], cwd="/")
    errlog = sys.__stderr__ or sys.stderr
    found: dict[str, str] = {}
    async with stdio_client(parameters, errlog=errlog) as streams, ClientSession(*streams) as session:
        initialised = await session.initialize()
        assert initialised.model_dump(by_alias=True)["serverInfo"]["name"] == "llama-mcp"
        for query in BEST:
            answer = await session.call_tool("search", {"query": query})
            assert not is_error(answer)
            heading, passage = text_of(answer).split("\n\n")[0].split("\n")
            found[query], score = heading.removesuffix(")").split(" (score ")
            assert float(score) > 0.1
            assert len(passage.split()) > 20
    assert found == BEST


@pytest.fixture
def address() -> Iterator[str]:
    """Where the server listens, started with `--http` on a free port."""
    command = [sys.executable, SERVER, "--http", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


async def test_both_tools_answer_over_http(address: str) -> None:
    """The tools and their descriptions, a whole article, nothing found, and misuse that says so."""
    async with http_session(address) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {"search", "read"}
        assert (tools["search"].description or "").startswith("Search short articles about llamas")
        article = text_of(await session.call_tool("read", {"title": "ALPACA fibre"}))
        assert article == (FOLDER / "documents" / "alpaca_fibre.md").read_text(encoding="utf-8").strip()
        nothing = await session.call_tool("search", {"query": "quantum chromodynamics"})
        assert (text_of(nothing)[:13], is_error(nothing)) == ("Nothing found", False)
        blank = await session.call_tool("search", {"query": " "})
        assert (is_error(blank), "The query is empty" in text_of(blank)) == (True, True)
        unknown = await session.call_tool("read", {"title": "x"})
        assert (is_error(unknown), "There is no article 'x'" in text_of(unknown)) == (True, True)


async def test_every_document_has_a_title_and_can_be_found_by_it() -> None:
    """A dozen or more documents, each the first hit for its own title."""
    sys.path.insert(0, str(FOLDER))
    try:
        from library import Library
    finally:
        sys.path.remove(str(FOLDER))
    library = Library(FOLDER / "documents")
    assert len(TITLES) >= 12
    assert library.titles == sorted(TITLES)
    assert [library.search(title)[0].title for title in TITLES] == TITLES
    assert library.search("a the of") == []
