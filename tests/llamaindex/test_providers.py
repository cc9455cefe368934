"""Real clients of OpenAI and Anthropic, on a server that speaks their formats: what a generation tells is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel

from langfuse_integration import OtlpDestination, configure, langfuse_manager
from langfuse_integration.testing import Observed, RecordedSessions
from langfuse_integration_llamaindex.models import note_provider
from llamaindex.releases import OLD_ANTHROPIC, OLD_OPENAI
from llamaindex.scripted import lookup, tool
from peers.backend import Backend
from peers.models import ModelServer, ToolCall, Usage, call, calls, fail, refuse, say
from peers.otlp import Receiver

CLAUDE = "claude-sonnet-4-0" if OLD_ANTHROPIC else "claude-sonnet-4-5"
Client = Callable[..., FunctionCallingLLM]
HELLO = [ChatMessage(role="user", content="What do alpacas do?")]
USAGE = Usage(input_tokens=100, output_tokens=30, cached_tokens=40)


def openai(server: ModelServer, **options: Any) -> FunctionCallingLLM:
    """OpenAI's chat completions."""
    return OpenAI(model="gpt-4o", api_base=server.openai_url, api_key="secret-key", max_retries=0, **options)


def responses(server: ModelServer, **options: Any) -> FunctionCallingLLM:
    """OpenAI's responses."""
    return OpenAIResponses(model="gpt-4o", api_base=server.openai_url, api_key="secret-key", max_retries=0, **options)


def anthropic(server: ModelServer, **options: Any) -> FunctionCallingLLM:
    """Anthropic's messages."""
    return Anthropic(model=CLAUDE, base_url=server.anthropic_url, api_key="secret-key", max_retries=0, **options)


EVERY = pytest.mark.parametrize("client", [openai, responses, anthropic])


def only(sessions: RecordedSessions) -> Observed:
    """Return the only observation."""
    (found,) = sessions.trace().observations
    return found


@EVERY
def test_a_call(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """Text, the model that answered, parameters and tokens; never the key."""
    model_server.script(say("Alpacas hum.", usage=USAGE))
    client(model_server, temperature=0.3).chat(HELLO)
    row = only(settled)
    assert row.input == [{"role": "user", "content": "What do alpacas do?"}]
    assert (row.output["role"], row.output["content"]) == ("assistant", "Alpacas hum.")
    assert row.usage == {"input": 60, "input_cached_tokens": 40, "output": 30}
    assert row.model == model_server.requests[0].body["model"]
    assert row.model_parameters["temperature"] == 0.3
    assert "secret-key" not in str(row.attributes)
    assert row.metadata["finish_reason"] in ("stop", "end_turn", "completed")
    assert row.metadata["response_id"]


@EVERY
@pytest.mark.asyncio
async def test_an_async_call(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """An async call has the same token usage as a sync one."""
    model_server.script(say("Alpacas hum.", usage=USAGE))
    await client(model_server).achat(HELLO)
    assert only(settled).usage == {"input": 60, "input_cached_tokens": 40, "output": 30}


@EVERY
def test_a_stream(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """The whole text and the first token's time; tokens where the provider sends them."""
    model_server.script(say("Alpacas hum softly.", usage=USAGE))
    asked = {"stream_options": {"include_usage": True}} if client is openai else {}
    for _ in client(model_server).stream_chat(HELLO, **asked):
        pass
    row = only(settled)
    assert row.output["content"] == "Alpacas hum softly."
    assert row.first_token is not None
    if client is anthropic and OLD_ANTHROPIC:
        assert row.usage == {}
        return
    assert row.usage["output"] == 30
    assert row.usage["input"] == 60
    assert row.metadata["finish_reason"] in ("stop", "end_turn", "completed")
    assert client is anthropic or row.metadata["response_id"]  # LlamaIndex drops the event that has Anthropic's


@EVERY
def test_an_abandoned_stream(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """What came until then is the output."""
    model_server.script(say("Alpacas hum softly."))
    stream = client(model_server).stream_chat(HELLO)
    for part in stream:
        if part.delta:
            break
    stream.close()
    row = only(settled)
    assert (row.level, row.status_message, row.output["content"]) == ("DEFAULT", "cancelled", "Alpacas")


@EVERY
def test_a_stream_that_is_cut(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """The connection drops: the error, and what came."""
    model_server.script(say("one two three four", cut_after=2))
    with pytest.raises(Exception):  # noqa: B017, PT011  each client has its own
        list(client(model_server).stream_chat(HELLO))
    row = only(settled)
    assert (row.level, row.output["content"]) == ("ERROR", "one two")


@EVERY
def test_an_error(settled: RecordedSessions, model_server: ModelServer, client: Client) -> None:
    """The provider's message is the status."""
    model_server.script(fail(400, "broken on purpose"))
    with pytest.raises(Exception, match="broken on purpose"):
        client(model_server).chat(HELLO)
    assert only(settled).level == "ERROR"
    assert "broken on purpose" in (only(settled).status_message or "")


@EVERY
@pytest.mark.parametrize("streamed", [False, True], ids=["at once", "streamed"])
def test_tool_calls(settled: RecordedSessions, model_server: ModelServer, client: Client, streamed: bool) -> None:
    """Both calls of one answer, once each, with ids, names and arguments; the tools on offer are in the input."""
    first, second = ToolCall("lookup", {"city": "Rome"}, "c1"), ToolCall("lookup", {"city": "Oslo"}, "c2")
    model_server.script(calls(first, second))
    model = client(model_server)
    if streamed:
        list(model.stream_chat_with_tools([tool(lookup)], "Weather?", allow_parallel_tool_calls=True))
    else:
        model.chat_with_tools([tool(lookup)], "Weather?", allow_parallel_tool_calls=True)
    row = only(settled)
    made = [(one["id"], one["function"]["name"], as_arguments(one)) for one in row.output["tool_calls"]]
    ids = ("fc_0", "fc_1") if client is responses and OLD_OPENAI else ("c1", "c2")
    assert made == [(ids[0], "lookup", {"city": "Rome"}), (ids[1], "lookup", {"city": "Oslo"})]
    assert [name_of(offered) for offered in row.input["tools"]] == ["lookup"]


def as_arguments(call: dict[str, Any]) -> Any:
    """Return the arguments of a tool call as a value."""
    import json

    arguments = call["function"]["arguments"]
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def name_of(offered: dict[str, Any]) -> Any:
    """Return the name of a tool in any provider's form."""
    return offered.get("name") or offered["function"]["name"]


@EVERY
@pytest.mark.asyncio
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "at once"])
async def test_an_agent(settled: RecordedSessions, model_server: ModelServer, client: Client, streaming: bool) -> None:
    """The whole agent over the wire: thinks, act, link, and the session on every row."""
    if client is responses and OLD_OPENAI and streaming:
        pytest.skip("this release of llama-index-llms-openai gives agents an empty answer")
    model_server.script(call("lookup", {"city": "Rome"}, "c1"), say("Sunny."))
    agent = FunctionAgent(name="weather", tools=[tool(lookup)], llm=client(model_server), streaming=streaming)
    with langfuse_manager.session("s-1", "u-1"):
        assert str(await agent.run("Weather in Rome?")) == "Sunny."
    trace = settled.trace()
    model = f"generation {type(agent.llm).__name__}"
    assert trace.tree() == [{"agent weather": [model, "tool lookup", model]}]
    (act,) = settled.one().acts
    assert act.attributes["langfuse.observation.metadata.think_id"] == settled.one().thinks[0].id
    assert act.metadata["tool_call_id"] == "c1"
    assert {found.session_id for found in trace.observations} == {"s-1"}


class Song(BaseModel):
    """A song."""

    title: str


def test_a_structured_answer(settled: RecordedSessions, model_server: ModelServer) -> None:
    """A structured answer is one generation with the object as its output and the call's messages and tokens."""
    model_server.script(call("Song", {"title": "Hum"}) if OLD_OPENAI else say('{"title": "Hum"}'))
    assert openai(model_server).structured_predict(Song, PromptTemplate("Sing of {x}."), x="wool") == Song(title="Hum")
    row = only(settled)
    assert (row.label, row.output, row.usage["output"]) == ("generation OpenAI", {"title": "Hum"}, 5)
    assert (row.input["messages"] if OLD_OPENAI else row.input) == [{"role": "user", "content": "Sing of wool."}]


@pytest.mark.filterwarnings("ignore:The 'output_format' parameter:DeprecationWarning")  # LlamaIndex's own
def test_a_structured_answer_of_anthropic(settled: RecordedSessions, model_server: ModelServer) -> None:
    """LlamaIndex asks behind its own back here: the row has what went in, the model and the object, but no tokens.

    Older releases ask for a tool call instead, like any other.
    """
    model_server.script(call("Song", {"title": "Hum"}) if OLD_ANTHROPIC else say('{"title": "Hum"}'))
    asked = anthropic(model_server)
    assert asked.structured_predict(Song, PromptTemplate("Sing of {x}."), x="wool") == Song(title="Hum")
    row = only(settled)
    assert (row.label, row.model) == ("generation Anthropic", CLAUDE)
    assert row.output == {"title": "Hum"}
    if OLD_ANTHROPIC:
        assert row.input["messages"] == [{"role": "user", "content": "Sing of wool."}]
        assert row.usage["output"] == 5
        return
    assert row.input == {"template": "Sing of {x}.", "variables": {"x": "wool"}}
    assert row.usage == {}


def test_a_refusal(settled: RecordedSessions, model_server: ModelServer) -> None:
    """OpenAI's refusal, which LlamaIndex leaves in the raw answer, shows."""
    model_server.script(refuse("No."))
    openai(model_server).chat(HELLO)
    assert only(settled).output == {"role": "assistant", "content": None, "refusal": "No."}


def test_reasoning_tokens(settled: RecordedSessions, model_server: ModelServer) -> None:
    """Reasoning tokens count as output for gpt-4o, for which Langfuse has no price of reasoning tokens."""
    model_server.script(say("Hm.", usage=Usage(input_tokens=10, output_tokens=30, reasoning_tokens=20)))
    openai(model_server).chat(HELLO)
    assert only(settled).usage == {"input": 10, "output": 30}


@EVERY
def test_a_destination_has_the_provider(
    langfuse: Receiver, backend: Backend, model_server: ModelServer, client: Client
) -> None:
    """A destination has who serves the model and the answer's id, by the conventions' names; Langfuse no provider."""
    configure(destinations=[OtlpDestination(backend.url)])
    model_server.script(say("Alpacas hum.", usage=USAGE))
    client(model_server).chat(HELLO)
    langfuse_manager.flush(10)
    (there,), (here,) = backend.wait_for(1), langfuse.wait_for(1)
    assert there.attributes["gen_ai.provider.name"] == client.__name__.replace("responses", "openai")
    assert there.attributes["gen_ai.response.id"] == here.attributes["langfuse.observation.metadata.response_id"]
    assert "provider" not in str(here.attributes)


class Renamed(OpenAI):
    """A model class of the application."""


@pytest.mark.parametrize("kind", [Renamed, MockLLM, type("OpenAI", (MockLLM,), {})])
def test_a_provider_is_told_by_the_package_of_a_class(langfuse: Receiver, backend: Backend, kind: type[Any]) -> None:
    """A subclass of a provider's client is that provider's; a model that no provider serves has none."""
    configure(destinations=[OtlpDestination(backend.url)])
    with langfuse_manager.trace_span("row") as row:
        note_provider(row, kind.__new__(kind))
    langfuse_manager.flush(10)
    (there,) = backend.wait_for(1)
    assert there.attributes.get("gen_ai.provider.name") == ("openai" if kind is Renamed else None)
