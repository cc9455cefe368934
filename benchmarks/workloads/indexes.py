"""LlamaIndex: an agent and a query engine whose scripted models answer immediately."""

from __future__ import annotations

from typing import Any

from .workload import AsyncWorkload, Workload


def find_part(shelf: str, number: int) -> str:
    """Tell whether a part is in stock."""
    return f"part {number} is on the {shelf} shelf"


def scripted_model(rounds: int) -> Any:
    """Return a model that asks for *rounds* tool calls, one at a time, then answers."""
    from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def reply(messages: Any, **options: Any) -> ChatMessage:
        made = sum(message.role == "tool" for message in messages)
        if made == rounds:
            return ChatMessage(role="assistant", blocks=[TextBlock(text="All parts are in stock.")])
        call = ToolCallBlock(
            tool_call_id=f"call_{made}", tool_name="find_part", tool_kwargs={"shelf": "north", "number": made}
        )
        return ChatMessage(role="assistant", blocks=[call])

    return MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)


def agent(rounds: int) -> Any:
    """Return an agent that calls its tool *rounds* times before it answers."""
    from llama_index.core.agent.workflow import FunctionAgent as Agent
    from llama_index.core.tools import FunctionTool

    return Agent(
        tools=[FunctionTool.from_defaults(find_part)],
        llm=scripted_model(rounds),
        system_prompt="You know the stock.",
        streaming=False,
    )


class FunctionAgent(AsyncWorkload):
    """An agent of LlamaIndex's workflows."""

    about = "agent with 3 tool calls"
    turns = 6

    def build(self) -> None:
        """Set up the agent."""
        self.agent = agent(3)

    async def turn_async(self) -> None:
        """Run the agent on one request."""
        await self.agent.run("Are parts 0 to 2 in stock?")


class QueryEngine(Workload):
    """A query over a small index in memory."""

    about = "query engine"
    turns = 60

    def build(self) -> None:
        """Set up the index."""
        from llama_index.core import Document, MockEmbedding, VectorStoreIndex
        from llama_index.core.llms import MockLLM

        shelves = [Document(text=f"Part {number} lies on shelf {number % 4}, in box {number}.") for number in range(20)]
        index = VectorStoreIndex.from_documents(shelves, embed_model=MockEmbedding(embed_dim=16))
        self.engine = index.as_query_engine(llm=MockLLM(max_tokens=16), similarity_top_k=2)

    def turn(self) -> None:
        """Ask one question."""
        self.engine.query("On which shelf is part 7?")
