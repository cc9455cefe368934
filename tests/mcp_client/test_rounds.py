"""Calls that take several requests (protocol 2026-07-28): the server asks, the client answers and calls again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import fastmcp
import pytest
from mcp import Client, types
from mcp.server.mcpserver import Elicit, ListRoots, MCPServer, Resolve, Sample
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, wrap_session
from peers.mcp_servers import ClientSide, HttpServer
from peers.mcp_tools import make_server

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


class Choice(BaseModel):
    animal: str


def question() -> Elicit[Choice]:
    return Elicit("Which animal?", Choice)


def wish(choice: Annotated[Choice, Resolve(question)]) -> Sample:
    text = types.TextContent(type="text", text=f"What does a {choice.animal} want?")
    return Sample([types.SamplingMessage(role="user", content=text)], max_tokens=20)


def folders(wanted: Annotated[types.CreateMessageResult, Resolve(wish)]) -> ListRoots:
    return ListRoots()


def question_to(name: str) -> Elicit[Choice]:
    return Elicit(f"Which animal, {name}?", Choice)


def shop(name: str = "shop") -> Any:
    """A server with tools that take one, two and three rounds."""
    server = MCPServer(name, log_level="CRITICAL")

    @server.tool()
    async def one(choice: Annotated[Choice, Resolve(question)]) -> str:
        return choice.animal

    @server.tool()
    async def two(wanted: Annotated[types.CreateMessageResult, Resolve(wish)]) -> str:
        with langfuse_manager.trace_span("looking"):
            return str(wanted.content.text)  # type: ignore[union-attr]

    @server.tool()
    async def three(roots: Annotated[types.ListRootsResult, Resolve(folders)]) -> str:
        return str(roots.roots[0].uri)

    return server


def current() -> str | None:
    """What the application's handlers do: a span of their own; return the session in which they run."""
    with langfuse_manager.trace_span("answering"):
        return langfuse_manager.current_session_id


@asynccontextmanager
async def connected(kind: str, how: str, answers: ClientSide, server: Any) -> AsyncGenerator[Any, None]:
    """Yield a client that somebody else has opened."""
    if how == "instrumented":
        instrument()
    if kind == "mcp":
        client: Any = Client(server, **answers.callbacks())
    else:

        async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
            answers.seen.append(("elicitation/create", message, answers.probe()))
            return {"animal": answers.animal}

        async def sample(messages: Any, params: Any, context: Any) -> str:
            answers.seen.append(("sampling/createMessage", messages[0].content.text, answers.probe()))
            return answers.completion

        async def roots(context: Any) -> list[str]:
            answers.seen.append(("roots/list", "", answers.probe()))
            return [answers.root]

        client = fastmcp.Client(server, elicitation_handler=elicit, sampling_handler=sample, roots=roots)
    if how == "wrapped":
        wrap_session(client)
    with langfuse_manager.session("session-opener"):
        await client.__aenter__()
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


ASKED = [
    {"span shop.elicitation": ["span answering"]},
    {"span shop.sampling": ["span answering"]},
    "span answering",  # what the client answers about its roots makes no row of its own
]
METHODS = ["elicitation/create", "sampling/createMessage", "roots/list"]


@pytest.mark.filterwarnings("ignore::UserWarning")  # sampling and roots are deprecated in the newest protocol
@pytest.mark.parametrize("how", ["wrapped", "instrumented"])
@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
async def test_a_call_in_rounds_is_one_row_with_the_questions_below(
    kind: str, how: str, sessions: RecordedSessions
) -> None:
    """One, two and three rounds: one tool row with the last answer, the questions below, in the caller's session."""
    answers = ClientSide(animal="vicuña", completion="hay", probe=current)
    async with connected(kind, how, answers, shop()) as client:
        for rounds, tool in enumerate(["one", "two", "three"], 1):
            sessions.clear()
            answers.seen.clear()
            with langfuse_manager.session(f"session-{tool}"), langfuse_manager.trace_span("turn"):
                await client.call_tool(tool, {})
            assert [(method, session) for method, _, session in answers.seen] == [
                (method, f"session-{tool}") for method in METHODS[:rounds]
            ]
            below = ASKED[:rounds] + (["span looking"] if tool == "two" else [])
            assert sessions.one().traces[0].tree() == [{"span turn": [{f"tool shop.{tool}": below}]}]
            assert len(sessions.traces) == 1
            row = sessions.trace().one(f"shop.{tool}")
            assert (row.level, row.output) == ("DEFAULT", ["vicuña", "hay", answers.root][rounds - 1])


@pytest.mark.parametrize("how", ["wrapped", "instrumented"])
@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
async def test_two_users_in_rounds_at_once_stay_apart(kind: str, how: str, sessions: RecordedSessions) -> None:
    """Two users' calls wait for their answers on one connection: each question is asked in its own user's session."""
    both = asyncio.Barrier(2)
    answers = ClientSide(animal="llama", probe=current)
    server = MCPServer("shop", log_level="CRITICAL")

    @server.tool()
    async def buy(name: str, choice: Annotated[Choice, Resolve(question_to)]) -> str:
        await both.wait()
        return f"{choice.animal} for {name}"

    async def user(client: Any, name: str) -> None:
        with langfuse_manager.session(f"session-{name}"):
            await client.call_tool("buy", {"name": name})

    async with connected(kind, how, answers, server) as client:
        await asyncio.gather(user(client, "ann"), user(client, "bob"))
    assert sorted((text, session) for _, text, session in answers.seen) == [
        ("Which animal, ann?", "session-ann"),
        ("Which animal, bob?", "session-bob"),
    ]
    for name in ("ann", "bob"):
        [trace] = sessions.of(f"session-{name}").traces
        assert trace.tree() == [{"tool shop.buy": [{"span shop.elicitation": ["span answering"]}]}]
        assert trace.one("shop.buy").output == f"llama for {name}"
    assert len(sessions.traces) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")  # sampling is deprecated in the newest protocol
@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
async def test_a_handler_that_calls_another_server_which_asks(kind: str, sessions: RecordedSessions) -> None:
    """Sampling asks a second server that elicits: its call stands below the question, for two users at once."""
    instrument()
    both = asyncio.Barrier(2)
    answers = ClientSide(animal="llama", probe=current)

    async with connected("mcp", "instrumented", answers, shop("inner")) as inner:

        async def ask_inner() -> str:
            await both.wait()
            return str((await inner.call_tool("one", {})).content[0].text)

        async with sampled_by(kind, ask_inner, answers, shop()) as outer:

            async def user(name: str) -> None:
                with langfuse_manager.session(f"session-{name}"):
                    await outer.call_tool("two", {})

            await asyncio.gather(user("ann"), user("bob"))
    asked = {"span inner.elicitation": ["span answering"]}
    below = [{"span shop.elicitation": ["span answering"]}, {"span shop.sampling": [{"tool inner.one": [asked]}]}]
    for name in ("ann", "bob"):
        [trace] = sessions.of(f"session-{name}").traces
        assert trace.tree() == [{"tool shop.two": [*below, "span looking"]}]
        assert {row.session_id for row in trace.observations} == {f"session-{name}"}
        assert trace.one("shop.two").output == "llama"
    assert len(sessions.traces) == 2


def sampled_by(kind: str, ask: Any, answers: ClientSide, server: Any) -> Any:
    """Return a client whose sampling handler answers what *ask* returns."""

    async def sample(*arguments: Any) -> Any:
        text = await ask()
        if kind == "fastmcp":
            return text
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", content=content, model="a-model")

    async def elicit(*arguments: Any) -> dict[str, Any]:
        answers.probe()
        return {"animal": answers.animal}

    if kind == "fastmcp":
        return fastmcp.Client(server, elicitation_handler=elicit, sampling_handler=sample)
    return Client(server, **{**answers.callbacks(), "sampling_callback": sample})


@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
async def test_a_question_that_the_handler_fails_on_fails_the_one_row(kind: str, sessions: RecordedSessions) -> None:
    """A handler that raises between two rounds ends the tool row as an error: no second row, none left open."""

    def broken() -> None:
        raise RuntimeError("no hands")

    async with connected(kind, "instrumented", ClientSide(probe=broken), shop()) as client:
        with langfuse_manager.session("session-a"), pytest.raises(Exception):  # noqa: B017, PT011  each client's own
            await client.call_tool("one", {})
    [trace] = sessions.one().traces
    assert trace.tree() == [{"tool shop.one": ["span shop.elicitation"]}]
    assert [row.level for row in trace.observations] == ["ERROR", "ERROR"]


async def test_what_fastmcp_reads_and_fetches_is_one_row_each(sessions: RecordedSessions) -> None:
    """A resource and a prompt through fastmcp's client: one row each, with what was asked for as input."""
    instrument()
    async with fastmcp.Client(make_server("library")) as client:
        with langfuse_manager.session("session-a"):
            await client.read_resource("note://Luna")
            await client.get_prompt("greet", {"name": "Luna"})
    assert [(row.label, row.session_id, row.input) for row in sessions.observations] == [
        ("retriever library.read_resource", "session-a", {"uri": "note://Luna"}),
        ("span library.get_prompt", "session-a", {"name": "greet", "arguments": {"name": "Luna"}}),
    ]


async def test_a_fastmcp_client_that_is_not_connected_raises_what_it_raises(sessions: RecordedSessions) -> None:
    """Before the client is entered a call fails as it does without tracing."""
    instrument()
    async with fastmcp.Client(shop()):
        pass  # the class is looked after from the first session on
    with pytest.raises(RuntimeError, match="not connected"):
        await fastmcp.Client(shop()).call_tool("one", {})
    assert [row.name for row in sessions.observations if row.type == "tool"] == []


async def test_a_fastmcp_client_over_http_in_rounds(sessions: RecordedSessions, mcp_http: HttpServer) -> None:
    """Over HTTP, too: one tool row, and the question below it in the caller's session."""
    answers = ClientSide(animal="vicuña", probe=current)
    async with connected("fastmcp", "instrumented", answers, mcp_http.url) as client:
        with langfuse_manager.session("session-a"):
            await client.call_tool("choose", {"question": "Which?"})
    assert sessions.one().traces[0].tree() == [{"tool tools.choose": [{"span tools.elicitation": ["span answering"]}]}]
    assert len(sessions.traces) == 1


@pytest.mark.parametrize("kind", ["mcp", "fastmcp"])
async def test_a_call_that_is_given_up_between_two_rounds_is_cancelled(
    kind: str, sessions: RecordedSessions, mcp_http: HttpServer
) -> None:
    """The application stops waiting while the user is asked: cancelled, and no error of a connection that is fine."""
    asked = asyncio.Event()

    async def elicit(*arguments: Any) -> Any:
        asked.set()
        await asyncio.sleep(60)

    instrument()
    client: Any = (
        Client(mcp_http.url, elicitation_callback=elicit)
        if kind == "mcp"
        else fastmcp.Client(mcp_http.url, elicitation_handler=elicit)
    )
    async with client:
        with langfuse_manager.session("session-a"):
            task = asyncio.create_task(client.call_tool("choose", {"question": "Which?"}))
            await asked.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    [trace] = sessions.one().traces
    assert trace.tree() == [{"tool tools.choose": ["span tools.elicitation"]}]
    assert {(row.level, row.status_message) for row in trace.observations} == {("DEFAULT", "cancelled")}
