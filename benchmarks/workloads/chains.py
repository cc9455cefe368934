"""LangChain: chains and agents with a scripted model that answers immediately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tools import tool

from .workload import AsyncWorkload, Workload

TOKENS = 200
BATCH, THREADS = 100, 8
MESSAGES = 100
KILOBYTE = ('Part 7 lies on shelf 3, next to "spare wheels". ' * 22)[:1024]


class ScriptedModel(BaseChatModel):
    """Asks for *rounds* tool calls, one at a time, then answers; the history determines the next step."""

    rounds: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": "scripted-1", "temperature": 0.0}

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Return the model itself: the script knows the tool."""
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        calls = []
        if self.rounds:
            made = sum(type(message) is ToolMessage for message in messages)
            if made < self.rounds:
                calls = [{"name": "find_part", "args": {"shelf": "north", "number": made}, "id": f"call_{made}"}]
        reply = AIMessage(
            "" if calls else "Part 7 is in stock.",
            tool_calls=calls,
            usage_metadata={"input_tokens": 20, "output_tokens": 5, "total_tokens": 25},
        )
        return ChatResult(generations=[ChatGeneration(message=reply)], llm_output={"model_name": "scripted-1"})

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> ChatResult:
        return self._generate(messages, stop, **options)

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for number in range(TOKENS):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"word{number} "))


@tool
def find_part(shelf: str, number: int) -> str:
    """Tell whether a part is in stock."""
    return f"part {number} is on the {shelf} shelf"


def chain() -> Runnable[Any, str]:
    """Return a prompt, a model and a parser, one after the other."""
    prompt = ChatPromptTemplate.from_messages([("system", "You know the stock."), ("human", "{question}")])
    return prompt | ScriptedModel() | StrOutputParser()


def agent(rounds: int) -> Any:
    """Return an agent that calls its tool *rounds* times before it answers."""
    from langchain.agents import create_agent

    return create_agent(ScriptedModel(rounds=rounds), tools=[find_part])


class Chain(Workload):
    """The smallest chain there is."""

    about = "prompt, model, parser"
    turns = 200

    def build(self) -> None:
        """Set up the chain."""
        self.chain, self.config = chain(), self.contender.config()

    def turn(self) -> None:
        """Ask one question."""
        self.chain.invoke({"question": "Is part 7 in stock?"}, self.config)  # type: ignore[arg-type]


class Agent(Workload):
    """An agent of `langchain.agents`."""

    about = "agent with 3 tool calls"
    turns = 12

    def build(self) -> None:
        """Set up the agent."""
        self.agent, self.config = agent(3), self.contender.config()
        self.request = {"messages": [{"role": "user", "content": "Are parts 0 to 2 in stock?"}]}

    def turn(self) -> None:
        """Run the agent on one request."""
        self.agent.invoke(self.request, self.config)


class AgentAwaited(AsyncWorkload, Agent):
    """The agent of `Agent`, awaited under asyncio."""

    about = "the same, awaited"

    async def turn_async(self) -> None:
        """Run the agent on one request."""
        await self.agent.ainvoke(self.request, self.config)


class ChainStreamed(Chain):
    """The chain, token by token."""

    about = "200 tokens streamed"
    turns = 8

    def turn(self) -> None:
        """Read one streamed answer."""
        for _ in self.chain.stream({"question": "What is in stock?"}, self.config):  # type: ignore[arg-type]
            pass


class ChainBatched(Workload):
    """The chain for many questions, on several threads."""

    about = "batch of 100 on 8 threads"
    runs = BATCH
    turns = 1

    def build(self) -> None:
        """Set up the chain and the questions."""
        self.chain, self.config = chain(), {**self.contender.config(), "max_concurrency": THREADS}
        self.questions = [{"question": f"Is part {number} in stock?"} for number in range(BATCH)]

    def turn(self) -> None:
        """Ask all questions."""
        self.chain.batch(self.questions, self.config)  # type: ignore[arg-type]


class LongHistory(Workload):
    """A model call with a long conversation before it."""

    about = "100 KB of history per call"
    turns = 100

    def build(self) -> None:
        """Set up the conversation."""
        self.history = [(HumanMessage, AIMessage)[number % 2](KILOBYTE) for number in range(MESSAGES)]
        self.chain, self.config = ScriptedModel() | StrOutputParser(), self.contender.config()

    def turn(self) -> None:
        """Call the model with the whole history."""
        self.chain.invoke(self.history, self.config)  # type: ignore[arg-type]
