"""Objects as they were when they were noted, whatever the application makes of the answer that it gets.

An answer is noted on the application's thread in a few calls; what has changed since shows on the worker.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from .snapshot import ATOMS, CONTAINERS, snapshot

MODEL = "__pydantic_fields_set__"
"""What every class of models of pydantic has; objects are not asked, since they may answer to any name, or raise."""
LARGEST_ITEMS = 100
"""Items of a list that are noted one by one."""
DEEPEST = 2
"""How deep models in lists of models are noted: a model may hold itself."""


class Noted:
    """An object with its fields as they are now.

    Args:
        value: the object, of a class of pydantic or another one with a `__dict__`.
        inside: names of fields that are such objects, and change as well.
        depth: of the lists of models in it that are noted item by item.
    """

    __slots__ = ("_fields", "_inside", "_items", "_set", "value")

    def __init__(self, value: Any, inside: Iterable[str] = (), depth: int = DEEPEST) -> None:
        self.value = value
        self._fields = fields = value.__dict__.copy()
        set_ = getattr(value, MODEL, None)
        self._set = set_.copy() if type(set_) is set else None
        self._items: dict[str, list[Any]] = {}
        self._inside: dict[str, Noted] = {}
        for name in inside:
            item = fields.get(name)
            if hasattr(type(item), MODEL) or hasattr(type(item), "__dataclass_fields__"):
                self._inside[name] = Noted(item)
        for name, item in fields.items():
            kind = type(item)
            if kind is not dict and kind is not list:
                continue
            if ATOMS.issuperset(map(type, item.values() if kind is dict else item)):
                fields[name] = item.copy()
            elif kind is list and depth and len(item) <= LARGEST_ITEMS and CONTAINERS.isdisjoint(map(type, item)):
                self._items[name] = items = []
                for one in item:  # a comprehension is a call before Python 3.12
                    if hasattr(type(one), MODEL):
                        items.append(Noted(one, (), depth - 1))
                    else:
                        items.append(one)
            else:
                fields[name] = snapshot(item)

    def as_it_was(self) -> Any:
        """Return the object, or where it has changed since, a copy with its fields as they were; on the worker."""
        now = self.value.__dict__
        was = {name: self._field(name, now.get(name)) for name in self._fields}
        if now.keys() == was.keys() and all(now[name] is item for name, item in was.items()):
            return self.value
        made = copy.copy(self.value)
        made.__dict__.clear()
        made.__dict__.update(was)
        if self._set is not None:
            object.__setattr__(made, MODEL, self._set)
        return made

    def _field(self, name: str, now: Any) -> Any:
        """Return a field as it was; the very same object if it has not changed."""
        noted = self._fields[name]
        if name in self._inside:
            return self._inside[name].as_it_was()
        if name in self._items:
            items = [item.as_it_was() if isinstance(item, Noted) else item for item in self._items[name]]
            is_same = type(now) is list and len(now) == len(items)
            return now if is_same and all(map(_is, now, items)) else items
        if type(noted) is dict or type(noted) is list:
            return now if _is_same(now, noted) else noted
        return noted


def note_of(value: Any) -> Any:
    """Return *value* so that `as_it_was` gives it as it is now: containers are copied, a model's fields noted."""
    if type(value) in ATOMS:
        return value
    return Noted(value) if hasattr(type(value), MODEL) else snapshot(value)


def as_it_was(noted: Any) -> Any:
    """Return what `note_of` was given, as it was then; on the worker."""
    return noted.as_it_was() if type(noted) is Noted else noted


def _is_same(now: Any, before: Any) -> bool:
    """Return whether a value still equals its copy, down to types; asks no object whether it equals another one."""
    kind = type(before)
    if now is before or type(now) is not kind:
        return now is before
    if kind is dict:
        return list(now) == list(before) and all(map(_is_same, now.values(), before.values()))
    if kind is list or kind is tuple:
        return len(now) == len(before) and all(map(_is_same, now, before))
    return (kind in ATOMS or kind is set) and bool(now == before)


def _is(one: Any, other: Any) -> bool:
    return one is other
