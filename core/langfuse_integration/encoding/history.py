"""Chat histories that are sent to a model again and again, each time a little longer: only new messages are serialised.

An agent's step sends everything said before. If each message were serialised again, a step would cost the more the more
steps there were. A history that begins with an earlier one is continued from the JSON of that one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..recording.snapshot import CONTAINERS, snapshot
from . import json_text

SHORT = 8
"""Up to so many messages, a history is serialised as any other list."""
TEXTS = 64
TEXTS_BYTES = 16 * 1024 * 1024


class History:
    """A copy of the messages that a model is called with: a list of immutable objects, or a snapshot of dicts."""

    __slots__ = ("messages",)

    def __init__(self, messages: list[Any]) -> None:
        changing = not messages or type(messages[0]) in CONTAINERS
        self.messages: list[Any] = snapshot(messages) if changing else messages.copy()


class _Texts:
    """The JSON of recent histories by their first two messages; the least recently used is evicted first.

    For the worker's thread. It keeps messages alive, so it is cleared whenever the worker is idle.
    """

    def __init__(self, limit: int = TEXTS, limit_bytes: int = TEXTS_BYTES) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[tuple[int, int], tuple[list[Any], bytes]] = OrderedDict()

    def text(self, messages: list[Any]) -> bytes:
        """Return the JSON of two messages or more.

        Raises:
            TypeError: orjson refuses one of them.
        """
        key = id(messages[0]), id(messages[1])
        before, text = self._entries.get(key, ([], b"[]"))
        # Items are compared by identity first, which takes a nanosecond; lists that differ mostly do so in the last.
        if before and (len(before) > len(messages) or before[-1] is not messages[len(before) - 1]):
            before = []
        if before and messages[: len(before)] != before:
            before = []
        new = messages[len(before) :]
        if not CONTAINERS.isdisjoint(map(type, new)):  # JSON of objects that may change is not kept
            return json_text.dumps(messages)
        if not before:
            text = json_text.dumps(messages)
        elif new:
            text = b"".join((memoryview(text)[:-1], b",", memoryview(json_text.dumps(new))[1:]))
        self._keep(key, messages, text)
        return text

    def _keep(self, key: tuple[int, int], messages: list[Any], text: bytes) -> None:
        _, before = self._entries.pop(key, (None, b""))
        self._entries[key] = messages, text
        self._size_bytes += len(text) - len(before)
        while self._entries and (len(self._entries) > self._limit or self._size_bytes > self._limit_bytes):
            self._size_bytes -= len(self._entries.popitem(last=False)[1][1])

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)


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
