"""Real clients of OpenAI and Anthropic, on a server that speaks their formats: what a generation tells is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_runs import HELLO, recorded, search
from langfuse_integration.testing import RecordedSessions
from peers.models import ModelServer, ToolCall, Usage, call, calls, fail, refuse, say

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

KEY = SecretStr("key")
USAGE = Usage(input_tokens=100, output_tokens=30, cached_tokens=40, cache_write_tokens=7, reasoning_tokens=20)


def chat(server: ModelServer) -> BaseChatModel:
    """Return OpenAI's chat completions."""
    return ChatOpenAI(model="gpt-5", base_url=server.openai_url, api_key=KEY, stream_usage=True, top_p=0.5)


def responses(server: ModelServer) -> BaseChatModel:
    """Return OpenAI's responses."""
    return ChatOpenAI(model="gpt-5", base_url=server.openai_url, api_key=KEY, use_responses_api=True, top_p=0.5)


def messages(server: ModelServer) -> BaseChatModel:
    """Return Anthropic's messages."""
    return ChatAnthropic(model_name="claude-5", base_url=server.anthropic_url, api_key=KEY, top_p=0.5)  # type: ignore[call-arg]


Client = Callable[[ModelServer], BaseChatModel]
every_client = pytest.mark.parametrize("client", [chat, responses, messages])
streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def ask(model: Any, streamed: bool) -> None:
    """Ask once, whole or streamed."""
    if streamed:
        list(model.stream("What do alpacas do?", recorded()))
    else:
        model.invoke("What do alpacas do?", recorded())


def text_of(output: Any) -> str:
    """Return the text of an answer, whatever form its content has."""
    content = output["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


@every_client
@streamed_or_not
def test_model_parameters_text_and_finish_are_told(
    sessions: RecordedSessions, model_server: ModelServer, client: Client, streamed: bool
) -> None:
    """The model that answered, not the one that was asked for; the parameters; and why it stopped."""
    model_server.script(say("Alpacas hum.", model="model-of-today"))
    ask(client(model_server), streamed)
    (found,) = sessions.trace().observations
    assert found.label == f"generation {type(client(model_server)).__name__}"
    assert found.model == "model-of-today"
    assert found.model_parameters["top_p"] == 0.5
    assert not {"model", "tools", "api_key"} & found.model_parameters.keys()
    assert "key" not in str(found.attributes.get("langfuse.observation.model.parameters"))
    assert found.input == [{"role": "user", "content": "What do alpacas do?"}]
    assert (found.output["role"], text_of(found.output)) == ("assistant", "Alpacas hum.")
    assert found.metadata.get("finish_reason") in ("stop", "end_turn", "completed")
    if client is responses or not streamed:  # LangChain drops the other two ids from streams
        response_id = {chat: "chatcmpl-1", responses: "resp_1", messages: "msg_1"}[client]
        assert found.metadata["response_id"] == response_id
    assert bool(found.first_token) == streamed
    assert found.level == "DEFAULT"


@every_client
@streamed_or_not
def test_tokens_are_counted_once(
    sessions: RecordedSessions, model_server: ModelServer, client: Client, streamed: bool
) -> None:
    """Cached, written and reasoning tokens have buckets of their own, and all buckets add up to what was used."""
    model_server.script(say("Alpacas hum.", usage=USAGE))
    ask(client(model_server), streamed)
    usage = sessions.trace().observations[0].usage
    assert sum(usage.values()) == 130
    assert usage["input_cached_tokens"] == 40
    if client is messages:  # Langfuse has prices for its cache writes, and none for its reasoning
        assert usage == {"input": 53, "input_cached_tokens": 40, "input_cache_creation": 7, "output": 30}
    else:
        assert usage == {"input": 60, "input_cached_tokens": 40, "output": 10, "output_reasoning_tokens": 20}


@every_client
@streamed_or_not
def test_tool_calls_are_read_the_same(
    sessions: RecordedSessions, model_server: ModelServer, client: Client, streamed: bool
) -> None:
    """Two calls at once: names, arguments and ids in the output, the tools that were offered in the input."""
    model_server.script(calls(ToolCall("search", {"query": "a"}, "c1"), ToolCall("search", {"query": "b"}, "c2")))
    ask(client(model_server).bind_tools([search]), streamed)
    (found,) = sessions.trace().observations
    assert [(made["name"], made["args"], made["id"]) for made in found.output["tool_calls"]] == [
        ("search", {"query": "a"}, "c1"),
        ("search", {"query": "b"}, "c2"),
    ]
    assert [offered.get("name") or offered["function"]["name"] for offered in found.input["tools"]] == ["search"]
    assert "tools" not in found.model_parameters
    assert bool(found.first_token) == streamed


@every_client
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_agent_on_a_real_client(
    sessions: RecordedSessions, model_server: ModelServer, client: Client, way: str
) -> None:
    """Think, act, think with the provider's own call ids, models and tokens."""
    model_server.script(call("search", {"query": "wool"}, "c1", usage=USAGE), say("Wool.", usage=USAGE))
    agent = create_agent(client(model_server), [search], name="assistant")
    if way == "stream":
        list(agent.stream(HELLO, recorded(), stream_mode="messages"))
    elif way == "invoke":
        agent.invoke(HELLO, recorded())
    else:
        asyncio.run(agent.ainvoke(HELLO, recorded()))
    trace = sessions.trace()
    (agent_row, think, act, last) = trace.observations
    name = type(client(model_server)).__name__
    assert trace.tree() == [{"agent assistant": [f"generation {name}", "tool search", f"generation {name}"]}]
    assert (act.metadata["think_id"], act.metadata["tool_call_id"]) == (think.id, "c1")
    assert text_of(last.output) == "Wool."
    assert [sum(found.usage.values()) for found in (think, last)] == [130, 130]
    assert agent_row.usage == {}


@every_client
def test_a_refusal_is_an_answer(sessions: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """What the model says instead is in the output, in the provider's own form, and it is no error."""
    model_server.script(refuse("I would rather not."))
    ask(client(model_server), streamed=False)
    (found,) = sessions.trace().observations
    assert "I would rather not." in str(found.output)
    assert found.level == "DEFAULT"


@every_client
@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_of_the_provider_is_told(
    sessions: RecordedSessions, model_server: ModelServer, client: Client, status: int
) -> None:
    """After the client's own retries: one generation, an error with the provider's text."""
    model_server.script(*[fail(status, "broken on purpose")] * 3)
    with pytest.raises(Exception, match="broken on purpose"):
        ask(client(model_server), streamed=False)
    (found,) = sessions.trace().observations
    assert found.level == "ERROR"
    assert "broken on purpose" in str(found.status_message)
    assert found.output is None


@every_client
def test_a_cut_stream_keeps_what_had_come(
    sessions: RecordedSessions, model_server: ModelServer, client: Client
) -> None:
    """The connection drops: an error, with the words that had arrived, and when the first one did."""
    model_server.script(say("one two three four", cut_after=2))
    with pytest.raises(Exception, match="incomplete chunked read"):
        ask(client(model_server), streamed=True)
    (found,) = sessions.trace().observations
    assert found.level == "ERROR"
    assert str(found.status_message).startswith("RemoteProtocolError")
    assert text_of(found.output) == "one two"
    assert found.first_token is not None


@every_client
def test_an_abandoned_stream_is_no_error(sessions: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """The application closes the stream after its first word."""
    model_server.script(say("one two three four"))
    stream: Any = client(model_server).stream("x", recorded())
    while not next(stream).text:
        pass
    stream.close()
    (found,) = sessions.trace().observations
    assert (found.level, found.status_message, text_of(found.output)) == ("DEFAULT", "cancelled", "one")


def test_thoughts_are_part_of_the_answer(sessions: RecordedSessions, model_server: ModelServer) -> None:
    """Anthropic's thinking blocks and OpenAI's reasoning items stand in the output as they came."""
    model_server.script(*[say("Four.", reasoning="Two and two.", usage=USAGE)] * 2)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    claude = ChatAnthropic(
        model_name="claude-5", base_url=model_server.anthropic_url, api_key=KEY, thinking=thinking, max_tokens=2048
    )  # type: ignore[call-arg]
    gpt = ChatOpenAI(model="gpt-5", base_url=model_server.openai_url, api_key=KEY, use_responses_api=True)
    for model in (claude, gpt):
        ask(model, streamed=False)
    for found in sessions.observations:
        assert "Two and two." in str(found.output["content"])
        assert text_of(found.output) == "Four."
