"""A snapshot of a value when it is noted: containers are copied, messages and documents are noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .noted_messages import WINDOW, History, Keepers, NotedMessage, keepers

ATOMS: frozenset[type] = frozenset({str, int, float, bool, bytes, type(None)})
CONTAINERS: frozenset[type] = frozenset({dict, list, tuple, set, bytearray})
MAX_COPIES = 2_000
"""The most containers copied for one value; further ones are kept by reference, so that huge values cost no time."""
_NOTHING = Keepers()
_FLAT: dict[type, Callable[[Any], Any]] = {bytearray: bytes, set: set.copy}
"""How containers are copied that hold no other containers."""


def containers(value: Any) -> Any:
    """Return *value* with containers copied, and all objects in it by reference.

    For what is in a message: were messages in messages noted, one that holds itself would be without end.
    """
    return snapshot(value, _NOTHING)


def snapshot(value: Any, known: Keepers = keepers) -> Any:
    """Return *value* with every list, dict and set in it copied, so that later changes do not show.

    Messages and documents of a framework become a `NotedMessage`, lists of them a `History`. Other objects are kept by
    reference.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    try:
        if kind is dict:
            for item in value.values():  # of a few plain values, as most are: faster than to ask for all at once
                if type(item) not in ATOMS:
                    break
            else:
                return value.copy()
            return _copy(value, [MAX_COPIES], known)
        if kind is list:
            keeper = known[type(value[0])] if value else None
            # Of a long history only the last messages are looked at, so that a step costs the same after a thousand.
            last = value if keeper is None or len(value) <= WINDOW else value[-WINDOW:]
            if CONTAINERS.isdisjoint(map(type, last)):
                return value.copy() if keeper is None else History(value, keeper)
        if kind in CONTAINERS or isinstance(value, (dict, list)):
            return _copy(value, [MAX_COPIES], known)
        keeper = known[kind]
        if keeper is not None:
            return NotedMessage(value, keeper)
    except Exception:  # noqa: BLE001  a container that another thread changes meanwhile, or one that misbehaves
        return value
    return value


def _copy(value: Any, budget: list[int], known: Keepers) -> Any:
    """Return a container copied, and a message noted. Loops, since each comprehension is a call before Python 3.12."""
    kind = type(value)
    is_dict = isinstance(value, dict)
    if not is_dict and kind not in CONTAINERS and not isinstance(value, list):
        keeper = known[kind]
        return value if keeper is None else NotedMessage(value, keeper)
    if budget[0] <= 0:
        return value
    budget[0] -= 1
    if is_dict:
        entries: dict[Any, Any] = {}
        for key, item in value.items():
            entries[key] = item if type(item) in ATOMS else _copy(item, budget, known)
        return entries
    if kind in _FLAT:
        return _FLAT[kind](value)
    if kind is list:
        keeper = known[type(value[0])] if value else None
        last = value if keeper is None or len(value) <= WINDOW else value[-WINDOW:]
        if CONTAINERS.isdisjoint(map(type, last)):
            return value.copy() if keeper is None else History(value, keeper)
    if kind is tuple and CONTAINERS.isdisjoint(map(type, value)):
        return value
    items: list[Any] = []
    for item in value:  # the condition stands here again: a call for each of many objects would be most of the cost
        is_container = type(item) in CONTAINERS or isinstance(item, (dict, list))
        items.append(_copy(item, budget, known) if is_container else item)
    return tuple(items) if kind is tuple else items
