"""Presentation of times, costs, counts and kinds: one form for the terminal, the browser and text output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from .encoding.messages import ToolCall, compact, messages_in
from .reading.comparison import StepPair, common_start
from .reading.replay import Observed
from .reading.scores import RecordedScore
from .reading.totals import Totals
from .reading.volatile import VolatileParts

SMALLEST_USD = 0.0001
"""A smaller cost is shown as less than this."""
DAYS_FROM_H = 48


class StepKind(NamedTuple):
    """The kind of an observation: think, act or its type, with the step's number if it has one."""

    word: str
    step: str

    def __str__(self) -> str:
        return f"{self.word} {self.step}" if self.step else self.word


class Title(NamedTuple):
    """The displayed name of an observation.

    Attributes:
        server: the MCP server, or nothing.
        name: the tool without its server, the model of a think, or the observation's name.
    """

    server: str
    name: str

    def __str__(self) -> str:
        return f"{self.server}.{self.name}" if self.server and self.name != self.server else self.name


# -- times


def moment(at_ns: int) -> str:
    """Return the local day and time of day."""
    return _local(at_ns).strftime("%Y-%m-%d %H:%M:%S")


def clock(at_ns: int) -> str:
    """Return the local time of day to the second."""
    return _local(at_ns).strftime("%H:%M:%S")


def day(at_ns: int) -> str:
    """Return the local day."""
    return _local(at_ns).strftime("%Y-%m-%d")


def when(at_ns: int) -> str:
    """Return the local time of day, with the day in front unless that is today."""
    local = _local(at_ns)
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def duration(duration_ns: int) -> str:
    """Return a duration in the unit that fits, from `0.2 ms` to `11 days`."""
    seconds = max(duration_ns, 0) / 1e9
    if seconds < 0.9995:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.00995 else f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < DAYS_FROM_H else f"{hours // 24} days"


def _local(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns / 1e9).astimezone()


# -- numbers


def dollars(cost_usd: float | None) -> str:
    """Return an amount in US dollars with as many digits as needed; empty for None."""
    if cost_usd is None:
        return ""
    if 0 < cost_usd < SMALLEST_USD:
        return f"<${SMALLEST_USD}"
    return f"${cost_usd:.4f}" if 0 < cost_usd < 0.1 else f"${cost_usd:,.2f}"


def cost_of(totals: Totals) -> str:
    """Return a cost: `~` before one that is computed from list prices, `+` after one that leaves out some tokens."""
    if totals.cost_usd is None:
        return ""
    return f"{'~' if totals.cost_computed else ''}{dollars(totals.cost_usd)}{'+' if totals.cost_partial else ''}"


def cost_note(totals: Totals) -> str:
    """Return what the marks of `cost_of` mean; empty without marks."""
    notes = ["~ computed from list prices"] if totals.cost_computed else []
    notes += ["+ some tokens have no known price"] if totals.cost_partial else []
    return "; ".join(notes)


def counted(count: int, one: str, more: str | None = None) -> str:
    """Return a count with its noun: `1 trace`, `2 traces`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def short_count(count: int) -> str:
    """Return a count in at most seven characters: `99,999`, `100k`, `10M`."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1000:,.0f}k" if count < 10_000_000 else f"{count / 1e6:,.0f}M"


def score_value(value: float | str, data_type: str) -> str:
    """Return a score's value: `0.5`, `yes` or `no`, or the category's name."""
    if data_type == "BOOLEAN":
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, (int, float)) else value


def score_line(score: RecordedScore) -> str:
    """Return a score's name and value: `helpful 1`."""
    return f"{score.name} {score_value(score.value, score.data_type)}"


# -- kind and name of an observation


def kind_of(observation: Observed) -> StepKind:
    """Return think or act with the number of the step, else the type."""
    word = "think" if observation.is_think else "act" if observation.is_act else None
    if word is None:
        return StepKind(observation.type, "")
    index = observation.metadata.get("step_index")
    return StepKind(word, str(index) if isinstance(index, int) else "")


def title_of(observation: Observed) -> Title:
    """Return an observation's displayed name: the model for a think, server and tool for an MCP call."""
    server = str(observation.metadata.get("mcp_server") or "")
    if server:
        tool = str(observation.metadata.get("mcp_tool") or observation.name)
        return Title(server, tool.removeprefix(f"{server}."))
    return Title("", observation.model if observation.is_think and observation.model else observation.name)


def agent_of(observation: Observed) -> str:
    """Return the name of the agent that an observation belongs to; nothing where it is unknown."""
    name = observation.metadata.get("agent_name")
    if isinstance(name, str) and name:
        return name
    return observation.name if observation.type == "agent" and not observation.is_think else ""


def state_of(observation: Observed) -> str:
    """Return `running` or `never ended` for an open observation, else nothing."""
    if observation.finished:
        return ""
    return "running" if getattr(observation, "alive", False) else "never ended"


# -- content of an observation


def written(call: ToolCall) -> str:
    """Return a tool call as a person would write it: `search(query="hay")`."""
    return f"{call.name}({arguments(call.arguments)})"


def arguments(value: Any) -> str:
    """Return a call's arguments as they are written between its brackets."""
    if value in (None, {}, ""):
        return ""
    if isinstance(value, Mapping) and "content" in value:  # an argument of this name is no result
        return ", ".join(f"{key}={json.dumps(item, ensure_ascii=False, default=str)}" for key, item in value.items())
    return compact(value)


def in_and_out(observation: Observed, side: str) -> str:
    """Return an observation's input or output (*side*) as text; of a conversation the last message."""
    value = observation.input if side == "in" else observation.output
    texts = [message.text for message in messages_in(value) if message.text]
    if texts:
        return texts[-1]
    return arguments(value) if side == "in" and isinstance(value, Mapping) else compact(value)


class Contrast(NamedTuple):
    """What differs in one aspect of two steps at the same place: the texts of both, from near their first difference.

    Attributes:
        aspect: input, output, or an attribute such as `model`.
    """

    aspect: str
    left: str
    right: str


def contrasts_of(pair: StepPair, rules: VolatileParts, before: int) -> list[Contrast]:
    """Return what differs in two steps; of conversations the messages that do, and no ids and times.

    Args:
        rules: those of the comparison.
        before: characters that are shown in front of the first difference.
    """
    if pair.left is None or pair.right is None:
        return []
    steps = pair.left.observation, pair.right.observation
    contrasts: list[Contrast] = []
    for aspect in pair.differs:
        one, other = (rules.stable(getattr(step, aspect)) for step in steps)
        left, right = _different_texts(one, other, aspect)
        start = common_start(left, right) - before
        cut = [f"...{text[start:]}" if start > 0 else text for text in (left, right)]
        contrasts.append(Contrast(aspect, *cut))
    return contrasts


def _different_texts(one: Any, other: Any, aspect: str) -> tuple[str, str]:
    left, right = _messages(one, aspect), _messages(other, aspect)
    if left and right and left != right:
        start = common_start(left, right)
        left, right = left[start:], right[start:]
        end = common_start(left[::-1], right[::-1])
        return "\n".join(left[: len(left) - end]) or "none", "\n".join(right[: len(right) - end]) or "none"
    plain = _value(one, aspect), _value(other, aspect)
    return plain if plain[0] != plain[1] else (json.dumps(one, default=str), json.dumps(other, default=str))


def _messages(value: Any, aspect: str) -> list[str]:
    """Return a conversation's messages as texts, those of an input with their roles."""
    return [
        (f"{message.role}: " if aspect == "input" else "")
        + " ".join([message.text, *map(written, message.calls)]).strip()
        for message in messages_in(value)
    ]


def _value(value: Any, aspect: str) -> str:
    if value is None or isinstance(value, str):
        return "none" if value is None else value
    return arguments(value) if aspect == "input" and isinstance(value, Mapping) else compact(value)


def summary_of(observation: Observed) -> str:
    """Return an observation's result: its failure, the tools that it calls, its answer, or else its input."""
    if observation.level in ("ERROR", "WARNING") and observation.status_message:
        return observation.status_message
    messages = messages_in(observation.output)
    if messages:
        return ", ".join(written(call) for call in messages[-1].calls) or messages[-1].text
    if observation.output is not None:
        return "\n".join(documents(observation.output)) or in_and_out(observation, "out")
    return in_and_out(observation, "in") if observation.input is not None else ""


def documents(value: Any) -> list[str]:
    """Return a retriever's documents as text, with score and source in front; nothing where *value* is no such list."""
    if not isinstance(value, list):
        return []
    items: list[Any] = value
    texts = [_document(item) for item in items]
    return texts if all(texts) else []


def _document(item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    text = next((item[key] for key in ("page_content", "text") if isinstance(item.get(key), str)), None)
    if text is None or ("type" in item and item["type"] != "Document"):
        return ""
    metadata = item.get("metadata")
    details: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    score = item.get("score", details.get("score", details.get("relevance_score")))
    source = next((details[key] for key in ("source", "file_name", "file", "title") if details.get(key)), None)
    marks = [f"{score:.2f}"] if isinstance(score, (int, float)) else []
    marks += [str(source or item["source"])] if source or item.get("source") else []
    return f"[{', '.join(marks)}] {text}" if marks else str(text)
