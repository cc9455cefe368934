"""A journal with conversations as an agent leaves them, at chosen times."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from langfuse_integration import Session
from langfuse_integration.encoding.fields import Fields
from langfuse_integration.encoding.row import Encoder
from langfuse_integration.journal.journal import Journal
from langfuse_integration.recording.observation import Observation, ObservationType

START_NS = 1_795_000_000_000_000_000
"""2026-11-18, in the morning."""
MS = 1_000_000
WRITER = 7


class Nobody:
    """A recorder that takes nothing: what is written here is written at once."""

    def opened(self, observation: Observation) -> None:
        """Take no notice."""

    def record(self, observation: Observation) -> None:
        """Take no notice."""

    def score(self, score: Any) -> None:
        """Take no notice."""


class Book:
    """Writes observations into a journal; times are ms since START_NS."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)
        self._encoder = Encoder(Fields(), None, None, {})
        self._rows: list[Any] = []

    def add(
        self,
        name: str,
        kind: ObservationType,
        session: Session | None,
        begin_ms: float,
        end_ms: float | None,
        parent: Observation | None = None,
        **fields: Any,
    ) -> Observation:
        """Add an observation; with end_ms None it is still open, begun by this process."""
        made = Observation(name, kind, Nobody(), parent, (session, None))
        made.started_ns = START_NS + int(begin_ms * MS)
        for field, value in fields.items():
            setattr(made, field, value)
        if end_ms is None:
            self._journal.append(WRITER, [], [self._encoder.row(made)])
            return made
        made.ended_ns = START_NS + int(end_ms * MS)
        self._rows.append(self._encoder.row(made))
        return made

    def end(self, made: Observation, end_ms: float, **fields: Any) -> None:
        """End one that was open."""
        for field, value in fields.items():
            setattr(made, field, value)
        made.ended_ns = START_NS + int(end_ms * MS)
        self._journal.append(WRITER, [self._encoder.row(made)], (), [made.id])

    def write(self) -> None:
        """Write what was added."""
        self._journal.append(WRITER, self._rows)
        self._rows = []

    def __enter__(self) -> Book:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()
        self._journal.close()


def user(text: str) -> dict[str, Any]:
    """Return a user's message."""
    return {"role": "user", "content": text}


def assistant(text: str, *calls: dict[str, Any]) -> dict[str, Any]:
    """Return a model's message."""
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {})}


def call(name: str, number: str, /, **arguments: Any) -> dict[str, Any]:
    """Return a tool call."""
    return {"name": name, "args": arguments, "id": number}


def think(step: int, *calls: str) -> dict[str, Any]:
    """Return a think's metadata."""
    return {
        "step_type": "think",
        "step_index": step,
        "agent_name": "herder",
        "tool_calls": [{"id": each, "name": "search"} for each in calls],
    }


def act(
    step: int, decided: Observation, number: str, server: str | None = "llama-mcp", tool: str = ""
) -> dict[str, Any]:
    """Return an act's metadata."""
    metadata: dict[str, Any] = {
        "step_type": "act",
        "step_index": step,
        "agent_name": "herder",
        "tool_call_id": number,
        "think_id": decided.id,
    }
    if server is not None:
        metadata |= {"mcp_server": server, "mcp_tool": tool, "mcp_method": "tools/call", "mcp_protocol": "2025-06-18"}
    return metadata


def guarding(book: Book, session: Session, at: float) -> None:
    """Add a turn: think, two acts over MCP, think."""
    question = "Would a llama guard my sheep against dogs?"
    answer = (
        "Yes, within limits. A single gelded llama bonds with the flock and will chase a lone dog or coyote. "
        "Against a pack it is no match: then it is prey as well.\n\nKeep one llama per paddock; two bond with "
        "each other instead of with the sheep."
    )
    top = book.add(
        "herder",
        "agent",
        session,
        at,
        at + 3_900,
        input={"messages": [user(question)]},
        output={"messages": [assistant(answer)]},
    )
    messages = [{"role": "system", "content": "Answer from the articles of the library."}, user(question)]
    first = call("search", "call-1", query="guard llama dogs")
    second = call("read", "call-2", name="guard_llamas.md")
    one = book.add(
        "ChatModel",
        "generation",
        session,
        at + 20,
        at + 1_120,
        top,
        input=messages,
        output=assistant("", first),
        metadata=think(1, "call-1"),
        model="gpt-5-mini",
        usage_details={"input": 412, "output": 28},
        cost_details={"total": 0.0011},
        model_parameters={"temperature": 0},
    )
    search_result = {
        "content": [
            {"type": "text", "text": "guard_llamas.md: One gelded llama to a flock\nllamas.md: Where they come from"}
        ]
    }
    book.add(
        "search",
        "tool",
        session,
        at + 1_150,
        at + 1_420,
        top,
        input={"query": "guard llama dogs"},
        output=search_result,
        metadata=act(1, one, "call-1", tool="search"),
    )
    two = book.add(
        "ChatModel",
        "generation",
        session,
        at + 1_440,
        at + 2_260,
        top,
        input=[*messages, assistant("", first), {"role": "tool", "content": "guard_llamas.md"}],
        output=assistant("", second),
        metadata=think(2, "call-2"),
        model="gpt-5-mini",
        usage_details={"input": 530, "output": 24},
        cost_details={"total": 0.0013},
    )
    tool = book.add(
        "read",
        "tool",
        session,
        at + 2_290,
        at + 2_710,
        top,
        input={"name": "guard_llamas.md"},
        output={
            "content": [
                {"type": "text", "text": "# Guard llamas\nOne gelded llama bonds with a flock of up to 200 sheep."}
            ]
        },
        metadata=act(2, two, "call-2", tool="read"),
    )
    book.add(
        "library",
        "retriever",
        session,
        at + 2_320,
        at + 2_640,
        tool,
        input="guard_llamas.md",
        output=[
            {
                "page_content": "One gelded llama bonds with a flock.",
                "metadata": {"score": 0.93, "page": 2, "old": None, "checked": True},
            }
        ],
    )
    book.add(
        "ChatModel",
        "generation",
        session,
        at + 2_740,
        at + 3_880,
        top,
        input=[*messages, assistant("", second)],
        output=assistant(answer),
        metadata=think(3),
        model="gpt-5-mini",
        usage_details={"input": 1_204, "output": 96},
        cost_details={"total": 0.0031},
    )


def carrying(book: Book, session: Session, at: float) -> None:
    """Add a turn in which a tool fails and the agent tries another one."""
    question = "And how much can it carry on a trek?"
    answer = "A grown llama carries 25 to 30 % of its own weight: 30 to 40 kg, over 10 to 15 km a day."
    top = book.add(
        "herder",
        "agent",
        session,
        at,
        at + 4_600,
        input={"messages": [user(question)]},
        output={"messages": [assistant(answer)]},
    )
    one = book.add(
        "ChatModel",
        "generation",
        session,
        at + 15,
        at + 1_300,
        top,
        input=[user(question)],
        output=assistant("", call("read", "call-3", name="trekking.md"), call("search", "call-4", query="load")),
        metadata=think(1, "call-3", "call-4"),
        model="gpt-5-mini",
        usage_details={"input": 1_420, "output": 51},
        cost_details={"total": 0.0038},
    )
    book.add(
        "read",
        "tool",
        session,
        at + 1_330,
        at + 1_480,
        top,
        input={"name": "trekking.md"},
        level="ERROR",
        status_message="tool_error: no article trekking.md; did you mean trekking_with_llamas.md?",
        metadata=act(1, one, "call-3", tool="read"),
    )
    book.add(
        "search",
        "tool",
        session,
        at + 1_335,
        at + 2_150,
        top,
        input={"query": "load"},
        output={"content": [{"type": "text", "text": "trekking_with_llamas.md: 25 to 30 % of its weight"}]},
        metadata=act(1, one, "call-4", tool="search"),
    )
    book.add(
        "ChatModel",
        "generation",
        session,
        at + 2_180,
        at + 4_580,
        top,
        input=[user(question)],
        output=assistant(answer),
        metadata=think(2),
        model="gpt-5-mini",
        usage_details={"input": 1_690, "output": 47},
        cost_details={"total": 0.0044},
    )


def record(path: Path) -> None:
    """Write a journal with a handful of sessions."""
    with Book(path) as book:
        ada = Session("chat-3f2a91bc", "ada")
        guarding(book, ada, 0)
        carrying(book, ada, 42_000)
        guarding(book, Session("chat-88d0e1f4", "bob"), -3_600_000)
        mixed = Session("session-1", "carla")
        guarding(book, mixed, -9_000_000)
        carrying(book, Session("session-1", "dave"), -8_700_000)
        research = Session("research-51c7aa02", "ada")
        for turn in range(6):
            guarding(book, research, -90_000_000 + turn * 65_000)
        book.add("nightly_index", "span", None, -70_000_000, -69_940_000, input="documents", output="13 articles")


def running(book: Book) -> Observation:
    """Begin a turn that is still at work, and return its root."""
    session = Session("chat-live", "erin")
    top = book.add("herder", "agent", session, 100_000, None, input={"messages": [user("What do llamas eat?")]})
    book.add(
        "ChatModel",
        "generation",
        session,
        100_020,
        101_000,
        top,
        input=[user("What do llamas eat?")],
        output=assistant("", call("search", "call-9", query="food")),
        metadata=think(1, "call-9"),
        model="gpt-5-mini",
        usage_details={"input": 300, "output": 20},
    )
    book.write()
    return top


if __name__ == "__main__":
    record(Path(os.environ["LANGFUSE_INTEGRATION_JOURNAL"]))
