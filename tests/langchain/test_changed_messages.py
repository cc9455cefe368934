"""Messages and documents that the application changes in place: each row says what was sent at its time."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_runs import recorded
from langfuse_integration.encoding.json_text import to_json
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
