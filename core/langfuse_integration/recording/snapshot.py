"""A snapshot of a value when it is noted: containers are copied, messages and documents are noted."""

from __future__ import annotations

from typing import Any

from .noted_messages import WINDOW, History, Keepers, NotedMessage, keepers

ATOMS: frozenset[type] = frozenset({str, int, float, bool, bytes, type(None)})
CONTAINERS: frozenset[type] = frozenset({dict, list, tuple, set, bytearray})
MAX_COPIES = 2_000
"""The most containers copied for one value; further ones are kept by reference, so that huge values cost no time."""
_NOTHING = Keepers()


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
    if budget[0] <= 0:
        return value
    budget[0] -= 1
    kind = type(value)
    if kind is bytearray:
        return bytes(value)
    if isinstance(value, dict):
        return {key: item if type(item) in ATOMS else _item(item, budget, known) for key, item in value.items()}
    if kind is list:
        keeper = known[type(value[0])] if value else None
        last = value if keeper is None or len(value) <= WINDOW else value[-WINDOW:]
        if CONTAINERS.isdisjoint(map(type, last)):
            return value.copy() if keeper is None else History(value, keeper)
    if kind is tuple and CONTAINERS.isdisjoint(map(type, value)):
        return value
    if kind is set:
        return value.copy()
    # The condition stands here again: a call for each of many objects would be most of the cost.
    items = [
        _copy(item, budget, known) if type(item) in CONTAINERS or isinstance(item, (dict, list)) else item
        for item in value
    ]
    return tuple(items) if kind is tuple else items


def _item(item: Any, budget: list[int], known: Keepers) -> Any:
    kind = type(item)
    if kind in CONTAINERS or isinstance(item, (dict, list)):
        return _copy(item, budget, known)
    keeper = known[kind]
    return item if keeper is None else NotedMessage(item, keeper)
