"""`RemoteGraph`: one row for each call of a graph on another server, in every way to call it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command
from langgraph_sdk.client import SyncRunsClient

from fresh import run_fresh
from langchain_runs import gathered, recorded
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import Observed, RecordedSessions
from langfuse_integration_langchain import SessionHandler, instrument, uninstrument
from peers.langgraph_server import GraphServer

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

Remote = Callable[..., RemoteGraph]
TRACED = {"traceparent", "baggage"}


def saying(text: str) -> dict[str, Any]:
    """Return an input of the graph."""
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture
def server() -> Iterator[GraphServer]:
    """The server of the graph."""
    with GraphServer() as server:
        yield server


@pytest.fixture
def remote(server: GraphServer) -> Iterator[Remote]:
    """Return a function that makes the graph of *server*; its sync clients are closed after the test."""
    SessionHandler()  # the first one of a process wraps the streams; `graph.stream` is looked up before its arguments
    clients = []

    def make(**options: Any) -> RemoteGraph:
        graph = RemoteGraph("weather", url=server.url, api_key="key", **options)
        clients.append(graph.sync_client)
        return graph

    yield make
    for client in clients:
        client.close()


@asynccontextmanager
async def closed(graph: RemoteGraph) -> AsyncIterator[RemoteGraph]:
    """Close the async client of *graph* in the loop in which it was used."""
    try:
        yield graph
    finally:
        await graph.client.aclose()


def said(row: Observed) -> list[str]:
    """Return the texts of the messages in a row's output."""
    return [message["content"] for message in row.output["messages"]]


async def run_async(graph: RemoteGraph, whole: Any, *arguments: Any, **options: Any) -> Any:
    """Run *whole*, in which *graph* is, in a loop of its own."""
    async with closed(graph):
        return await whole.ainvoke(*arguments, **options)


def asynchronous(method: str, **options: Any) -> Callable[[RemoteGraph, Any], Any]:
    """Return how an async method is called and its stream is read."""

    async def run(graph: RemoteGraph, value: Any) -> Any:
        async with closed(graph):
            if method == "astream":
                return await gathered(graph.astream(value, recorded(), **options))
            return await getattr(graph, method)(value, recorded(), **options)

    return lambda graph, value: asyncio.run(run(graph, value))


WHOLE: dict[str, Callable[[RemoteGraph, Any], Any]] = {
    "invoke": lambda graph, value: graph.invoke(value, recorded()),
    "ainvoke": asynchronous("ainvoke"),
    "stream": lambda graph, value: list(graph.stream(value, recorded(), stream_mode="values")),
    "stream with subgraphs": lambda graph, value: list(
        graph.stream(value, recorded(), stream_mode=["messages", "values"], subgraphs=True)
    ),
    "astream": asynchronous("astream", stream_mode=["updates", "values"]),
    "batch": lambda graph, value: graph.batch([value], recorded()),
}

if "version" in inspect.signature(SyncRunsClient.stream).parameters:  # not yet in langgraph-sdk 0.2
    WHOLE["invoke v2"] = lambda graph, value: graph.invoke(value, recorded(), version="v2")
    WHOLE["ainvoke v2"] = asynchronous("ainvoke", version="v2")


@pytest.mark.parametrize("way", WHOLE)
def test_a_call_is_one_row(no_open_runs: RecordedSessions, server: GraphServer, remote: Remote, way: str) -> None:
    """The row has the graph's name, its input and its last state, and no more than one request is made."""
    WHOLE[way](remote(), saying("What do llamas eat?"))
    trace = no_open_runs.trace()
    assert trace.tree() == ["chain weather"]
    (row,) = trace.observations
    assert (row.input, said(row)) == (saying("What do llamas eat?"), ["What do llamas eat?", "Hay."])
    assert (row.level, row.status_message) == ("DEFAULT", None)
    ((headers, body),) = server.runs
    assert not TRACED & headers.keys()
    assert "s-alice" not in str(body)


@pytest.mark.parametrize("way", WHOLE)
def test_a_failure_there_is_an_error_here(no_open_runs: RecordedSessions, remote: Remote, way: str) -> None:
    """The caller gets LangGraph's own exception, and the row its text."""
    with pytest.raises(RemoteException):
        WHOLE[way](remote(), saying("fail"))
    (row,) = no_open_runs.trace().observations
    assert (row.name, row.level) == ("weather", "ERROR")
    assert "no hay" in str(row.status_message)


def test_streamed_updates_and_tokens(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """A stream of updates has those as its output, a stream of tokens the message that they come to."""
    graph = remote()
    assert len(list(graph.stream(saying("Hi"), recorded()))) == 1
    assert len(list(graph.stream(saying("Hi"), recorded(), stream_mode="messages"))) == 2
    updated, told = (trace.observations[0] for trace in no_open_runs.traces)
    assert [update["talk"]["messages"][0]["content"] for update in updated.output] == ["Hay."]
    assert said(told) == ["Hay."]


def test_a_stream_that_is_given_up(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """A stream that the caller closes half-way is "cancelled", and has what came until then."""
    stream: Any = remote().stream(saying("Hi"), recorded(), stream_mode="messages")
    next(stream)
    stream.close()
    (row,) = no_open_runs.trace().observations
    assert (row.level, row.status_message, said(row)) == ("DEFAULT", "cancelled", ["H"])


def test_a_task_that_is_cancelled(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """A task that is cancelled in an async stream leaves one row, "cancelled", and no open run."""

    async def main() -> None:
        reached = asyncio.Event()

        async def read() -> None:
            async with closed(remote()) as graph:
                async for _ in graph.astream(saying("Hi"), recorded()):
                    reached.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(read())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (row,) = no_open_runs.trace().observations
    assert (row.level, row.status_message) == ("DEFAULT", "cancelled")


def test_an_interrupt_and_its_answer_are_one_trace(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """A graph that waits for an answer is "interrupted", no error; the run that resumes it stands in its trace."""
    config = {**recorded(), "configurable": {"thread_id": "t-1"}}
    remote().invoke(saying("ask"), config)
    remote().invoke(Command(resume="hay"), config)
    trace = no_open_runs.trace()
    assert trace.tree() == ["chain weather", "chain weather"]
    asked, resumed = trace.observations
    assert (asked.level, asked.status_message) == ("DEFAULT", "interrupted")
    assert asked.output["__interrupt__"][0]["value"] == "Which?"
    assert (resumed.status_message, resumed.input, said(resumed)[-1]) == (None, {"resume": "hay"}, "You said hay")


def test_two_servers_with_one_thread_id(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """Graphs of one name on two servers use one thread id: each answer stands in the trace of its own server's run."""
    config: Any = {**recorded(), "configurable": {"thread_id": "t-1"}}
    with GraphServer() as other:
        elsewhere = RemoteGraph("weather", url=other.url, api_key="key")
        graphs = [remote(), elsewhere]
        for value in (saying("ask"), Command(resume="hay")):
            for graph in graphs:
                graph.invoke(value, config)
        elsewhere.sync_client.close()  # type: ignore[union-attr]
    assert [trace.tree() for trace in no_open_runs.traces] == [["chain weather", "chain weather"]] * 2
    assert not any("resumed" in key for row in no_open_runs.observations for key in row.metadata)


@pytest.mark.parametrize("name", ["weather", "forecast"])
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
def test_a_remote_graph_as_a_node(no_open_runs: RecordedSessions, remote: Remote, name: str, way: str) -> None:
    """A remote graph that is a node has one row, with the graph's name, whatever the node is called."""
    node = remote()
    graph = StateGraph(MessagesState).add_node(name, node).add_edge(START, name).compile(name="outer")
    value: Any = saying("Hi")
    if way == "invoke":
        graph.invoke(value, recorded())
    elif way == "stream":
        list(graph.stream(value, recorded(), stream_mode="messages", subgraphs=True))
    else:
        asyncio.run(run_async(node, graph, value, recorded()))
    trace = no_open_runs.trace()
    assert trace.tree() == [{"chain outer": ["chain weather"]}]
    assert said(trace.named("weather")[0]) == ["Hi", "Hay."]


def test_a_node_that_is_interrupted_or_fails(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """In a node, a remote interrupt is the local graph's, and a remote error fails the local graph."""
    graph = StateGraph(MessagesState).add_node("node", remote()).add_edge(START, "node").compile(name="outer")
    waiting: Any = saying("ask")
    graph.invoke(waiting, recorded())
    failing: Any = saying("fail")
    with pytest.raises(RemoteException):
        graph.invoke(failing, recorded())
    asked, failed = no_open_runs.traces
    assert {(row.level, row.status_message) for row in asked.observations} == {("DEFAULT", "interrupted")}
    assert [row.level for row in failed.observations] == ["ERROR", "ERROR"]
    assert asked.tree() == failed.tree() == [{"chain outer": ["chain weather"]}]


def test_remote_graphs_inside_of_a_node_and_a_chain(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """Code of a node that calls two remote graphs has them below it; a chain has its remote step below it."""
    first, second = remote(name="first"), remote(name="second")

    def work(state: MessagesState) -> Any:
        first.invoke(saying("Hi"))
        return second.invoke(saying("Ho"))

    graph = StateGraph(MessagesState).add_node("work", work).add_edge(START, "work").compile(name="outer")
    value: Any = saying("Hi")
    graph.invoke(value, recorded())
    (first | (lambda state: state["messages"][-1]["content"])).with_config(run_name="chain").invoke(value, recorded())
    in_node, in_chain = no_open_runs.traces
    assert in_node.tree() == [{"chain outer": [{"chain work": ["chain first", "chain second"]}]}]
    assert in_chain.tree() == [{"chain chain": ["chain first"]}]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_trace_and_session_are_handed_on_when_told_so(
    no_open_runs: RecordedSessions, server: GraphServer, remote: Remote, way: str
) -> None:
    """With `distributed_tracing`, the request has the row's ids in its headers and the session in its metadata."""
    graph = remote(distributed_tracing=True)
    options = {"config": {**recorded(), "metadata": {"kept": 1}}, "headers": {"x-own": "1"}}
    if way == "invoke":
        graph.invoke(saying("Hi"), **options)
    else:
        asyncio.run(run_async(graph, graph, saying("Hi"), **options))
    (row,) = no_open_runs.trace().observations
    ((headers, body),) = server.runs
    assert headers["traceparent"].split("-")[1:3] == [row.trace_id, row.id]
    assert "session.id=s-alice" in headers["baggage"]
    assert headers["x-own"] == "1"
    assert body["config"]["metadata"] == {
        "langfuse_session_id": "s-alice",
        "langfuse_user_id": "alice",
        "kept": 1,
    }


def test_a_bound_handler_at_the_graph(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """A handler in the graph's own configuration records its calls, in the handler's session."""
    with langfuse_manager.detached():
        graph = remote().with_config({"callbacks": [SessionHandler("s-alice", "alice")]})
        graph.invoke(saying("Hi"))
    assert no_open_runs.trace().tree() == ["chain weather"]


def test_calls_that_nobody_records(no_open_runs: RecordedSessions, remote: Remote) -> None:
    """Without a handler there is no row; `instrument()` records, once also beside a handler, until it is undone."""
    graph = remote()
    graph.invoke(saying("Hi"))
    assert no_open_runs.traces == []
    instrument()
    graph.invoke(saying("Hi"))
    graph.invoke(saying("Hi"), recorded())
    uninstrument()
    graph.invoke(saying("Hi"))
    assert [trace.tree() for trace in no_open_runs.traces] == [["chain weather"]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import langgraph.pregel.remote", "pass"])
def test_the_order_of_imports_is_free(server: GraphServer, first: str) -> None:
    """A remote graph is recorded whether it was imported before `instrument()` or after."""
    out = run_fresh(
        f"""
        {first}
        from langfuse_integration_langchain import instrument
        from langfuse_integration.testing import recorded_sessions
        instrument()
        from langgraph.pregel.remote import RemoteGraph
        class Own(RemoteGraph):
            pass
        with recorded_sessions() as sessions:
            Own("weather", url={server.url!r}, api_key="key").invoke({saying("Hi")!r})
            print(sessions.trace().tree())
        """
    )
    assert "['chain weather']" in out
