"""Chains of LangChain's expression language: one row per real thing, however they are run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnablePick,
    chain,
)
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_runs import gathered, recorded
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import BUCKETS, ScriptedChat, ScriptedStream, call

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

NEWEST: Any = "v3" if hasattr(BaseCallbackHandler, "on_stream_event") else "v2"
QUESTION = {"question": "What do alpacas do?"}
ASKED = [{"role": "user", "content": "What do alpacas do?"}]
TREE = [{"chain RunnableSequence": ["generation ScriptedStream"]}]
TOOL_TREE = [{"chain RunnableSequence": ["generation ScriptedChat"]}]


def talk() -> Any:
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    return prompt | ScriptedStream("Alpacas hum softly.") | StrOutputParser()


RUNS = {
    "invoke": lambda: talk().invoke(QUESTION, recorded()),
    "ainvoke": lambda: asyncio.run(talk().ainvoke(QUESTION, recorded())),
    "stream": lambda: list(talk().stream(QUESTION, recorded())),
    "astream": lambda: asyncio.run(gathered(talk().astream(QUESTION, recorded()))),
    "astream_events v1": lambda: asyncio.run(gathered(talk().astream_events(QUESTION, recorded(), version="v1"))),
    "astream_events v2": lambda: asyncio.run(gathered(talk().astream_events(QUESTION, recorded(), version="v2"))),
    "astream_log": lambda: asyncio.run(gathered(talk().astream_log(QUESTION, recorded()))),
    "batch": lambda: talk().batch([QUESTION], recorded()),
    "abatch": lambda: asyncio.run(talk().abatch([QUESTION], recorded())),
    "transform": lambda: list(talk().transform(iter([QUESTION]), recorded())),
}


@pytest.mark.filterwarnings("ignore:astream_log is deprecated")
@pytest.mark.filterwarnings("ignore:.*astream_events.*")
@pytest.mark.parametrize("way", RUNS)
def test_a_chain_reads_the_same_however_it_is_run(sessions: RecordedSessions, way: str) -> None:
    """The root has the real input and output, also of a stream, whose input is known at its end only."""
    RUNS[way]()
    trace = sessions.trace()
    assert trace.tree() == TREE
    root, generation = trace.observations
    assert root.input == QUESTION
    assert str(root.output).strip() == "Alpacas hum softly."
    assert generation.input == ASKED
    assert generation.output["role"] == "assistant"
    assert generation.output["content"].strip() == "Alpacas hum softly."
    assert generation.usage == BUCKETS
    assert generation.metadata["finish_reason"] == "stop"
    assert {found.level for found in trace.observations} == {"DEFAULT"}
    assert bool(generation.first_token) == (way not in ("invoke", "ainvoke", "batch", "abatch"))


@pytest.mark.filterwarnings("ignore:.*in beta.*")
@pytest.mark.filterwarnings("ignore:.*experimental.*")
def test_the_newest_stream_tells_its_first_token(sessions: RecordedSessions) -> None:
    """The newest kind of stream that this release has may tell no tokens to handlers, but events."""

    async def main() -> None:
        stream = ScriptedStream("Alpacas hum softly.").astream_events("x", recorded(), version=NEWEST)
        await gathered(await stream if asyncio.iscoroutine(stream) else stream)  # type: ignore[arg-type]

    asyncio.run(main())
    generation = sessions.trace().one("ScriptedStream")
    assert sessions.trace().tree() == ["generation ScriptedStream"]
    assert generation.first_token is not None
    assert "Alpacas hum softly." in str(generation.output["content"])
    assert generation.usage == BUCKETS


def test_a_batch_is_a_trace_for_each_input(sessions: RecordedSessions) -> None:
    """Ten inputs on several threads: ten traces of the same form, none mixed with another."""
    talk().batch([{"question": f"Question {index}?"} for index in range(10)], recorded())
    assert [trace.tree() for trace in sessions.traces] == [TREE] * 10
    for trace in sessions.traces:
        root, generation = trace.observations
        assert generation.input == [{"role": "user", "content": root.input["question"]}]
    assert len({trace.roots[0].input["question"] for trace in sessions.traces}) == 10


def test_parallels_pass_throughs_and_branches_are_no_rows(sessions: RecordedSessions) -> None:
    """assign, parallel, pick, branch, pass-through and anonymous functions are folded; named functions are rows."""

    def shorten(values: dict[str, Any]) -> str:
        return str(values["question"])[:4]

    steps = (
        RunnablePassthrough.assign(short=RunnableLambda(shorten), length=lambda values: len(values["question"]))
        | RunnableParallel(said=talk(), short=RunnablePick("short"), all=RunnablePassthrough())
        | RunnableBranch((lambda values: bool(values), RunnableLambda(lambda values: values)), RunnablePassthrough())
    )
    answer = steps.invoke(QUESTION, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["chain shorten", "generation ScriptedStream"]}]
    assert trace.roots[0].output == answer
    assert (trace.one("shorten").input, trace.one("shorten").output) == (QUESTION, "What")


def test_what_runs_in_parallel_stands_side_by_side(sessions: RecordedSessions) -> None:
    """Two chains in parallel, sync on threads and async: both generations under the root."""
    both = RunnableParallel(one=talk(), two=talk())
    both.invoke(QUESTION, recorded())
    asyncio.run(both.ainvoke(QUESTION, recorded()))
    tree = [{"chain RunnableParallel<one,two>": ["generation ScriptedStream"] * 2}]
    assert [trace.tree() for trace in sessions.traces] == [tree, tree]


def test_a_decorated_chain_holds_what_it_calls(sessions: RecordedSessions) -> None:
    """@chain functions are rows, and what they invoke stands below them, sync and async."""

    @chain
    def inner(values: dict[str, Any]) -> Any:
        return talk().invoke(values)

    @chain
    async def outer(values: dict[str, Any]) -> Any:
        return await inner.ainvoke(values)

    asyncio.run(outer.ainvoke(QUESTION, recorded()))
    assert sessions.trace().tree() == [{"chain outer": [{"chain inner": ["generation ScriptedStream"]}]}]


def test_generators_and_run_names_are_kept(sessions: RecordedSessions) -> None:
    """A named generator is a row; a run name replaces the name of the class, and makes a row of a sequence."""

    def shout(parts: Any) -> Any:
        for part in parts:
            yield str(part).upper()

    named = talk().with_config(run_name="question and answer")
    steps = named | RunnableGenerator(shout)
    assert "ALPACAS" in "".join(steps.stream(QUESTION, recorded()))
    assert sessions.trace().tree() == [
        {"chain RunnableSequence": [{"chain question and answer": ["generation ScriptedStream"]}, "chain shout"]}
    ]


# -- alone


def test_a_bare_model_is_a_root(sessions: RecordedSessions) -> None:
    """A model without a chain, sync, async and streamed: a generation each, with model, parameters and usage."""
    model = ScriptedStream("Alpacas hum.")
    model.invoke("x", recorded())
    asyncio.run(model.ainvoke("x", recorded()))
    list(model.stream("x", recorded()))
    assert [trace.tree() for trace in sessions.traces] == [["generation ScriptedStream"]] * 3
    for found in sessions.observations:
        assert (found.model, found.model_parameters) == ("scripted-1-of-today", {"temperature": 0.5})
        assert found.usage == BUCKETS
        assert found.input == [{"role": "user", "content": "x"}]


def test_a_model_that_takes_text_reads_as_text(sessions: RecordedSessions) -> None:
    """A model that is no chat model: prompt and answer as text, and no usage where none is told."""
    FakeListLLM(responses=["An answer."]).invoke("A question?", recorded())
    generation = sessions.trace().one("FakeListLLM")
    assert (generation.input, generation.output) == ("A question?", "An answer.")
    assert generation.usage == {}


def test_a_bare_tool_is_a_root(sessions: RecordedSessions) -> None:
    """A tool called by hand: its arguments and its answer, also when it is called as a model would."""

    @tool
    def add(left: int, right: int) -> int:
        """Add."""
        return left + right

    add.invoke({"left": 1, "right": 2}, recorded())
    add.invoke({"type": "tool_call", "name": "add", "args": {"left": 1, "right": 2}, "id": "call_1"}, recorded())
    asyncio.run(add.ainvoke({"left": 1, "right": 2}, recorded()))
    assert [trace.tree() for trace in sessions.traces] == [["tool add"]] * 3
    assert [(found.input, found.output) for found in sessions.observations] == [
        ({"left": 1, "right": 2}, 3),
        ({"left": 1, "right": 2}, 3),
        ({"left": 1, "right": 2}, 3),
    ]
    assert not any(found.is_act for found in sessions.observations)


class Storage(BaseRetriever):
    """Finds one document."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if query == "burnt":
            raise LookupError("no such shelf")
        return [Document(f"About {query}.", metadata={"page": 7}, id="doc-1")]


def test_a_bare_retriever_is_a_root(sessions: RecordedSessions) -> None:
    """The query as it is, the documents as text with metadata; an error is one."""
    Storage().invoke("alpacas", recorded())
    with pytest.raises(LookupError):
        asyncio.run(Storage().ainvoke("burnt", recorded()))
    found, failed = sessions.observations
    assert (found.label, found.input) == ("retriever Storage", "alpacas")
    assert found.output == [{"page_content": "About alpacas.", "metadata": {"page": 7}, "id": "doc-1"}]
    assert (failed.level, failed.status_message) == ("ERROR", "LookupError: no such shelf")


# -- what goes wrong


def test_an_error_is_on_the_row_that_failed_and_those_above(sessions: RecordedSessions) -> None:
    """The model raises: generation and root are errors with its text, and the exception reaches the caller."""
    with pytest.raises(ValueError, match="overloaded"):
        (ChatPromptTemplate.from_template("{question}") | ScriptedChat(ValueError("overloaded"))).invoke(
            QUESTION, recorded()
        )
    trace = sessions.trace()
    assert trace.tree() == TOOL_TREE
    assert {(found.level, found.status_message) for found in trace.observations} == {
        ("ERROR", "ValueError: overloaded")
    }


def test_plumbing_that_fails_by_itself_is_a_row(sessions: RecordedSessions) -> None:
    """A parser that cannot read the answer is shown, with what it could not read."""
    with pytest.raises(Exception, match="Invalid json"):
        (ScriptedChat("no json") | JsonOutputParser()).invoke("x", recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedChat", "chain JsonOutputParser"]}]
    parser = trace.one("JsonOutputParser")
    assert parser.level == "ERROR"
    assert parser.input == {"role": "assistant", "content": "no json"}
    assert trace.one("ScriptedChat").level == "DEFAULT"


def test_an_anonymous_function_that_fails_is_a_row(sessions: RecordedSessions) -> None:
    """A lambda is folded as long as it works."""
    with pytest.raises(ZeroDivisionError):
        (RunnableLambda(lambda value: value) | RunnableLambda(lambda value: value / 0)).invoke(1, recorded())
    assert sessions.trace().tree() == [{"chain RunnableSequence": ["chain RunnableLambda"]}]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "batch"])
@pytest.mark.parametrize("place", ["alone", "in a chain"])
def test_fallbacks_stay_in_one_trace(sessions: RecordedSessions, way: str, place: str) -> None:
    """The first model fails, the second answers: both below the same root, also where LangChain forgets to say so."""
    model: Any = ScriptedChat(ValueError("overloaded")).with_fallbacks([ScriptedStream("Alpacas hum.")])
    steps = model if place == "alone" else ChatPromptTemplate.from_template("{question}") | model | StrOutputParser()
    given: Any = "x" if place == "alone" else QUESTION
    if way == "invoke":
        steps.invoke(given, recorded())
    elif way == "ainvoke":
        asyncio.run(steps.ainvoke(given, recorded()))
    elif way == "batch":
        steps.batch([given], recorded())
    else:
        list(steps.stream(given, recorded()))
    trace = sessions.trace()
    (root,) = trace.roots
    assert root.name == ("RunnableWithFallbacks" if place == "alone" else "RunnableSequence")
    assert [child.label for child in root.children] == ["generation ScriptedChat", "generation ScriptedStream"]
    assert [child.level for child in root.children] == ["ERROR", "DEFAULT"]
    assert root.level == "DEFAULT"


def test_when_all_fallbacks_fail_each_is_shown_once(sessions: RecordedSessions) -> None:
    """Two failures and the root: no row for the fallback itself."""
    model = ScriptedChat(ValueError("first")).with_fallbacks([ScriptedChat(ValueError("second"))])
    with pytest.raises(ValueError, match="first"):
        (ChatPromptTemplate.from_template("{question}") | model).invoke(QUESTION, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedChat", "generation ScriptedChat"]}]
    assert {found.level for found in trace.observations} == {"ERROR"}


def test_a_retried_model_shows_each_attempt(sessions: RecordedSessions) -> None:
    """with_retry in a chain: two generations under the root, the wrapper is no row."""
    model = ScriptedChat(ValueError("once"), "Fine.").with_retry(wait_exponential_jitter=False)
    (ChatPromptTemplate.from_template("{question}") | model).invoke(QUESTION, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedChat", "generation ScriptedChat"]}]
    assert [found.level for found in trace.observations] == ["DEFAULT", "ERROR", "DEFAULT"]


def test_a_retried_function_shows_its_failures(sessions: RecordedSessions) -> None:
    """Two failures and a success: the root is the function, its failed attempts stand below it."""
    attempts: list[int] = []

    def flaky(value: int) -> int:
        attempts.append(value)
        if len(attempts) < 3:
            raise ConnectionError(f"attempt {len(attempts)}")
        return value

    RunnableLambda(flaky).with_retry(wait_exponential_jitter=False).invoke(1, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain flaky": ["chain flaky", "chain flaky"]}]
    root, *failed = trace.observations
    assert (root.level, root.output) == ("DEFAULT", 1)
    assert [found.status_message for found in failed] == ["ConnectionError: attempt 1", "ConnectionError: attempt 2"]
    assert all(found.input == 1 for found in failed)


def test_a_retried_function_that_gives_up_shows_its_last_failure_once(sessions: RecordedSessions) -> None:
    """The last failure is the root's own; the one before stands below it."""
    with pytest.raises(ZeroDivisionError):
        RunnableLambda(lambda value: value / 0, name="divide").with_retry(
            wait_exponential_jitter=False, stop_after_attempt=2
        ).invoke(1, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain divide": ["chain divide"]}]
    assert {found.level for found in trace.observations} == {"ERROR"}


# -- what models give


def test_structured_output_is_the_roots(sessions: RecordedSessions) -> None:
    """The model asks for a tool that is none: no act, no agent, and the value is the root's output."""

    class Animal(BaseModel):
        """An animal."""

        name: str

    ScriptedChat(call("Animal", {"name": "alpaca"})).with_structured_output(Animal).invoke("x", recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedChat"]}]
    assert trace.roots[0].output == {"name": "alpaca"}
    generation = trace.one("ScriptedChat")
    assert generation.input["messages"] == [{"role": "user", "content": "x"}]
    assert generation.input["tools"][0]["function"]["name"] == "Animal"
    assert not generation.is_think


def test_an_answer_from_langchains_cache_costs_nothing(sessions: RecordedSessions) -> None:
    """A repeated question is answered from LangChain's cache, and its generation costs 0."""
    model = ScriptedChat("Alpacas hum.", cache=InMemoryCache())
    model.invoke("x", recorded())
    model.invoke("x", recorded())
    asked, cached = sessions.observations
    assert (asked.cost, asked.metadata.get("cache_hit")) == ({}, None)
    assert (cached.cost, cached.metadata.get("cache_hit")) == ({"total": 0.0}, True)
    assert cached.output == asked.output


def test_several_prompts_in_one_call_are_a_generation_each(sessions: RecordedSessions) -> None:
    """generate() with two prompts: two generations, each with its own answer."""
    ScriptedChat("one", "two").generate([[HumanMessage("1")], [HumanMessage("2")]], callbacks=[SessionHandler()])
    assert [(found.input[0]["content"], found.output["content"]) for found in sessions.observations] == [
        ("1", "one"),
        ("2", "two"),
    ]


def test_messages_in_any_form_read_as_chat(sessions: RecordedSessions) -> None:
    """Roles, tool calls and tool answers of a conversation read as in a chat."""
    history: list[Any] = [
        ("system", "Be brief."),
        ("human", "Search."),
        call("search", {"query": "wool"}),
        {"role": "tool", "content": "found wool", "tool_call_id": "call_1"},
        AIMessage([{"type": "text", "text": "Wool."}]),
    ]
    ScriptedChat("Done.").invoke(history, recorded())
    assert sessions.trace().roots[0].input == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Search."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"name": "search", "args": {"query": "wool"}, "id": "call_1", "type": "tool_call"}],
        },
        {"role": "tool", "content": "found wool", "tool_call_id": "call_1"},
        {"role": "assistant", "content": [{"type": "text", "text": "Wool."}]},
    ]


# -- nested


def test_chains_inside_of_tools_stand_below_them(sessions: RecordedSessions) -> None:
    """A sync and an async tool that run a chain of their own, without passing anything on."""

    @tool
    def explain(question: str) -> str:
        """Explain."""
        return str(talk().invoke({"question": question}))

    @tool
    async def explain_later(question: str) -> str:
        """Explain, later."""
        return str(await talk().ainvoke({"question": question}))

    explain.invoke({"question": "why"}, recorded())
    asyncio.run(explain_later.ainvoke({"question": "why"}, recorded()))
    assert [trace.tree() for trace in sessions.traces] == [
        [{"tool explain": ["generation ScriptedStream"]}],
        [{"tool explain_later": ["generation ScriptedStream"]}],
    ]
