"""Messages, nodes and tools that the application changes in place: each row says what was sent at its time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool

from langfuse_integration.encoding.json_text import to_json
from langfuse_integration_llamaindex import messages
from llamaindex.scripted import ScriptedLLM, call
from stopped_worker import StoppedRows, stopped_worker


def _reword(message: ChatMessage) -> None:
    message.content = "said anew"


def _reword_a_block(message: ChatMessage) -> None:
    message.blocks[0].text = "said anew"  # type: ignore[union-attr]


def _add_a_block(message: ChatMessage) -> None:
    message.blocks.append(TextBlock(text="more"))


def _annotate(message: ChatMessage) -> None:
    message.additional_kwargs["citations"] = ["a"]


def _change_a_call(message: ChatMessage) -> None:
    message.additional_kwargs["tool_calls"][0]["function"]["arguments"] = "{}"


def _question() -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content="Hay?")


class StubRetriever(BaseRetriever):
    """Returns its nodes."""

    def __init__(self, nodes: list[NodeWithScore]) -> None:
        super().__init__()
        self._nodes = nodes

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes


CHANGES: dict[str, tuple[Callable[[], ChatMessage], Callable[[ChatMessage], None]]] = {
    "reworded": (_question, _reword),
    "a block is reworded": (_question, _reword_a_block),
    "a block is added": (_question, _add_a_block),
    "annotated": (_question, _annotate),
    "a call is changed": (lambda: call("find", {"number": 1}), _change_a_call),
}


@pytest.fixture(params=[True, False], ids=["shared", "alone"])
def rows(request: pytest.FixtureRequest) -> Iterator[StoppedRows]:
    """A stopped worker, whose rows share their histories or not."""
    with stopped_worker(shares=request.param) as rows:
        yield rows


def form(value: Any) -> Any:
    """Return how *value* is to stand in a row, from copies that nobody changes."""
    messages.register()
    return json.loads(to_json(copy.deepcopy(value)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("size", "place"), [(3, 0), (3, 2), (40, 0), (40, 39)])
@pytest.mark.parametrize("written", [True, False], ids=["written", "not yet written"])
def test_a_message_changed_between_two_calls(
    rows: StoppedRows, change: str, size: int, place: int, written: bool
) -> None:
    """The first row says the old message, the others the new one, whenever they are written."""
    make, alter = CHANGES[change]
    said = [ChatMessage(role=MessageRole.USER, content=f"part {number}") for number in range(size)]
    said[place] = make()
    model = ScriptedLLM(lambda _: "Hay.")
    before = form(said)
    model.chat(said)
    found = rows.write() if written else []
    alter(said[place])
    after = form(said)
    assert after != before
    model.chat(said)
    said.append(ChatMessage(role=MessageRole.ASSISTANT, content="Hay."))
    model.chat(said)
    found += rows.write()
    assert [row.input for row in found] == [before, after, form(said)]


def test_an_answer_changed_after_the_call(rows: StoppedRows) -> None:
    """The application strips what it does not want to see: the row has what the model said."""
    response = ScriptedLLM(["<think>hm</think>Hay."]).chat([_question()])
    response.message.content = "Hay."
    [row] = rows.write()
    assert row.output == {"role": "assistant", "content": "<think>hm</think>Hay."}


def test_nodes_whose_metadata_change_after_a_retrieval(rows: StoppedRows) -> None:
    """What a later step writes into a node is not what was retrieved."""
    retriever = StubRetriever([NodeWithScore(node=TextNode(text="hay", metadata={"pages": [1]}), score=0.5)])
    [node] = retriever.retrieve("hay?")
    node.node.metadata["pages"].append(2)
    node.node.metadata["seen"] = True
    [row] = rows.write()
    assert [(entry["text"], entry["metadata"]) for entry in row.output] == [("hay", {"pages": [1]})]


def test_a_tool_described_anew(rows: StoppedRows) -> None:
    """A description that changes between two calls: each row has that of its call."""
    tool = FunctionTool.from_defaults(lambda number: number, name="find", description="Finds.")
    model = ScriptedLLM(lambda _: "Hay.")
    model.chat([_question()], tools=[tool])
    found = rows.write()
    tool.metadata.description = "Finds more."
    model.chat([_question()], tools=[tool])
    found += rows.write()
    assert [row.input["tools"][0]["function"]["description"] for row in found] == ["Finds.", "Finds more."]


def test_an_array_beside_a_content() -> None:
    """An array compares item by item, and is told as its numbers."""
    message = ChatMessage("Hay?", additional_kwargs={"vector": numpy.arange(3), "nothing": []})
    expected = {"role": "user", "content": "Hay?", "additional_kwargs": {"vector": [0, 1, 2]}}
    assert json.loads(to_json(message)) == expected


def test_entries_without_a_value_beside_a_content() -> None:
    """Fields that hold nothing but null are left out; false, zero and a dict that holds itself are values."""
    safety: dict[str, Any] = {"blocked": False, "words": {"found": []}}
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    message = ChatMessage("Hay?", additional_kwargs={"fields": {"refusal": None}, "safety": safety, "loop": loop})
    written = json.loads(to_json(message))["additional_kwargs"]
    assert written["safety"] == safety
    assert list(written) == ["safety", "loop"]
