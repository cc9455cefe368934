"""Series of similar JSON values, each as its difference to the one before: the pieces of a stream repeat each other.

{"=": value}                            the value itself
{"+": text}                             the text before, and this after it
{"~": {key: delta}, "-": [key, ...]}    a dict: changed or new entries, and those that are gone
{"#": {index: delta}, "+": [...]}       a list: changed items, and further ones
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def deltas_of(values: Iterable[Any]) -> list[Any]:
    """Return the differences, the first one to None."""
    before: Any = None
    deltas: list[Any] = []
    for value in values:
        deltas.append(_delta(before, value))
        before = value
    return deltas


def series_of(deltas: Iterable[Any]) -> list[Any]:
    """Return the values whose differences these are.

    Raises:
        ValueError: a difference does not fit the value before it.
    """
    before: Any = None
    values: list[Any] = []
    for delta in deltas:
        try:
            before = _applied(before, delta)
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"Piece {len(values) + 1} does not fit the one before ({error!r}).") from error
        values.append(before)
    return values


def _delta(before: Any, value: Any) -> Any:
    if type(before) is type(value):
        if isinstance(value, str) and value.startswith(before) and before:
            return {"+": value[len(before) :]}
        if isinstance(value, dict) and _keeps_order(before, value):
            return _delta_of_dict(before, value)
        if isinstance(value, list) and len(value) >= len(before):
            return _delta_of_list(before, value)
    return {"=": value}


def _delta_of_dict(before: dict[str, Any], value: dict[str, Any]) -> Any:
    changed = {
        key: _delta(before[key], item) if key in before else {"=": item}
        for key, item in value.items()
        if key not in before or not _same(before[key], item)
    }
    gone = [key for key in before if key not in value]
    return {"~": changed, **({"-": gone} if gone else {})}


def _keeps_order(before: dict[str, Any], value: dict[str, Any]) -> bool:
    """Return whether *value* has the keys of *before* that are left in the same order, and new ones after them."""
    kept = [key for key in before if key in value]
    return list(value)[: len(kept)] == kept


def _delta_of_list(before: list[Any], value: list[Any]) -> Any:
    changed = {
        str(index): _delta(old, new)
        for index, (old, new) in enumerate(zip(before, value, strict=False))
        if not _same(old, new)
    }
    more = value[len(before) :]
    return {"#": changed, **({"+": more} if more else {})}


def _same(before: Any, value: Any) -> bool:
    """Return whether both are the same JSON: 1, 1.0 and True are not."""
    if type(before) is not type(value):
        return False
    if isinstance(value, dict):
        return list(before) == list(value) and all(_same(before[key], item) for key, item in value.items())
    if isinstance(value, list):
        return len(before) == len(value) and all(map(_same, before, value))
    return bool(before == value)


def _applied(before: Any, delta: Any) -> Any:
    if "=" in delta:
        return delta["="]
    if "~" in delta:
        gone = delta.get("-", ())
        kept = {key: item for key, item in before.items() if key not in gone}
        return {**kept, **{key: _applied(before.get(key), entry) for key, entry in delta["~"].items()}}
    if "#" in delta:
        if not isinstance(before, list):
            raise TypeError("no list")
        made = before.copy()
        for index, entry in delta["#"].items():
            made[int(index)] = _applied(made[int(index)], entry)
        return made + list(delta.get("+", ()))
    return before + delta["+"]
