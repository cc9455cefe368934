"""Tools and retrievers of LangChain answer from the recording by choice: nothing that they do happens again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langfuse_integration.errors import SeamMoved
from langfuse_integration.testing import NotRecorded, ReplaySession, replay
from langfuse_integration_langchain import SessionHandler, private
from replay.recordings import record
from scripted_chat import ScriptedChat, call, calls

pytestmark = pytest.mark.langchain

CONFIG: Any = {"callbacks": [SessionHandler()]}
QUESTION: Any = {"messages": [("user", "What do alpacas eat?")]}
RECORDED: Any = {"tools": "recorded", "retrievers": "recorded"}


class Farm:
    """Tools and a retriever that count their side effects."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    def tools(self) -> list[BaseTool]:
        """Return tools that answer in every way that LangChain knows."""
        effects = self.effects

        @tool
        def search(query: str) -> str:
            """Search."""
            effects.append(f"search {query}")
            return f"found {query}"

        @tool
        async def wait(seconds: int) -> dict[str, int]:
            """Wait."""
            effects.append("wait")
            return {"seconds": seconds}

        @tool(response_format="content_and_artifact")
        def count(herd: str) -> tuple[str, dict[str, int]]:
            """Count."""
            effects.append("count")
            return f"three in {herd}", {"animals": 3}

        @tool
        def shear(name: str) -> Command[Any]:
            """Shear."""
            effects.append("shear")
            return Command(update={"messages": [ToolMessage("shorn", tool_call_id="c4")]})

        def fall(step: str) -> str:
            effects.append("fall")
            raise ToolException(f"fell over the {step}")

        broken = StructuredTool.from_function(fall, description="Fall.", handle_tool_error=True)
        return [search, wait, count, shear, broken]

    def library(self) -> BaseRetriever:
        """Return a retriever whose class is defined at the call."""
        effects = self.effects

        class Library(BaseRetriever):
            def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
                effects.append(f"retrieve {query}")
                return [Document(f"about {query}", id="d1", metadata={"page": 3, "words": ["hay"]})]

        return Library()


CALLS = calls(
    ("search", {"query": "hay"}, "c1"),
    ("wait", {"seconds": 1}, "c2"),
    ("count", {"herd": "north"}, "c3"),
    ("shear", {"name": "Ada"}, "c4"),
    ("fall", {"step": "stone"}, "c5"),
    ("search", {"word": "hay"}, "c6"),
)
"""The last call has arguments that the tool refuses."""


def ask(farm: Farm, model: ScriptedChat) -> list[Any]:
    """Return what an agent, the tools without a model, and the retriever answer, async."""

    async def run() -> list[Any]:
        agent = create_agent(model, farm.tools(), name="herder")
        state = await agent.ainvoke(QUESTION, CONFIG)
        messages = [
            message.model_dump(include={"type", "content", "artifact", "status"}) for message in state["messages"]
        ]
        plain = await farm.tools()[1].ainvoke({"seconds": 2}, CONFIG)
        documents = await farm.library().ainvoke("wool", CONFIG)
        return [messages, plain, documents, farm.library().invoke("wool", CONFIG)]

    return asyncio.run(run())


def unplugged() -> ScriptedChat:
    """Return a model that must not be asked."""
    return ScriptedChat(AssertionError("the model was called"))


def trees(session: ReplaySession) -> list[Any]:
    """Return the trees of what ran; the rows below one parent by name, since parallel tools start in any order."""

    def by_name(rows: Any) -> Any:
        if isinstance(rows, dict):
            return {name: by_name(below) for name, below in rows.items()}
        return sorted(map(by_name, rows), key=str) if isinstance(rows, list) else rows

    return [by_name(trace.tree()) for trace in session.recorded.one().traces]


def test_nothing_happens_again(tmp_path: Path) -> None:
    """Text, dict, artifact, command, error and refused arguments are the recorded ones; no tool or retriever runs."""
    path = tmp_path / "a.session.json"
    farm = Farm()
    recorded = record(lambda: ask(farm, ScriptedChat(CALLS, "Done.")), path)
    assert len(farm.effects) == 8
    for _ in range(2):
        again = Farm()
        with replay(path, **RECORDED) as session:
            assert ask(again, unplugged()) == recorded
        assert again.effects == []
        assert "search 1 of herder" in {step.label for step in session.recording.steps}
    with replay(path) as session:
        assert ask(again, unplugged()) == recorded
    assert sorted(again.effects) == sorted(farm.effects)


def test_the_trees_are_the_recorded_ones(tmp_path: Path) -> None:
    """Rows of tools and retrievers that did not run stand where they stood."""
    path = tmp_path / "a.session.json"
    farm = Farm()
    record(lambda: ask(farm, ScriptedChat(CALLS, "Done.")), path)
    with replay(path) as live:
        ask(farm, unplugged())
    with replay(path, **RECORDED) as session:
        ask(farm, unplugged())
    assert trees(session) == trees(live)
    assert trees(session)[2:] == [["retriever Library"]] * 2


def test_a_changed_argument_of_a_tool_is_named(tmp_path: Path) -> None:
    """What a tool and a retriever are asked is compared; another tool in its place is not answered."""
    path = tmp_path / "a.session.json"
    farm = Farm()
    search = farm.tools()[0]

    def run(query: str) -> None:
        search.invoke({"query": query}, CONFIG)
        farm.library().invoke(query, CONFIG)

    record(lambda: run("hay"), path)
    with replay(path, **RECORDED) as session:
        run("straw")
        assert [each.text for each in session.divergences] == [
            "step 1 (search 1): the input differs",
            "step 2 (Library 1): the input differs",
        ]
        assert session.divergences[0].lines == ["argument query:", "- hay", "+ straw"]
        session.allow("the input differs")
    problem = "step 1 (search 1): count is asked for instead, which is not in the recording"
    with replay(path, **RECORDED) as session:
        with pytest.raises(NotRecorded, match=re.escape(problem)):
            farm.tools()[2].invoke({"herd": "south"}, CONFIG)
        farm.library().invoke("hay", CONFIG)
        assert [each.text for each in session.divergences] == [problem]
        session.allow(1)
    assert len(farm.effects) == 2


def test_an_interrupted_tool_asks_again_and_does_nothing(tmp_path: Path) -> None:
    """A tool that asks a person twice asks with the recorded values, and gives the recorded result in the end."""
    path = tmp_path / "a.session.json"
    effects: list[str] = []

    @tool
    def book(pen: str) -> str:
        """Book a pen."""
        effects.append("asked")
        return f"{pen} for {interrupt('Who?')} on {interrupt('When?')}"

    def run(model: ScriptedChat) -> list[Any]:
        agent: Any = create_agent(model, [book], name="herder", checkpointer=InMemorySaver())
        config = {**CONFIG, "configurable": {"thread_id": "t"}}
        values = []
        for given in (QUESTION, Command(resume="Ada"), Command(resume="Monday")):
            state = agent.invoke(given, config)
            values.append([each.value for each in state.get("__interrupt__", ())])
        return [*values, state["messages"][-2].content]

    recorded = record(lambda: run(ScriptedChat(call("book", {"pen": "north"}), "Done.")), path)
    assert recorded == [["Who?"], ["When?"], [], "north for Ada on Monday"]
    effects.clear()
    with replay(path, tools="recorded"):
        assert run(unplugged()) == recorded
    assert effects == []


def test_what_runs_inside_a_recorded_tool_is_not_missing(tmp_path: Path) -> None:
    """An agent that is a tool of another one is answered whole: its model and its tools are not asked."""
    path = tmp_path / "a.session.json"
    farm = Farm()

    def run(inner: ScriptedChat, outer: ScriptedChat) -> str:
        @tool
        def herder(question: str) -> str:
            """Ask the herder."""
            agent: Any = create_agent(inner, farm.tools(), name="herder")
            return str(agent.invoke({"messages": [("user", question)]}, CONFIG)["messages"][-1].content)

        host: Any = create_agent(outer, [herder], name="host")
        return str(host.invoke(QUESTION, CONFIG)["messages"][-1].content)

    def live() -> str:
        inner = ScriptedChat(call("search", {"query": "hay"}), "Hay.")
        return run(inner, ScriptedChat(call("herder", {"question": "What?"}), "It says hay."))

    assert record(live, path) == "It says hay."
    farm.effects.clear()
    with replay(path, tools="recorded"):
        assert run(unplugged(), unplugged()) == "It says hay."
    assert farm.effects == []


def test_another_answer_of_a_tool_takes_its_place(tmp_path: Path) -> None:
    """With live tools, too, a step of a tool may get another answer: it does not run, and what follows is live."""
    path = tmp_path / "a.session.json"
    farm = Farm()

    def run(model: ScriptedChat) -> list[str]:
        agent: Any = create_agent(model, farm.tools(), name="herder")
        return [str(message.content) for message in agent.invoke(QUESTION, CONFIG)["messages"]]

    record(lambda: run(ScriptedChat(call("search", {"query": "hay"}), "Hay.")), path)
    farm.effects.clear()
    with replay(path, answers={2: "nothing"}):
        assert run(ScriptedChat("None, then."))[-2:] == ["nothing", "None, then."]
    assert farm.effects == []


def test_a_release_without_the_seam_of_tools_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where langchain-core has moved what a replay replaces of tools, the message names release and method."""
    path = tmp_path / "a.session.json"
    record(lambda: Farm().tools()[0].invoke({"query": "hay"}, CONFIG), path)
    monkeypatch.setattr(private, "TOOL_SEAMS", (*private.TOOL_SEAMS, "_run_in_2028"))
    with pytest.raises(SeamMoved, match=r"langchain-core [\d.]+ has no BaseTool._run_in_2028"):
        replay(path, tools="recorded").__enter__()
    with replay(path) as session:  # live ones need no seam
        session.allow("")
