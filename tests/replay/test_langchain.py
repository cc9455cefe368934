"""LangChain's models answer from a recording: in every way of calling, through agents, graphs and parsers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_runs import WAYS, every_way, search
from langfuse_integration.errors import SeamMoved
from langfuse_integration.testing import NotRecorded, replay
from langfuse_integration_langchain import SessionHandler, instrumented, private
from replay.recordings import record
from scripted_chat import ScriptedChat, ScriptedStream, call, calls

pytestmark = pytest.mark.langchain

QUESTION: Any = {"messages": [("user", "What do alpacas eat?")]}


class Unplugged(ScriptedStream):
    """A model of the replayed application: that it is asked at all is a failure."""

    def _reply(self, messages: Any) -> AIMessage:
        raise AssertionError("the model was called")


def herder(model: BaseChatModel) -> Any:
    """Return an agent with one tool."""
    return create_agent(model, [search], system_prompt="Be short.", name="herder")


def texts(result: Any) -> str:
    """Return what came of a run as comparable text, without ids of this run."""
    return json.dumps(result, default=lambda value: getattr(value, "content", None) or str(type(value)))


@every_way
@pytest.mark.parametrize("model", [ScriptedChat, ScriptedStream])
def test_an_agent_answers_the_same_without_its_model(tmp_path: Path, way: str, model: type[ScriptedChat]) -> None:
    """In every way of calling an agent, the replay gives the same parts, the same tree, and calls no model."""
    path = tmp_path / "a.session.json"
    trees: list[Any] = []

    def run() -> Any:
        return WAYS[way](herder(model(call("search", {"query": "hay"}), "Hay, mostly.")), QUESTION)

    recorded = record(run, path)
    for _ in range(2):
        with replay(path) as session:
            [turn] = session.turns
            replies = model("never")
            replies.__dict__["replies"] = [AssertionError("the model was called")]
            assert texts(WAYS[way](herder(replies), QUESTION)) == texts(recorded) or way == "astream_events"
            assert session.recorded is not None
            trees.append(session.recorded.one().traces[0].tree())
        assert turn.reply == "Hay, mostly."
    name = model.__name__
    assert trees == [[{"agent herder": [f"generation {name}", "tool search", f"generation {name}"]}]] * 2


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_has_the_recorded_chunks(tmp_path: Path, way: str) -> None:
    """Chunk by chunk, a replayed stream is equal to the recorded one, ids and usage included."""
    path = tmp_path / "a.session.json"
    recorded = record(lambda: WAYS[way](ScriptedStream("one two three"), "q"), path)
    with replay(path) as session:
        replayed = WAYS[way](Unplugged(), "q")
        assert session.divergences == []
    assert replayed == recorded
    assert len(replayed) == 5


def test_a_batch_answers_each_input(tmp_path: Path) -> None:
    """Calls at the same time get the answers to their own inputs, in whichever order they come."""
    path = tmp_path / "a.session.json"
    model = ScriptedChat(lambda messages: f"to {messages[-1].content}")
    inputs = [f"question {number}" for number in range(8)]
    config = {"callbacks": [SessionHandler()]}
    recorded = record(lambda: model.batch(inputs, config), path)
    with replay(path):
        replayed = unplugged().batch([*reversed(inputs)], config)
    assert [answer.content for answer in replayed] == [answer.content for answer in reversed(recorded)]


def unplugged() -> ScriptedChat:
    """Return a model that does not stream and must not be asked."""
    return ScriptedChat(AssertionError("the model was called"))


class Answer(BaseModel):
    """A structured answer."""

    animal: str


def test_structured_output_is_parsed_from_the_recording(tmp_path: Path) -> None:
    """A model that is bound to a schema gives the same object again."""
    path = tmp_path / "a.session.json"

    def run(model: BaseChatModel) -> Any:
        bound = model.with_structured_output(Answer)
        return bound.invoke("Which?", {"callbacks": [SessionHandler()]})

    recorded = record(lambda: run(ScriptedChat(call("Answer", {"animal": "llama"}))), path)
    with replay(path):
        assert run(unplugged()) == recorded == Answer(animal="llama")


def test_handlers_of_others_are_told_as_always(tmp_path: Path) -> None:
    """Every other callback handler gets starts, tokens and ends of a replayed stream."""
    path = tmp_path / "a.session.json"

    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_chat_model_start(self, *_: Any, **__: Any) -> None:
            self.heard.append("start")

        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            self.heard.append(str(token))

        def on_llm_end(self, response: Any, **_: Any) -> None:
            self.heard.append(f"end {response.generations[0][0].text}")

    def run(model: BaseChatModel) -> list[str]:
        listener = Listener()
        list(model.stream("q", {"callbacks": [listener, SessionHandler()]}))
        return listener.heard

    recorded = record(lambda: run(ScriptedStream("one two")), path)
    with replay(path):
        assert run(Unplugged()) == recorded == ["start", "one ", "two ", "", "", "end one two "]


class Overloaded(Exception):
    """A provider's error."""

    def __init__(self, message: str, status_code: int = 0) -> None:
        super().__init__(message)
        self.status_code = status_code


def overloaded(messages: Any) -> Any:
    """Fail as a provider does."""
    raise Overloaded("slow down", 429)


def test_a_recorded_error_is_raised_again(tmp_path: Path) -> None:
    """Class, message and status are the recorded ones, so that retries and fallbacks go the recorded way."""
    path = tmp_path / "a.session.json"

    def run(first: BaseChatModel, second: BaseChatModel) -> Any:
        model = first.with_fallbacks([second], exceptions_to_handle=(Overloaded,))
        return model.invoke("q", {"callbacks": [SessionHandler()]}).content

    assert record(lambda: run(ScriptedChat(overloaded), ScriptedChat("from the other")), path) == "from the other"
    with replay(path):
        assert run(unplugged(), unplugged()) == "from the other"
    with replay(path) as session:
        session.allow("was not asked for")
        with pytest.raises(Overloaded, match="slow down") as caught:
            unplugged().invoke("q")
    assert caught.value.status_code == 429


def test_chains_and_parallel_branches_are_replayed(tmp_path: Path) -> None:
    """A sequence with a prompt and a parser, and branches that run at the same time, give the recorded answers."""
    path = tmp_path / "a.session.json"

    def chain(model: BaseChatModel, word: str) -> Any:
        return ChatPromptTemplate.from_template(word + " {animal}") | model | StrOutputParser()

    def run(model: BaseChatModel) -> Any:
        branches = RunnableParallel(food=chain(model, "food of"), wool=chain(model, "wool of"))
        return branches.invoke({"animal": "llamas"}, {"callbacks": [SessionHandler()]})

    recorded = record(lambda: run(ScriptedChat(lambda messages: messages[-1].content.upper())), path)
    with replay(path):
        assert run(unplugged()) == recorded == {"food": "FOOD OF LLAMAS", "wool": "WOOL OF LLAMAS"}


@tool
def book(pen: str) -> str:
    """Book a pen, once a person agrees."""
    return f"{pen} booked by {interrupt(f'Book {pen}?')}"


def test_an_interrupt_and_its_resume_are_replayed(tmp_path: Path) -> None:
    """A run that waits for a person is two turns: the input, and the value that it is resumed with."""
    path = tmp_path / "a.session.json"

    def agent(model: BaseChatModel) -> Any:
        return create_agent(model, [book], name="herder", checkpointer=InMemorySaver())

    def config() -> Any:
        return {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t"}}

    def run() -> str:
        made = agent(ScriptedChat(call("book", {"pen": "north"}), "Done."))
        made.invoke(QUESTION, config())
        return str(made.invoke(Command(resume="Ada"), config())["messages"][-2].content)

    assert record(run, path) == "north booked by Ada"
    with replay(path) as session:
        made = agent(unplugged())
        first, second = session.turns
        assert made.invoke(first.input, config())["__interrupt__"][0].value == "Book north?"
        assert (first.name, second.text) == ("herder", "Ada")
        result = made.invoke(Command(resume=second.text), config())
        assert result["messages"][-2].content == "north booked by Ada"


class Flock(TypedDict):
    """State of a graph with two agents."""

    messages: Annotated[list[AnyMessage], add_messages]


def test_subgraphs_and_agents_at_the_same_time_are_replayed(tmp_path: Path) -> None:
    """Two agents that run side by side below one graph, with tools in parallel, get their own answers."""
    path = tmp_path / "a.session.json"

    def graph(model: Callable[[str], BaseChatModel]) -> Any:
        builder = StateGraph(Flock)
        for name in ("herder", "shearer"):
            builder.add_node(name, create_agent(model(name), [search], system_prompt=f"You are {name}.", name=name))
            builder.add_edge(START, name)
            builder.add_edge(name, END)
        return builder.compile(name="farm")

    def model(name: str) -> BaseChatModel:
        both = calls(
            ("search", {"query": f"{name} hay"}, f"{name}-1"), ("search", {"query": f"{name} wool"}, f"{name}-2")
        )
        return ScriptedChat(both, f"{name} is done.")

    def run(make: Callable[[str], BaseChatModel]) -> list[str]:
        result = graph(make).invoke(QUESTION, {"callbacks": [SessionHandler()]})
        return sorted(str(message.content) for message in result["messages"])

    recorded = record(lambda: run(model), path)
    for _ in range(3):
        with replay(path):
            assert run(lambda name: unplugged()) == recorded
    assert "shearer is done." in recorded


def test_what_is_not_recorded_raises_and_names_the_step(tmp_path: Path) -> None:
    """A further call raises NotRecorded with the last step; the replay reports it once, however often it is tried."""
    path = tmp_path / "a.session.json"
    record(lambda: ScriptedChat("one").invoke("q", {"callbacks": [SessionHandler()]}), path)
    with replay(path) as session:
        unplugged().invoke("q")
        for _ in range(3):
            with pytest.raises(NotRecorded, match=r"^after step 1 \(ScriptedChat 1\): a further model call"):
                unplugged().invoke("q")
        assert [str(each) for each in session.divergences] == [
            "after step 1 (ScriptedChat 1): a further model call is asked for"
        ]
        session.allow(1)


def test_replays_in_threads_answer_each_call_once(tmp_path: Path) -> None:
    """An application that asks from many threads gets each recorded answer once."""
    path = tmp_path / "a.session.json"
    inputs = [f"q{number}" for number in range(20)]
    model = ScriptedChat(lambda messages: messages[-1].content + "!")

    def in_threads(model: BaseChatModel) -> list[str]:
        answers: list[str] = []
        start = threading.Barrier(len(inputs))

        def ask(text: str) -> None:
            start.wait(30)
            answers.append(str(model.invoke(text, {"callbacks": [SessionHandler()]}).content))

        threads = [threading.Thread(target=ask, args=(text,)) for text in inputs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(answers)

    def run() -> list[str]:
        return sorted(str(each.content) for each in model.batch(inputs, {"callbacks": [SessionHandler()]}))

    recorded = record(run, path)
    with replay(path):
        assert in_threads(unplugged()) == recorded


def test_the_models_are_as_before_after_a_replay(tmp_path: Path) -> None:
    """A replay leaves no patch and no handler behind, also when the application raised in it."""
    path = tmp_path / "a.session.json"
    record(lambda: ScriptedChat("one").invoke("q", {"callbacks": [SessionHandler()]}), path)
    before = (BaseChatModel._generate_with_cache, BaseChatModel.stream, ScriptedStream._stream)
    with pytest.raises(KeyError), replay(path):
        raise KeyError("the application's own")
    assert (BaseChatModel._generate_with_cache, BaseChatModel.stream, ScriptedStream._stream) == before
    assert not instrumented()
    assert ScriptedChat("live").invoke("q").content == "live"


def test_a_release_without_the_seam_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where langchain-core has moved what a replay replaces, the message names release and method."""
    path = tmp_path / "a.session.json"
    record(lambda: ScriptedChat("one").invoke("q", {"callbacks": [SessionHandler()]}), path)
    monkeypatch.setattr(private, "CHAT_SEAMS", (*private.CHAT_SEAMS, "_generate_in_2028"))
    with pytest.raises(SeamMoved, match=r"langchain-core [\d.]+ has no BaseChatModel._generate_in_2028"):
        replay(path).__enter__()
    assert not instrumented()


def test_an_async_block_replays_too(tmp_path: Path) -> None:
    """`async with replay(...)` is the same, in one task."""
    path = tmp_path / "a.session.json"
    record(lambda: ScriptedChat("one").invoke("q", {"callbacks": [SessionHandler()]}), path)

    async def run() -> Any:
        async with replay(path):
            return (await unplugged().ainvoke("q")).content

    assert asyncio.run(run()) == "one"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_answer_from_a_cache_is_replayed_as_one(tmp_path: Path, way: str) -> None:
    """Only the answers that the cache gave are without cost, though it changes the first one as well."""

    def run(*replies: Any) -> list[Any]:
        model = ScriptedChat(*replies, cache=InMemoryCache())
        config: Any = {"callbacks": [SessionHandler()]}
        ask = model.invoke if way == "invoke" else lambda *asked: asyncio.run(model.ainvoke(*asked))
        return [ask("hi", config).usage_metadata for _ in range(3)]

    usage: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    free = {**usage, "total_cost": 0}
    file = tmp_path / "a.session.json"
    assert record(lambda: run(AIMessage("hay", usage_metadata=usage)), file) == [usage, free, free]
    with replay(file) as session:
        assert run(AssertionError()) == [usage, free, free]
        assert [row.metadata.get("cache_hit") for row in session.recorded.observations] == [None, True, True]
