"""The differences of what was asked and what is asked now: only the messages, tools and arguments that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, ndiff
from itertools import zip_longest
from typing import Any

from .volatile import VolatileParts

SHOWN = 160
"""Characters of a text that are shown around its first difference."""
CONTEXT = 40
LINES = 12
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class InputChange:
    """One difference.

    Attributes:
        where: `message 2 (system)`, `argument query`, `the model`.
        before, after: the compared values as texts; None where there is none.
        scope: what a change belongs to besides its texts, so that equal changes elsewhere are changes of their own.
    """

    where: str
    before: str | None
    after: str | None
    scope: str = ""

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """What is the same in every step that shows the same change again."""
        return self.scope, self.before, self.after

    def lines(self) -> list[str]:
        """Return the change as a few lines: - recorded, + now."""
        if self.before is not None and self.after is not None:
            if "\n" in self.before + self.after:
                return [f"{self.where}:", *_line_diff(self.before, self.after)]
            start = _first_difference(self.before, self.after)
            return [f"{self.where}:", f"- {_window(self.before, start)}", f"+ {_window(self.after, start)}"]
        mark, text = ("-", self.before) if self.after is None else ("+", self.after)
        return [f"{self.where}:", f"{mark} {_window(text or '', 0)}"]


def changes_of(recorded: Any, asked: Any, rules: VolatileParts, scope: str) -> list[InputChange]:
    """Return the differences of two inputs; none where only volatile parts differ.

    Args:
        scope: of changes of tools and arguments, which belong to one agent or step.
    """
    before, after = rules.stable(recorded), rules.stable(asked)
    return [] if before == after else list(_changes(before, after, scope))


def _changes(before: Any, after: Any, scope: str) -> Iterator[InputChange]:
    messages = _messages(before), _messages(after)
    if messages[0] is not None and messages[1] is not None:
        yield from _message_changes(messages[0], messages[1])
        rest = _rest(before), _rest(after)
        yield from _entries(_by_name(rest[0].pop("tools", [])), _by_name(rest[1].pop("tools", [])), "tool", scope)
        yield from _entries(rest[0], rest[1], "input", scope)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _entries(before, after, "argument", scope)
    else:
        yield InputChange("the input", _text(before), _text(after))


def entry_changes(recorded: Any, asked: Any, rules: VolatileParts, scope: str) -> list[InputChange]:
    """Return the differences of two mappings by their entries, nested ones under their own names."""
    before: Any = rules.stable(recorded)
    after: Any = rules.stable(asked)
    changes: list[InputChange] = []
    key: Any
    for key in dict.fromkeys((*(before or {}), *(after or {}))):
        one, other = (before or {}).get(key), (after or {}).get(key)
        if isinstance(one, dict) or isinstance(other, dict):
            changes += _entries(one or {}, other or {}, key.removesuffix("s"), scope)
        elif one != other:
            changes += [_change(f"the {key}", one, other, scope)]
    return changes


def _messages(value: Any) -> list[Any] | None:
    listed = value.get("messages") if isinstance(value, dict) else value
    return listed if isinstance(listed, list) else None


def _rest(value: Any) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "messages"} if isinstance(value, dict) else {}


def _by_name(tools: Any) -> dict[str, Any]:
    if not isinstance(tools, list):
        return {}
    named: dict[str, Any] = {}
    for place, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
        name = function.get("name") if isinstance(function, Mapping) else None
        named[str(name or place)] = tool
    return named


def _entries(before: Mapping[str, Any], after: Mapping[str, Any], word: str, scope: str) -> Iterator[InputChange]:
    for key in dict.fromkeys((*before, *after)):
        one, other = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if one != other:
            yield _change(f"{word} {key}", one, other, f"{scope} {word} {key}")


def _change(where: str, one: Any, other: Any, scope: str) -> InputChange:
    before = None if one is _NOTHING else _text(one)
    return InputChange(where, before, None if other is _NOTHING else _text(other), scope)


def _message_changes(before: list[Any], after: list[Any]) -> Iterator[InputChange]:
    keys = [_canonical(message) for message in before], [_canonical(message) for message in after]
    matcher = SequenceMatcher(None, *keys, autojunk=False)
    for what, b_from, b_to, a_from, a_to in matcher.get_opcodes():
        if what == "equal":
            continue
        for one, other in zip_longest(range(b_from, b_to), range(a_from, a_to)):
            message = after[other] if one is None else before[one]
            number = (other if one is None else one) + 1
            role = f" ({message.get('role')})" if isinstance(message, dict) and message.get("role") else ""
            yield InputChange(
                f"message {number}{role}",
                None if one is None else _message_text(before[one], other is not None and after[other]),
                None if other is None else _message_text(after[other], one is not None and before[one]),
            )


def _message_text(message: Any, other: Any) -> str:
    """Return a message as text: its content where the other message differs in that alone."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return _canonical(message)
    plain = set(message) <= {"role", "content"}
    alike = isinstance(other, dict) and _without_content(message) == _without_content(other)
    return str(message["content"]) if alike or (plain and not other) else _canonical(message)


def _without_content(message: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "content"}


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _canonical(value)


def _first_difference(before: str, after: str) -> int:
    shorter = min(len(before), len(after))
    return next((at for at in range(shorter) if before[at] != after[at]), shorter)


def _window(text: str, start: int) -> str:
    """Return the part of *text* around its first difference."""
    text = text.replace("\n", "\\n")
    if len(text) <= SHOWN:
        return text
    first = max(start - CONTEXT, 0)
    cut = text[first : first + SHOWN]
    return ("..." if first else "") + cut + ("..." if first + SHOWN < len(text) else "")


def _line_diff(before: str, after: str) -> list[str]:
    lines = [
        f"{line[0]} {_window(line[2:], 0)}"
        for line in ndiff(before.splitlines(), after.splitlines())
        if line[0] in "+-"
    ]
    return lines[:LINES] + ([f"... {len(lines) - LINES} more lines"] if len(lines) > LINES else [])
