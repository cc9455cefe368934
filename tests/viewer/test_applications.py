"""Sessions of applications that others wrote, as the viewer shows them: list, conversation, steps, graph."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("langgraph")
pytest.importorskip("llama_index.core")

from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent

from commands import settle
from langchain_runs import recorded, search
from langfuse_integration import langfuse_manager
from langfuse_integration_llamaindex import instrument, uninstrument
from llamaindex import scripted
from photographs import photograph
from scripted_chat import ScriptedChat, call
from viewer.test_browser import WIDE, Opened

pytestmark = [
    pytest.mark.browser,
    pytest.mark.application,
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.filterwarnings(
        "ignore:create_react_agent has been moved",
        "ignore:.*config_schema.*",
        "ignore::pydantic.warnings.PydanticDeprecationWarning",
        "ignore:is_running called from within a step:DeprecationWarning",
    ),
]
QUESTION: Any = {"messages": [("user", "What do llamas eat?")]}


def supervisor() -> None:
    """A supervisor with a researcher and a writer, of the package langgraph-supervisor."""
    supervising = pytest.importorskip("langgraph_supervisor")
    researcher = create_agent(ScriptedChat(call("search", {"query": "hay"}, "c1"), "Hay."), [search], name="researcher")
    writer = create_agent(ScriptedChat("A poem on hay."), [], name="writer")
    boss = ScriptedChat(call("transfer_to_researcher", {}, "h1"), call("transfer_to_writer", {}, "h2"), "Hay, it is.")
    supervising.create_supervisor([researcher, writer], model=boss).compile(name="team").invoke(QUESTION, recorded())


def swarm() -> None:
    """Two agents that hand over, of the package langgraph-swarm."""
    swarms = pytest.importorskip("langgraph_swarm")
    to_bob = swarms.create_handoff_tool(agent_name="bob")
    alice = create_agent(ScriptedChat(call("transfer_to_bob", {}, "h1")), [to_bob], name="alice")
    bob = create_agent(ScriptedChat(call("search", {"query": "hay"}, "c1"), "Hay, it is."), [search], name="bob")
    graph = swarms.create_swarm([alice, bob], default_active_agent="alice")
    config = {**recorded(), "configurable": {"thread_id": "t-1"}}
    graph.compile(checkpointer=InMemorySaver(), name="swarm").invoke(QUESTION, config)


def deep_agent() -> None:
    """A deep agent with a subagent, of the package deepagents."""
    deepagents = pytest.importorskip("deepagents")
    helper = {
        "name": "helper",
        "description": "Helps.",
        "system_prompt": "Help.",
        "tools": [search],
        "model": ScriptedChat(call("search", {"query": "hay"}, "c1"), "Hay."),
    }
    model = ScriptedChat(call("task", {"description": "Look it up.", "subagent_type": "helper"}, "t1"), "Hay, it is.")
    deepagents.create_deep_agent(model=model, subagents=[helper], name="boss").invoke(QUESTION, recorded())


def workflow() -> None:
    """An AgentWorkflow of LlamaIndex whose first agent hands over."""
    to_knower = scripted.call("handoff", {"to_agent": "knower", "reason": "llamas"}, "h1")
    looked_up = scripted.call("lookup", {"city": "Cusco"}, "w1")
    agents = [
        FunctionAgent(
            name="greeter", description="Greets.", llm=scripted.ScriptedLLM([to_knower]), can_handoff_to=["knower"]
        ),
        FunctionAgent(
            name="knower",
            description="Knows.",
            tools=[scripted.tool(scripted.lookup)],
            llm=scripted.ScriptedLLM([looked_up, "Hay, it is."]),
        ),
    ]

    async def ask() -> None:
        await AgentWorkflow(agents=agents, root_agent="greeter").run("What do llamas eat?")

    instrument()
    try:
        asyncio.run(ask())
    finally:
        uninstrument()


class Application(NamedTuple):
    """An application, and the agents and tools that take part in its run."""

    run: Callable[[], None]
    agents: set[str]
    tools: set[str]

    @property
    def name(self) -> str:
        """The application's name, which is its session's id as well."""
        return self.run.__name__

    def in_session(self) -> None:
        """Run in a session of its own."""
        with langfuse_manager.session(self.name, user_id="ada"):
            self.run()


APPLICATIONS = [
    Application(supervisor, {"supervisor", "researcher", "writer"}, {"search", "transfer_to_researcher"}),
    Application(swarm, {"alice", "bob"}, {"search", "transfer_to_bob"}),
    Application(deep_agent, {"boss", "helper"}, {"search", "task"}),
    Application(workflow, {"greeter", "knower"}, {"lookup", "handoff"}),
]


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("width", [WIDE, 390])
def test_an_application_that_others_wrote(
    viewer: str, journal: Path, opened: Opened, application: Application, width: int
) -> None:
    """Question and answer are in the list and in the conversation, nothing failed, and the graph names all."""
    with ThreadPoolExecutor(1) as thread:  # Playwright's loop runs in this one
        thread.submit(application.in_session).result()
    settle()
    name = application.name
    page = opened(viewer, width=width)
    listed = page.locator("tbody tr").inner_text()
    assert "What do llamas eat?" in listed
    assert "Hay, it is." in listed
    photograph(page, f"application-{name}-list-{width}")
    page.get_by_role("link", name=name).click()
    said = page.locator(".bubble .text").all_inner_texts()
    assert (said[0], said[-1]) == ("What do llamas eat?", "Hay, it is.")
    assert page.locator(".level.error").count() == 0
    page.locator(".steps > summary").first.click()
    photograph(page, f"application-{name}-steps-{width}")
    page.get_by_role("link", name="Agents and tools").first.click()
    drawn = set(page.locator(".graph g > text:first-of-type").all_text_contents())
    assert application.agents | application.tools <= drawn
    photograph(page, f"application-{name}-graph-{width}")
