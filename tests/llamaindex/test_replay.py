"""LlamaIndex's models answer from a recording: in every way of calling, through agents, engines, structured answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CustomLLM
from llama_index.core.llms import callbacks as llama_callbacks
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai import OpenAI
from openai import RateLimitError
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.errors import SeamMoved
from langfuse_integration.testing import NotRecorded, recorded_sessions, replay
from llamaindex.scripted import ScriptedLLM, TextLLM, call, calls, lookup, say, tool
from peers.models import ModelServer, fail
from peers.models import call as called
from peers.models import say as said
from replay.recordings import record, write

HELLO = [ChatMessage(role="user", content="Hello")]
REPLIES = ["One two three.", "Four five.", "Six."]


class Unplugged(Exception):
    """A model of the replayed application was asked."""


def unplugged(*_: Any) -> Any:
    """Fail as the model of a replayed application."""
    raise Unplugged


def scripted(*script: Any) -> ScriptedLLM:
    """Return a model that is asked in the recording, or must not be asked in the replay."""
    return ScriptedLLM(list(script) or unplugged, raw={"usage": {"prompt_tokens": 3}, "model": "scripted-2"})


def same(path: Path, run: Callable[[Any], Any], recorded: Any, replayed: Any) -> Any:
    """Record *run* with one model and replay it with another; return the result, which has to be the same."""
    with recorded_sessions() as sessions:
        with langfuse_manager.session("s-1", "u-1"):
            before = run(recorded)
        write(sessions, path)
        rows = [(row.name, row.output, row.model, row.usage, row.metadata) for row in sessions.one().observations]
        trees = [trace.tree() for trace in sessions.one().traces]
    with replay(path) as session:
        assert run(replayed) == before
        seen = session.recorded.one()
        assert [trace.tree() for trace in seen.traces] == trees
        assert [(row.name, row.output, row.model, row.usage) for row in seen.observations] == [row[:4] for row in rows]
    return before


def engine(llm: Any) -> SimpleChatEngine:
    """Return a chat engine that remembers in memory."""
    return SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults(llm=llm))


async def _collected(stream: Any) -> list[Any]:
    return [piece async for piece in await stream]


CHATS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda llm: llm.chat(HELLO),
    "achat": lambda llm: asyncio.run(llm.achat(HELLO)),
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO)),
    "astream_chat": lambda llm: asyncio.run(_collected(llm.astream_chat(HELLO))),
    "predict": lambda llm: llm.predict(PromptTemplate("Hello {name}"), name="you"),
    "apredict": lambda llm: asyncio.run(llm.apredict(PromptTemplate("Hello {name}"), name="you")),
    "stream": lambda llm: list(llm.stream(PromptTemplate("Hello"))),
    "two calls": lambda llm: [llm.chat(HELLO), llm.chat(HELLO)],
    "tools": lambda llm: llm.chat_with_tools([tool(lookup)], user_msg="Hello"),
    "chat engine": lambda llm: str(engine(llm).chat("Hello")),
    "streamed chat engine": lambda llm: list(engine(llm).stream_chat("Hello").response_gen),
}


@pytest.mark.parametrize("way", CHATS)
def test_a_chat_model(way: str, tmp_path: Path) -> None:
    """In every way of calling, the replay gives equal responses, pieces and rows, and asks no model."""
    same(tmp_path / "a.session.json", CHATS[way], scripted(*REPLIES), scripted())


COMPLETIONS: dict[str, Callable[[Any], Any]] = {
    "complete": lambda llm: llm.complete("Hello"),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("Hello")),
    "stream_complete": lambda llm: list(llm.stream_complete("Hello")),
    "chat": lambda llm: llm.chat(HELLO),
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO)),
}


@pytest.mark.parametrize("way", COMPLETIONS)
def test_a_text_model(way: str, tmp_path: Path) -> None:
    """A model that completes texts, asked as it is and as a chat model."""
    same(tmp_path / "a.session.json", COMPLETIONS[way], TextLLM(REPLIES), TextLLM(unplugged))


class Animal(BaseModel):
    """What a structured answer is about."""

    name: str
    legs: int


STRUCTURED: dict[str, Callable[[Any], Any]] = {
    "structured_predict": lambda llm: llm.structured_predict(Animal, PromptTemplate("Which?")),
    "astructured_predict": lambda llm: asyncio.run(llm.astructured_predict(Animal, PromptTemplate("Which?"))),
    "a structured model": lambda llm: llm.as_structured_llm(Animal).chat(HELLO).raw,
    "a structured stream": lambda llm: list(llm.as_structured_llm(Animal).stream_chat(HELLO))[-1].raw,
}


@pytest.mark.parametrize("way", STRUCTURED)
def test_a_structured_answer(way: str, tmp_path: Path) -> None:
    """The object is made anew from the recorded tool call."""
    answer = call("Animal", {"name": "alpaca", "legs": 4})
    result = same(tmp_path / "a.session.json", STRUCTURED[way], scripted(answer), scripted())
    assert result == Animal(name="alpaca", legs=4)


async def agent(llm: Any) -> Any:
    """Run an agent that calls two tools at once."""
    return str(await FunctionAgent(name="herder", tools=[tool(lookup)], llm=llm).run("Go."))


async def react(llm: Any) -> Any:
    """Run an agent that writes its thoughts."""
    return str(await ReActAgent(name="herder", tools=[tool(lookup)], llm=llm).run("Go."))


async def together(llm: Any) -> Any:
    """Run two agents at the same time."""
    made = [FunctionAgent(name=name, tools=[tool(lookup)], llm=llm) for name in ("left", "right")]
    return [str(answer) for answer in await asyncio.gather(*(each.run(each.name) for each in made))]


def by_name(messages: Any) -> ChatMessage:
    """Answer the agents of `together` by their names."""
    name = next(message.content for message in messages if message.role == "user")
    return say(f"{name} is done") if messages[-1].role == "tool" else call("lookup", {"city": name}, f"c-{name}")


LOOKUPS = calls(("lookup", {"city": "Rome"}, "c1"), ("lookup", {"city": "Oslo"}, "c2"))
THOUGHT = "Thought: I look.\nAction: lookup\nAction Input: {'city': 'Rome'}"
AGENTS: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
    "agent": (agent, [LOOKUPS, "Sunny in both."]),
    "react": (react, [THOUGHT, "Thought: I can answer.\nAnswer: Sunny."]),
    "together": (together, by_name),
}


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent(name: str, tmp_path: Path) -> None:
    """Agents, their streams and parallel tools: the tools run, the models do not."""
    function, script = AGENTS[name]
    recorded = ScriptedLLM(script)
    result = same(tmp_path / "a.session.json", lambda llm: asyncio.run(function(llm)), recorded, scripted())
    assert result == {"agent": "Sunny in both.", "react": "Sunny.", "together": ["left is done", "right is done"]}[name]


def test_an_error_of_the_provider(tmp_path: Path, model_server: ModelServer) -> None:
    """The recorded error is raised again: its class, its text and its code."""

    def run(llm: Any) -> Any:
        with pytest.raises(RateLimitError) as caught:
            llm.chat(HELLO)
        return str(caught.value), caught.value.status_code, caught.value.body

    def client(url: str) -> OpenAI:
        return OpenAI(model="gpt-4o", api_base=url, api_key="key", max_retries=0)

    model_server.script(fail(429, "slow down"))
    same(tmp_path / "a.session.json", run, client(model_server.openai_url), client("http://127.0.0.1:9/v1"))


def test_what_is_not_recorded_raises(tmp_path: Path) -> None:
    """A further call raises NotRecorded where it is made."""
    path = tmp_path / "a.session.json"
    record(lambda: scripted(*REPLIES).chat(HELLO), path)
    with replay(path) as session:
        llm = scripted()
        llm.chat(HELLO)
        with pytest.raises(NotRecorded, match="a further model call"):
            llm.chat(HELLO)
        session.allow("further")


def test_another_question_is_a_divergence(tmp_path: Path) -> None:
    """A changed prompt and a changed parameter are named; the answer is the recorded one."""
    path = tmp_path / "a.session.json"
    record(lambda: scripted(*REPLIES).chat(HELLO), path)
    with replay(path) as session:
        answer = ScriptedLLM(unplugged, temperature=0.9).chat([ChatMessage(role="user", content="Bye")])
        assert answer.message.content == "One two three."
        [divergence] = session.divergences
        session.allow(1)
    assert "the input differs" in str(divergence)
    assert any("0.9" in line for line in divergence.lines)


def test_a_fork(tmp_path: Path) -> None:
    """Another answer is given as a text, and what follows is live."""
    path = tmp_path / "a.session.json"
    record(lambda: asyncio.run(agent(scripted(call("lookup", {"city": "Rome"}), "Sunny."))), path)
    with replay(path, until="think 2"):
        assert asyncio.run(agent(scripted("Live from here."))) == "Live from here."
    with replay(path, answers={1: "No tool."}):
        assert asyncio.run(agent(scripted("never"))) == "No tool."


def test_a_class_that_is_defined_in_the_block(tmp_path: Path) -> None:
    """A model class that is imported during the replay is answered, too."""

    def make() -> Any:
        class Late(CustomLLM):
            asked: int = 0

            @property
            def metadata(self) -> LLMMetadata:
                return LLMMetadata(model_name="late-1")

            @llm_completion_callback()
            def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
                self.asked += 1
                return CompletionResponse(text=f"answer {self.asked}")

            @llm_completion_callback()
            def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
                raise NotImplementedError

        return Late()

    path = tmp_path / "a.session.json"
    record(lambda: make().complete("Hello"), path)
    with replay(path):
        late = make()
        assert late.complete("Hello").text == "answer 1"
        assert late.asked == 0
    assert late.complete("Hello").text == "answer 1"
    assert late.asked == 1


def test_the_methods_are_put_back(tmp_path: Path) -> None:
    """After the block, models are asked as before."""
    path = tmp_path / "a.session.json"
    record(lambda: scripted(*REPLIES).chat(HELLO), path)
    with replay(path):
        scripted().chat(HELLO)
    with pytest.raises(Unplugged):
        scripted().chat(HELLO)


def test_a_release_with_other_decorators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay says which release of LlamaIndex it does not know."""
    path = tmp_path / "a.session.json"
    record(lambda: scripted(*REPLIES).chat(HELLO), path)
    monkeypatch.setattr(llama_callbacks, "llm_chat_callback", lambda: lambda function: function)
    with pytest.raises(
        SeamMoved, match=rf"llama-index-core {metadata.version('llama-index-core')} .*llm_chat_callback"
    ):
        replay(path).__enter__()


def test_agents_that_hand_over(tmp_path: Path, model_server: ModelServer) -> None:
    """Each agent's calls have places of their own, with a real client."""

    def run(url: str) -> Any:
        llm = OpenAI(model="gpt-4o", api_base=url, api_key="key", max_retries=0)
        host = FunctionAgent(name="host", description="Greets.", llm=llm, can_handoff_to=["herder"])
        herder = FunctionAgent(name="herder", description="Knows.", tools=[tool(lookup)], llm=llm)
        return str(asyncio.run(_run(AgentWorkflow(agents=[host, herder], root_agent="host"))))

    model_server.script(
        called("handoff", {"to_agent": "herder", "reason": "It knows."}),
        called("lookup", {"city": "Rome"}),
        said("Sunny in Rome."),
    )
    assert same(tmp_path / "a.session.json", run, model_server.openai_url, "http://127.0.0.1:9/v1") == "Sunny in Rome."


async def _run(workflow: AgentWorkflow) -> Any:
    return await workflow.run("Go.")
