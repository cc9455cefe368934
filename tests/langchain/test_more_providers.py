"""The real clients of seven providers, each against a local server that speaks its format.

None of them is in the extra `test`: `nox --session providers` installs them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_runs import gathered, recorded
from langfuse_integration.testing import Observed, RecordedSessions
from peers import wire_providers as servers
from peers.wire_providers import CITIES, TEXT, ProviderServer

pytestmark = [
    pytest.mark.langchain,
    pytest.mark.slow,
    pytest.mark.usefixtures("in_alices_session"),
    # The clients leave sockets open, and use what the releases of their own libraries deprecate.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
QUESTION: Any = {"messages": [("user", "Weather in Rome and Oslo?")]}
WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda runnable, value, config: runnable.invoke(value, config),
    "ainvoke": lambda runnable, value, config: asyncio.run(runnable.ainvoke(value, config)),
    "stream": lambda runnable, value, config: list(runnable.stream(value, config)),
    "astream": lambda runnable, value, config: asyncio.run(gathered(runnable.astream(value, config))),
}
FINISHED = ("stop", "end_turn", "complete", "tool_calls", "tool_call", "tool_use")
SAID_ELSEWHERE = {"function_call", "tool_plan", "finish_reason", "token_count", "id", "additional_kwargs"}
"""What the clients add to a message that its row or the message itself tells already."""


@tool
def lookup(city: str) -> str:
    """Return the weather."""
    return f"Sun in {city}"


def gemini(url: str) -> Any:
    """Return Google's client."""
    module = pytest.importorskip("langchain_google_genai")
    return module.ChatGoogleGenerativeAI(model="gemini-2.5-flash", google_api_key="secret-key", base_url=url)


def bedrock(url: str) -> Any:
    """Return Bedrock's client."""
    module = pytest.importorskip("langchain_aws")
    session = pytest.importorskip("boto3").Session("AKIA0", "secret-key", region_name="us-east-1")
    client = session.client("bedrock-runtime", endpoint_url=url)
    model = "anthropic.claude-3-5-sonnet-20240620-v1:0"
    return module.ChatBedrockConverse(model=model, client=client, bedrock_client=client)


def cohere(url: str) -> Any:
    """Return Cohere's client."""
    module = pytest.importorskip("langchain_cohere")
    return module.ChatCohere(model="command-a-03-2025", cohere_api_key="secret-key", base_url=url)


def ollama(url: str) -> Any:
    """Return Ollama's client."""
    return pytest.importorskip("langchain_ollama").ChatOllama(model="llama3.1", base_url=url)


def mistral(url: str) -> Any:
    """Return Mistral's client."""
    module = pytest.importorskip("langchain_mistralai")
    return module.ChatMistralAI(model="mistral-large-latest", api_key="secret-key", endpoint=url)


def xai(url: str) -> Any:
    """Return xAI's client, which is OpenAI's at another address."""
    module = pytest.importorskip("langchain_xai")
    return module.ChatXAI(model="grok-4", xai_api_base=f"{url}/v1", xai_api_key="secret-key")


def litellm(url: str) -> Any:
    """Return LiteLLM's client, which counts the tokens of a stream itself."""
    module = pytest.importorskip("langchain_litellm")
    return module.ChatLiteLLM(model="openai/gpt-4o", api_base=f"{url}/v1", api_key="secret-key")


MAKERS: dict[str, Callable[[str], Any]] = {
    "gemini": gemini,
    "bedrock": bedrock,
    "cohere": cohere,
    "ollama": ollama,
    "mistral": mistral,
    "xai": xai,
    "litellm": litellm,
}
SPOKEN = {"xai": "mistral", "litellm": "mistral"}
"""The format of another provider in which a client speaks: that of OpenAI."""
CACHED = {"gemini": 40, "bedrock": 40}
"""The tokens that came from a cache, for the clients that say so."""


@pytest.fixture(params=MAKERS)
def provider(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """Return a provider's name and its client, connected to a server of its own."""
    with ProviderServer(getattr(servers, SPOKEN.get(request.param, request.param))) as server:
        yield request.param, MAKERS[request.param](server.url)


def text_of(output: Any) -> str:
    """Return the text of an answer, whatever form its content has."""
    content = output["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def check_row(row: Observed, name: str) -> None:
    """Check a row's tokens and end, and that no message says anything twice."""
    cached = CACHED.get(name, 0)
    streamed = "langfuse.observation.completion_start_time" in row.attributes
    if name == "litellm" and streamed:
        assert row.usage["input"] > 0
        assert row.usage["output"] > 0
    else:
        assert (row.usage["input"], row.usage["output"]) == (60 - cached, 20)
    parameters = json.loads(str(row.attributes.get("langfuse.observation.model.parameters", "{}")))
    assert parameters.get("stream", streamed) == streamed
    assert row.usage.get("input_cached_tokens", 0) == cached
    assert row.metadata["finish_reason"].lower() in FINISHED
    assert "secret-key" not in str(row.attributes)
    messages = row.input["messages"] if isinstance(row.input, dict) else row.input
    for message in (*messages, row.output):
        assert SAID_ELSEWHERE.isdisjoint(message)


@pytest.mark.parametrize("way", WAYS)
def test_a_text(sessions: RecordedSessions, provider: tuple[str, Any], way: str) -> None:
    """Text, tokens and finish reason are the same in every way to call."""
    name, model = provider
    WAYS[way](model, "What do alpacas do?", recorded())
    (row,) = sessions.trace().observations
    check_row(row, name)
    assert (row.type, text_of(row.output)) == ("generation", TEXT)
    assert row.input == [{"role": "user", "content": "What do alpacas do?"}]


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_with_parallel_calls(sessions: RecordedSessions, provider: tuple[str, Any], way: str) -> None:
    """Both calls of one answer stand once each in the think, as acts, and in the next think's input."""
    name, model = provider
    WAYS[way](create_agent(model, [lookup], name="weather"), QUESTION, recorded())
    check_agent(sessions.trace(), name, type(model).__name__)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_an_agent_whose_tokens_are_streamed(sessions: RecordedSessions, provider: tuple[str, Any], way: str) -> None:
    """The tree is the same where LangGraph streams the tokens of the model inside."""
    name, model = provider
    agent = create_agent(model, [lookup], name="weather")
    if way == "stream":
        list(agent.stream(QUESTION, recorded(), stream_mode="messages"))
    else:
        asyncio.run(gathered(agent.astream(QUESTION, recorded(), stream_mode="messages")))
    if (name, way) == ("cohere", "stream"):
        check_torn_calls(sessions.trace())
    else:
        check_agent(sessions.trace(), name, type(model).__name__)


def check_agent(trace: Any, name: str, model: str) -> None:
    """Check the tree and the rows of an agent that looks two cities up and answers."""
    assert trace.tree() == [
        {"agent weather": [f"generation {model}", "tool lookup", "tool lookup", f"generation {model}"]}
    ]
    first, second = trace.named(model)
    for row in (first, second):
        check_row(row, name)
    assert [made["args"]["city"] for made in first.output["tool_calls"]] == list(CITIES)
    said = second.input["messages"]
    assert [made["args"]["city"] for one in said for made in one.get("tool_calls", ())] == list(CITIES)
    assert sorted(act.input["city"] for act in trace.acts) == sorted(CITIES)
    assert {act.metadata["think_id"] for act in trace.acts} == {first.id}
    assert "unanswered_tool_calls" not in trace.roots[0].metadata
    assert text_of(second.output) == TEXT


def check_torn_calls(trace: Any) -> None:
    """Check what becomes of Cohere's calls in a sync stream: langchain-cohere 0.6 gives each part an id of its own.

    The agent is asked for calls without a name or arguments beside the real ones, and LangGraph refuses them: each is a
    failed act, and none is called "" or "None".
    """
    first = trace.named("ChatCohere")[0]
    good = [act for act in trace.acts if act.level == "DEFAULT"]
    torn = [act for act in trace.acts if act.level == "ERROR"]
    assert sorted(act.input["city"] for act in good) == sorted(CITIES)
    assert {act.name for act in torn} == {"lookup", "unknown"}
    assert {call["name"] for call in first.metadata["tool_calls"]} == {"lookup", "unknown"}
    assert {act.metadata["think_id"] for act in trace.acts} == {first.id}
