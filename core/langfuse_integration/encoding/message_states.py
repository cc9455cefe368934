"""States of messages: what their JSON was made of, compared before cached text is used again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress, count
from operator import call, ne
from typing import Any

from ..recording.noted_messages import is_same
from ..recording.snapshot import ATOMS
from . import json_text
from .fragments import copied, fragments

_CALL: Any = call  # its own type is too narrow for `map`


def are_cached(messages: list[Any]) -> bool:
    """Return whether the JSON of all *messages* may be cached: their states are readable."""
    return all(kind in ATOMS or json_text.state_reader(kind) is not None for kind in set(map(type, messages)))


def states_of(messages: list[Any]) -> Iterable[Any]:
    """Return the present states of messages, one by one, by reference: of cached ones; that of others is itself."""
    readers = {kind: json_text.state_reader(kind) or _itself for kind in set(map(type, messages))}
    return map(_CALL, map(readers.__getitem__, map(type, messages)), messages)


def unchanged(messages: list[Any], states: list[Any]) -> int:
    """Return how many messages from the first on still have the state that *states* has for each of them.

    The messages of a long history are in no cache of the processor: so nothing is kept of them, and no copy is made.
    """
    try:
        return next(compress(count(), map(ne, states_of(messages), states)), len(messages))
    except Exception:  # noqa: BLE001  values of the application that cannot be compared
        pairs = zip(states_of(messages), states, strict=True)
        return next((place for place, pair in enumerate(pairs) if not is_same(*pair)), len(messages))


def copies_of(messages: list[Any]) -> list[Any]:
    """Return copies of the present states of cached messages."""
    return list(map(copied, states_of(messages)))


def written_states(messages: list[Any]) -> list[Any]:
    """Return copies of the states that the JSON of *messages* has just been made of."""
    states = list(map(fragments.state, messages))
    if None in states:
        current = states_of(messages)
        states = [copied(now) if state is None else state for now, state in zip(current, states, strict=True)]
    return states


def _itself(value: Any) -> Any:
    return value
