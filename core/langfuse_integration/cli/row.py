"""One observation as one line, and the lines of detail below it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from ..encoding.messages import ChatMessage, compact, messages_in
from ..presentation import arguments, documents, in_and_out, kind_of, state_of, title_of, written
from ..reading.problems import Problem
from ..reading.replay import Observed
from .text import fitted, in_one_line, visible

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
SERVER_COLUMNS = 4
"""Characters of an MCP server's name that are kept when the tool's name needs the space."""
DOCUMENTS_SHOWN = 3
CHAIN_SHOWN = 5


class Detail(NamedTuple):
    """A label and its text: `calls`, `search(query="hay")`."""

    word: str
    text: str
    style: str = ""


def label(observation: Observed, width: int, agent: str = "") -> Text:
    """Return what an observation is and how it is called: `act 1    MCP llama-mcp.search  ERROR`.

    Args:
        width: columns. The agent's name gives way first, then the server's, then the tool's; the level stays.
        agent: the agent's name, where it is not clear from the rows above.
    """
    kind = kind_of(observation)
    start = Text(str(kind).ljust(KIND_COLUMNS) + " ", STYLES.get(kind.word, ""))
    end = _state(observation)
    room = max(width - cell_len(start.plain) - cell_len(end.plain), 4)
    server, name = map(in_one_line, title_of(observation))
    if not server or name == server:
        text = Text.assemble(("MCP ", "magenta") if server else "", fitted(name, room - (4 if server else 0)))
    else:
        left = room - cell_len(f"MCP .{name}")
        shown = fitted(server, max(left, SERVER_COLUMNS))
        text = Text.assemble(("MCP ", "magenta"), shown, ".", fitted(name, room - cell_len(f"MCP {shown}.")))
    if agent and room - cell_len(text.plain) > len(agent) + 2:
        text.append(f"  {in_one_line(agent)}", "italic cyan")
    if observation.level == "ERROR":
        text.stylize("red")
    return start + text + end


def _state(observation: Observed) -> Text:
    text = Text()
    if observation.level in ("ERROR", "WARNING"):
        text.append(f"  {observation.level}", "bold red" if observation.level == "ERROR" else "yellow")
    state = state_of(observation)
    if state:
        text.append(f"  {state}", "yellow")
    return text


def brief(observation: Observed) -> Iterator[Detail]:
    """Yield the most important details of an observation, one line each."""
    yield from _trouble(observation)
    if observation.type == "retriever":
        yield from _retrieved(observation)
        return
    task = observation.type == "agent" and observation.parent_id is not None and not observation.is_think
    if task and observation.input is not None:
        yield Detail("task", in_one_line(in_and_out(observation, "in")))
    if observation.children and not (observation.is_think or observation.is_act):
        return
    messages = messages_in(observation.output)
    if observation.type == "generation" and messages:
        yield from _decision(messages)
        return
    if observation.input is not None and not task:
        yield Detail("in", in_one_line(in_and_out(observation, "in")))
    if observation.output is not None:
        yield Detail("out", in_one_line(in_and_out(observation, "out")))


def full(observation: Observed) -> Iterator[Detail]:
    """Yield all details of an observation."""
    yield from _trouble(observation)
    yield Detail("id", observation.id, "dim")
    if observation.model:
        yield Detail("model", in_one_line(observation.model))
    if observation.model_parameters:
        yield Detail("with", in_one_line(arguments(observation.model_parameters)))
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


def problem_lines(problem: Problem) -> Iterator[Detail]:
    """Yield a problem: its kind and place, then its message."""
    times = f" {problem.times} times" if problem.times > 1 else ""
    outcome = f", {problem.outcome}" if problem.outcome else ""
    style = "bold red" if problem.outcome == "fatal" else "red" if problem.kind == "failed" else "yellow"
    chain = [*problem.chain, problem.observation]
    names = [in_one_line(title_of(each)) for each in chain]
    if len(names) > CHAIN_SHOWN:
        names = [names[0], "…", *names[-CHAIN_SHOWN + 1 :]]
    yield Detail("wrong", f"{problem.kind}{times}{outcome}: {in_one_line(problem.message)}", style)
    yield Detail("", f"{problem.observation.id} {' > '.join(names)}", "dim")


def _trouble(observation: Observed) -> Iterator[Detail]:
    if observation.status_message:
        word = observation.level.lower() if observation.level in ("ERROR", "WARNING") else "ended"
        style = {"error": "red", "warning": "yellow"}.get(word, "dim")
        yield Detail(word, in_one_line(observation.status_message), style)


def _retrieved(observation: Observed) -> Iterator[Detail]:
    if observation.input is not None:
        yield Detail("in", in_one_line(in_and_out(observation, "in")))
    lines = documents(observation.output)
    for line in lines[:DOCUMENTS_SHOWN]:
        yield Detail("doc", in_one_line(line))
    if len(lines) > DOCUMENTS_SHOWN:
        yield Detail("", f"and {len(lines) - DOCUMENTS_SHOWN} more", "dim")
    if not lines and observation.output is not None:
        yield Detail("out", in_one_line(in_and_out(observation, "out")))


def _decision(messages: list[ChatMessage]) -> Iterator[Detail]:
    for message in messages:
        if message.text.strip():
            yield Detail("says", in_one_line(message.text))
        for call in message.calls:
            yield Detail("calls", in_one_line(written(call)))


def _whole(word: str, value: Any) -> Iterator[Detail]:
    messages = messages_in(value)
    if not messages:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        yield Detail(word, visible(text))
        return
    for message in messages:
        calls = "".join(f"\n-> {in_one_line(written(call))}" for call in message.calls)
        yield Detail(word, f"{in_one_line(message.role)}: {visible(message.text)}{calls}")
