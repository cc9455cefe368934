"""A snapshot of a value when it is noted: containers are copied, everything else is kept by reference."""

from __future__ import annotations

from typing import Any

ATOMS: frozenset[type] = frozenset({str, int, float, bool, bytes, type(None)})
CONTAINERS: frozenset[type] = frozenset({dict, list, tuple, set, bytearray})
MAX_COPIES = 2_000
"""The most containers copied for one value; further ones are kept by reference, so that huge values cost no time."""


def snapshot(value: Any) -> Any:
    """Return *value* with every list, dict and set in it copied, so that later changes do not show.

    Other objects are kept by reference: messages and documents are immutable by convention in the frameworks.
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
            return value.copy() if CONTAINERS.isdisjoint(map(type, value.values())) else _copy(value, [MAX_COPIES])
        if kind is list:
            return value.copy() if CONTAINERS.isdisjoint(map(type, value)) else _copy(value, [MAX_COPIES])
        if kind in CONTAINERS or isinstance(value, (dict, list)):
            return _copy(value, [MAX_COPIES])
    except Exception:  # noqa: BLE001  a container that another thread changes meanwhile, or one that misbehaves
        return value
    return value


def _copy(value: Any, budget: list[int]) -> Any:
    if budget[0] <= 0:
        return value
    budget[0] -= 1
    kind = type(value)
    if kind is bytearray:
        return bytes(value)
    # The condition is written out twice: most items are messages, for which a call each would be most of the cost.
    if isinstance(value, dict):
        return {
            key: _copy(item, budget) if type(item) in CONTAINERS or isinstance(item, (dict, list)) else item
            for key, item in value.items()
        }
    if kind is tuple and CONTAINERS.isdisjoint(map(type, value)):
        return value
    return [
        _copy(item, budget) if type(item) in CONTAINERS or isinstance(item, (dict, list)) else item for item in value
    ]
