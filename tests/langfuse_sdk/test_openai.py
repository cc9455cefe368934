"""`langfuse.openai`, whole and streamed, sync and async: one generation of each call, below our rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fresh import run_fresh
from peers.models import ModelServer, Usage, say
from peers.otlp import Receiver

pytestmark = [pytest.mark.langchain, pytest.mark.application]

BEGIN = """
    import asyncio, os, warnings
    warnings.simplefilter("ignore")  # of the other packages
    from langfuse.openai import AsyncOpenAI, OpenAI
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langfuse_integration import langfuse_manager
    from langfuse_integration_langchain import SessionHandler

    config = {"callbacks": [SessionHandler()]}
    where = {"base_url": os.environ["MODELS"], "api_key": "key"}
    client, later = OpenAI(**where), AsyncOpenAI(**where)
    question = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What do llamas eat?"}]}
    streamed = {**question, "stream": True, "stream_options": {"include_usage": True}}
    asked = {"model": "gpt-4o", "input": "What do llamas eat?"}
"""
DIRECT = """
    def ask(way):
        if way == "chat":
            client.chat.completions.create(**question)
        elif way == "chat streamed":
            list(client.chat.completions.create(**streamed))
        elif way == "responses":
            client.responses.create(**asked)
        else:
            list(client.responses.create(**asked, stream=True))

    async def ask_later(way):
        if way == "chat":
            await later.chat.completions.create(**question)
        elif way == "chat streamed":
            async for _ in await later.chat.completions.create(**streamed):
                pass
        elif way == "responses":
            await later.responses.create(**asked)
        else:
            async for _ in await later.responses.create(**asked, stream=True):
                pass

    @tool
    def search(way: str) -> str:
        "Search."
        ask(way)
        return way

    @tool
    async def search_later(way: str) -> str:
        "Search."
        await ask_later(way)
        return way

    async def main():
        for way in ("chat", "chat streamed", "responses", "responses streamed"):
            with langfuse_manager.trace_span("span"):
                await ask_later(way)
            await search_later.ainvoke({"way": way}, config)
            await RunnableLambda(ask_later, name="node").ainvoke(way, config)
        with langfuse_manager.trace_span("three at once"):
            await asyncio.gather(*(ask_later("chat streamed") for _ in range(3)))
        await later.close()

    with langfuse_manager.session("s-1", user_id="u-1"):
        for way in ("chat", "chat streamed", "responses", "responses streamed"):
            with langfuse_manager.trace_span("span"):
                ask(way)
            search.invoke({"way": way}, config)
            RunnableLambda(ask, name="node").invoke(way, config)
        asyncio.run(main())
    client.close()
    print(langfuse_manager.flush(30))
"""
BELOW_A_MODEL = """
    model = ChatOpenAI(**{**where, "model": "gpt-4o", "stream_usage": True})

    async def main():
        await model.ainvoke("What do llamas eat?", config)
        async for _ in model.astream("What do llamas eat?", config):
            pass

    with langfuse_manager.session("s-1", user_id="u-1"):
        model.invoke("What do llamas eat?", config)
        list(model.stream("What do llamas eat?", config))
        asyncio.run(main())
    print(langfuse_manager.flush(30))
"""


def environment(receiver: Receiver, models: ModelServer) -> dict[str, str]:
    """Return the variables of a process; every request is answered with 12 tokens in and 5 out."""
    models.unscripted = lambda _: say("Hay.", usage=Usage(input_tokens=12, output_tokens=5))
    return {**receiver.environment(), "MODELS": models.openai_url}


def usage_of(receiver: Receiver) -> list[dict[str, int]]:
    """Return the tokens of the rows that have any, without zeros."""
    usage = [span.attributes.get("langfuse.observation.usage_details") for span in receiver.spans]
    return [{name: count for name, count in json.loads(one).items() if count} for one in usage if one]


def test_each_call_is_one_generation_below_our_rows(receiver: Receiver, model_server: ModelServer) -> None:
    """In a span, a tool and a node; streamed answers are read there, and have their text, usage and first token."""
    printed = run_fresh(BEGIN + DIRECT, environment(receiver, model_server))
    call: Any = ("OpenAI-generation",)
    expected: list[Any] = [("span", call), ("search", call), ("node", call)] * 4
    expected += [("span", call), ("search_later", call), ("node", call)] * 4 + [("three at once", call, call, call)]
    assert printed.startswith("FlushResult(delivered=52, pending=0, lost=0)")
    receiver.wait_for(52)
    assert receiver.trees() == expected
    assert receiver.doubled() == {}
    calls = [span for span in receiver.spans if span.name == "OpenAI-generation"]
    for span in calls:
        assert span.attributes["langfuse.observation.type"] == "generation"
        assert "Hay." in span.attributes["langfuse.observation.output"]
    assert [usage["total_tokens"] for usage in usage_of(receiver)] == [17] * 27
    assert sum("langfuse.observation.completion_start_time" in span.attributes for span in calls) == 15
    assert {(span.attributes["session.id"], span.attributes["user.id"]) for span in receiver.spans} == {("s-1", "u-1")}


def test_below_a_model_of_langchain_it_gives_way(receiver: Receiver, model_server: ModelServer) -> None:
    """ChatOpenAI, whole and streamed, sync and async: the handler's generation alone, tokens once, one warning."""
    printed = run_fresh(BEGIN + BELOW_A_MODEL, environment(receiver, model_server))
    assert printed.startswith("FlushResult(delivered=4, pending=0, lost=0)")
    assert printed.count("Import openai instead of langfuse.openai") == 1
    receiver.wait_for(4)
    assert receiver.trees() == [("ChatOpenAI",)] * 4
    assert usage_of(receiver) == [{"input": 12, "output": 5}] * 4
