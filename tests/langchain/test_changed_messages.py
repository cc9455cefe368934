"""Messages and documents that the application changes in place: each row says what was sent at its time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_runs import recorded
from langfuse_integration.encoding import history
from langfuse_integration.encoding.json_text import to_json
from langfuse_integration.recording.noted_messages import WINDOW
from langfuse_integration.recording.snapshot import snapshot
from langfuse_integration_langchain.messages import register
from scripted_chat import ScriptedChat
from stopped_worker import StoppedRows, stopped_worker

pytestmark = pytest.mark.langchain
register()


def _reword(message: BaseMessage) -> None:
    message.content = "said anew"


def _add(message: BaseMessage) -> None:
    message.content += " and more"  # type: ignore[operator]


def _add_a_block(message: BaseMessage) -> None:
    message.content.append({"type": "text", "text": "more"})  # type: ignore[union-attr, arg-type]


def _change_a_block(message: BaseMessage) -> None:
    message.content[0]["text"] = "other"  # type: ignore[index, call-overload]


def _annotate(message: BaseMessage) -> None:
    message.additional_kwargs["cache_control"] = {"type": "ephemeral"}


def _annotate_deeply(message: BaseMessage) -> None:
    message.additional_kwargs["audio"]["transcript"] = "other"


def _change_an_argument(message: BaseMessage) -> None:
    message.tool_calls[0]["args"]["number"] = 99  # type: ignore[attr-defined]


def _change_a_nested_argument(message: BaseMessage) -> None:
    message.tool_calls[0]["args"]["where"]["page"] = 2  # type: ignore[attr-defined]


def _drop_calls(message: BaseMessage) -> None:
    message.tool_calls.clear()  # type: ignore[attr-defined]


def _fail(message: BaseMessage) -> None:
    message.status = "error"  # type: ignore[attr-defined]


CHANGES: dict[str, tuple[Callable[[], BaseMessage], Callable[[BaseMessage], None]]] = {
    "an instruction is reworded": (lambda: SystemMessage("Be brief."), _reword),
    "a question is reworded": (lambda: HumanMessage("Hay?"), _reword),
    "a question is added to": (lambda: HumanMessage("Hay?"), _add),
    "a block is added": (lambda: HumanMessage([{"type": "text", "text": "Hay?"}]), _add_a_block),
    "a block is changed": (lambda: HumanMessage([{"type": "text", "text": "Hay?"}]), _change_a_block),
    "a question is annotated": (lambda: HumanMessage("Hay?"), _annotate),
    "an annotation is changed": (
        lambda: AIMessage("Hay.", additional_kwargs={"audio": {"transcript": "hay"}}),
        _annotate_deeply,
    ),
    "an argument is changed": (
        lambda: AIMessage("", tool_calls=[{"name": "find", "args": {"number": 1}, "id": "c1"}]),
        _change_an_argument,
    ),
    "a nested argument is changed": (
        lambda: AIMessage("", tool_calls=[{"name": "find", "args": {"where": {"page": 1}}, "id": "c1"}]),
        _change_a_nested_argument,
    ),
    "calls are dropped": (
        lambda: AIMessage("So.", tool_calls=[{"name": "find", "args": {"number": 1}, "id": "c1"}]),
        _drop_calls,
    ),
    "a result is truncated": (lambda: ToolMessage("much", tool_call_id="c1"), _reword),
    "a result has failed": (lambda: ToolMessage("much", tool_call_id="c1"), _fail),
}
changes = pytest.mark.parametrize("change", CHANGES)


@pytest.fixture(params=[True, False], ids=["shared", "alone"])
def rows(request: pytest.FixtureRequest) -> Iterator[StoppedRows]:
    """A stopped worker, whose rows share their histories or not."""
    with stopped_worker(shares=request.param) as rows:
        yield rows


def conversation(message: BaseMessage, size: int, place: int) -> list[BaseMessage]:
    """Return a conversation of *size* messages with *message* at *place*."""
    messages: list[BaseMessage] = [HumanMessage(f"part {number}") for number in range(size)]
    messages[place] = message
    return messages


def form(value: Any) -> Any:
    """Return how *value* is to stand in a row, from copies that nobody changes."""
    return json.loads(to_json(copy.deepcopy(value)))


@changes
@pytest.mark.parametrize(("size", "place"), [(3, 0), (3, 2), (40, 0), (40, 1), (40, 20), (40, 39)])
def test_a_message_changed_between_two_calls(rows: StoppedRows, change: str, size: int, place: int) -> None:
    """The first row, which is written before the change, says the old message, and the second one the new message."""
    make, alter = CHANGES[change]
    messages = conversation(make(), size, place)
    model = ScriptedChat("Hay.")
    before = form(messages)
    model.invoke(messages, recorded())
    assert [row.input for row in rows.write()] == [before]
    alter(messages[place])
    after = form(messages)
    assert after != before
    model.invoke(messages, recorded())
    messages.append(AIMessage("Hay."))
    model.invoke(messages, recorded())
    assert [row.input for row in rows.write()] == [after, form(messages)]


@changes
@pytest.mark.parametrize(("size", "place"), [(3, 0), (3, 2), (40, 0), (40, 39), (100, 0), (100, 99)])
def test_a_message_changed_after_a_call(rows: StoppedRows, change: str, size: int, place: int) -> None:
    """The row says the old message, also where it is written after the change, and the next row the new one."""
    make, alter = CHANGES[change]
    messages = conversation(make(), size, place)
    model = ScriptedChat("Hay.")
    before = form(messages)
    model.invoke(messages, recorded())
    model.invoke(messages, recorded())
    alter(messages[place])
    after = form(messages)
    model.invoke(messages, recorded())
    messages.append(AIMessage("Hay."))
    model.invoke(messages, recorded())
    assert [row.input for row in rows.write()] == [before, before, after, form(messages)]


@pytest.mark.parametrize("place", [10, 40, 99])
def test_any_message_reworded_after_a_call(rows: StoppedRows, place: int) -> None:
    """The content of the last 64 messages is that of the call."""
    messages = conversation(HumanMessage("Hay?"), 100, place)
    before = form(messages)
    ScriptedChat("Hay.").invoke(messages, recorded())
    messages[place].content = "said anew"
    expected = before if place >= 36 else form(messages)
    assert [row.input for row in rows.write()] == [expected]


@changes
def test_a_message_of_a_state_changed_in_a_node(rows: StoppedRows, change: str) -> None:
    """A node that changes a message in place: the input of the graph is what it was given, the output what it made."""
    make, alter = CHANGES[change]

    def altering(state: dict[str, Any]) -> dict[str, Any]:
        alter(state["messages"][0])
        return state

    message = make()
    before = form([message])
    result = RunnableLambda(altering).invoke({"messages": [message], "last": message}, recorded())
    after = form([message])
    _reword(message)
    result["messages"].clear()
    [row] = rows.write()
    assert row.input == {"messages": before, "last": before[0]}
    assert row.output == {"messages": after, "last": after[0]}


def test_a_single_message_changed_after_a_chain(rows: StoppedRows) -> None:
    """A chain's input and output that are one message each."""
    answer = AIMessage("Hay.", additional_kwargs={"audio": {"transcript": "hay"}})
    question = HumanMessage("Hay?")
    RunnableLambda(lambda _: answer).invoke(question, recorded())  # type: ignore[arg-type, misc]
    before = form([question, answer])
    _annotate_deeply(answer)
    _reword(question)
    [row] = rows.write()
    assert [row.input, row.output] == before


def test_documents_changed_after_a_retrieval(rows: StoppedRows) -> None:
    """A reranker that writes scores into the metadata, and cuts texts: the row has what was retrieved."""
    documents = [Document(f"text {number}", metadata={"source": {"page": number}}) for number in range(12)]

    class Retriever(BaseRetriever):
        """Returns the documents."""

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return documents

    before = form(documents)
    for document in Retriever().invoke("hay", recorded()):
        document.metadata["score"] = 1.0
        document.metadata["source"]["page"] = 99
        document.page_content = "cut"
    Retriever().invoke("hay", recorded())
    assert [row.output for row in rows.write()] == [before, form(documents)]


def test_plain_documents_changed_after_a_retrieval(rows: StoppedRows) -> None:
    """LangChain asks no retriever for the class of its documents: dicts stay as they were, too."""
    documents = [{"text": "hay", "source": {"page": 1}}]

    class Retriever(BaseRetriever):
        """Returns the dicts."""

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
            return documents

    before = form(documents)
    Retriever().invoke("hay", recorded())
    documents[0]["text"] = "cut"
    documents[0]["source"]["page"] = 99  # type: ignore[index]
    assert [row.output for row in rows.write()] == [before]


def test_ids_that_are_set_in_place_change_no_text(rows: StoppedRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """LangGraph gives each message an id after the call: the history is found by identity all the same."""
    marks: list[Any] = []
    mark = history._mark
    monkeypatch.setattr(history, "_mark", lambda *of: marks.append(of) or mark(*of))
    messages = conversation(HumanMessage("Hay?"), 40, 0)
    model = ScriptedChat("Hay.")
    for step in range(4):
        model.invoke(messages, recorded())
        for message in messages:
            message.id = message.id or f"m{len(messages)}"
        messages.append(AIMessage("Hay."))
        if step == 1:
            rows.write()
            marks.clear()
    assert [row.input for row in rows.write()] == [form(messages[:-2]), form(messages[:-1])]
    assert len(marks) == 2


def test_messages_that_hold_messages(rows: StoppedRows) -> None:
    """Each message that holds all earlier ones, or itself, is noted in the time that its own fields take."""
    messages: list[BaseMessage] = []
    for number in range(40):
        messages.append(HumanMessage(str(number), additional_kwargs={"a": messages.copy(), "b": messages.copy()}))
    snapshot(messages)
    message = HumanMessage("Hay?")
    message.additional_kwargs.update(self=message, all=[message])
    ScriptedChat("Hay.").invoke([message], recorded())
    message.content = "Straw?"
    assert [row.input[0]["content"] for row in rows.write()] == ["Hay?"]


def test_an_array_beside_a_content(rows: StoppedRows) -> None:
    """An array has no truth, and cannot be compared."""
    message = HumanMessage("Hay?", additional_kwargs={"vector": numpy.arange(3)})
    ScriptedChat("Hay.").invoke([message], recorded())
    message.additional_kwargs["vector"] = numpy.arange(2)
    [row] = rows.write()
    assert row.input == [{"role": "user", "content": "Hay?", "additional_kwargs": {"vector": [0, 1, 2]}}]


@pytest.mark.parametrize("size", [3, WINDOW + 10])
def test_a_plain_message_among_the_last_of_a_history(size: int) -> None:
    """A history may mix messages with dicts, which are copied, too."""
    plain = {"role": "user", "content": "as it was"}
    history: list[Any] = [HumanMessage(str(number)) for number in range(size)]
    history[-2] = plain
    noted = snapshot({"messages": history}), snapshot(history)
    plain["content"] = "said anew"
    history.clear()

    for value in noted:
        written = json.loads(to_json(value))
        listed = written["messages"] if isinstance(written, dict) else written
        assert [message["content"] for message in listed[-3:]] == [str(size - 3), "as it was", str(size - 1)]
        assert len(listed) == size


def test_a_plain_message_at_the_beginning_of_a_long_history() -> None:
    """Of a long history only the last messages are looked at; the others stay, whatever they are."""
    history: list[Any] = [HumanMessage(str(number)) for number in range(3 * WINDOW)]
    history[1] = {"role": "user", "content": "plain"}
    noted = snapshot(history)
    history.clear()

    contents = [message["content"] for message in json.loads(to_json(noted))]
    assert contents == ["0", "plain", *map(str, range(2, 3 * WINDOW))]
