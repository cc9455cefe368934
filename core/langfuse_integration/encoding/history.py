"""Chat histories that go to a model again and again, each time a little longer: only what is new is written anew.

An agent's step sends everything said before. Who looks at each message again to write it makes a step the more
expensive the more steps there were; to see that a history begins with one that is written, and to go on from that
text, costs next to nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..recording.snapshot import CONTAINERS, snapshot
from . import json_text

SHORT = 8
"""Messages up to which a history is written as any other list."""
TEXTS = 64
TEXTS_BYTES = 16 * 1024 * 1024


class History:
    """The messages that a model is called with, as they are now: objects that do not change, or dicts, which may."""

    __slots__ = ("messages",)

    def __init__(self, messages: list[Any]) -> None:
        changing = not messages or type(messages[0]) in CONTAINERS
        self.messages: list[Any] = snapshot(messages) if changing else messages.copy()


class _Texts:
    """The JSON of histories by how they begin; the least recently used go first. For the worker's thread.

    It keeps messages alive, so it is emptied whenever the worker has nothing to do.
    """

    def __init__(self, limit: int = TEXTS, limit_bytes: int = TEXTS_BYTES) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._size_bytes = 0
        self._held: OrderedDict[tuple[int, int], tuple[list[Any], bytes]] = OrderedDict()

    def text(self, messages: list[Any]) -> bytes:
        """Return the JSON of two messages or more.

        Raises:
            TypeError: orjson refuses one of them.
        """
        key = id(messages[0]), id(messages[1])
        before, text = self._held.get(key, ([], b"[]"))
        # Items are compared by identity first, which takes a nanosecond; lists that differ mostly do so in the last.
        if before and (len(before) > len(messages) or before[-1] is not messages[len(before) - 1]):
            before = []
        if before and messages[: len(before)] != before:
            before = []
        new = messages[len(before) :]
        if not CONTAINERS.isdisjoint(map(type, new)):  # what may change cannot be remembered
            return json_text.dumps(messages)
        if not before:
            text = json_text.dumps(messages)
        elif new:
            text = b"".join((memoryview(text)[:-1], b",", memoryview(json_text.dumps(new))[1:]))
        self._keep(key, messages, text)
        return text

    def _keep(self, key: tuple[int, int], messages: list[Any], text: bytes) -> None:
        _, before = self._held.pop(key, (None, b""))
        self._held[key] = messages, text
        self._size_bytes += len(text) - len(before)
        while self._held and (len(self._held) > self._limit or self._size_bytes > self._limit_bytes):
            self._size_bytes -= len(self._held.popitem(last=False)[1][1])

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)


texts = _Texts()


def _json(history: History) -> Any:
    if len(history.messages) <= SHORT:
        return history.messages
    import orjson

    return orjson.Fragment(texts.text(history.messages))


def _plain(history: History) -> list[Any]:
    return history.messages


_json.plain = _plain  # type: ignore[attr-defined]  # for the careful walk
json_text.register(History, _json)
