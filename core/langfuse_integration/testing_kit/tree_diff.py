"""The differences of two trees as readable lines, for failing assertions."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TypeGuard, cast, get_args

from ..reading.replay import Tree
from ..recording.observation import ObservationType

TYPES = frozenset(get_args(ObservationType))
INDENT = "    "


def is_tree(value: object) -> TypeGuard[list[Tree]]:
    """Return whether *value* is what `Trace.tree()` returns: lists of "type name" and {"type name": [...]}."""
    return isinstance(value, list) and bool(value) and all(_is_node(one) for one in cast("list[object]", value))


def differences(left: list[Tree], right: list[Tree]) -> list[str]:
    """Return both trees as one, with a mark before what stands on one side only: + left, - right."""
    before, after = list(_lines(right)), list(_lines(left))
    lines: list[str] = []
    for what, b_from, b_to, a_from, a_to in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            lines += ["  " + line for line in before[b_from:b_to]]
            continue
        lines += ["- " + line for line in before[b_from:b_to]]
        lines += ["+ " + line for line in after[a_from:a_to]]
    return lines


def _is_node(value: object) -> bool:
    if isinstance(value, str):
        kind, _, name = value.partition(" ")
        return kind in TYPES and bool(name)
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((label, below),) = value.items()
    return _is_node(label) and isinstance(label, str) and (below == [] or is_tree(below))


def _lines(trees: list[Tree]) -> Iterator[str]:
    waiting: list[tuple[Tree, int]] = [(tree, 0) for tree in reversed(trees)]
    while waiting:
        tree, depth = waiting.pop()
        label, below = (tree, []) if isinstance(tree, str) else next(iter(tree.items()))
        yield INDENT * depth + label
        waiting += [(child, depth + 1) for child in reversed(below)]
