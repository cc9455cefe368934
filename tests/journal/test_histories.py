"""Histories of the real frameworks: each message is stored once, however often it is sent again."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from llama_index.core import Settings
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.memory import ChatMemoryBuffer

from journal.test_chains import assert_sound, opened, size_bytes
from langfuse_integration import langfuse_manager
from langfuse_integration.reading.archive import Archive
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_llamaindex import SessionHandler as LlamaIndexHandler

MESSAGE_BYTES = 400
TURNS = 60


def words() -> str:
    return secrets.token_hex(MESSAGE_BYTES // 2)


class Model(BaseChatModel):
    """Answers every time with something new."""

    @property
    def _llm_type(self) -> str:
        return "model"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(words()))])


class LlamaModel(CustomLLM):
    """A LlamaIndex model that answers every time with something new."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="model", context_window=1_000_000)

    @llm_chat_callback()
    def chat(self, messages: Any, **_: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(role="assistant", content=words()))

    def complete(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def stream_complete(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def assert_small(journal: Path, said: int) -> None:
    """The journal takes three times what was said at most."""
    result = langfuse_manager.flush(600)
    assert (result.pending, result.lost) == (0, 0)
    with opened(journal) as file:
        assert_sound(file)
        file.query("PRAGMA wal_checkpoint(TRUNCATE)")
    taken = size_bytes(journal.parent)
    assert taken < 3 * said, f"{taken / said:.2f} times"


def assert_linear(journal: Path) -> None:
    """All that was said is in the nodes once, while the rows together repeat it many times."""
    assert langfuse_manager.flush(30).lost == 0
    said = TURNS * 2 * MESSAGE_BYTES
    with opened(journal) as file:
        assert_sound(file)
        stored = file.query("SELECT sum(coalesce(size_bytes, length(body))) FROM nodes")[0][0]
        whole = file.query("SELECT sum(coalesce(size_bytes, length(body))) FROM spans")[0][0]
    assert stored < 2 * said
    assert whole > 10 * said
    with Archive(journal) as archive:
        generations = [
            found for trace in archive.traces("chat") for found in trace.observations if found.type == "generation"
        ]
    assert len(generations) == TURNS
    assert sorted(len(found.input) for found in generations) == list(range(1, 2 * TURNS, 2))


def test_an_agent_that_calls_its_model_again_and_again(journal: Path) -> None:
    """LangChain: the model's input grows with each step."""
    model = Model()

    def agent(_: str, config: RunnableConfig) -> str:
        messages: list[BaseMessage] = [HumanMessage(words())]
        for _step in range(TURNS):
            messages = [*messages, model.invoke(messages, config), HumanMessage(words())]
        return "done"

    with langfuse_manager.session("chat"):
        RunnableLambda(agent).invoke("go", {"callbacks": [SessionHandler()]})
    assert_linear(journal)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1_000, pytest.param(10_000, id="10000, for a quarter of an hour")])
def test_steps_of_langchain_take_three_times_what_was_said(journal: Path, steps: int) -> None:
    """LangChain: a model that is called with everything said before."""
    model = Model()

    def agent(_: str, config: RunnableConfig) -> str:
        messages: list[BaseMessage] = [HumanMessage(words())]
        for _step in range(steps):
            messages = [*messages, model.invoke(messages, config), HumanMessage(words())]
        return "done"

    with langfuse_manager.session("chat"):
        RunnableLambda(agent).invoke("go", {"callbacks": [SessionHandler()]})
    assert_small(journal, (1 + 2 * steps) * MESSAGE_BYTES)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1_000, pytest.param(10_000, id="10000, for a quarter of an hour")])
def test_steps_of_llamaindex_take_three_times_what_was_said(journal: Path, steps: int) -> None:
    """LlamaIndex: the same."""
    handler = LlamaIndexHandler().attach()
    try:
        model = LlamaModel()
        messages = [ChatMessage(role="user", content=words())]
        with langfuse_manager.session("chat"), langfuse_manager.trace_span("agent"):
            for _step in range(steps):
                messages += [model.chat(messages).message, ChatMessage(role="user", content=words())]
    finally:
        handler.detach()
    assert_small(journal, (1 + 2 * steps) * MESSAGE_BYTES)


@pytest.mark.slow
def test_500_turns_with_a_checkpointer_take_three_times_what_was_said(journal: Path) -> None:
    """LangGraph: a message each of the user and of the model in each turn."""
    _turns(500)
    assert_small(journal, 500 * 2 * MESSAGE_BYTES)


def test_turns_of_a_graph_with_a_checkpointer(journal: Path) -> None:
    """LangGraph: states, outputs and the model's inputs share their messages, across traces."""
    _turns(TURNS)
    assert_linear(journal)


def _turns(count: int) -> None:
    model = Model()

    def call(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", call)
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    app = graph.compile(checkpointer=InMemorySaver())
    with langfuse_manager.session("chat"):
        for _ in range(count):
            app.invoke(
                {"messages": [HumanMessage(words())]},
                {"configurable": {"thread_id": "1"}, "callbacks": [SessionHandler()]},
            )


def test_turns_of_a_chat_engine(journal: Path) -> None:
    """LlamaIndex: the messages of a memory."""
    handler = LlamaIndexHandler()
    Settings.callback_manager = CallbackManager([handler])
    try:
        engine = SimpleChatEngine.from_defaults(
            llm=LlamaModel(callback_manager=Settings.callback_manager),
            memory=ChatMemoryBuffer.from_defaults(token_limit=1_000_000),
        )
        with langfuse_manager.session("chat"):
            for _ in range(TURNS):
                engine.chat(words())
    finally:
        handler.detach()
        Settings.callback_manager = CallbackManager()
    assert_linear(journal)
