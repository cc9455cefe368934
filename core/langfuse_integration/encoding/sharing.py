"""Values as JSON text of which long histories are shared with the rows before: see history.py and shared_text.py.

While the rest of a value is serialised, a short token stands for each history.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from ..recording.noted_messages import History
from ..recording.snapshot import CONTAINERS
from . import json_text
from .history import SHORT, Cut, texts
from .shared_text import Check, Rope, SharedText

MAX_ENTRIES = 32
MAX_DEPTH = 3
"""Where lists in dicts are looked at: deeper ones, and those of larger dicts, are serialised as they are."""
_TOKEN = f"\x00{secrets.token_hex(16)}."
"""No text of an application holds it, and it is no base64."""
_SYSTEM = (b'{"role":"system"', b'{"role":"developer"')
Pieces = Sequence[bytes | SharedText]


class SharedJson:
    """The JSON text of one value.

    Args:
        limit_bytes: longer histories are not serialised to their end.

    Attributes:
        text: the JSON, with tokens instead of histories.

    Raises:
        TypeError: orjson refuses the value.
    """

    def __init__(self, value: Any, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._histories: list[History] = []
        self._pieces: list[Pieces] = []
        self.text = json_text.dumps(self._with_histories(value, 0), self._plainer)

    @property
    def is_shared(self) -> bool:
        """Whether there is a history in it."""
        return bool(self._pieces)

    def rope(self, check: Check) -> Rope | None:
        """Return the text in pieces, at most about *limit_bytes*; None if *check* is false of a part."""
        if not check(self.text):
            return None
        rope = Rope(_joined(self.text, self._pieces))
        if len(rope) > self._limit_bytes:
            rope = _CuttingWalk(self._limit_bytes, self._histories).rope(self.text)
        return rope if all(piece.passes(check) for piece in rope.pieces if isinstance(piece, SharedText)) else None

    def _plainer(self, value: Any) -> Any:
        if type(value) is History:
            return self._token(value)
        plain = json_text.plainer(value)
        return self._with_histories(plain, 0) if type(plain) in (dict, list) else plain

    def _with_histories(self, value: Any, depth: int) -> Any:
        """Return *value* with long lists of objects whose JSON is cached as histories."""
        if type(value) is list:
            is_history = len(value) > SHORT and json_text.state_reader(type(value[0])) is not None
            return History.around(value) if is_history else value
        if type(value) is not dict or depth >= MAX_DEPTH or len(value) > MAX_ENTRIES:
            return value
        changed: dict[Any, Any] = {}
        for key, item in value.items():
            if type(item) in (dict, list) and (plain := self._with_histories(item, depth + 1)) is not item:
                changed[key] = plain
        return {**value, **changed} if changed else value

    def _token(self, history: History) -> Any:
        messages = history.restored()
        if len(messages) <= SHORT:
            return messages
        first, rest = _parted(messages)
        text = texts.text(rest, self._limit_bytes)
        if text is None:
            return messages
        self._pieces.append((b"[" + first, text, b"]"))
        self._histories.append(history)
        return f"{_TOKEN}{len(self._pieces) - 1}"


class _CuttingWalk(json_text.Walk):
    """A careful pass over a value with tokens; the beginning of each history is cut once."""

    def __init__(self, limit_bytes: int, histories: list[History]) -> None:
        super().__init__(limit_bytes)
        self._histories = histories
        self._pieces: list[Pieces] = []
        self._depth = 0

    def rope(self, text: bytes) -> Rope:
        """Return the shortened text of a value, from its JSON with tokens."""
        import orjson

        return Rope(_joined(json_text.dumps(self.plain(orjson.loads(text), 0)), self._pieces))

    def plain(self, value: Any, depth: int) -> Any:
        """Return *value*, shortened; a token becomes one of the shortened history."""
        if type(value) is str and value.startswith(_TOKEN):
            self._pieces.append(self._history(self._histories[int(value[len(_TOKEN) :])].messages, depth))
            return f"{_TOKEN}{len(self._pieces) - 1}"
        return super().plain(value, depth)

    def _history(self, messages: list[Any], depth: int) -> Pieces:
        first, rest = _parted(messages)
        head = b"["
        if first:
            if self.left <= 0:
                return (b"[" + _marker(len(messages)) + b"]",)
            self.left -= 2
            head += self._item(messages[0], depth + 1) + b","
        cut = self._cut(rest, depth)
        pieces: list[bytes | SharedText] = [head]
        if cut.text is not None:
            pieces.append(cut.text)
        if cut.messages < len(rest):
            comma = b"," if cut.text is not None else b""
            pieces.append(comma + _marker(len(rest) - cut.messages))
        return (*pieces, b"]")

    def _cut(self, messages: list[Any], depth: int) -> Cut:
        """Return the beginning of *messages* for which there is room."""
        branch, same = texts.branch(messages)
        key = self.left, depth
        cut = branch.cuts.get(key) if branch is not None else None
        if cut is None or cut.messages > same:
            cut = Cut(0, None, self.left)
        self.left = cut.left
        items: list[bytes] = []
        for message in messages[cut.messages :] if self.left > 0 else ():
            if self.left <= 0:
                break
            self.left -= 2
            items.append(self._item(message, depth + 1))
        if items:
            part = b",".join(items)
            text = SharedText(cut.text, b"," + part if cut.text is not None else part)
            cut = Cut(cut.messages + len(items), text, self.left)
            if branch is not None and cut.messages > same:
                branch = texts.extend(branch, same, messages)
            if branch is not None:
                branch.cuts[key] = cut
        return cut

    def _item(self, message: Any, depth: int) -> bytes:
        import orjson

        return json_text.dumps(self.plain(orjson.loads(json_text.dumps(message)), depth))


def _parted(messages: list[Any]) -> tuple[bytes, list[Any]]:
    """Return the JSON of a first message with instructions, and the other messages: only those are alike in a graph's
    state and in its model's input."""
    if type(messages[0]) not in CONTAINERS:
        first = json_text.dumps(messages[0])
        if first.startswith(_SYSTEM):
            return first + b",", messages[1:]
    return b"", messages


def _marker(count: int) -> bytes:
    return json_text.dumps(f"[cut: {count} more items]")


def _joined(text: bytes, pieces: list[Pieces]) -> list[bytes | SharedText]:
    """Return *text* with the pieces of histories instead of their tokens."""
    joined: list[bytes | SharedText] = []
    for number, inserted in enumerate(pieces):
        before, _, text = text.partition(json_text.dumps(f"{_TOKEN}{number}"))
        joined += (before, *inserted)
    joined.append(text)
    return joined
