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


def label(observation: Observed) -> Text:
    """Return what an observation is and how it is called: `act 1    MCP llama-mcp.search`."""
    kind = kind_of(observation)
    text = Text()
    text.append(kind.ljust(KIND_COLUMNS) + " ", STYLES.get(kind.split(" ")[0], ""))
    server = observation.metadata.get("mcp_server")
    if server:
        text.append("MCP ", "magenta")
        text.append(in_one_line(_of_server(str(server), str(observation.metadata.get("mcp_tool") or observation.name))))
    else:
        text.append(in_one_line(observation.model if observation.is_think and observation.model else observation.name))
    if observation.level == "ERROR":
        text.stylize("red")
        text.append("  ERROR", "bold red")
    elif observation.level == "WARNING":
        text.append("  WARNING", "yellow")
    if not observation.finished:
        text.append("  running" if getattr(observation, "alive", False) else "  never ended", "yellow")
    return text


def kind_of(observation: Observed) -> str:
    """Return think or act with the number of the step, else the type."""
    step = "think" if observation.is_think else "act" if observation.is_act else None
    if step is None:
        return observation.type
    index = observation.metadata.get("step_index")
    return f"{step} {index}" if isinstance(index, int) else step


def _of_server(server: str, name: str) -> str:
    return name if name == server or name.startswith(f"{server}.") else f"{server}.{name}"


def brief(observation: Observed) -> Iterator[Detail]:
    """Yield what one has to know of an observation, a line each."""
    yield from _trouble(observation)
    if observation.children and not (observation.is_think or observation.is_act):
        return
    messages = messages_in(observation.output)
    if observation.type == "generation" and messages:
        yield from _decision(messages)
        return
    if observation.input is not None:
        yield Detail("in", in_one_line(_said(observation.input)))
    if observation.output is not None:
        yield Detail("out", in_one_line(_said(observation.output)))


def full(observation: Observed) -> Iterator[Detail]:
    """Yield everything that is known of an observation."""
    yield from _trouble(observation)
    yield Detail("id", observation.id, "dim")
    if observation.model:
        yield Detail("model", in_one_line(observation.model))
    if observation.model_parameters:
        yield Detail("with", in_one_line(compact(observation.model_parameters)))
    if observation.first_token:
        yield Detail("first", f"token at {in_one_line(observation.first_token)}")
    if observation.usage:
        yield Detail("tokens", in_one_line(compact(observation.usage)))
    if observation.cost:
        yield Detail("cost", in_one_line(compact(observation.cost)))
    for key, value in observation.metadata.items():
        yield Detail("meta", in_one_line(f"{key}={value if isinstance(value, str) else compact(value)}"), "dim")
    if observation.input is not None:
        yield from _whole("in", observation.input)
    if observation.output is not None:
        yield from _whole("out", observation.output)


def _trouble(observation: Observed) -> Iterator[Detail]:
    if observation.status_message:
        word = observation.level.lower() if observation.level in ("ERROR", "WARNING") else "ended"
        style = {"error": "red", "warning": "yellow"}.get(word, "dim")
        yield Detail(word, in_one_line(observation.status_message), style)
    left = observation.metadata.get("unanswered_tool_calls")
    if isinstance(left, list):
        calls: list[Any] = left
        named = ", ".join(str(call["name"]) for call in calls if isinstance(call, dict) and "name" in call)
        yield Detail("left", f"{counted(len(calls), 'tool call')} never made: {in_one_line(named)}", "yellow")


def _decision(messages: list[Message]) -> Iterator[Detail]:
    for message in messages:
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
    texts = [message.text for message in messages_in(value) if message.text]
    return texts[-1] if texts else compact(value)


def _whole(word: str, value: Any) -> Iterator[Detail]:
    messages = messages_in(value)
    if not messages:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        yield Detail(word, visible(text))
        return
    for message in messages:
        calls = "".join(f"\n-> {written(call)}" for call in message.calls)
        yield Detail(word, f"{in_one_line(message.role)}: {visible(message.text)}{calls}")


def price(cost_usd: float | None) -> str:
    """Return a cost for a column, empty where there is none."""
    return dollars(cost_usd) if cost_usd is not None else ""
