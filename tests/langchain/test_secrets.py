"""Secrets that pass through LangChain's callbacks: none is in a row."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from langchain_runs import HELLO, gathered, recorded
from langfuse_integration.testing import RecordedSessions
from peers.models import ModelServer, say
from scripted_chat import ScriptedChat

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

KEY = "GATEWAY-SECRET"
PASSED: list[dict[str, Any]] = [
    {"extra_headers": {"Authorization": f"Bearer {KEY}"}},
    {"extra_query": {"code": KEY}},
    {"extra_body": {"api_key": KEY}},
]


def everything(sessions: RecordedSessions) -> str:
    """Return all that was recorded, as one text."""
    return str([dict(row.attributes) for row in sessions.observations])


@pytest.mark.parametrize("passed", PASSED, ids=lambda passed: next(iter(passed)))
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "bound", "constructor"])
def test_what_is_passed_to_a_gateway_is_not_recorded(
    sessions: RecordedSessions, model_server: ModelServer, way: str, passed: Any
) -> None:
    """Headers, queries and bodies of a call reach the gateway only; the temperature is in the row."""
    model_server.script(say("Hay."))
    options: dict[str, Any] = {"model": "gpt-4o", "base_url": model_server.openai_url, "api_key": SecretStr("k")}
    model: Any = ChatOpenAI(**options, temperature=0.5)
    if way == "constructor":
        names = {"extra_headers": "default_headers", "extra_query": "default_query", "extra_body": "extra_body"}
        ((name, value),) = passed.items()
        ChatOpenAI(**options, temperature=0.5, **{names[name]: value}).invoke("q", recorded())
    elif way == "bound":
        model.bind(**passed).invoke("q", recorded())
    elif way == "invoke":
        model.invoke("q", recorded(), **passed)
    elif way == "stream":
        list(model.stream("q", recorded(), **passed))
    elif way == "ainvoke":
        asyncio.run(model.ainvoke("q", recorded(), **passed))
    else:
        asyncio.run(gathered(model.astream("q", recorded(), **passed)))
    assert KEY not in everything(sessions)
    assert sessions.observations[-1].model_parameters["temperature"] == 0.5
    assert sessions.observations[-1].output["content"] == "Hay."


def test_a_key_in_the_configuration_of_a_graph_is_not_recorded(sessions: RecordedSessions) -> None:
    """LangGraph copies the configuration into every run's metadata: keys do not stay there, the rest does."""
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [ScriptedChat("Done.").invoke(state["messages"])]})
    graph.add_edge(START, "ask")
    configurable = {"openai_api_key": KEY, "tenant_password": KEY, "tenant": "north", "auth": {"token": KEY}}
    graph.compile(name="team").invoke(HELLO, recorded(configurable=configurable, metadata={"db": {"password": KEY}}))
    assert KEY not in everything(sessions)
    assert sessions.trace().one("team").metadata["db"] == {"password": "[a secret was here]"}


def test_the_key_of_a_tool_that_the_provider_calls_is_not_recorded(sessions: RecordedSessions) -> None:
    """An MCP server among the tools of a call: its address and label stay, its headers and token do not."""
    server = {
        "type": "mcp",
        "server_label": "hay",
        "server_url": "https://hay",
        "headers": {"x": KEY},
        "authorization": KEY,
    }
    schema = {"type": "object", "properties": {"api_key": {"type": "string"}}}
    tools = [server, {"type": "function", "function": {"name": "f", "parameters": schema}}]
    ScriptedChat("Done.").bind(tools=tools).invoke([HumanMessage("q")], recorded())
    assert KEY not in everything(sessions)
    first, second = sessions.observations[0].input["tools"]
    assert (first["server_label"], first["server_url"]) == ("hay", "https://hay")
    assert second["function"]["parameters"] == schema


def test_metadata_of_one_step_is_kept_without_keys(sessions: RecordedSessions) -> None:
    """A step's own metadata: the marker says that something was there."""
    step = RunnableLambda(lambda value: value, name="step").with_config(metadata={"api_key": KEY, "depth": 1})
    step.invoke("x", recorded())
    assert sessions.observations[0].metadata["api_key"] == "[a secret was here]"
    assert KEY not in everything(sessions)
