"""The differences of what was asked and what is asked now: only the messages, tools and arguments that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, ndiff
from itertools import zip_longest
from typing import Any

from ...reading.volatile import VolatileParts
from .inputs import ComparedInput

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
    def is_removal(self) -> bool:
        """Whether it is a recorded message that is not there any more."""
        return self.after is None and self.where.startswith("message ")

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


def changes_of(recorded: ComparedInput, asked: ComparedInput, scope: str) -> list[InputChange]:
    """Return the differences of two inputs.

    Args:
        scope: of changes of tools and arguments, which belong to an agent or to what is called.
    """
    if recorded == asked:
        return []
    before, after = json.loads(recorded.rest), json.loads(asked.rest)
    if recorded.messages is None or asked.messages is None:
        return list(_whole_changes(before, after, scope))
    changes = list(_message_changes(recorded.messages, asked.messages))
    tools = before.pop("tools", []), after.pop("tools", [])
    named = _by_name(tools[0]), _by_name(tools[1])
    changes += _entries(*named, "tool", scope)
    if tools[0] != tools[1] and named[0] == named[1]:
        changes.append(_change("the order of tools", [*named[0]], [*named[1]], f"{scope} tools"))
    changes += _entries(before, after, "input", scope)
    return changes or [InputChange("the input", str(recorded), str(asked), scope)]


def _whole_changes(before: Any, after: Any, scope: str) -> Iterator[InputChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _entries(before, after, "argument", scope)
    else:
        yield InputChange("the input", _text(before), _text(after), scope)


def entry_changes(recorded: Any, asked: Any, rules: VolatileParts, scope: str) -> list[InputChange]:
    """Return the differences of two mappings by their entries, nested ones under their own names."""
    before: Any = rules.stable(recorded)
    after: Any = rules.stable(asked)
    changes: list[InputChange] = []
    key: Any
    for key in dict.fromkeys((*(before or {}), *(after or {}))):
        one, other = (before or {}).get(key), (after or {}).get(key)
        if isinstance(one or other, dict) and isinstance(other or one, dict):
            changes += _entries(one or {}, other or {}, key.removesuffix("s"), scope)
        elif one != other:
            changes += [_change(f"the {key}", one, other, scope)]
    return changes


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


def _message_changes(before: Sequence[str], after: Sequence[str]) -> Iterator[InputChange]:
    """Yield the differences of two lists of messages, each in its canonical form."""
    same = _same_start(before, after)
    end = min(_same_start(before[::-1], after[::-1]), len(before) - same, len(after) - same)
    before, after = before[: len(before) - end], after[: len(after) - end]
    matcher = SequenceMatcher(None, before[same:], after[same:], autojunk=False)
    for what, b_from, b_to, a_from, a_to in matcher.get_opcodes():
        if what == "equal":
            continue
        for at, other_at in zip_longest(range(same + b_from, same + b_to), range(same + a_from, same + a_to)):
            one = _NOTHING if at is None else json.loads(before[at])
            other = _NOTHING if other_at is None else json.loads(after[other_at])
            message = other if at is None else one
            number = 1 + (at if at is not None else other_at or 0)
            role = f" ({message.get('role')})" if isinstance(message, dict) and message.get("role") else ""
            yield InputChange(
                f"message {number}{role}",
                None if at is None else _message_text(one, other),
                None if other_at is None else _message_text(other, one),
            )


def _same_start(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many items two lists have in common from the start."""
    size = min(len(before), len(after))
    if before[:size] == after[:size]:
        return size
    return next(at for at in range(size) if before[at] != after[at])


def _message_text(message: Any, other: Any) -> str:
    """Return a message as text: its content where the other message differs in that alone."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return _canonical(message)
    plain = set(message) <= {"role", "content"}
    alike = isinstance(other, dict) and _without_content(message) == _without_content(other)
    return str(message["content"]) if alike or (plain and other is _NOTHING) else _canonical(message)


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
