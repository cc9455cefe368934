"""Reply: what a scripted model says, in no provider's words. The wire modules write it as their provider would."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for."""

    name: str
    arguments: Mapping[str, Any]
    id: str

    @property
    def arguments_json(self) -> str:
        """The arguments as the text that providers stream."""
        return json.dumps(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens. *input_tokens* and *output_tokens* are totals: the other three are parts of them.

    OpenAI reports totals and parts so. Anthropic reports input without the cached parts, and so does its wire module.
    """

    input_tokens: int = 12
    output_tokens: int = 5
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error. *retry_after_ms* goes out as `retry-after-ms`, which keeps the clients' own retries short."""

    status: int
    message: str = "scripted failure"
    retry_after_ms: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of a model.

    A stream has one piece for each word of *reasoning* and *text*, and two for each tool call. With *cut_after* the
    connection drops after that many pieces (an answer that is not streamed: in the middle). With *hold* the rest waits
    after *hold_after* pieces until the test sets the event.
    *model* None answers as the requested model; *finish* None lets the wire module choose.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    finish: str | None = None
    failure: Failure | None = None
    cut_after: int | None = None
    hold: threading.Event | None = None
    hold_after: int = 1

    def but(self, **changes: Any) -> Reply:
        """Return this reply with some of its fields changed."""
        return replace(self, **changes)


def say(text: str, **more: Any) -> Reply:
    """Return a reply with *text*; *more* are fields of Reply."""
    return Reply(text=text, **more)


def call(name: str, arguments: Mapping[str, Any], call_id: str = "call_1", **more: Any) -> Reply:
    """Return a reply that asks for one tool call."""
    return Reply(tool_calls=(ToolCall(name, arguments, call_id),), **more)


def calls(*tool_calls: ToolCall, **more: Any) -> Reply:
    """Return a reply that asks for several tool calls at once."""
    return Reply(tool_calls=tool_calls, **more)


def refuse(text: str = "I cannot help with that.", **more: Any) -> Reply:
    """Return a refusal in the provider's own form."""
    return Reply(refusal=text, **more)


def fail(status: int, message: str = "scripted failure") -> Reply:
    """Return an HTTP error in the provider's own form."""
    return Reply(failure=Failure(status, message))


@dataclass(frozen=True, slots=True)
class Piece:
    """One write of a stream; *counts* tells those that carry content, which `cut_after` and `hold_after` count."""

    data: bytes
    counts: bool = False


def words(text: str) -> list[str]:
    """Split *text* into the pieces in which it is streamed: `"a b"` gives `["a", " b"]`."""
    return re.findall(r"\s*\S+|\s+$", text)


def halves(text: str) -> tuple[str, str]:
    """Split the JSON of arguments into the two pieces in which it is streamed."""
    middle = len(text) // 2
    return text[:middle], text[middle:]
