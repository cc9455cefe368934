"""One observation as one line, and the lines of detail below it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.text import Text

from ..reading.conversation import Call, Message, compact, messages_in
from ..reading.replay import Observed
from .text import counted, dollars, in_one_line, visible

STYLES = {
    "think": "bold cyan",
    "act": "bold green",
    "agent": "bold",
    "generation": "blue",
    "tool": "green",
    "retriever": "magenta",
    "embedding": "magenta",
}
KIND_COLUMNS = 8


class Detail(NamedTuple):
    """A word and what it stands for: `calls`, `search(query="hay")`."""

    word: str
    text: str
    style: str = ""


def label(found: Observed) -> Text:
    """Return what an observation is and how it is called: `act 1    MCP llama-mcp.search`."""
    kind = kind_of(found)
    text = Text()
    text.append(kind.ljust(KIND_COLUMNS) + " ", STYLES.get(kind.split(" ")[0], ""))
    server = found.metadata.get("mcp_server")
    if server:
        text.append("MCP ", "magenta")
        text.append(in_one_line(_of_server(str(server), str(found.metadata.get("mcp_tool") or found.name))))
    else:
        text.append(in_one_line(found.model if found.is_think and found.model else found.name))
    if found.level == "ERROR":
        text.stylize("red")
        text.append("  ERROR", "bold red")
    elif found.level == "WARNING":
        text.append("  WARNING", "yellow")
    if not found.finished:
        text.append("  running" if getattr(found, "alive", False) else "  never ended", "yellow")
    return text


def kind_of(found: Observed) -> str:
    """Return think or act with the number of the step, else the type."""
    step = "think" if found.is_think else "act" if found.is_act else None
    if step is None:
        return found.type
    index = found.metadata.get("step_index")
    return f"{step} {index}" if isinstance(index, int) else step


def _of_server(server: str, name: str) -> str:
    return name if name == server or name.startswith(f"{server}.") else f"{server}.{name}"


def brief(found: Observed) -> Iterator[Detail]:
    """Yield what one has to know of an observation, a line each."""
    yield from _trouble(found)
    if found.children and not (found.is_think or found.is_act):
        return
    said = messages_in(found.output)
    if found.type == "generation" and said:
        yield from _decision(said)
        return
    if found.input is not None:
        yield Detail("in", in_one_line(_said(found.input)))
    if found.output is not None:
        yield Detail("out", in_one_line(_said(found.output)))


def full(found: Observed) -> Iterator[Detail]:
    """Yield everything that is known of an observation."""
    yield from _trouble(found)
    yield Detail("id", found.id, "dim")
    if found.model:
        yield Detail("model", in_one_line(found.model))
    if found.model_parameters:
        yield Detail("with", in_one_line(compact(found.model_parameters)))
    if found.first_token:
        yield Detail("first", f"token at {in_one_line(found.first_token)}")
    if found.usage:
        yield Detail("tokens", in_one_line(compact(found.usage)))
    if found.cost:
        yield Detail("cost", in_one_line(compact(found.cost)))
    for key, value in found.metadata.items():
        yield Detail("meta", in_one_line(f"{key}={value if isinstance(value, str) else compact(value)}"), "dim")
    if found.input is not None:
        yield from _whole("in", found.input)
    if found.output is not None:
        yield from _whole("out", found.output)


def _trouble(found: Observed) -> Iterator[Detail]:
    if found.status_message:
        word = found.level.lower() if found.level in ("ERROR", "WARNING") else "ended"
        style = {"error": "red", "warning": "yellow"}.get(word, "dim")
        yield Detail(word, in_one_line(found.status_message), style)
    left = found.metadata.get("unanswered_tool_calls")
    if isinstance(left, list):
        calls: list[Any] = left
        named = ", ".join(str(call["name"]) for call in calls if isinstance(call, dict) and "name" in call)
        yield Detail("left", f"{counted(len(calls), 'tool call')} never made: {in_one_line(named)}", "yellow")


def _decision(said: list[Message]) -> Iterator[Detail]:
    for message in said:
        if message.text.strip():
            yield Detail("says", in_one_line(message.text))
        for call in message.calls:
            yield Detail("calls", written(call))


def written(call: Call) -> str:
    """Return a tool call as a person would write it."""
    arguments = call.arguments
    inside = "" if arguments in (None, {}) else compact(arguments) if isinstance(arguments, Mapping) else str(arguments)
    return in_one_line(f"{call.name}({inside})")


def _said(value: Any) -> str:
    """Return a value in one line: of a conversation what was said last."""
    said = [message.text for message in messages_in(value) if message.text]
    return said[-1] if said else compact(value)


def _whole(word: str, value: Any) -> Iterator[Detail]:
    said = messages_in(value)
    if not said:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        yield Detail(word, visible(text))
        return
    for message in said:
        calls = "".join(f"\n-> {written(call)}" for call in message.calls)
        yield Detail(word, f"{in_one_line(message.role)}: {visible(message.text)}{calls}")


def price(cost_usd: float | None) -> str:
    """Return a cost for a column, empty where there is none."""
    return dollars(cost_usd) if cost_usd is not None else ""
