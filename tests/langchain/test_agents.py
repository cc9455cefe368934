"""Agents that LangChain makes: what they think and how they act, told apart and linked."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    LLMToolSelectorMiddleware,
    ModelFallbackMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.errors import GraphRecursionError
from pydantic import BaseModel

from langchain_runs import HELLO, gathered, recorded, search
from langfuse_integration.reading.replay import Observed
from langfuse_integration.testing import RecordedSessions
from scripted_chat import BUCKETS, ScriptedChat, ScriptedStream, call, calls

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

NEWEST: Any = "v3" if hasattr(BaseCallbackHandler, "on_stream_event") else "v2"
TREE = [{"agent assistant": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}]


@tool
async def search_later(query: str) -> str:
    """Search, later."""
    await asyncio.sleep(0)
    return f"found {query} later"


@tool
def fail(query: str) -> str:
    """Fail."""
    raise ValueError(f"no {query}")


def assistant(*replies: Any, tools: Any = (search,), name: str | None = "assistant", **options: Any) -> Any:
    return create_agent(ScriptedChat(*replies), list(tools), name=name, **options)


def steps(observations: list[Observed]) -> list[tuple[str, str, int | None]]:
    """Return what was thought and done, as (step type, name, step index)."""
    found = [found for found in observations if found.is_think or found.is_act]
    return [(row.metadata["step_type"], row.name, row.metadata.get("step_index")) for row in found]


RUNS = {
    "invoke": lambda agent: agent.invoke(HELLO, recorded()),
    "ainvoke": lambda agent: asyncio.run(agent.ainvoke(HELLO, recorded())),
    "stream": lambda agent: list(agent.stream(HELLO, recorded())),
    "astream": lambda agent: asyncio.run(gathered(agent.astream(HELLO, recorded(), stream_mode="messages"))),
    "astream_events": lambda agent: asyncio.run(gathered(agent.astream_events(HELLO, recorded(), version="v2"))),
    "batch": lambda agent: agent.batch([HELLO], recorded()),
    "abatch": lambda agent: asyncio.run(agent.abatch([HELLO], recorded())),
}


def named(name: str) -> RunnableLambda[Any, Any]:
    """A run with this name that returns what it is given."""
    return RunnableLambda(lambda value: value, name=name)


@tool
def search_by_steps(query: str) -> str:
    """Search by runs that are called as the nodes of an agent are."""
    return str((named("model") | named("tools")).invoke(query))


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_runs_named_like_the_nodes_of_an_agent_have_rows(sessions: RecordedSessions, way: str) -> None:
    """Only the nodes of an agent make no row: what is called `model` or `tools` in and around it has one."""
    asked = call("search_by_steps", {"query": "wool"})
    agent = assistant(asked, asked, "Done.", tools=[search_by_steps])
    RUNS[way](named("model") | agent | named("tools"))
    acted = {"tool search_by_steps": ["chain model", "chain tools"]}
    thought = "generation ScriptedChat"
    inner = {"agent assistant": [thought, acted, thought, acted, thought]}
    assert sessions.trace().tree() == [{"chain RunnableSequence": ["chain model", inner, "chain tools"]}]


@pytest.mark.parametrize("way", RUNS)
def test_an_agent_reads_the_same_however_it_is_run(sessions: RecordedSessions, way: str) -> None:
    """Agent, think, act, think: the act is linked to the think that asked for it, and no node or sequence is a row."""
    RUNS[way](assistant(call("search", {"query": "wool"}), "Done."))
    trace = sessions.trace()
    assert trace.tree() == TREE
    agent, think, act, last = trace.observations
    # Roots of older releases do not say that create_agent made them: node and step stand on their rows, too.
    own = {key: value for key, value in think.metadata.items() if key not in ("langgraph_node", "langgraph_step")}
    assert own == {
        "ls_provider": "scripted",
        "step_type": "think",
        "step_index": 1,
        "agent_name": "assistant",
        "finish_reason": "stop",
        "tool_calls": [{"id": "call_1", "name": "search"}],
    }
    own = {key: value for key, value in act.metadata.items() if key not in ("langgraph_node", "langgraph_step")}
    assert own == {
        "step_type": "act",
        "step_index": 1,
        "agent_name": "assistant",
        "tool_call_id": "call_1",
        "think_id": think.id,
    }
    assert (last.metadata["step_index"], last.metadata["step_type"]) == (2, "think")
    assert (act.input, act.output) == ({"query": "wool"}, "found wool")
    assert agent.input == {"messages": [{"role": "user", "content": "Hello"}]}
    assert [message["role"] for message in agent.output["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert agent.output["messages"][-1]["content"] == "Done."
    assert agent.metadata == {}
    for generation in (think, last):
        assert generation.usage == BUCKETS
        assert generation.model == "scripted-1-of-today"
        assert [tool["function"]["name"] for tool in generation.input["tools"]] == ["search"]
        assert generation.input["messages"][0] == {"role": "user", "content": "Hello"}
    assert think.output["tool_calls"][0]["name"] == "search"
    assert {found.level for found in trace.observations} == {"DEFAULT"}


@pytest.mark.filterwarnings("ignore:.*experimental.*")
def test_an_agents_newest_stream_has_first_tokens(sessions: RecordedSessions) -> None:
    """The newest kind of stream that this release has: the same tree, and each think begins at its first token."""

    async def main() -> None:
        model = ScriptedStream(call("search", {"query": "wool"}), "All done.")
        stream = create_agent(model, [search], name="assistant").astream_events(HELLO, recorded(), version=NEWEST)
        await gathered(await stream if asyncio.iscoroutine(stream) else stream)  # type: ignore[arg-type]

    asyncio.run(main())
    trace = sessions.trace()
    assert trace.tree() == [
        {"agent assistant": ["generation ScriptedStream", "tool search", "generation ScriptedStream"]}
    ]
    assert all(found.first_token for found in trace.named("ScriptedStream"))
    assert steps(trace.observations) == [
        ("think", "ScriptedStream", 1),
        ("act", "search", 1),
        ("think", "ScriptedStream", 2),
    ]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_parallel_calls_answer_the_same_think(sessions: RecordedSessions, way: str) -> None:
    """Three calls at once, to a sync and an async tool: three acts of the first think, each with its own id."""
    tools = (search, search_later) if way == "ainvoke" else (search,)
    other = "search_later" if way == "ainvoke" else "search"
    asked = calls(("search", {"query": "a"}, "c1"), (other, {"query": "b"}, "c2"), ("search", {"query": "c"}, "c3"))
    RUNS[way](assistant(asked, "Done.", tools=tools))
    trace = sessions.trace()
    think, last = trace.named("ScriptedChat")
    acts = [found for found in trace.observations if found.is_act]
    assert {(act.metadata["tool_call_id"], act.input["query"]) for act in acts} == {
        ("c1", "a"),
        ("c2", "b"),
        ("c3", "c"),
    }
    assert {act.metadata["think_id"] for act in acts} == {think.id}
    assert {act.parent_id for act in acts} == {trace.roots[0].id}
    assert last.metadata["step_index"] == 2
    assert trace.roots[0].metadata == {}


def test_an_agent_without_a_name_has_langgraphs(sessions: RecordedSessions) -> None:
    """An unnamed agent is an agent all the same; its steps name none."""
    RUNS["invoke"](assistant("Done.", name=None))
    assert sessions.trace().tree() == [{"agent LangGraph": ["generation ScriptedChat"]}]
    assert "agent_name" not in sessions.trace().one("ScriptedChat").metadata


def test_an_agent_below_a_chain_is_an_agent(sessions: RecordedSessions) -> None:
    """A prompt before it, a function after it: the agent keeps its type and its steps."""
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    steps_ = prompt | (lambda prompt: {"messages": prompt.to_messages()}) | assistant("Done.")
    steps_.invoke({"question": "Hello"}, recorded())
    assert sessions.trace().tree() == [{"chain RunnableSequence": [{"agent assistant": ["generation ScriptedChat"]}]}]


# -- tools that do not answer as asked


@pytest.mark.parametrize("way", RUNS)
def test_a_tool_that_the_model_made_up_is_a_failed_act(sessions: RecordedSessions, way: str) -> None:
    """No tool ran, and LangGraph answers with an error: an act with that error, the arguments and its think."""
    RUNS[way](assistant(call("made_up", {"a": 1}), "Done."))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat", "tool made_up", "generation ScriptedChat"]}]
    act = trace.one("made_up")
    assert (act.is_act, act.level, act.input) == (True, "ERROR", {"a": 1})
    assert act.status_message == "Error: made_up is not a valid tool, try one of [search]."
    assert act.metadata["think_id"] == trace.named("ScriptedChat")[0].id
    assert "unanswered_tool_calls" not in trace.roots[0].metadata
    assert trace.roots[0].level == "DEFAULT"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_tool_that_raises_ends_the_agent(sessions: RecordedSessions, way: str) -> None:
    """The tool's error is on the act and on the agent, once each; the think stays fine."""
    with pytest.raises(ValueError, match="no wool"):
        RUNS[way](assistant(call("fail", {"query": "wool"}), tools=[fail]))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat", "tool fail"]}]
    assert [(found.level, found.status_message) for found in trace.observations] == [
        ("ERROR", "ValueError: no wool"),
        ("DEFAULT", None),
        ("ERROR", "ValueError: no wool"),
    ]


def test_a_tool_that_handles_its_error_is_an_error_alone(sessions: RecordedSessions) -> None:
    """handle_tool_error turns it into an answer: the act shows what went wrong, the agent goes on."""

    @tool
    def picky(query: str) -> str:
        """Be picky."""
        raise ToolException(f"not {query}")

    picky.handle_tool_error = True
    RUNS["invoke"](assistant(call("picky", {"query": "wool"}), "Done.", tools=[picky]))
    trace = sessions.trace()
    act = trace.one("picky")
    assert (act.level, act.status_message) == ("ERROR", "not wool")
    assert act.output is None  # the same text: it is shown once
    assert [found.level for found in trace.observations] == ["DEFAULT", "DEFAULT", "ERROR", "DEFAULT"]


def test_running_out_of_steps_is_an_error(sessions: RecordedSessions) -> None:
    """A recursion limit is no control flow."""
    agent = assistant(call("search", {"query": "wool"}))
    with pytest.raises(GraphRecursionError):
        agent.invoke(HELLO, recorded(recursion_limit=3))
    (root,) = sessions.trace().roots
    assert root.level == "ERROR"
    assert str(root.status_message).startswith("GraphRecursionError: Recursion limit of 3")


# -- agents in agents


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_agent_inside_of_a_tool_has_steps_of_its_own(sessions: RecordedSessions, way: str) -> None:
    """Both agents use the same call id: each act answers its own agent's think."""
    inner = assistant(call("search", {"query": "wool"}), "Inner.", name="researcher")

    @tool
    def research(topic: str) -> str:
        """Research."""
        return str(inner.invoke({"messages": [("user", topic)]})["messages"][-1].content)

    @tool
    async def research_later(topic: str) -> str:
        """Research, later."""
        return str((await inner.ainvoke({"messages": [("user", topic)]}))["messages"][-1].content)

    used = research if way == "invoke" else research_later
    RUNS[way](assistant(call(used.name, {"topic": "alpacas"}), "Outer.", tools=[used], name="boss"))
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent boss": [
                "generation ScriptedChat",
                {
                    f"tool {used.name}": [
                        {"agent researcher": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}
                    ]
                },
                "generation ScriptedChat",
            ]
        }
    ]
    thinks = [found for found in trace.observations if found.is_think]
    assert [(think.metadata["agent_name"], think.metadata["step_index"]) for think in thinks] == [
        ("boss", 1),
        ("researcher", 1),
        ("researcher", 2),
        ("boss", 2),
    ]
    assert trace.one(used.name).metadata["think_id"] == thinks[0].id
    assert trace.one("search").metadata["think_id"] == thinks[1].id


def test_a_model_inside_of_a_tool_does_not_think_for_the_agent(sessions: RecordedSessions) -> None:
    """A tool asks a model for help, which is offered tools of its own: a generation below the act, and no think."""
    helper = ScriptedChat("Help.").bind_tools([search])

    @tool
    def consult(question: str) -> str:
        """Consult."""
        return str(helper.invoke(question).content)

    RUNS["invoke"](assistant(call("consult", {"question": "why"}), "Done.", tools=[consult]))
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent assistant": [
                "generation ScriptedChat",
                {"tool consult": ["generation ScriptedChat"]},
                "generation ScriptedChat",
            ]
        }
    ]
    assert [found.is_think for found in trace.named("ScriptedChat")] == [True, False, True]


# -- middleware


class Quiet(AgentMiddleware):
    """Is asked at every turn, and changes nothing."""

    def before_agent(self, state: Any, runtime: Any) -> None:
        return None

    def before_model(self, state: Any, runtime: Any) -> None:
        return None

    def after_model(self, state: Any, runtime: Any) -> None:
        return None

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request)


class Guard(AgentMiddleware):
    """Adds a word of warning."""

    def before_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any]:
        return {"messages": [("system", "Be kind.")]}


def test_middleware_that_changes_nothing_is_no_row(sessions: RecordedSessions) -> None:
    """Four hooks and two wrappers at every turn: the agent reads as without them."""
    RUNS["invoke"](assistant(call("search", {"query": "wool"}), "Done.", middleware=[Quiet(), TodoListMiddleware()]))
    assert sessions.trace().tree() == TREE


def test_middleware_that_changes_something_is_a_row(sessions: RecordedSessions) -> None:
    """A hook that adds to the conversation shows what it added."""
    RUNS["invoke"](assistant("Done.", middleware=[Guard()]))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["chain Guard.before_model", "generation ScriptedChat"]}]
    assert trace.one("Guard.before_model").output == {"messages": [["system", "Be kind."]]}


def test_a_middlewares_own_model_call_is_no_think(sessions: RecordedSessions) -> None:
    """A summary of the conversation stands below the hook that made it, and the steps are counted without it."""
    newer = "trigger" in inspect.signature(SummarizationMiddleware.__init__).parameters
    when: Any = (
        {"trigger": ("messages", 3), "keep": ("messages", 1)}
        if newer
        else {"max_tokens_before_summary": 3, "messages_to_keep": 1, "token_counter": len}
    )
    summary = SummarizationMiddleware(ScriptedChat("In short."), **when)
    RUNS["invoke"](assistant(call("search", {"query": "wool"}), "Done.", middleware=[summary]))
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent assistant": [
                "generation ScriptedChat",
                "tool search",
                {"chain SummarizationMiddleware.before_model": ["generation ScriptedChat"]},
                "generation ScriptedChat",
            ]
        }
    ]
    assert [found.metadata.get("step_index") for found in trace.named("ScriptedChat")] == [1, None, 2]


def test_a_selection_of_tools_is_no_think(sessions: RecordedSessions) -> None:
    """A middleware asks a model which tools to offer, around the agent's own call: only that one is a think."""
    chosen = call("ToolSelectionResponse", {"tools": ["search"]})
    selector = LLMToolSelectorMiddleware(model=ScriptedChat(chosen), max_tools=1)
    RUNS["invoke"](assistant("Done.", tools=[search, fail], middleware=[selector]))
    trace = sessions.trace()
    assert [found.is_think for found in trace.named("ScriptedChat")] == [False, True]
    assert trace.roots[0].metadata == {}


def test_a_fallback_model_thinks_too(sessions: RecordedSessions) -> None:
    """The first model fails, another one decides: two thinks, the first an error."""
    fallback = ModelFallbackMiddleware(ScriptedChat("Done."))
    RUNS["invoke"](assistant(ValueError("overloaded"), middleware=[fallback]))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat", "generation ScriptedChat"]}]
    assert [(found.level, found.metadata["step_index"]) for found in trace.named("ScriptedChat")] == [
        ("ERROR", 1),
        ("DEFAULT", 2),
    ]
    assert trace.roots[0].level == "DEFAULT"


def test_structured_output_is_no_call_left_open(sessions: RecordedSessions) -> None:
    """The answer comes as a call of a tool that is none: the agent answers it itself."""

    class Animal(BaseModel):
        """An animal."""

        name: str

    agent = assistant(call("Animal", {"name": "alpaca"}), response_format=ToolStrategy(Animal))
    result = RUNS["invoke"](agent)
    trace = sessions.trace()
    assert result["structured_response"] == Animal(name="alpaca")
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat"]}]
    assert trace.roots[0].metadata == {}
    assert trace.roots[0].output["structured_response"] == {"name": "alpaca"}


def test_each_message_reads_the_same_in_every_turn(sessions: RecordedSessions) -> None:
    """What the second think is asked repeats the first think's answer, word for word."""
    RUNS["invoke"](
        assistant(AIMessage("Let me see.", tool_calls=call("search", {"query": "wool"}).tool_calls), "Done.")
    )
    first, second = sessions.trace().named("ScriptedChat")
    assert second.input["messages"][1] == first.output
    assert second.input["messages"][2] == {
        "role": "tool",
        "content": "found wool",
        "name": "search",
        "tool_call_id": "call_1",
    }
