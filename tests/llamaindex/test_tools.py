"""Tools of LlamaIndex that no agent calls, and what their values look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from llama_index.core.base.llms.types import TextBlock
from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata, ToolOutput, adapt_to_async_tool
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import Observed, RecordedSessions
from llamaindex.scripted import alookup, lookup, tool


def only(sessions: RecordedSessions) -> Observed:
    """Return the only observation."""
    (found,) = sessions.trace().observations
    return found


@pytest.mark.parametrize("function", [lookup, alookup])
@pytest.mark.parametrize("way", ["call", "__call__"])
def test_a_tool_is_one_row(settled: RecordedSessions, function: Any, way: str) -> None:
    """Sync or async, called by whatever name: one row with arguments and result, under the active session."""
    with langfuse_manager.session("s-1"):
        getattr(tool(function), way)(city="Rome")
    row = only(settled)
    assert (row.label, row.input, row.output) == (f"tool {function.__name__}", {"city": "Rome"}, "sunny in Rome")
    assert (row.session_id, row.metadata) == ("s-1", {})


@pytest.mark.asyncio
@pytest.mark.parametrize("function", [lookup, alookup])
async def test_an_async_tool_is_one_row(settled: RecordedSessions, function: Any) -> None:
    """A tool called by `acall` is one row with its result."""
    await tool(function).acall(city="Rome")
    assert only(settled).output == "sunny in Rome"


def test_positional_arguments(settled: RecordedSessions) -> None:
    """Positional arguments are shown as a list."""
    tool(lookup).call("Rome")
    assert only(settled).input == ["Rome"]


class Point(BaseModel):
    """A value that is JSON by nature."""

    x: int
    y: int = 0


@dataclass
class Place:
    """A dataclass that is JSON by nature."""

    name: str


class Opaque:
    """A value that is not JSON."""

    def __str__(self) -> str:
        return "something opaque"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (7, 7),
        (["a", {"b": 1}], ["a", {"b": 1}]),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (Point(x=1), {"x": 1, "y": 0}),
        ([Point(x=1)], [{"x": 1, "y": 0}]),
        (Place("Rome"), {"name": "Rome"}),
        pytest.param(Opaque(), "something opaque", id="opaque"),
    ],
    ids=repr,
)
def test_a_result_is_shown_as_the_value_that_it_is(settled: RecordedSessions, value: Any, shown: Any) -> None:
    """Values are JSON; what is none is the text that the model gets."""

    def give() -> Any:
        return value

    FunctionTool.from_defaults(give).call()
    assert only(settled).output == shown


def test_a_tool_without_a_docstring(settled: RecordedSessions) -> None:
    """A tool without a docstring or annotations is one row with its arguments."""

    def bare(city):  # type: ignore[no-untyped-def]
        return city

    FunctionTool.from_defaults(bare).call(city="Rome")
    assert (only(settled).label, only(settled).input) == ("tool bare", {"city": "Rome"})


def test_a_tool_that_raises(settled: RecordedSessions) -> None:
    """A tool that raises has an ERROR row with the exception as its message."""

    def broken() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        FunctionTool.from_defaults(broken).call()
    assert (only(settled).level, only(settled).status_message) == ("ERROR", "LookupError: nothing there")


class Plain(BaseTool):
    """A sync tool of the application's own."""

    def __init__(self, output: ToolOutput) -> None:
        self._output = output

    @property
    def metadata(self) -> ToolMetadata:
        """Say its name."""
        return ToolMetadata(name="plain", description="Plain.")

    def __call__(self, input: Any) -> ToolOutput:  # noqa: A002  LlamaIndex's word
        """Give what it was made with."""
        return self._output


def output(**fields: Any) -> ToolOutput:
    """Return a tool output."""
    return ToolOutput(**{"tool_name": "plain", "raw_input": {}, "raw_output": None, **fields})


def test_a_tool_that_answers_with_an_error(settled: RecordedSessions) -> None:
    """A tool that returns an error instead of raising one has an ERROR row."""
    Plain(output(content="no such city", is_error=True))("Rome")
    row = only(settled)
    assert (row.level, row.status_message, row.output) == ("ERROR", "no such city", "no such city")
    assert row.input == "Rome"


@pytest.mark.asyncio
async def test_a_sync_tool_adapted_to_async_is_one_row(settled: RecordedSessions) -> None:
    """LlamaIndex's adapter runs it in a thread: the same tool, one row."""
    await adapt_to_async_tool(Plain(output(blocks=[TextBlock(text="a"), TextBlock(text="b")]))).acall("Rome")
    assert (only(settled).label, only(settled).output) == ("tool plain", "a\nb")


def test_a_tool_in_a_tool(settled: RecordedSessions) -> None:
    """Another tool that a tool calls is a row below it."""

    def outer(city: str) -> str:
        return str(tool(lookup).call(city=city))

    FunctionTool.from_defaults(outer).call(city="Rome")
    assert settled.trace().tree() == [{"tool outer": ["tool lookup"]}]


def test_what_a_tool_has_returned_does_not_change(settled: RecordedSessions) -> None:
    """A tool that returns its own list, and an application that changes the output: the row has what was returned."""
    barn: dict[str, Any] = {"llamas": ["Ada"]}

    def add(name: str) -> dict[str, Any]:
        barn["llamas"].append(name)
        return barn

    adding = FunctionTool.from_defaults(add)
    first = adding.call(name="Bea")
    adding.call(name="Cid")
    first.blocks.append(TextBlock(text="mine"))
    barn.clear()
    one, other = (observation for trace in settled.traces for observation in trace.observations)
    assert (one.output, other.output) == ({"llamas": ["Ada", "Bea"]}, {"llamas": ["Ada", "Bea", "Cid"]})
    assert [block["fields"]["text"] for block in one.exact["result"]["fields"]["blocks"]] == [str(one.output)]
    assert one.exact["result"]["fields"]["raw_output"] == one.output
