"""The real clients of Gemini, Ollama, Bedrock, Mistral and Cohere, each against a local server that speaks its format.

A client that is not installed is left out: the extra `test` has those of OpenAI and Anthropic only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import Observed, RecordedSessions
from langfuse_integration_llamaindex import instrument, uninstrument
from llamaindex.scripted import lookup, tool
from peers import wire_providers as servers
from peers.wire_providers import TEXT, ProviderServer

HELLO = [ChatMessage(role="user", content="What do alpacas do?")]
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the clients leave sockets and sessions open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def gemini(url: str) -> Any:
    """Return Google's client."""
    google = pytest.importorskip("llama_index.llms.google_genai")
    types = pytest.importorskip("google.genai").types
    options = types.HttpOptions(base_url=url)
    return google.GoogleGenAI(
        model="gemini-2.5-flash", api_key="secret-key", http_options=options, context_window=1000, max_tokens=100
    )


def ollama(url: str) -> Any:
    """Return Ollama's client."""
    module = pytest.importorskip("llama_index.llms.ollama")
    return module.Ollama(model="llama3.1", base_url=url, context_window=1000)


def bedrock(url: str) -> Any:
    """Return Bedrock's client, which asks with aioboto3 in async code where that is installed, else in a thread."""
    module = pytest.importorskip("llama_index.llms.bedrock_converse")
    return module.BedrockConverse(
        model="anthropic.claude-3-5-sonnet-20240620-v1:0",
        aws_access_key_id="AKIA0",
        aws_secret_access_key="secret-key",
        region_name="us-east-1",
        endpoint_url=url,
    )


def mistral(url: str) -> Any:
    """Return Mistral's client."""
    module = pytest.importorskip("llama_index.llms.mistralai")
    return module.MistralAI(model="mistral-large-latest", api_key="secret-key", endpoint=url)


def cohere1(url: str) -> Any:
    """Return Cohere's client, which speaks the first version of its API and has no setting for the address."""
    module = pytest.importorskip("llama_index.llms.cohere")
    client = pytest.importorskip("cohere")
    model = module.Cohere(model="command-r", api_key="secret-key", max_retries=1)
    model._client = client.Client("secret-key", base_url=url)
    model._aclient = client.AsyncClient("secret-key", base_url=url)
    return model


MAKERS: dict[str, Callable[[str], Any]] = {
    "gemini": gemini,
    "ollama": ollama,
    "bedrock": bedrock,
    "mistral": mistral,
    "cohere1": cohere1,
}


@pytest.fixture(params=MAKERS)
def provider(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """Return a provider's name and its client, connected to a server of its own."""
    name = request.param
    with ProviderServer(getattr(servers, name)) as server:
        yield name, MAKERS[name](server.url)


def check_chat(messages: list[dict[str, Any]]) -> None:
    """Check what Langfuse's parser of chats requires: ids and names are texts, and no entry of a call is null."""
    for message in messages:
        assert message["role"] in ("user", "assistant", "tool", "system")
        assert isinstance(message.get("tool_call_id", ""), str)
        for call in message.get("tool_calls", ()):
            assert isinstance(call["id"], str)
            assert call["id"]
            assert isinstance(call["function"]["name"], str)


CACHED = {"gemini": 40, "bedrock": 40, "cohere1": 40}
"""The tokens that came from a cache, for the providers whose servers say so."""


def check_row(row: Observed, name: str) -> None:
    """Check a row's chat, tokens and how the answer ended."""
    messages = row.input["messages"] if isinstance(row.input, dict) else row.input
    check_chat([*messages, row.output])
    assert "secret-key" not in str(row.attributes)
    cached = CACHED.get(name, 0)
    assert (row.usage["input"], row.usage["output"]) == (60 - cached, 20)
    assert row.usage.get("input_cached_tokens", 0) == cached
    assert row.metadata["finish_reason"].lower() in ("stop", "tool_calls", "tool_use", "end_turn", "complete")


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["sync", "streamed", "async", "async streamed"])
async def test_a_text(settled: RecordedSessions, provider: tuple[str, Any], way: str) -> None:
    """Text, tokens, finish reason: the same in every way to call."""
    name, model = provider
    if (name, way) == ("cohere1", "async streamed"):
        pytest.skip("llama-index-llms-cohere 0.9 asks its sync client there, and fails")
    if name == "gemini" and not way.startswith("async"):
        import asyncio

        await asyncio.to_thread(ask, model, way)
    elif not way.startswith("async"):
        ask(model, way)
    elif way == "async":
        await model.achat(HELLO)
    else:
        async for _ in await model.astream_chat(HELLO):
            pass
    (row,) = settled.trace().observations
    check_row(row, name)
    assert row.output["content"] == TEXT
    assert "additional_kwargs" not in row.output


def ask(model: Any, way: str) -> None:
    """Ask a model in sync code."""
    if way == "sync":
        model.chat(HELLO)
    else:
        list(model.stream_chat(HELLO))


@pytest.mark.asyncio
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "at once"])
async def test_an_agent_with_parallel_calls(
    settled: RecordedSessions, provider: tuple[str, Any], streaming: bool
) -> None:
    """Both calls of one answer stand apart in the think, as acts, and in the next think's input."""
    name, model = provider
    if name == "cohere1" and streaming:
        pytest.skip("llama-index-llms-cohere 0.9 asks its sync client there, and fails")
    agent = FunctionAgent(name="weather", tools=[tool(lookup)], llm=model, streaming=streaming)
    with langfuse_manager.session("s-1", "u-1"):
        assert str(await agent.run("Weather in Rome and Oslo?")) == TEXT
    replay = settled.of("s-1")
    first, second = replay.thinks
    for row in (first, second):
        check_row(row, name)
    assert [arguments(call) for call in first.output["tool_calls"]] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert [offered["function"]["name"] for offered in first.input["tools"]] == ["lookup"]
    assert list(first.input["tools"][0]["function"]["parameters"]["properties"]) == ["city"]
    assert "None" not in str(first.input["tools"])
    said = second.input["messages"]
    assert [arguments(call) for one in said for call in one.get("tool_calls", ())] == [
        {"city": "Rome"},
        {"city": "Oslo"},
    ]
    assert sorted(act.input["city"] for act in replay.acts) == ["Oslo", "Rome"]
    assert all(act.metadata["think_id"] == first.id for act in replay.acts)
    assert replay.traces[0].roots[0].metadata.get("unanswered_tool_calls") is None


@pytest.mark.parametrize("streamed", [False, True], ids=["at once", "streamed"])
def test_bedrock_with_tools(settled: RecordedSessions, streamed: bool) -> None:
    """Bedrock's form of tools and calls is chat, too."""
    with ProviderServer(servers.bedrock) as server:
        model = bedrock(server.url)
        asked: Any = {"tools": [tool(lookup)], "user_msg": "Weather?", "allow_parallel_tool_calls": True}
        if streamed:
            list(model.stream_chat_with_tools(**asked))
        else:
            model.chat_with_tools(**asked)
    (row,) = settled.trace().observations
    check_row(row, "bedrock")
    assert [(call["id"], arguments(call)["city"]) for call in row.output["tool_calls"]] == [
        ("t0", "Rome"),
        ("t1", "Oslo"),
    ]
    assert [offered["function"]["name"] for offered in row.input["tools"]] == ["lookup"]
    assert "tool_call_id" not in row.output
    assert row.metadata["finish_reason"] == "tool_use"


@pytest.mark.asyncio
async def test_streams_of_bedrock_that_run_at_once_keep_their_own_stop_reason(settled: RecordedSessions) -> None:
    """Two streams are read in turns: one stops to call tools, the other at its end."""
    with ProviderServer(servers.bedrock) as server:
        model = bedrock(server.url)
        calling = await model.astream_chat_with_tools([tool(lookup)], "Weather?", allow_parallel_tool_calls=True)
        telling = await model.astream_chat(HELLO)
        open_streams = [calling, telling]
        while open_streams:
            for stream in list(open_streams):
                if await anext(stream, None) is None:
                    open_streams.remove(stream)
    reasons = {bool(row.output.get("tool_calls")): row.metadata["finish_reason"] for row in settled.observations}
    assert reasons == {True: "tool_use", False: "end_turn"}


def test_a_stream_of_bedrock_that_is_given_up_has_no_stop_reason(settled: RecordedSessions) -> None:
    """What the provider has not said is not told."""
    with ProviderServer(servers.bedrock) as server:
        stream = bedrock(server.url).stream_chat(HELLO)
        next(stream)
        stream.close()
    (row,) = settled.trace().observations
    assert (row.status_message, row.output["content"]) == ("cancelled", "Alpacas")
    assert "finish_reason" not in row.metadata


def test_the_client_of_bedrock_is_as_it_was(settled: RecordedSessions) -> None:
    """`uninstrument()` leaves LlamaIndex's own functions, also after a stream."""
    base = pytest.importorskip("llama_index.llms.bedrock_converse.base")
    names = ("converse_with_retry", "converse_with_retry_async")
    uninstrument()
    before = [getattr(base, name) for name in names]
    instrument()
    with ProviderServer(servers.bedrock) as server:
        list(bedrock(server.url).stream_chat(HELLO))
    assert [getattr(base, name) for name in names] != before
    uninstrument()
    assert [getattr(base, name) for name in names] == before


def arguments(call: dict[str, Any]) -> Any:
    """Return the arguments of a tool call as a value."""
    made = call["function"]["arguments"]
    return json.loads(made) if isinstance(made, str) else made
