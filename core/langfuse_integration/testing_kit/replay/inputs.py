"""Inputs as they are compared, in parts: a history repeats its messages in each step, and each is cleaned once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from operator import is_
from typing import Any, NamedTuple

from ...encoding import json_text
from ...encoding.fields import Fields
from ...encoding.message_states import are_cached, copies_of, unchanged
from ...encoding.observed import parsed
from ...internals.bounded import BoundedDict
from ...reading.volatile import VolatileParts
from ...recording.noted_messages import History, NotedMessage

PARTS_LIMIT = 100_000
TAILS_LIMIT = 1_000
WHOLE_SIZE = 1024 * 1024
"""Characters; an input that is longer was recorded with cuts, which only the whole of it tells."""

Names = tuple[str | None, str | None]
"""The name of an agent, and the one that it was recorded with."""


class ComparedInput(NamedTuple):
    """What was asked, without volatile parts, as JSON texts: equal for inputs that count as the same.

    Attributes:
        messages: the items of a list, or of the entry `messages`; None for an input that has neither.
        rest: the other entries, or the whole input.
    """

    messages: tuple[str, ...] | None
    rest: str


class _Tail(NamedTuple):
    """A history without its first message.

    Attributes:
        states: what the messages were like.
        parts: the messages as they are compared.
        size: of their texts.
    """

    messages: list[Any]
    states: list[Any]
    parts: tuple[str, ...]
    size: int

    def begins(self, messages: list[Any]) -> bool:
        """Return whether *messages* begin with these very objects, none of which has changed."""
        same = len(self.messages) <= len(messages) and all(map(is_, self.messages, messages))
        return same and unchanged(self.messages, self.states) == len(self.messages)


class Inputs:
    """Makes inputs comparable.

    Args:
        rules: remove what differs in every run.
        fields: write a value of the application as it is recorded.
    """

    def __init__(self, rules: VolatileParts, fields: Fields) -> None:
        self._rules = rules
        self._fields = fields
        self._by_text: BoundedDict[tuple[Names | None, str], str] = BoundedDict(PARTS_LIMIT)
        self._tails: BoundedDict[tuple[Names | None, int], _Tail] = BoundedDict(TAILS_LIMIT)

    def forget(self) -> None:
        """Clean everything anew: the rules have changed."""
        self._by_text.clear()
        self._tails.clear()

    def recorded(self, value: Any) -> ComparedInput:
        """Return a recorded input: plain values, which nobody changes."""
        messages, rest = _parted(value)
        if messages is None:
            return ComparedInput(None, self._cleaned(None, _json(value)))
        parts, _ = self._of_messages(messages, None, _json)
        return ComparedInput(parts, self._cleaned(None, _json(rest)))

    def asked(self, value: Any, names: Names | None = None) -> ComparedInput:
        """Return what the application asks now.

        Args:
            value: of the application, with messages of a framework.
            names: of the agent that asks, where the recording has another.
        """
        messages, rest = _parted(value)
        if messages is not None and self._fields.as_it_is:
            parts, size = self._of_messages(messages, names, self._text)
            text = self._fields.text(_plain(rest))
            if size + len(text) < WHOLE_SIZE:
                return ComparedInput(parts, self._cleaned(names, text))
        plain = parsed(self._fields.text(_plain(value)))
        messages, rest = _parted(plain)
        if messages is None:
            return ComparedInput(None, self._cleaned(names, _json(plain)))
        parts = tuple(self._cleaned(names, _json(message)) for message in messages)
        return ComparedInput(parts, self._cleaned(names, _json(rest)))

    def _text(self, message: Any) -> str:
        return self._fields.text([_plain(message)])[1:-1]

    def _of_messages(
        self, messages: list[Any], names: Names | None, text_of: Callable[[Any], str]
    ) -> tuple[tuple[str, ...], int]:
        """Return messages as they are compared, and the size of their texts.

        A history continues an earlier one, but for its first message: instructions may be made anew in each step.
        """
        head, tail = messages[:1], messages[1:]
        key = names, id(tail[0]) if tail else 0
        known = self._tails.get(key)
        if known is None or not known.begins(tail):
            known = _Tail([], [], (), 0)
        new = tail[len(known.messages) :]
        comparable = are_cached([message for message in new if type(message) is not dict])
        states = copies_of(new) if comparable else []
        first, *texts = [text_of(message) for message in (*head, *new)] or [""]
        parts = known.parts + tuple(self._cleaned(names, text) for text in texts)
        size = known.size + sum(map(len, texts))
        if comparable:
            self._tails[key] = _Tail(tail, known.states + states, parts, size)
        return (self._cleaned(names, first), *parts) if head else (), size + len(first)

    def _cleaned(self, names: Names | None, text: str) -> str:
        key = names, text
        part = self._by_text.get(key)
        if part is None:
            value = parsed(text)
            if names is not None:
                value = _as_recorded(value, *names)
            part = self._by_text[key] = sys.intern(self._rules.key(value))
        return part


def _parted(value: Any) -> tuple[list[Any] | None, dict[str, Any]]:
    """Return the messages of an input, or None, and the rest of it."""
    if isinstance(value, NotedMessage):
        value = value.restored()
    if not isinstance(value, (dict, list, str, History)) and value is not None:
        value = json_text.uncached(value)
    if isinstance(value, dict):
        messages = value.get("messages")
        rest = {key: item for key, item in value.items() if key != "messages"}
    else:
        messages, rest = value, {}
    if isinstance(messages, History):
        messages = messages.restored()
    return (messages, rest) if isinstance(messages, list) else (None, rest)


def _plain(value: Any) -> Any:
    """Return a value as it is serialised, by what the application's threads may use."""
    if isinstance(value, str):
        return value
    try:
        return json.loads(json_text.dumps(value, json_text.uncached))
    except Exception:  # noqa: BLE001  values of the application, which `Fields` marks
        return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _as_recorded(value: Any, agent: str | None, recorded: str | None) -> Any:
    """Return an input with the recorded name of the agent in its messages."""
    if isinstance(value, dict):
        named = {key: _as_recorded(item, agent, recorded) for key, item in value.items()}
        return {**named, "name": recorded} if "role" in named and named.get("name") == agent else named
    return [_as_recorded(item, agent, recorded) for item in value] if isinstance(value, list) else value
