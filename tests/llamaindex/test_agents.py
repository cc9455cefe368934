"""Agents of LlamaIndex: thinks, acts and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, TextLLM, alookup, call, calls, lookup, say, tool

pytestmark = pytest.mark.asyncio
streamed = pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "at once"])


def weather_agent(llm: LLM, *tools: Any, **options: Any) -> FunctionAgent:
    """Return an agent with the weather tool, or with others."""
    return FunctionAgent(name="weather", tools=list(tools) or [tool(lookup)], llm=llm, **options)


async def ask(agent: Any, question: str = "Weather in Rome?", **options: Any) -> str:
    """Run an agent and return its answer."""
    return str(await agent.run(question, **options))


@streamed
async def test_a_function_agent_is_its_thinks_and_acts(settled: RecordedSessions, streaming: bool) -> None:
    """One row for the run, one for each model call and one for each tool call, under the session of the caller."""
    llm = ScriptedLLM([call("lookup", {"city": "Rome"}), "It is sunny."])
    with langfuse_manager.session("s-1", "u-1"):
        assert await ask(weather_agent(llm, system_prompt="Be brief.", streaming=streaming)) == "It is sunny."
    trace = settled.trace()
    assert trace.tree() == [{"agent weather": ["generation ScriptedLLM", "tool lookup", "generation ScriptedLLM"]}]
    assert {(found.session_id, found.user_id) for found in trace.observations} == {("s-1", "u-1")}
    assert {found.level for found in trace.observations} == {"DEFAULT"}
    agent = trace.one("weather")
    assert (agent.input, agent.output) == ("Weather in Rome?", "It is sunny.")


@streamed
async def test_a_think_shows_the_conversation_and_the_tools(settled: RecordedSessions, streaming: bool) -> None:
    """A think's input is the chat with the offered tools, its output the message; it has model and parameters."""
    llm = ScriptedLLM([call("lookup", {"city": "Rome"}), "It is sunny."])
    await ask(weather_agent(llm, system_prompt="Be brief.", streaming=streaming))
    first, second = settled.trace().named("ScriptedLLM")
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Rome?"}]
    assert first.input["messages"] == asked
    assert [offered["function"]["name"] for offered in first.input["tools"]] == ["lookup"]
    arguments = '{"city": "Rome"}'
    wanted = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": arguments}}
    assert first.output == {"role": "assistant", "content": None, "tool_calls": [wanted]}
    assert second.input["messages"][2:] == [
        {"role": "assistant", "content": None, "tool_calls": [wanted]},
        {"role": "tool", "content": "sunny in Rome", "tool_call_id": "c1"},
    ]
    assert second.output == {"role": "assistant", "content": "It is sunny."}
    assert (first.model, first.model_parameters) == ("scripted-1", {"temperature": 0.5, "tool_choice": "auto"})
    assert bool(second.first_token) is streaming


async def test_an_act_is_linked_to_its_think(settled: RecordedSessions) -> None:
    """The tool row has the tool call's id, the think that asked for it, and arguments and result as values."""
    await ask(weather_agent(ScriptedLLM([call("lookup", {"city": "Rome"}, "call-7"), "Sunny."])))
    think, answer = settled.one().thinks
    (act,) = settled.one().acts
    assert think.metadata == {
        "step_type": "think",
        "step_index": 1,
        "agent_name": "weather",
        "tool_calls": [{"id": "call-7", "name": "lookup"}],
    }
    assert answer.metadata == {"step_type": "think", "step_index": 2, "agent_name": "weather"}
    assert act.attributes["langfuse.observation.metadata.think_id"] == think.id
    assert {key: value for key, value in act.metadata.items() if key != "think_id"} == {
        "step_type": "act",
        "agent_name": "weather",
        "tool_call_id": "call-7",
        "step_index": 1,
    }
    assert (act.name, act.type, act.input, act.output) == ("lookup", "tool", {"city": "Rome"}, "sunny in Rome")


async def test_the_think_ends_when_the_model_has_answered(settled: RecordedSessions) -> None:
    """The row waits for what the agent makes of the answer; its time does not: it ends before the act begins."""
    await ask(weather_agent(ScriptedLLM([call("lookup", {"city": "Rome"}), "Sunny."])))
    think, _ = settled.one().thinks
    (act,) = settled.one().acts
    assert think.started_ns < think.ended_ns <= act.started_ns


@streamed
async def test_parallel_tool_calls_are_acts_of_one_think(settled: RecordedSessions, streaming: bool) -> None:
    """Two calls asked for at once are two rows beside each other, each with its own id, both with the same think."""
    wanted = calls(("lookup", {"city": "Rome"}, "c1"), ("alookup", {"city": "Oslo"}, "c2"))
    llm = ScriptedLLM([wanted, "Sunny in both."])
    await ask(weather_agent(llm, tool(lookup), tool(alookup), streaming=streaming))
    (root,) = settled.trace().roots
    assert [child.type for child in root.children] == ["generation", "tool", "tool", "generation"]
    acts = {act.metadata["tool_call_id"]: act for act in settled.one().acts}
    assert {key: (act.name, act.output) for key, act in acts.items()} == {
        "c1": ("lookup", "sunny in Rome"),
        "c2": ("alookup", "sunny in Oslo"),
    }
    assert {act.attributes["langfuse.observation.metadata.think_id"] for act in acts.values()} == {
        settled.one().thinks[0].id
    }


async def test_a_tool_that_raises_is_an_error_of_its_row_alone(settled: RecordedSessions) -> None:
    """LlamaIndex hands the error to the model as a text: the tool's row is ERROR, the agent goes on."""

    def broken(city: str) -> str:
        """Fail."""
        raise LookupError(f"no {city}")

    await ask(weather_agent(ScriptedLLM([call("broken", {"city": "Rome"}), "I cannot."]), tool(broken)))
    trace = settled.trace()
    assert trace.tree() == [{"agent weather": ["generation ScriptedLLM", "tool broken", "generation ScriptedLLM"]}]
    act = trace.one("broken")
    assert (act.level, act.status_message, act.output) == ("ERROR", "LookupError: no Rome", "no Rome")
    assert [found.level for found in trace.observations if found is not act] == ["DEFAULT"] * 3


async def test_a_tool_that_is_unknown_is_a_row_that_says_so(settled: RecordedSessions) -> None:
    """The model asks for a tool that is not there: LlamaIndex calls none, the act still shows."""
    await ask(weather_agent(ScriptedLLM([call("search"), "I cannot."])))
    act = settled.trace().one("search")
    assert act.level == "ERROR"
    assert act.status_message == act.output
    assert "not found" in act.output


async def test_a_model_that_fails_fails_the_run(settled: RecordedSessions) -> None:
    """The error is on the model call and on the run."""
    agent = weather_agent(ScriptedLLM([ConnectionError("no network")]))
    with pytest.raises(ConnectionError):
        await ask(agent)
    trace = settled.trace()
    assert trace.tree() == [{"agent weather": ["generation ScriptedLLM"]}]
    assert [found.level for found in trace.observations] == ["ERROR", "ERROR"]
    assert trace.one("ScriptedLLM").status_message == "ConnectionError: no network"


async def test_too_many_iterations_are_an_error_of_the_run(settled: RecordedSessions) -> None:
    """The tool call that was asked for and never made is noted on the agent's row."""
    agent = weather_agent(ScriptedLLM(lambda _: call("lookup", {"city": "Rome"})))
    with pytest.raises(Exception, match="iterations"):
        await ask(agent, max_iterations=2)
    trace = settled.trace()
    assert trace.tree() == [{"agent weather": ["generation ScriptedLLM", "tool lookup", "generation ScriptedLLM"]}]
    row = trace.one("weather")
    assert row.level == "ERROR"
    assert "iterations" in (row.status_message or "")


async def test_a_react_agent_has_no_other_shape(settled: RecordedSessions) -> None:
    """A ReAct agent's think has its tool calls, although they are parsed from text when the step ends."""
    llm = TextLLM(
        [
            'Thought: I look it up.\nAction: lookup\nAction Input: {"city": "Rome"}\n',
            "Thought: I can answer without using any more tools.\nAnswer: Sunny.",
        ]
    )
    agent = ReActAgent(tools=[tool(lookup)], llm=llm)
    assert await ask(agent) == "Sunny."
    trace = settled.trace()
    assert trace.tree() == [{"agent ReActAgent": ["generation TextLLM", "tool lookup", "generation TextLLM"]}]
    think, (act,) = settled.one().thinks[0], settled.one().acts
    assert think.metadata["tool_calls"] == [{"id": act.metadata["tool_call_id"], "name": "lookup"}]
    assert act.attributes["langfuse.observation.metadata.think_id"] == think.id
    assert think.model == "text-1"


@streamed
async def test_a_react_agent_that_does_not_stream(settled: RecordedSessions, streaming: bool) -> None:
    """A text model is asked through `achat`, `chat` and `complete`, or their streams: still one row."""
    llm = TextLLM(["Thought: I can answer without using any more tools.\nAnswer: Sunny."])
    assert await ask(ReActAgent(tools=[tool(lookup)], llm=llm, streaming=streaming)) == "Sunny."
    assert settled.trace().tree() == [{"agent ReActAgent": ["generation TextLLM"]}]
    assert bool(settled.one().thinks[0].first_token) is streaming


async def test_a_code_agent_acts_by_running_code(settled: RecordedSessions) -> None:
    """The code that it writes is the input of its act."""
    ran: list[str] = []

    async def execute(code: str) -> str:
        ran.append(code)
        return "sunny"

    llm = ScriptedLLM([say("I run it.\n<execute>\nprint(lookup('Rome'))\n</execute>"), say("It is sunny.")])
    agent = CodeActAgent(name="coder", code_execute_fn=execute, tools=[tool(lookup)], llm=llm)
    assert await ask(agent) == "It is sunny."
    assert ran == ["print(lookup('Rome'))"]
    trace = settled.trace()
    assert trace.tree() == [{"agent coder": ["generation ScriptedLLM", "tool execute", "generation ScriptedLLM"]}]
    assert settled.one().acts[0].input == {"code": "print(lookup('Rome'))"}


async def test_a_handoff_is_an_act_and_the_next_think_is_the_other_agents(settled: RecordedSessions) -> None:
    """One run for all agents of a workflow; whose think or act it is stands in its metadata."""
    greeter = FunctionAgent(
        name="greeter",
        description="Greets.",
        llm=ScriptedLLM([call("handoff", {"to_agent": "weather", "reason": "weather"}, "h1")]),
        can_handoff_to=["weather"],
    )
    forecaster = weather_agent(
        ScriptedLLM([call("lookup", {"city": "Rome"}, "w1"), "Sunny."]), description="Knows the weather."
    )
    workflow = AgentWorkflow(agents=[greeter, forecaster], root_agent="greeter")
    assert await ask(workflow) == "Sunny."
    trace = settled.trace()
    assert trace.tree() == [
        {
            "agent AgentWorkflow": [
                "generation ScriptedLLM",
                "tool handoff",
                "generation ScriptedLLM",
                "tool lookup",
                "generation ScriptedLLM",
            ]
        }
    ]
    steps = [found.metadata for found in trace.roots[0].children]
    assert [step["agent_name"] for step in steps] == ["greeter", "greeter", "weather", "weather", "weather"]
    assert [step["step_type"] for step in steps] == ["think", "act", "think", "act", "think"]
    assert {found.level for found in trace.observations} == {"DEFAULT"}


async def test_an_agent_as_a_tool_stands_inside_the_act(settled: RecordedSessions) -> None:
    """The inner agent's rows are below the tool call that ran it, with thinks and acts of its own."""
    inner = weather_agent(ScriptedLLM([call("lookup", {"city": "Rome"}), "Sunny."]))

    async def forecast(question: str) -> str:
        """Ask the weather agent."""
        return str(await inner.run(question))

    outer = FunctionAgent(
        name="boss", tools=[tool(forecast)], llm=ScriptedLLM([call("forecast", {"question": "Rome?"}), "Go out."])
    )
    assert await ask(outer) == "Go out."
    assert settled.trace().tree() == [
        {
            "agent boss": [
                "generation ScriptedLLM",
                {
                    "tool forecast": [
                        {"agent weather": ["generation ScriptedLLM", "tool lookup", "generation ScriptedLLM"]}
                    ]
                },
                "generation ScriptedLLM",
            ]
        }
    ]
    assert [act.metadata["agent_name"] for act in settled.one().acts] == ["boss", "weather"]


async def test_a_span_inside_of_a_tool_is_below_its_act(settled: RecordedSessions) -> None:
    """What the application records inside of sync and async tools nests there, with nothing attached."""

    def sync_tool(city: str) -> str:
        """Look."""
        with langfuse_manager.trace_span("inside sync"):
            return city

    async def async_tool(city: str) -> str:
        """Look."""
        with langfuse_manager.trace_span("inside async"):
            await asyncio.sleep(0)
            return city

    wanted = calls(("sync_tool", {"city": "Rome"}, "c1"), ("async_tool", {"city": "Oslo"}, "c2"))
    await ask(weather_agent(ScriptedLLM([wanted, "Done."]), tool(sync_tool), tool(async_tool)))
    (root,) = settled.trace().roots
    tools = {child.name: [below.label for below in child.children] for child in root.children if child.type == "tool"}
    assert tools == {"sync_tool": ["span inside sync"], "async_tool": ["span inside async"]}


async def test_the_callers_next_span_is_a_root_of_its_own(settled: RecordedSessions) -> None:
    """While a run is under way and after it, what its caller starts is no part of it."""
    release = asyncio.Event()
    handler = weather_agent(ScriptedLLM(["Hm."], pause=release.wait), streaming=False).run("Weather?")
    await asyncio.sleep(0.01)
    with langfuse_manager.trace_span("meanwhile"):
        ScriptedLLM(["Yes."]).chat([ChatMessage(role=MessageRole.USER, content="Sure?")])
    release.set()
    await handler
    with langfuse_manager.trace_span("after"):
        pass
    assert sorted(map(str, (trace.tree() for trace in settled.traces))) == sorted(
        map(
            str,
            [
                [{"agent weather": ["generation ScriptedLLM"]}],
                [{"span meanwhile": ["generation ScriptedLLM"]}],
                ["span after"],
            ],
        )
    )


async def test_a_run_inside_of_a_span_is_below_it(settled: RecordedSessions) -> None:
    """A run stands under what is current where `run()` was called, even if that has ended before the run starts."""
    with langfuse_manager.trace_span("request"):
        handler = weather_agent(ScriptedLLM(["Hm."])).run("Weather?")
    await handler
    assert settled.trace().tree() == [{"span request": [{"agent weather": ["generation ScriptedLLM"]}]}]


async def test_a_structured_answer_is_a_generation_and_the_output(settled: RecordedSessions) -> None:
    """The model call that makes the object is no think; the agent's output has text and object."""

    class Weather(BaseModel):
        sky: str

    llm = ScriptedLLM(["Sunny.", call("Weather", {"sky": "sunny"})])
    await ask(weather_agent(llm, output_cls=Weather))
    trace = settled.trace()
    assert trace.tree() == [{"agent weather": ["generation ScriptedLLM", "generation ScriptedLLM"]}]
    think, made = trace.named("ScriptedLLM")
    assert (think.is_think, made.is_think) == (True, False)
    assert trace.one("weather").output == {"response": "Sunny.", "structured_response": {"sky": "sunny"}}


async def test_history_and_memory_show_as_chat(settled: RecordedSessions) -> None:
    """A run with a history has the history and the question as its input."""
    history = [ChatMessage(role="user", content="I am in Rome."), ChatMessage(role="assistant", content="Nice.")]
    await ask(
        weather_agent(ScriptedLLM(["Sunny."])),
        "Weather?",
        chat_history=history,
        memory=ChatMemoryBuffer.from_defaults(),
    )
    assert settled.trace().one("weather").input == [
        {"role": "user", "content": "I am in Rome."},
        {"role": "assistant", "content": "Nice."},
        {"role": "user", "content": "Weather?"},
    ]


async def test_a_decision_without_a_model_is_a_step_of_its_own(settled: RecordedSessions) -> None:
    """An agent that asks no model of LlamaIndex has the step itself as its think."""
    from llama_index.core.agent.workflow import AgentOutput

    class Fixed(FunctionAgent):
        async def take_step(self, ctx: Any, llm_input: Any, tools: Any, memory: Any) -> AgentOutput:
            return AgentOutput(response=say("Fixed."), current_agent_name=self.name)

        async def finalize(self, ctx: Any, output: Any, memory: Any) -> Any:
            return output

    assert await ask(Fixed(name="fixed", llm=ScriptedLLM([]))) == "Fixed."
    assert settled.trace().tree() == [{"agent fixed": ["chain run_agent_step"]}]
    (think,) = settled.one().thinks
    assert think.output == "Fixed."
    assert think.ended_ns >= think.started_ns


async def test_a_query_engine_as_a_tool_stands_inside_the_act(settled: RecordedSessions) -> None:
    """The query's rows are below the act; the act's output is the answer's text."""
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding

    index = VectorStoreIndex.from_documents([Document(text="Alpacas hum.")], embed_model=MockEmbedding(embed_dim=4))
    settled.clear()
    engine = index.as_query_engine(llm=TextLLM(["They hum."]))
    facts = QueryEngineTool.from_defaults(engine, name="facts", description="Facts.")
    agent = weather_agent(ScriptedLLM([call("facts", {"input": "Alpacas?"}), "Hm."]), facts)
    await ask(agent)
    assert settled.trace().tree() == [
        {
            "agent weather": [
                "generation ScriptedLLM",
                {
                    "tool facts": [
                        {
                            "chain RetrieverQueryEngine": [
                                {"retriever VectorIndexRetriever": ["embedding MockEmbedding"]},
                                {"chain CompactAndRefine": ["generation TextLLM"]},
                            ]
                        }
                    ]
                },
                "generation ScriptedLLM",
            ]
        }
    ]
    assert settled.trace().one("facts").output == "They hum."
