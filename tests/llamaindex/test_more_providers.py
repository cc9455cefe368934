"""The real clients of Gemini, Ollama, Bedrock and Mistral, each against a local server that speaks its format.

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
from llamaindex import provider_servers as servers
from llamaindex.provider_servers import TEXT, ProviderServer
from llamaindex.scripted import lookup, tool

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
    """Return Bedrock's client."""
    module = pytest.importorskip("llama_index.llms.bedrock_converse")
    boto3 = pytest.importorskip("boto3")
    session = boto3.Session("AKIA0", "secret-key", region_name="us-east-1")
    client = session.client("bedrock-runtime", endpoint_url=url)
    return module.BedrockConverse(model="anthropic.claude-3-5-sonnet-20240620-v1:0", client=client)


def mistral(url: str) -> Any:
    """Return Mistral's client."""
    module = pytest.importorskip("llama_index.llms.mistralai")
    return module.MistralAI(model="mistral-large-latest", api_key="secret-key", endpoint=url)


MAKERS: dict[str, Callable[[str], Any]] = {"gemini": gemini, "ollama": ollama, "bedrock": bedrock, "mistral": mistral}


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


def check_row(row: Observed) -> None:
    """Check a row's chat, tokens and how the answer ended."""
    messages = row.input["messages"] if isinstance(row.input, dict) else row.input
    check_chat([*messages, row.output])
    assert "secret-key" not in str(row.attributes)
    assert (row.usage["input"], row.usage["output"]) == (60, 20)
    assert row.metadata["finish_reason"].lower() in ("stop", "tool_calls", "tool_use", "end_turn")


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["sync", "streamed", "async", "async streamed"])
async def test_a_text(settled: RecordedSessions, provider: tuple[str, Any], way: str) -> None:
    """Text, tokens, finish reason: the same in every way to call."""
    name, model = provider
    if name == "bedrock" and way != "sync":
        pytest.skip("its streams are binary, and its async client is another package")
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
    check_row(row)
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
    if name == "bedrock":
        pytest.skip("its async client is another package")
    agent = FunctionAgent(name="weather", tools=[tool(lookup)], llm=model, streaming=streaming)
    with langfuse_manager.session("s-1", "u-1"):
        assert str(await agent.run("Weather in Rome and Oslo?")) == TEXT
    replay = settled.of("s-1")
    first, second = replay.thinks
    for row in (first, second):
        check_row(row)
    assert [arguments(call) for call in first.output["tool_calls"]] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert [offered["function"]["name"] for offered in first.input["tools"]] == ["lookup"]
    assert "None" not in str(first.input["tools"])
    said = second.input["messages"]
    assert [arguments(call) for one in said for call in one.get("tool_calls", ())] == [
        {"city": "Rome"},
        {"city": "Oslo"},
    ]
    assert sorted(act.input["city"] for act in replay.acts) == ["Oslo", "Rome"]
    assert all(act.metadata["think_id"] == first.id for act in replay.acts)
    assert replay.traces[0].roots[0].metadata.get("unanswered_tool_calls") is None


def test_bedrock_with_tools(settled: RecordedSessions) -> None:
    """Bedrock's form of tools and calls is chat, too."""
    with ProviderServer(servers.bedrock) as server:
        bedrock(server.url).chat_with_tools([tool(lookup)], "Weather in Rome and Oslo?", allow_parallel_tool_calls=True)
    (row,) = settled.trace().observations
    check_row(row)
    assert [(call["id"], arguments(call)["city"]) for call in row.output["tool_calls"]] == [
        ("t0", "Rome"),
        ("t1", "Oslo"),
    ]
    assert [offered["function"]["name"] for offered in row.input["tools"]] == ["lookup"]
    assert "tool_call_id" not in row.output


def arguments(call: dict[str, Any]) -> Any:
    """Return the arguments of a tool call as a value."""
    made = call["function"]["arguments"]
    return json.loads(made) if isinstance(made, str) else made
