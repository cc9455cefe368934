"""States of messages: what their JSON was made of, compared before cached text is used again."""

from __future__ import annotations

from typing import Any

from ..recording.snapshot import ATOMS
from . import json_text
from .fragments import copied, fragments


def are_cached(messages: list[Any]) -> bool:
    """Return whether the JSON of all *messages* may be cached: their states are readable."""
    return all(kind in ATOMS or json_text.state_reader(kind) is not None for kind in set(map(type, messages)))


def states_of(messages: list[Any]) -> list[Any]:
    """Return the present states of messages, by reference: of cached ones; that of a dict or text is itself."""
    readers = {kind: json_text.state_reader(kind) or _itself for kind in set(map(type, messages))}
    if len(set(readers.values())) == 1:
        return list(map(next(iter(readers.values())), messages))
    return [readers[type(message)](message) for message in messages]


def copies_of(messages: list[Any]) -> list[Any]:
    """Return copies of the present states of cached messages."""
    return list(map(copied, states_of(messages)))


def written_states(messages: list[Any]) -> list[Any]:
    """Return copies of the states that the JSON of *messages* has just been made of."""
    states = list(map(fragments.state, messages))
    if None in states:
        current = states_of(messages)
        states = [copied(current[place]) if state is None else state for place, state in enumerate(states)]
    return states


def _itself(value: Any) -> Any:
    return value
